//! The folder of events that wait to be published: what lies in it, whose it is, what room there is.

use std::path::Path;

use super::data_folder::{self, bytes_text};
use super::report::Check;
use crate::mesh::event::Target;
use crate::mesh::event::outbox::survey::{Survey, SurveyedWriter, survey};

/// The share of its size from which on somebody should look at the outbox.
const SHARE_MAX: u64 = 2;

/// Looks at the outbox under `root`, and changes nothing. It blocks while it reads.
pub(super) fn look(root: &Path, target: &Target, bytes_max: u64) -> Vec<Check> {
    let mut checks = vec![data_folder::writable(
        "folder",
        root,
        "AGENT_MESH_OUTBOX_DIR",
    )];
    match survey(root, target) {
        Ok(found) => {
            checks.push(backlog(&found, bytes_max));
            checks.extend(
                found
                    .others
                    .iter()
                    .filter_map(|(name, writers)| elsewhere(name, writers)),
            );
        }
        Err(error) => checks.push(Check::fault(
            "backlog",
            format!("{} cannot be read: {error}", root.display()),
            "make it readable for the user who runs the server",
        )),
    }
    checks
}

/// What waits for this target, and which processes it belongs to.
fn backlog(found: &Survey, bytes_max: u64) -> Check {
    let records: u64 = found.ours.iter().map(|writer| writer.records).sum();
    let bytes: u64 = found.ours.iter().map(|writer| writer.bytes).sum();
    let alive = found.ours.iter().filter(|writer| writer.is_alive).count();
    let gone = found.ours.len() - alive;
    let at_least = if found.is_partial { "at least " } else { "" };
    let waiting = match records {
        0 => "no event waits".to_owned(),
        1 => "1 event waits".to_owned(),
        records => format!("{at_least}{records} events wait"),
    };
    let message = format!(
        "{waiting} ({}); servers that write here: {alive} running, {gone} gone",
        bytes_text(bytes)
    );
    let waits_for_adoption = found
        .ours
        .iter()
        .any(|writer| !writer.is_alive && writer.records > 0);
    if bytes > bytes_max / SHARE_MAX {
        let fix =
            "find out why they cannot be published: the checks above, and the log of the server";
        Check::warning("backlog", message, fix)
    } else if waits_for_adoption && alive == 0 {
        let fix = "start the server: it takes over what one that is gone has left";
        Check::warning("backlog", message, fix)
    } else {
        Check::ok("backlog", message)
    }
}

/// What waits for another target, which no server under these settings publishes.
fn elsewhere(name: &str, writers: &[SurveyedWriter]) -> Option<Check> {
    let stranded = writers.iter().filter(|writer| !writer.is_alive);
    let records: u64 = stranded.map(|writer| writer.records).sum();
    (records > 0).then(|| {
        Check::warning(
            "other targets",
            format!("{records} events wait for another backend, region, account, table or bus ({name})"),
            "start the server once under the settings of that time; target.json in that folder names them",
        )
    })
}

#[cfg(test)]
mod tests {
    use ulid::Ulid;

    use super::super::report::State;
    use super::*;

    fn writer(is_alive: bool, records: u64, bytes: u64) -> SurveyedWriter {
        SurveyedWriter {
            writer: Ulid::nil(),
            is_alive,
            records,
            bytes,
        }
    }

    #[test]
    fn a_backlog_is_worth_a_warning_when_it_is_large_or_nobody_works_on_it() {
        for (ours, expected) in [
            (vec![], State::Ok),
            (vec![writer(true, 5, 500)], State::Ok),
            (vec![writer(true, 5, 501)], State::Warning),
            (vec![writer(false, 0, 0)], State::Ok),
            (vec![writer(false, 1, 10)], State::Warning),
            (vec![writer(false, 1, 10), writer(true, 0, 0)], State::Ok),
        ] {
            let found = Survey {
                ours,
                ..Survey::default()
            };
            assert_eq!(backlog(&found, 1000).state, expected, "{found:?}");
        }
    }

    #[test]
    fn events_of_another_target_are_told_only_where_nobody_publishes_them() {
        assert_eq!(
            elsewhere("aws-x", &[writer(true, 3, 30), writer(false, 0, 0)]),
            None
        );
        let check = elsewhere("aws-x", &[writer(false, 3, 30)]).unwrap();
        assert!(check.message.starts_with("3 events") && check.message.contains("aws-x"));
    }
}
