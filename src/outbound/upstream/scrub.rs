//! What a server says, made fit to be shown: without the connection's secrets, escaped and bounded.

use std::borrow::Cow;

use serde_json::Value;
use serde_json::value::RawValue;

use crate::mesh::Error;
use crate::mesh::upstream::{ConnectionPlan, ConnectionSecrets};

/// How much of what a server says is looked at.
const LOOKED_AT_BYTES_MAX: usize = 64 << 10;

/// How much of it is shown.
pub(super) const SHOWN_CHARS_MAX: usize = 500;

/// What makes texts of one connection fit to be shown.
#[derive(Clone, Debug)]
pub(super) struct Scrubber {
    secrets: ConnectionSecrets,
}

impl Scrubber {
    /// For what the server of `plan` says.
    pub(super) fn of(plan: &ConnectionPlan) -> Self {
        Self {
            secrets: plan.secrets.clone(),
        }
    }

    /// The beginning of `text` without the secrets.
    pub(super) fn clean(&self, text: &str) -> String {
        let end = text.floor_char_boundary(LOOKED_AT_BYTES_MAX);
        let clean = match text.get(..end) {
            Some(beginning) if end < text.len() => self.secrets.mask_cut(beginning),
            _ => self.secrets.mask(text),
        };
        clean.into_owned()
    }

    /// JSON text without the secrets; nothing where it is none without them, or too long to be looked at.
    pub(super) fn clean_json(&self, json: Box<RawValue>) -> Option<Box<RawValue>> {
        if json.get().len() > LOOKED_AT_BYTES_MAX {
            return None;
        }
        self.clean_definition(json)
    }

    /// The same of what is shown however long it is.
    pub(super) fn clean_definition(&self, json: Box<RawValue>) -> Option<Box<RawValue>> {
        match self.secrets.mask_json(json.get()) {
            Cow::Owned(clean) => RawValue::from_string(clean).ok(),
            Cow::Borrowed(_) => Some(json),
        }
    }

    /// The error, all that it says fit to be shown.
    pub(super) fn clean_error(&self, error: Error) -> Error {
        let shown = self.show(error.message());
        // What caused it is for the log, which has no secrets either.
        let whole = format!("{error:?} {:?} {:?}", error.fix_text(), error.details());
        let is_clean = matches!(self.secrets.mask(&whole), Cow::Borrowed(_));
        match shown == error.message() && is_clean {
            true => error,
            false => self.rewritten(&error, shown),
        }
    }

    fn rewritten(&self, error: &Error, message: String) -> Error {
        let mut clean = reworded(error, message);
        if let Some(fix) = error.fix_text() {
            clean = clean.fix(self.secrets.mask(fix));
        }
        for (name, value) in error.details() {
            if let Value::String(text) = value {
                clean = clean.detail(name, self.secrets.mask(text));
            }
        }
        clean
    }

    /// `text` as it may be shown to the connection's user.
    pub(super) fn show(&self, text: &str) -> String {
        let clean = self.clean(text);
        let mut shown: String = clean.trim().chars().take(SHOWN_CHARS_MAX).fold(
            String::new(),
            |mut shown, character| {
                match character {
                    '\n' | '\r' | '\t' => shown.push(' '),
                    '"' | '\'' | '\\' => shown.push(character),
                    _ => shown.extend(character.escape_debug()),
                }
                shown
            },
        );
        if clean.trim().chars().nth(SHOWN_CHARS_MAX).is_some() {
            shown.push('…');
        }
        shown
    }
}

/// The error once more, for one more who waited for it. Its causes stay behind.
pub(super) fn copy(error: &Error) -> Error {
    reworded(error, error.message().to_owned())
}

/// The error with other words, and without its causes, which may hold what it is no longer to say.
pub(super) fn reworded(error: &Error, message: String) -> Error {
    let mut other = Error::new(error.kind(), message);
    if let Some(wait) = error.wait() {
        other = other.retry_after(wait);
    }
    if let Some(fix) = error.fix_text() {
        other = other.fix(fix);
    }
    if error.is_known_not_done() {
        other = other.not_done();
    }
    let details = error.details().iter();
    details.fold(other, |other, (name, value)| {
        other.detail(name, value.clone())
    })
}

#[cfg(test)]
mod tests {
    use secrecy::SecretString;

    use super::*;
    use crate::mesh::ErrorKind;
    use crate::outbound::upstream::trial;

    fn scrubber(header: &str) -> Scrubber {
        let plan = ConnectionPlan {
            secrets: ConnectionSecrets::new([&SecretString::from(header)]),
            ..trial::plan("a", "1")
        };
        Scrubber::of(&plan)
    }

    #[test]
    fn a_secret_is_never_shown_with_or_without_its_scheme() {
        let scrubber = scrubber("Bearer s3cr3t-token");
        for said in [
            "no s3cr3t-token",
            "no Bearer s3cr3t-token",
            "xs3cr3t-tokenx",
        ] {
            assert!(!scrubber.show(said).contains("s3cr3t"), "{said}");
        }
        assert!(!format!("{scrubber:?}").contains("s3cr3t"));
    }

    #[test]
    fn an_error_and_its_data_keep_no_secret_and_stay_what_they_are() {
        let scrubber = scrubber("Bearer s3cr3t\"token");
        let error = Error::new(ErrorKind::UpstreamError, "bad s3cr3t\"token").fix("Look.");
        let clean = scrubber.clean_error(error);
        assert_eq!(
            (clean.message(), clean.fix_text()),
            ("bad [secret]", Some("Look."))
        );
        let data = |text: &str| RawValue::from_string(text.to_owned()).unwrap();
        let clean = scrubber
            .clean_json(data(r#"{"key":"s3cr3t\"token"}"#))
            .unwrap();
        assert_eq!(clean.get(), r#"{"key":"[secret]"}"#);
        let same = scrubber.clean_json(data(r#"{ "n" : 1.0 }"#)).unwrap();
        assert_eq!(same.get(), r#"{ "n" : 1.0 }"#);
        let long = format!("\"{}\"", "x".repeat(LOOKED_AT_BYTES_MAX));
        assert!(scrubber.clean_json(data(&long)).is_none());
    }

    #[test]
    fn neither_what_caused_an_error_nor_its_details_keep_a_secret() {
        let scrubber = scrubber("Bearer s3cr3t-token");
        let error = Error::new(ErrorKind::UpstreamError, "no list").caused_by(
            std::io::Error::other("invalid type: string \"s3cr3t-token\""),
        );
        assert!(!format!("{:?}", scrubber.clean_error(error)).contains("s3cr3t"));
        let error = Error::new(ErrorKind::UpstreamUnavailable, "gone")
            .fix("Use s3cr3t-token.")
            .detail("by", "s3cr3t-token")
            .detail("limit", 7)
            .not_done();
        let clean = scrubber.clean_error(error);
        assert_eq!(clean.fix_text(), Some("Use [secret]."));
        assert_eq!(
            (&clean.details()["by"], &clean.details()["limit"]),
            (&"[secret]".into(), &7.into())
        );
        assert!(clean.is_known_not_done());
        let kept = Error::new(ErrorKind::UpstreamError, "no list")
            .caused_by(std::io::Error::other("end of file"));
        assert_eq!(
            scrubber.clean_error(kept).causes().as_deref(),
            Some("end of file")
        );
    }

    #[test]
    fn a_secret_that_the_bound_cuts_is_not_shown_in_part() {
        let scrubber = scrubber("Bearer s3cr3t-token");
        let before = "x".repeat(LOOKED_AT_BYTES_MAX - 6);
        let clean = scrubber.clean(&format!("{before}s3cr3t-token"));
        assert_eq!(clean, format!("{before}[secret]"));
    }

    #[test]
    fn what_could_deceive_a_reader_is_escaped_and_the_rest_is_bounded() {
        let scrubber = scrubber("Bearer x");
        assert_eq!(
            scrubber.show(" it's\n\u{202e}\u{1b}[2J \"é\""),
            "it's \\u{202e}\\u{1b}[2J \"é\""
        );
        let exact = "é".repeat(SHOWN_CHARS_MAX);
        assert_eq!(scrubber.show(&exact), exact);
        let long = scrubber.show(&"é".repeat(LOOKED_AT_BYTES_MAX));
        assert_eq!(long, format!("{exact}…"));
    }
}
