//! What a server says, made fit to be shown: without the connection's secrets, escaped and bounded.

use secrecy::{ExposeSecret, SecretString};

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
        let mut secrets: Vec<&str> = whole.chain(parts).collect();
        secrets.retain(|secret| secret.chars().count() >= SECRET_CHARS_MIN);
        secrets.sort_unstable_by_key(|secret| std::cmp::Reverse(secret.len()));
        secrets.dedup();
        Self {
            secrets: secrets.into_iter().map(SecretString::from).collect(),
        }
    }

    /// `text` as it may be shown to the connection's user.
    pub(super) fn show(&self, text: &str) -> String {
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
