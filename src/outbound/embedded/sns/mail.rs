//! Mails that nobody sends: each is a file that any mail program opens, in a folder that is kept small.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use mail_builder::MessageBuilder;
use mail_builder::headers::address::Address;
use mail_builder::headers::date::Date;
use ulid::Ulid;

use crate::mesh::{Clock, Timestamp};

/// How many mails are kept, the newest ones.
pub(in crate::outbound::embedded) const MAILS_MAX: usize = 10_000;

/// How long a mail is kept.
pub(in crate::outbound::embedded) const MAIL_AGE_MAX: Duration =
    Duration::from_secs(30 * 24 * 60 * 60);

/// The most files that one step of sweeping looks at.
const SWEPT_MAX: usize = 200_000;

/// How long a mail may be half written before it counts as given up.
const HALF_WRITTEN_AGE_MAX: Duration = Duration::from_secs(60 * 60);

/// Who mails are from. No mail can go there.
const SENDER: &str = "agent-mesh@embedded.invalid";

const WHOLE: &str = ".eml";
const HALF_WRITTEN: &str = ".new";

/// The folder of mails.
pub(in crate::outbound::embedded) struct MailFolder {
    path: PathBuf,
    clock: Arc<dyn Clock>,
}

/// A mail to be left in the folder.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mail<'a> {
    pub(super) recipient: Recipient<'a>,
    pub(super) subject: &'a str,
    pub(super) text: &'a str,
    pub(super) message_id: &'a str,
}

/// Whom a mail is for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Recipient<'a> {
    /// Who has this address.
    Address(&'a str),
    /// Whoever listens to this topic of the operator's in AWS.
    Topic(&'a str),
}

impl std::fmt::Debug for MailFolder {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("MailFolder")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

impl MailFolder {
    pub(super) fn new(path: PathBuf, clock: Arc<dyn Clock>) -> Self {
        Self { path, clock }
    }

    /// Leaves a mail. Whoever looks into the folder sees it whole or not at all.
    pub(super) fn leave(&self, mail: &Mail<'_>) -> io::Result<()> {
        let now = self.clock.now();
        let name = format!("{}-{}", stamp(now), Ulid::generate().random());
        let (half, whole) = (
            self.path.join(format!("{name}{HALF_WRITTEN}")),
            self.path.join(format!("{name}{WHOLE}")),
        );
        let bytes = mail.bytes(now, &name)?;
        let mut file = match File::create_new(&half) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                fs::create_dir_all(&self.path)?;
                File::create_new(&half)
            }
            other => other,
        }?;
        let written = file.write_all(&bytes).and_then(|()| {
            drop(file);
            fs::rename(&half, &whole)
        });
        if written.is_err() {
            // What cannot be deleted now is swept later.
            let _ = fs::remove_file(&half);
        }
        written
    }

    /// Deletes mails that are too old or too many, and what was left half written; says how many.
    pub(in crate::outbound::embedded) fn sweep(&self) -> io::Result<usize> {
        let entries = match fs::read_dir(&self.path) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
            Err(error) => return Err(error),
        };
        let mut whole = Vec::new();
        let mut half = Vec::new();
        for entry in entries.take(SWEPT_MAX) {
            // What is not ours stays: only files with our own kind of name are looked at.
            let Ok(name) = entry?.file_name().into_string() else {
                continue;
            };
            if is_ours(&name, WHOLE) {
                whole.push(name);
            } else if is_ours(&name, HALF_WRITTEN) {
                half.push(name);
            }
        }
        // Names sort by time.
        whole.sort_unstable();
        let now = self.clock.now();
        let (oldest, given_up) = (
            stamp(now.minus(MAIL_AGE_MAX)),
            stamp(now.minus(HALF_WRITTEN_AGE_MAX)),
        );
        let too_many = whole.len().saturating_sub(MAILS_MAX);
        let too_old = whole.partition_point(|name| *name < oldest);
        let swept = whole.into_iter().take(too_many.max(too_old));
        let swept = swept.chain(half.into_iter().filter(|name| *name < given_up));
        let mut deleted = 0;
        for name in swept {
            match fs::remove_file(self.path.join(name)) {
                Ok(()) => deleted += 1,
                // Whoever reads them may delete them as well.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(deleted)
    }
}

impl Mail<'_> {
    /// The mail as RFC 5322 has it. The library encodes what a header cannot hold.
    fn bytes(&self, now: Timestamp, name: &str) -> io::Result<Vec<u8>> {
        let to = match self.recipient {
            Recipient::Address(address) => Address::from(address),
            Recipient::Topic(topic) => {
                Address::from((format!("topic {topic}"), format!("{topic}@topic.invalid")))
            }
        };
        MessageBuilder::new()
            .from(("agent-mesh", SENDER))
            .to(to)
            .subject(self.subject)
            .date(Date::new(now.as_seconds()))
            .message_id(format!("{}.{name}@embedded.invalid", self.message_id))
            .text_body(self.text)
            .write_to_vec()
    }
}

/// A time as the beginning of a name: it sorts, and every file system takes it.
fn stamp(time: Timestamp) -> String {
    time.to_string().replace(':', "-")
}

/// Whether a name is one of ours with that ending.
fn is_ours(name: &str, ending: &str) -> bool {
    name.strip_suffix(ending)
        .and_then(|rest| rest.rsplit_once("Z-"))
        .is_some_and(|(stamp, random)| {
            let in_stamp = |byte: u8| byte.is_ascii_digit() || b"-T.".contains(&byte);
            stamp.bytes().all(in_stamp) && random.bytes().all(|byte| byte.is_ascii_digit())
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mesh::ManualClock;

    const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_123);

    fn folder() -> (tempfile::TempDir, Arc<ManualClock>, MailFolder) {
        let folder = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::at(NOW));
        let mails = MailFolder::new(folder.path().join("mail"), Arc::clone(&clock) as _);
        (folder, clock, mails)
    }

    fn names(mails: &MailFolder) -> Vec<String> {
        let entries = fs::read_dir(&mails.path).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = names.collect();
        names.sort();
        names
    }

    fn mail<'a>(recipient: Recipient<'a>, subject: &'a str, text: &'a str) -> Mail<'a> {
        Mail {
            recipient,
            subject,
            text,
            message_id: "id",
        }
    }

    #[test]
    fn nothing_in_a_mail_becomes_a_header_of_its_own() {
        let evil = "x\r\nBcc: eve@example.com\r\n\r\nbody";
        for mail in [
            mail(Recipient::Address("ada@example.com"), evil, "text"),
            mail(Recipient::Topic("ops"), "grüße\u{0}\n.", evil),
        ] {
            let bytes = mail.bytes(NOW, "name").unwrap();
            let text = String::from_utf8(bytes).unwrap();
            let (headers, _) = text.split_once("\r\n\r\n").unwrap();
            let names: Vec<&str> = headers
                .split("\r\n")
                .filter(|line| !line.starts_with([' ', '\t']))
                .map(|line| line.split(':').next().unwrap())
                .collect();
            assert_eq!(
                names,
                [
                    "From",
                    "To",
                    "Subject",
                    "Date",
                    "Message-ID",
                    "MIME-Version",
                    "Content-Type",
                    "Content-Transfer-Encoding"
                ],
                "{text}"
            );
            assert!(
                headers.contains("Date: Tue, 14 Nov 2023 22:13:20 +0000"),
                "{text}"
            );
        }
    }

    #[test]
    fn names_sort_by_time_and_nothing_is_left_half_written() {
        let (_folder, clock, mails) = folder();
        for text in ["first", "second", "third"] {
            mails
                .leave(&mail(Recipient::Address("a@b"), "s", text))
                .unwrap();
            clock.advance(Duration::from_millis(1));
        }
        let found = names(&mails);
        assert_eq!(found.len(), 3);
        assert!(
            found[0].starts_with("2023-11-14T22-13-20.123Z-"),
            "{found:?}"
        );
        assert!(found.iter().all(|name| is_ours(name, WHOLE)), "{found:?}");
        for (name, text) in found.iter().zip(["first", "second", "third"]) {
            let read = fs::read_to_string(mails.path.join(name)).unwrap();
            assert!(read.contains(text), "{read}");
        }
    }

    #[test]
    fn what_is_too_old_or_too_many_goes_and_what_is_not_ours_stays() {
        let (_folder, clock, mails) = folder();
        assert_eq!(mails.sweep().unwrap(), 0);
        mails
            .leave(&mail(Recipient::Address("a@b"), "s", "old"))
            .unwrap();
        let half = format!("{}-1{HALF_WRITTEN}", stamp(NOW));
        for name in ["notes.txt", "read.eml", &half] {
            fs::write(mails.path.join(name), "").unwrap();
        }
        clock.advance(HALF_WRITTEN_AGE_MAX);
        assert_eq!(mails.sweep().unwrap(), 0);
        clock.advance(Duration::from_millis(1));
        assert_eq!(mails.sweep().unwrap(), 1);
        clock.jump_to(NOW.plus(MAIL_AGE_MAX));
        assert_eq!(mails.sweep().unwrap(), 0);
        clock.advance(Duration::from_millis(1));
        assert_eq!(mails.sweep().unwrap(), 1);
        for number in 0..=MAILS_MAX {
            let name = format!("{}-{number}{WHOLE}", stamp(clock.now()));
            File::create(mails.path.join(name)).unwrap();
        }
        assert_eq!(mails.sweep().unwrap(), 1);
        assert_eq!(names(&mails).len(), MAILS_MAX + 2);
        assert_eq!(mails.sweep().unwrap(), 0);
    }
}
