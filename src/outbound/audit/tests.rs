//! The audit log on a real disk: continued, turned over, broken in every way, and checked.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ulid::Ulid;

use super::line::{Parsed, no_line, sealed};
use super::verify::{Finding, Report, VerifyError, What, verify, verify_log};
use super::writer::Writer;
use super::*;
use crate::mesh::audit::{AuditEntry, AuditLog as _};
use crate::mesh::tenant::IdentityError;
use crate::mesh::{ManualClock, Timestamp};

const NOW: Timestamp = Timestamp::from_seconds(1_000_000);
const LARGE: u64 = 1 << 40;

fn log_of(folder: &tempfile::TempDir) -> PathBuf {
    folder.path().join("audit.jsonl")
}

fn open(path: &Path, seal: &Seal, bytes_max: u64) -> Writer {
    Writer::open(path, seal.clone(), bytes_max, NOW).unwrap()
}

fn append(writer: &mut Writer, count: usize) {
    for number in 0..count {
        writer
            .append(&format!("{{\"kind\":\"call\",\"number\":{number}}}"))
            .unwrap();
    }
}

/// Has the disk keep everything, as it is each second, and notes how far the log has come.
fn sync(writer: &mut Writer) {
    if let Some(sync) = writer.sync().unwrap() {
        sync.run(NOW).unwrap();
    }
}

/// A log of ten lines, closed in good order.
fn ten_lines(folder: &tempfile::TempDir, seal: &Seal) -> PathBuf {
    let path = log_of(folder);
    let mut writer = open(&path, seal, LARGE);
    append(&mut writer, 9);
    sync(&mut writer);
    path
}

fn lines(path: &Path) -> Vec<String> {
    let text = fs::read_to_string(path).unwrap();
    text.split_inclusive('\n').map(str::to_owned).collect()
}

fn write(path: &Path, lines: &[String]) {
    fs::write(path, lines.concat()).unwrap();
}

fn check(path: &Path) -> Report {
    verify(path, &Seal::Plain).unwrap()
}

/// The one finding.
fn finding(path: &Path, seal: &Seal) -> Finding {
    let report = verify(path, seal).unwrap();
    assert_eq!(report.findings.len(), 1, "{report:?}");
    report.findings[0].clone()
}

fn files(folder: &tempfile::TempDir) -> Vec<String> {
    let names = fs::read_dir(folder.path()).unwrap();
    let mut names: Vec<_> = names
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn a_log_that_is_as_it_was_written_is_right_with_and_without_a_key() {
    for seal in [Seal::Plain, Seal::keyed(&[7; 32]).unwrap()] {
        let folder = tempfile::tempdir().unwrap();
        let path = ten_lines(&folder, &seal);
        for place in [path.as_path(), folder.path()] {
            let report = verify(place, &seal).unwrap();
            assert_eq!(report.findings, [], "{report:?}");
            assert!(report.notes.is_empty(), "{report:?}");
            assert_eq!((report.lines, report.chains[0].last_seq), (10, 10));
        }
        assert_eq!(verify_log(&path, &seal).unwrap().lines, 10);
    }
}

#[test]
fn every_way_to_tamper_is_found_at_its_line() {
    type Tamper = fn(&mut Vec<String>);
    let cases: [(&str, Tamper, What, Option<u64>); 7] = [
        (
            "altered",
            |lines| {
                lines[4] = lines[4]
                    .replace(":3}", ":4}")
                    .replace("\"number\":3", "\"number\":4")
            },
            What::Altered,
            Some(5),
        ),
        (
            "deleted",
            |lines| drop(lines.remove(4)),
            What::Missing,
            Some(5),
        ),
        (
            "the first deleted",
            |lines| drop(lines.remove(1)),
            What::Missing,
            Some(2),
        ),
        (
            "inserted",
            |lines| lines.insert(4, lines[2].clone()),
            What::Reordered,
            Some(5),
        ),
        (
            "reordered",
            |lines| lines.swap(4, 7),
            What::Reordered,
            Some(5),
        ),
        (
            "truncated at a line",
            |lines| lines.truncate(7),
            What::Truncated,
            None,
        ),
        (
            "truncated within a line",
            |lines| {
                let half = lines[9].len() / 2;
                lines[9].truncate(half);
            },
            What::Torn,
            Some(10),
        ),
    ];
    for seal in [Seal::Plain, Seal::keyed(&[7; 32]).unwrap()] {
        for (name, tamper, what, line) in cases {
            let folder = tempfile::tempdir().unwrap();
            let path = ten_lines(&folder, &seal);
            let mut text = lines(&path);
            tamper(&mut text);
            write(&path, &text);
            let found = finding(&path, &seal);
            assert_eq!((found.what, found.line), (what, line), "{name}: {found:?}");
            assert_eq!(finding(folder.path(), &seal).what, what, "{name}");
        }
    }
}

#[test]
fn a_line_that_is_made_anew_without_a_key_is_found_by_the_next_one_and_with_a_key_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = ten_lines(&folder, &Seal::Plain);
    let mut text = lines(&path);
    let place = Parsed::of(text[4].trim_end()).unwrap().place;
    let (forged, _) = sealed(
        &Seal::Plain,
        place.chain,
        place.seq,
        &place.prev,
        r#"{"kind":"call"}"#,
    );
    text[4] = forged;
    write(&path, &text);
    let found = finding(&path, &Seal::Plain);
    assert_eq!((found.what, found.line), (What::Altered, Some(6)));

    let folder = tempfile::tempdir().unwrap();
    let seal = Seal::keyed(&[7; 32]).unwrap();
    let path = ten_lines(&folder, &seal);
    let mut text = lines(&path);
    let place = Parsed::of(text[4].trim_end()).unwrap().place;
    let (forged, _) = sealed(
        &Seal::Plain,
        place.chain,
        place.seq,
        &place.prev,
        r#"{"kind":"call"}"#,
    );
    text[4] = forged;
    write(&path, &text);
    let found = finding(&path, &seal);
    assert_eq!((found.what, found.line), (What::Unsealed, Some(5)));
}

#[test]
fn a_chain_that_is_made_anew_from_a_line_on_differs_from_what_was_noted() {
    let folder = tempfile::tempdir().unwrap();
    let path = ten_lines(&folder, &Seal::Plain);
    let text = lines(&path);
    let mut anew: Vec<String> = text[..4].to_vec();
    let mut prev = Parsed::of(anew[3].trim_end()).unwrap().digits.to_owned();
    let chain = Parsed::of(anew[3].trim_end()).unwrap().place.chain;
    for seq in 5..=10 {
        let (line, digits) = sealed(&Seal::Plain, chain, seq, &prev, r#"{"kind":"call"}"#);
        anew.push(line);
        prev = digits;
    }
    write(&path, &anew);
    let found = finding(&path, &Seal::Plain);
    assert_eq!((found.what, found.line), (What::Altered, Some(10)));
    // Whoever can make that anew as well leaves no trace; that is what the key is for.
    fs::remove_file(files::head_of(&path)).unwrap();
    let report = check(&path);
    assert_eq!(
        (report.findings.len(), report.notes.len()),
        (0, 1),
        "{report:?}"
    );
}

#[test]
fn a_line_of_another_chain_is_foreign() {
    let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let path = ten_lines(&one, &Seal::Plain);
    let mut text = lines(&path);
    text[4] = lines(&ten_lines(&other, &Seal::Plain))[4].clone();
    write(&path, &text);
    let found = finding(&path, &Seal::Plain);
    assert_eq!((found.what, found.line), (What::Foreign, Some(5)));
}

#[test]
fn the_next_process_goes_on_with_the_chain() {
    let folder = tempfile::tempdir().unwrap();
    let path = ten_lines(&folder, &Seal::Plain);
    append(&mut open(&path, &Seal::Plain, LARGE), 2);
    let report = check(folder.path());
    assert_eq!((report.findings.len(), report.lines), (0, 13));
    assert_eq!((report.chains.len(), report.chains[0].last_seq), (1, 13));
    assert!(lines(&path)[10].contains(r#""kind":"opened""#));
}

#[test]
fn a_torn_line_is_removed_and_noted_by_the_next_process() {
    let folder = tempfile::tempdir().unwrap();
    let path = ten_lines(&folder, &Seal::Plain);
    let mut file = File::options().append(true).open(&path).unwrap();
    file.write_all(b"{\"chain\":\"01").unwrap();
    append(&mut open(&path, &Seal::Plain, LARGE), 1);
    let report = check(&path);
    assert_eq!(
        (report.findings.len(), report.notes.len()),
        (0, 1),
        "{report:?}"
    );
    let repaired = &lines(&path)[10];
    assert!(repaired.contains(r#""kind":"repaired""#) && repaired.contains(r#""torn_bytes":12"#));
}

#[test]
fn lines_that_are_gone_when_the_next_process_begins_stay_found_for_ever() {
    let folder = tempfile::tempdir().unwrap();
    let path = ten_lines(&folder, &Seal::Plain);
    write(&path, &lines(&path)[..6]);
    let mut writer = open(&path, &Seal::Plain, LARGE);
    append(&mut writer, 20);
    sync(&mut writer);
    let found = finding(&path, &Seal::Plain);
    assert_eq!((found.what, found.line), (What::Missing, Some(7)));

    let folder = tempfile::tempdir().unwrap();
    let path = ten_lines(&folder, &Seal::Plain);
    fs::remove_file(&path).unwrap();
    let found = finding(folder.path(), &Seal::Plain);
    assert_eq!(found.what, What::Truncated);
    let mut writer = open(&path, &Seal::Plain, LARGE);
    sync(&mut writer);
    assert_eq!(finding(&path, &Seal::Plain).what, What::Missing);
}

#[test]
fn a_file_whose_end_cannot_be_believed_is_set_aside_and_another_chain_begins() {
    let folder = tempfile::tempdir().unwrap();
    let path = ten_lines(&folder, &Seal::Plain);
    let mut text = lines(&path);
    text[9] = text[9].replace("\"number\":8", "\"number\":9");
    write(&path, &text);
    append(&mut open(&path, &Seal::Plain, LARGE), 1);
    assert_eq!(files(&folder).len(), 3, "{:?}", files(&folder));
    let report = check(folder.path());
    let found: Vec<_> = report
        .findings
        .iter()
        .map(|finding| (finding.what, finding.line))
        .collect();
    assert_eq!(found, [(What::Altered, Some(10))], "{report:?}");
    assert_eq!(report.chains.len(), 2);
    assert!(lines(&path)[0].contains("set-aside"));
}

#[test]
fn another_key_begins_another_chain_and_leaves_the_old_one_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = ten_lines(&folder, &Seal::Plain);
    let seal = Seal::keyed(&[7; 32]).unwrap();
    let mut writer = open(&path, &seal, LARGE);
    append(&mut writer, 3);
    sync(&mut writer);
    let report = verify(&path, &seal).unwrap();
    assert_eq!((report.findings.len(), report.lines), (0, 4), "{report:?}");
    assert!(matches!(
        verify(&path, &Seal::Plain),
        Err(VerifyError::NeedsKey)
    ));
    let set_aside = files(&folder)
        .into_iter()
        .find(|name| name.contains("set-aside"))
        .unwrap();
    assert_eq!(check(&folder.path().join(set_aside)).findings, []);
}

#[test]
fn the_chain_goes_on_over_full_files() {
    let folder = tempfile::tempdir().unwrap();
    let path = log_of(&folder);
    let one_line = {
        let (line, _) = sealed(
            &Seal::Plain,
            Ulid::nil(),
            10,
            &no_line(),
            r#"{"kind":"call","number":0}"#,
        );
        line.len() as u64
    };
    let mut writer = open(&path, &Seal::Plain, one_line * 10);
    append(&mut writer, 60);
    sync(&mut writer);
    drop(writer);
    assert!(files(&folder).len() >= 6, "{:?}", files(&folder));
    for name in files(&folder)
        .iter()
        .filter(|name| !name.ends_with(".head"))
    {
        let bytes = fs::metadata(folder.path().join(name)).unwrap().len();
        assert!(bytes <= one_line * 10, "{name}: {bytes}");
    }
    let report = check(folder.path());
    assert_eq!(
        (report.findings.len(), report.lines, report.chains.len()),
        (0, 61, 1),
        "{report:?}"
    );
    // Another process, which begins just after a file was put away.
    let full = writer_puts_away(&path);
    append(&mut open(&path, &Seal::Plain, LARGE), 1);
    let report = check(folder.path());
    assert_eq!(
        (report.findings.len(), report.chains[0].last_seq),
        (0, 63),
        "{report:?}"
    );

    fs::remove_file(&full).unwrap();
    let found = finding(folder.path(), &Seal::Plain);
    assert_eq!((found.what, found.line), (What::Missing, Some(1)));
}

/// Puts the file away as a process that is killed before it begins the next one.
fn writer_puts_away(path: &Path) -> PathBuf {
    let first = Parsed::of(lines(path)[0].trim_end()).unwrap().place;
    let name = format!("audit.{}.{:012}.jsonl", first.chain, first.seq);
    let full = path.with_file_name(name);
    fs::rename(path, &full).unwrap();
    full
}

#[test]
fn the_oldest_files_may_be_moved_away() {
    let folder = tempfile::tempdir().unwrap();
    let mut writer = open(&log_of(&folder), &Seal::Plain, 2000);
    append(&mut writer, 30);
    sync(&mut writer);
    let oldest = files(&folder)
        .into_iter()
        .find(|name| name.contains(".000000000001."))
        .unwrap();
    fs::remove_file(folder.path().join(oldest)).unwrap();
    let report = check(folder.path());
    assert_eq!(
        (report.findings.len(), report.notes.len()),
        (0, 1),
        "{report:?}"
    );
}

#[test]
fn each_process_has_a_file_and_a_chain_of_its_own_and_there_are_so_many_at_most() {
    let folder = tempfile::tempdir().unwrap();
    let path = log_of(&folder);
    let mut writers: Vec<_> = (0..WRITERS_MAX)
        .map(|_| open(&path, &Seal::Plain, LARGE))
        .collect();
    assert!(Writer::open(&path, Seal::Plain, LARGE, NOW).is_err());
    for writer in &mut writers {
        append(writer, 2);
    }
    let report = check(folder.path());
    assert_eq!(
        (report.findings.len(), report.chains.len()),
        (0, WRITERS_MAX),
        "{report:?}"
    );
    assert!(folder.path().join("audit.2.jsonl").is_file());
    // Who comes later goes on with the one that is free.
    writers.remove(1);
    append(&mut open(&path, &Seal::Plain, LARGE), 1);
    assert_eq!(lines(&folder.path().join("audit.2.jsonl")).len(), 5);
    assert_eq!(check(folder.path()).chains.len(), WRITERS_MAX);
}

#[test]
fn what_is_no_log_is_none() {
    let folder = tempfile::tempdir().unwrap();
    assert!(matches!(
        verify(folder.path(), &Seal::Plain),
        Err(VerifyError::Nothing(_))
    ));
    let none = folder.path().join("none.jsonl");
    assert!(matches!(
        verify(&none, &Seal::Plain),
        Err(VerifyError::Read(..))
    ));
    let other = folder.path().join("other.jsonl");
    fs::write(&other, b"\xff\n{}\n").unwrap();
    assert_eq!(finding(&other, &Seal::Plain).what, What::Altered);
    fs::write(&other, "x".repeat(line::LINE_BYTES_MAX * 2)).unwrap();
    assert_eq!(finding(&other, &Seal::Plain).what, What::Torn);
}

fn settings(path: &Path, is_required: bool) -> AuditFileSettings {
    AuditFileSettings {
        path: path.to_owned(),
        bytes_max: LARGE,
        is_required,
        seal: Seal::Plain,
    }
}

fn stranger(count: u32) -> AuditEntry<'static> {
    AuditEntry::Refused {
        time: NOW,
        tool: None,
        error: IdentityError::Missing,
        request_id: Ulid(1),
        count,
    }
}

#[tokio::test]
async fn what_could_not_be_written_is_written_once_it_can_be_and_calls_wait_for_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = log_of(&folder);
    let clock = Arc::new(ManualClock::at(NOW));
    let log = AuditFile::open(settings(&path, true), clock.clone()).unwrap();
    log.inner_for_test(|writer| writer.fail_for_test(true));
    log.ready().unwrap();
    log.record(&stranger(7));
    let refused = log.ready().unwrap_err();
    assert_eq!(refused.kind(), crate::mesh::ErrorKind::Overloaded);
    assert!(refused.wait().is_some() && refused.is_known_not_done());
    log.inner_for_test(|writer| writer.fail_for_test(false));
    assert!(log.ready().is_err(), "it is not tried again at once");
    clock.advance(std::time::Duration::from_millis(500));
    log.ready().unwrap();
    assert_eq!(lines(&path).len(), 2);
    assert!(lines(&path)[1].contains(r#""count":7"#));
    drop(log);
    assert_eq!(check(folder.path()).findings, []);
}

#[tokio::test]
async fn where_it_is_not_required_calls_go_on_and_the_log_says_what_it_has_lost() {
    let folder = tempfile::tempdir().unwrap();
    let path = log_of(&folder);
    let clock = Arc::new(ManualClock::at(NOW));
    let log = AuditFile::open(settings(&path, false), clock.clone()).unwrap();
    log.inner_for_test(|writer| writer.fail_for_test(true));
    for _ in 0..3 {
        log.record(&stranger(1));
        log.ready().unwrap();
    }
    log.inner_for_test(|writer| writer.fail_for_test(false));
    clock.advance(std::time::Duration::from_millis(500));
    log.record(&stranger(1));
    assert_eq!(lines(&path).len(), 3);
    assert!(lines(&path)[1].contains(r#""kind":"lost","count":3"#));
    drop(log);
    let report = check(&path);
    assert_eq!(
        (report.findings.len(), report.notes.len()),
        (0, 1),
        "{report:?}"
    );
}

#[tokio::test]
async fn a_line_that_was_written_in_part_is_written_anew() {
    let folder = tempfile::tempdir().unwrap();
    let path = log_of(&folder);
    let mut writer = open(&path, &Seal::Plain, LARGE);
    writer.tear_for_test();
    append(&mut writer, 1);
    assert_eq!(check(&path).findings, []);
    assert_eq!(lines(&path).len(), 2);
}

#[tokio::test]
async fn no_more_lines_are_kept_than_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let path = log_of(&folder);
    let clock = Arc::new(ManualClock::at(NOW));
    let log = AuditFile::open(settings(&path, true), clock.clone()).unwrap();
    log.inner_for_test(|writer| writer.fail_for_test(true));
    for _ in 0..=KEPT_MAX {
        log.record(&stranger(1));
    }
    log.inner_for_test(|writer| writer.fail_for_test(false));
    clock.advance(std::time::Duration::from_millis(500));
    log.ready().unwrap();
    assert_eq!(lines(&path).len(), 2 + KEPT_MAX);
    assert!(lines(&path)[1].contains(r#""kind":"lost","count":1"#));
}
