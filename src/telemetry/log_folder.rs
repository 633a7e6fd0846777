//! The log in a folder: a file a day, of which the oldest go.

use std::path::Path;

use tracing_appender::rolling::{InitError, RollingFileAppender, Rotation};

/// How many files are kept, today's included.
pub(super) const FILES_MAX: usize = 14;

/// Opens today's file in `folder`: `agent-mesh.<date>.log`, in UTC.
///
/// # Errors
/// It cannot be written.
pub(super) fn open(folder: &Path) -> Result<RollingFileAppender, InitError> {
    RollingFileAppender::builder()
        .rotation(Rotation::DAILY)
        .filename_prefix(crate::config::SERVER_NAME)
        .filename_suffix("log")
        .max_log_files(FILES_MAX)
        .build(folder)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn the_oldest_files_go_and_other_files_stay() {
        let folder = tempfile::tempdir().unwrap();
        for day in 1..=20 {
            let name = format!("agent-mesh.2020-01-{day:02}.log");
            std::fs::write(folder.path().join(name), "old\n").unwrap();
        }
        std::fs::write(folder.path().join("mine.txt"), "stays\n").unwrap();
        let mut log = open(folder.path()).unwrap();
        log.write_all(b"new\n").unwrap();
        log.flush().unwrap();
        let entries = std::fs::read_dir(folder.path()).unwrap();
        let names: Vec<String> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        let logs = names.iter().filter(|name| name.ends_with(".log"));
        assert!(logs.count() <= FILES_MAX, "{names:?}");
        assert!(names.contains(&"mine.txt".to_owned()));
    }

    #[test]
    fn a_folder_that_cannot_be_written_is_told_of() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        std::fs::write(&file, "").unwrap();
        open(&file.join("below")).unwrap_err();
    }
}
