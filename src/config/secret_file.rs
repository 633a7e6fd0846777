//! Secrets that settings name by a file: read once, bounded, without the end of the last line.

use std::ops::RangeInclusive;
use std::path::Path;

use secrecy::SecretString;
use secrecy::zeroize::Zeroizing;

/// The secret in the file `path`: a text whose number of bytes is in `bytes`.
///
/// # Errors
/// What is wrong with the file, in words that hold nothing of it.
pub fn read(path: &Path, bytes: RangeInclusive<usize>) -> Result<SecretString, String> {
    super::jwt::existing_file(path)?;
    // Room for the end of the line.
    let text = super::read_bounded(path, *bytes.end() as u64 + 2).map(Zeroizing::new)?;
    let line = text.strip_suffix('\n').unwrap_or(&text);
    let secret = line.strip_suffix('\r').unwrap_or(line);
    if !bytes.contains(&secret.len()) {
        return Err(format!(
            "the file must hold {} to {} bytes on one line",
            bytes.start(),
            bytes.end()
        ));
    }
    Ok(SecretString::from(secret))
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;

    #[test]
    fn a_secret_is_read_without_the_end_of_its_line_and_within_bounds() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        for (text, read_as) in [
            ("abcd\n", Some("abcd")),
            ("abcd\r\n", Some("abcd")),
            ("abcdef", Some("abcdef")),
            ("abcdefg", None),
            ("abc", None),
            ("", None),
        ] {
            std::fs::write(&path, text).unwrap();
            let secret = read(&path, 4..=6).ok();
            let secret = secret.as_ref().map(ExposeSecret::expose_secret);
            assert_eq!(secret, read_as, "{text:?}");
        }
        assert!(read(&folder.path().join("none"), 4..=6).is_err());
    }
}
