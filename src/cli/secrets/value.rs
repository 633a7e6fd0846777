//! Where the text of a secret comes from: never from the command line, which others see and shells remember.

use std::fs::File;
use std::io::{IsTerminal as _, Read};
use std::path::Path;

use secrecy::SecretString;
use secrecy::zeroize::Zeroizing;

use crate::config::Environment;
use crate::mesh::integration::SecretName;
use crate::mesh::store::secrets::SECRET_BYTES_MAX;
use crate::platform;

/// Where to read the text.
pub(super) enum Source<'a> {
    /// A prompt on the terminal, which does not show what is typed.
    Prompt,
    /// Standard input, which is a pipe or a file.
    Input,
    /// A variable of the environment.
    Variable(&'a str),
    /// A file.
    File(&'a Path),
}

impl Source<'_> {
    /// The prompt, or what this process was given on standard input.
    pub(super) fn of_process() -> Self {
        match std::io::stdin().is_terminal() {
            true => Self::Prompt,
            false => Self::Input,
        }
    }

    /// The text, of 1 byte to 16 KiB; of a file and of standard input without the end of its last line.
    pub(super) fn read(
        &self,
        name: &SecretName,
        environment: &Environment,
    ) -> Result<SecretString, String> {
        match self {
            Self::Prompt => {
                // From before the prompt on: whoever pastes does not wait for it.
                let _hidden = platform::hide_typing();
                let typed = rpassword::prompt_password(format!("{name}: "));
                let typed = Zeroizing::new(typed.map_err(|error| {
                    format!("the terminal cannot be asked: {error}; pass the secret by a pipe, --from-env or --from-file")
                })?);
                checked(typed.as_bytes())
            }
            Self::Input => {
                read(std::io::stdin().lock()).map_err(|error| format!("standard input: {error}"))
            }
            Self::Variable(variable) => match environment.get(variable) {
                Some(text) => checked(text.as_bytes()),
                None => Err(format!("the variable {variable} is not set, or empty")),
            },
            Self::File(path) => {
                let path = environment.absolute(&path.to_string_lossy(), &environment.working_dir);
                let told = |error: String| format!("{}: {error}", path.display());
                let file = File::open(&path).map_err(|error| told(error.to_string()))?;
                read(file).map_err(told)
            }
        }
    }
}

/// All of `from`, without the end of its last line.
fn read(from: impl Read) -> Result<SecretString, String> {
    let most = SECRET_BYTES_MAX + "\r\n".len() + 1;
    let mut bytes = Zeroizing::new(Vec::with_capacity(most));
    from.take(most as u64)
        .read_to_end(&mut bytes)
        .map_err(|error| format!("it cannot be read: {error}"))?;
    let text = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
    checked(text.strip_suffix(b"\r").unwrap_or(text))
}

fn checked(bytes: &[u8]) -> Result<SecretString, String> {
    match bytes.len() {
        0 => return Err("there is no secret in it".to_owned()),
        1..=SECRET_BYTES_MAX => {}
        _ => {
            return Err(format!(
                "a secret has at most {} KiB",
                SECRET_BYTES_MAX >> 10
            ));
        }
    }
    // What is said of bytes that are no text would show where they are wrong.
    let text = std::str::from_utf8(bytes).map_err(|_| "the secret is no UTF-8 text")?;
    Ok(SecretString::from(text))
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret as _;

    use super::*;

    fn of(bytes: &[u8]) -> Result<String, String> {
        read(bytes).map(|text| text.expose_secret().to_owned())
    }

    #[test]
    fn only_the_end_of_the_last_line_is_left_out() {
        for (given, kept) in [
            ("x", "x"),
            ("x\n", "x"),
            ("x\r\n", "x"),
            ("x\n\n", "x\n"),
            (" x \n", " x "),
            ("a\nb\n", "a\nb"),
            ("x\r", "x"),
        ] {
            assert_eq!(of(given.as_bytes()).unwrap(), kept, "{given:?}");
        }
    }

    #[test]
    fn what_is_no_secret_is_refused_without_being_shown() {
        let most = vec![b'x'; SECRET_BYTES_MAX];
        assert_eq!(of(&most).unwrap().len(), SECRET_BYTES_MAX);
        assert!(of(&[&most[..], b"\r\n"].concat()).is_ok());
        assert!(
            of(&[&most[..], b"x"].concat())
                .unwrap_err()
                .contains("16 KiB")
        );
        assert!(of(&vec![b'x'; 1 << 20]).unwrap_err().contains("16 KiB"));
        for nothing in ["", "\n", "\r\n"] {
            assert!(of(nothing.as_bytes()).is_err());
        }
        let refused = of(b"canary\xff").unwrap_err();
        assert!(!refused.contains("canary"), "{refused}");
    }
}
