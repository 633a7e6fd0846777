//! Processes and what they have started.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

/// One process, as the system lists it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProcessEntry {
    /// Its id.
    pub id: u32,
    /// The process that it belongs to.
    pub parent: u32,
    /// Its group.
    pub group: u32,
    /// When it started, in the system's ticks: with the id it names one process for good.
    pub started: u64,
}

/// This program, also after the file that it was started from has been replaced.
#[cfg(target_os = "linux")]
pub fn own_program() -> PathBuf {
    PathBuf::from("/proc/self/exe")
}

/// This program, as it was started.
#[cfg(not(target_os = "linux"))]
pub fn own_program() -> PathBuf {
    std::env::current_exe().unwrap_or_default()
}

/// The process `id`; `None` where there is none such, or the system does not say.
pub fn process(id: u32) -> Option<ProcessEntry> {
    parse(&std::fs::read_to_string(format!("/proc/{id}/stat")).ok()?)
}

/// Everything that `root` has started, directly or not, as far as it still belongs to it; empty where the
/// system does not list processes.
pub fn descendants(root: u32) -> Vec<ProcessEntry> {
    below(root, &processes())
}

/// Memory that the process holds now, in bytes; `None` where the system does not say.
pub fn process_memory_bytes(id: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).ok()?;
    super::memory::field_in(&status, "VmRSS:")
}

fn processes() -> Vec<ProcessEntry> {
    let Ok(entries) = std::fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter_map(process)
        .collect()
}

fn below(root: u32, all: &[ProcessEntry]) -> Vec<ProcessEntry> {
    let mut children: BTreeMap<u32, Vec<ProcessEntry>> = BTreeMap::new();
    for entry in all {
        children.entry(entry.parent).or_default().push(*entry);
    }
    let mut found = Vec::new();
    // The list is no snapshot: ids that were given again meanwhile must not lead in a circle.
    let mut seen = BTreeSet::from([root]);
    let mut next = vec![root];
    while let Some(parent) = next.pop() {
        for entry in children.get(&parent).into_iter().flatten() {
            if seen.insert(entry.id) {
                found.push(*entry);
                next.push(entry.id);
            }
        }
    }
    found
}

/// A line of `/proc/<id>/stat`. The name stands in brackets and may itself hold brackets and blanks.
fn parse(stat: &str) -> Option<ProcessEntry> {
    let (before, after) = stat.rsplit_once(')')?;
    let id = before.split_once(' ')?.0.parse().ok()?;
    let mut fields = after.split_ascii_whitespace();
    let parent = fields.nth(1)?.parse().ok()?;
    let group = fields.next()?.parse().ok()?;
    let started = fields.nth(16)?.parse().ok()?;
    Some(ProcessEntry {
        id,
        parent,
        group,
        started,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(id: u32, parent: u32) -> ProcessEntry {
        ProcessEntry {
            id,
            parent,
            group: id,
            started: 1,
        }
    }

    #[test]
    fn a_name_with_brackets_and_blanks_moves_no_field() {
        let stat = "42 (a) (b c) S 7 40 39 0 -1 4194560 1 0 0 0 5 6 0 0 20 0 1 0 98765 1000 10\n";
        let expected = ProcessEntry {
            id: 42,
            parent: 7,
            group: 40,
            started: 98765,
        };
        assert_eq!(parse(stat), Some(expected));
        assert_eq!(parse("42 (a) S 7"), None);
        assert_eq!(parse(""), None);
    }

    #[test]
    fn descendants_are_found_at_every_depth_and_circles_end() {
        let all = [
            entry(2, 1),
            entry(3, 2),
            entry(4, 3),
            entry(5, 9),
            entry(1, 4),
        ];
        let ids: BTreeSet<u32> = below(1, &all).iter().map(|entry| entry.id).collect();
        assert_eq!(ids, BTreeSet::from([2, 3, 4]));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_child_of_ours_is_listed_with_its_memory() {
        let mut child = std::process::Command::new("sleep")
            .arg("60")
            .spawn()
            .unwrap();
        let found = descendants(std::process::id());
        let listed = found.iter().find(|entry| entry.id == child.id()).copied();
        assert_eq!(listed, process(child.id()));
        assert!(process_memory_bytes(child.id()).unwrap() > 0);
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(process(child.id()), None);
    }
}
