//! The folder of the embedded backend: whether it is there, can be written, has room and opens.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::report::Check;
use super::{automation, late};
use crate::app;
use crate::config::Config;
use crate::mesh::store::{Bucket, Bus, Table};
use crate::mesh::{Clock, Error};
use crate::outbound::aws::{AwsBucket, AwsBus, AwsTable, Connection};
use crate::platform;

/// Less free space than this is worth a warning: 256 MiB.
const FREE_BYTES_MIN: u64 = 256 << 20;

/// The data folder, and the three resources in it. A folder that is not there is not made.
pub(super) async fn look(
    config: &Config,
    clock: &Arc<dyn Clock>,
    time_max: Duration,
) -> Vec<Check> {
    let folder = config.data_dir.clone();
    let exists = folder.is_dir();
    let mut checks = vec![
        writable("folder", &folder, "AGENT_MESH_DATA_DIR"),
        space(&folder),
    ];
    if !exists {
        return checks;
    }
    let named = automation::named(config);
    let (config, clock) = (config.clone(), Arc::clone(clock));
    let opened = spawn_blocking(move || app::backend(&config, &clock).map(|way| (way, clock)));
    let ((settings, _cloud), clock) = match timeout(time_max, opened).await {
        Ok(Ok(Ok(opened))) => opened,
        Ok(Ok(Err(error))) => {
            checks.push(failed("opens", &error));
            return checks;
        }
        Ok(Err(_)) | Err(_) => {
            checks.push(late("the data folder"));
            return checks;
        }
    };
    let connection = Connection::new(settings, clock);
    let (table, bucket, bus) = (
        AwsTable::new(Arc::clone(&connection)),
        AwsBucket::new(Arc::clone(&connection)),
        AwsBus::new(Arc::clone(&connection)),
    );
    let asked = async { tokio::join!(table.check(), bucket.check(), bus.check()) };
    match timeout(time_max, asked).await {
        Ok((table, bucket, bus)) => {
            for (part, answer) in [("table", table), ("bucket", bucket), ("bus", bus)] {
                checks.push(match answer {
                    Ok(()) => Check::ok(part, "opens and answers"),
                    Err(error) => failed(part, &error),
                });
            }
        }
        Err(_) => checks.push(late("the data folder")),
    }
    checks.extend(automation::look(&named, &connection, time_max).await);
    checks
}

/// Whether the server can write into `folder`, or can make it where it is not there. `setting` names another.
pub(super) fn writable(part: &str, folder: &Path, setting: &str) -> Check {
    let shown = folder.display();
    if !folder.exists() {
        let parent = existing(folder);
        return if platform::may_write(&parent) {
            Check::ok(
                part,
                format!("{shown} is not there yet; the server makes it"),
            )
        } else {
            Check::fault(
                part,
                format!(
                    "{shown} is not there, and {} cannot be written",
                    parent.display()
                ),
                format!(
                    "name another folder in {setting}, or make it for the user who runs the server"
                ),
            )
        };
    }
    // Only a file shows that the disk, and not the permissions alone, takes one.
    match tempfile::tempfile_in(folder) {
        Ok(_) => Check::ok(part, format!("{shown} can be written")),
        Err(error) => Check::fault(
            part,
            format!("{shown} cannot be written: {error}"),
            format!(
                "make it writable for the user who runs the server, or name another one in {setting}"
            ),
        ),
    }
}

fn space(folder: &Path) -> Check {
    match platform::free_space_bytes(&existing(folder)) {
        None => Check::ok("free space", "not known on this system"),
        Some(bytes) if bytes < FREE_BYTES_MIN => Check::warning(
            "free space",
            format!("{} are left", bytes_text(bytes)),
            "free some space, or name a folder on another disk in AGENT_MESH_DATA_DIR",
        ),
        Some(bytes) => Check::ok("free space", bytes_text(bytes)),
    }
}

/// `folder`, or the nearest folder above it that is there.
fn existing(folder: &Path) -> PathBuf {
    let found = folder.ancestors().find(|path| path.exists());
    found.unwrap_or(Path::new("/")).to_owned()
}

/// The operator sees the chain of causes, which has the folder's name.
fn failed(part: &str, error: &Error) -> Check {
    let fix = error
        .fix_text()
        .unwrap_or("look into the log of the server");
    let message = match error.causes() {
        Some(causes) => format!("{} ({causes})", error.message().trim_end_matches('.')),
        None => error.message().to_owned(),
    };
    Check::fault(part, message, fix)
}

/// A number of bytes for people, such as `1.5 MiB`.
pub(super) fn bytes_text(bytes: u64) -> String {
    const UNITS: [(&str, u64); 4] = [
        ("TiB", 1 << 40),
        ("GiB", 1 << 30),
        ("MiB", 1 << 20),
        ("KiB", 1 << 10),
    ];
    let unit = UNITS.into_iter().find(|(_, size)| bytes >= *size);
    match unit {
        Some((name, size)) => format!("{:.1} {name}", bytes as f64 / size as f64),
        None => format!("{bytes} bytes"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::report::State;
    use super::*;

    #[test]
    fn bytes_are_told_in_the_largest_unit_that_fits() {
        for (bytes, expected) in [
            (0, "0 bytes"),
            (1023, "1023 bytes"),
            (1024, "1.0 KiB"),
            (1_572_864, "1.5 MiB"),
            (3 << 40, "3.0 TiB"),
        ] {
            assert_eq!(bytes_text(bytes), expected);
        }
    }

    #[test]
    fn a_folder_that_is_not_there_is_judged_by_the_one_above_it_and_not_made() {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("a/b");
        let check = writable("folder", &folder, "X");
        assert_eq!(check.state, State::Ok);
        assert!(check.message.contains("not there yet"), "{check:?}");
        assert!(!folder.exists() && !parent.path().join("a").exists());
        assert_eq!(existing(&folder), parent.path());
    }

    #[test]
    fn a_folder_that_is_there_is_written_to_and_left_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(writable("folder", folder.path(), "X").state, State::Ok);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        let file = folder.path().join("file");
        std::fs::write(&file, "").unwrap();
        let check = writable("folder", &file, "X");
        assert_eq!(check.state, State::Fault);
        assert!(check.fix.unwrap().contains('X'));
    }
}
