//! What a server says, made fit to be shown: without the connection's secrets, escaped and bounded.

use secrecy::{ExposeSecret, SecretString};
use serde_json::value::RawValue;

use super::message::quoted;
use crate::mesh::Error;
use crate::mesh::upstream::{ConnectionPlan, ConnectionTarget, SignIn};

/// The shortest text that is taken for a secret; what is shorter stands in every other sentence.
const SECRET_CHARS_MIN: usize = 4;

/// How much of what a server says is looked at.
const LOOKED_AT_BYTES_MAX: usize = 64 << 10;

/// How much of it is shown.
pub(super) const SHOWN_CHARS_MAX: usize = 500;

/// What stands for a secret.
const SCRUBBED: &str = "[secret]";

/// The secrets of one connection.
#[derive(Clone, Debug)]
pub(super) struct Scrubber {
    secrets: Vec<SecretString>,
}

impl Scrubber {
    /// For what the server of `plan` says.
    pub(super) fn of(plan: &ConnectionPlan) -> Self {
        let held: Vec<&SecretString> = match &plan.target {
            ConnectionTarget::Command { args, env, .. } => {
                args.iter().chain(env.values()).collect()
            }
            ConnectionTarget::Template { env, .. } => env.values().collect(),
            ConnectionTarget::Remote {
                headers, sign_in, ..
            } => headers.values().chain(of_sign_in(sign_in)).collect(),
        };
        let whole = held.iter().map(|secret| secret.expose_secret());
        // A header has the name of a scheme before its secret, an argument may have that of an option.
        let parts = held.iter().flat_map(|secret| {
            let parts = secret.expose_secret().split([' ', '=']);
            parts.filter(|part| !["Bearer", "Basic"].contains(part))
        });
        let mut secrets: Vec<String> = whole.chain(parts).map(str::to_owned).collect();
        secrets.retain(|secret| secret.chars().count() >= SECRET_CHARS_MIN);
        // As it stands within JSON text.
        let quoted: Vec<String> = secrets.iter().map(|secret| quoted(secret)).collect();
        secrets.extend(
            quoted
                .iter()
                .map(|quoted| quoted.trim_matches('"').to_owned()),
        );
        // The longest first, so that none is found in half.
        secrets.sort_unstable_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
        secrets.dedup();
        Self {
            secrets: secrets.into_iter().map(SecretString::from).collect(),
        }
    }

    /// The beginning of `text` without the secrets.
    pub(super) fn clean(&self, text: &str) -> String {
        let mut end = text.len().min(LOOKED_AT_BYTES_MAX);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        let mut clean = text[..end].to_owned();
        for secret in &self.secrets {
            if clean.contains(secret.expose_secret()) {
                clean = clean.replace(secret.expose_secret(), SCRUBBED);
            }
        }
        clean
    }

    /// JSON text without the secrets; nothing where it is none without them, or too long to be looked at.
    pub(super) fn clean_json(&self, json: Box<RawValue>) -> Option<Box<RawValue>> {
        if json.get().len() > LOOKED_AT_BYTES_MAX {
            return None;
        }
        let clean = self.clean(json.get());
        match clean == json.get() {
            true => Some(json),
            false => RawValue::from_string(clean).ok(),
        }
    }

    /// The error, its message fit to be shown.
    pub(super) fn clean_error(&self, error: Error) -> Error {
        let shown = self.show(error.message());
        match shown == error.message() {
            true => error,
            false => reworded(&error, shown),
        }
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
    let details = error.details().iter();
    details.fold(other, |other, (name, value)| {
        other.detail(name, value.clone())
    })
}

fn of_sign_in(sign_in: &SignIn) -> Vec<&SecretString> {
    match sign_in {
        SignIn::Headers => Vec::new(),
        SignIn::ClientCredentials(credentials) => {
            vec![&credentials.client_id, &credentials.client_secret]
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mesh::ErrorKind;
    use crate::outbound::upstream::trial;

    fn scrubber(header: &str) -> Scrubber {
        let mut plan = trial::plan("a", "1");
        if let ConnectionTarget::Remote { headers, .. } = &mut plan.target {
            headers.insert("Authorization".to_owned(), SecretString::from(header));
        }
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
