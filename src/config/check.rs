//! What a setting's text must look like, and what it then means. Each function says what would be right.

use std::ops::RangeInclusive;

use super::mistake::did_you_mean;

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// A DynamoDB table's name, by the rules of its API.
pub(crate) fn table_name(text: &str) -> Result<String, String> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    if (3..=255).contains(&text.len()) && text.bytes().all(allowed) {
        Ok(text.to_owned())
    } else {
        Err("a table's name is 3 to 255 of A-Z, a-z, 0-9 and _ . -".to_owned())
    }
}

/// A general purpose S3 bucket's name, by the rules of its documentation.
pub(crate) fn bucket_name(text: &str) -> Result<String, String> {
    let alphanumeric = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = text.as_bytes();
    let formed = (3..=63).contains(&bytes.len())
        && bytes
            .iter()
            .all(|&byte| alphanumeric(byte) || byte == b'.' || byte == b'-')
        && bytes.first().is_some_and(|&byte| alphanumeric(byte))
        && bytes.last().is_some_and(|&byte| alphanumeric(byte));
    if !formed {
        return Err(
            "a bucket's name is 3 to 63 of a-z, 0-9, . and -, and begins and ends with a letter or digit"
                .to_owned(),
        );
    }
    if text.contains("..") || text.parse::<std::net::Ipv4Addr>().is_ok() {
        return Err(
            "a bucket's name has no two dots in a row and is not written as an IP address"
                .to_owned(),
        );
    }
    let reserved = ["xn--", "sthree-", "amzn-s3-demo-"]
        .iter()
        .find(|prefix| text.starts_with(**prefix))
        .or_else(|| {
            ["-s3alias", "--ol-s3", ".mrap", "--x-s3", "--table-s3"]
                .iter()
                .find(|suffix| text.ends_with(**suffix))
        });
    match reserved {
        Some(part) => Err(format!("S3 keeps names with `{part}` for itself")),
        None => Ok(text.to_owned()),
    }
}

/// An EventBridge bus's name, by the rules of its API.
pub(crate) fn bus_name(text: &str) -> Result<String, String> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-/".contains(&byte);
    if (1..=256).contains(&text.len()) && text.bytes().all(allowed) {
        Ok(text.to_owned())
    } else {
        Err("a bus's name is 1 to 256 of A-Z, a-z, 0-9 and / _ . -".to_owned())
    }
}

/// A region: it becomes part of host names, so nothing else may be in it.
pub(crate) fn region(text: &str) -> Result<String, String> {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let fits = (1..=63).contains(&text.len())
        && text.bytes().all(allowed)
        && !text.starts_with('-')
        && !text.ends_with('-');
    if fits {
        Ok(text.to_owned())
    } else {
        Err("a region is written like us-west-2".to_owned())
    }
}

/// An AWS account: 12 digits.
pub(crate) fn account(text: &str) -> Result<String, String> {
    if text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_digit()) {
        Ok(text.to_owned())
    } else {
        Err("an account is 12 digits".to_owned())
    }
}

/// A number of bytes within `range`: plain, or with KiB, MiB or GiB.
pub(crate) fn bytes(text: &str, range: RangeInclusive<u64>) -> Result<u64, String> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let factor = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => Some(1),
        "kib" => Some(KIB),
        "mib" => Some(MIB),
        "gib" => Some(GIB),
        _ => None,
    };
    let count = number.parse::<u64>().ok();
    count
        .zip(factor)
        .and_then(|(count, factor)| count.checked_mul(factor))
        .filter(|bytes| range.contains(bytes))
        .ok_or_else(|| {
            format!(
                "it is a number of bytes from {} to {}, plain or with KiB, MiB or GiB",
                bytes_text(*range.start()),
                bytes_text(*range.end()),
            )
        })
}

/// A number of bytes as [`bytes`] reads it, in the largest unit that keeps it whole.
pub(crate) fn bytes_text(bytes: u64) -> String {
    [(GIB, "GiB"), (MIB, "MiB"), (KIB, "KiB")]
        .into_iter()
        .find(|(factor, _)| bytes >= *factor && bytes.is_multiple_of(*factor))
        .map_or_else(
            || bytes.to_string(),
            |(factor, unit)| format!("{} {unit}", bytes / factor),
        )
}

/// A whole number within `range`.
pub(crate) fn number(text: &str, range: RangeInclusive<u32>) -> Result<u32, String> {
    text.parse()
        .ok()
        .filter(|number| range.contains(number))
        .ok_or_else(|| {
            format!(
                "it is a whole number from {} to {}",
                range.start(),
                range.end()
            )
        })
}

/// On or off.
pub(crate) fn switch(text: &str) -> Result<bool, String> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "1" | "on" | "yes" => Ok(true),
        "false" | "0" | "off" | "no" => Ok(false),
        _ => Err("it is true or false".to_owned()),
    }
}

/// One of `words`, each with what it means.
pub(crate) fn word<T: Copy>(text: &str, words: &[(&str, T)]) -> Result<T, String> {
    let lower = text.to_ascii_lowercase();
    words
        .iter()
        .find(|(word, _)| *word == lower)
        .map(|(_, meaning)| *meaning)
        .ok_or_else(|| {
            let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
            let near = did_you_mean(&lower, known.iter().copied());
            format!("it is one of {}{near}", known.join(", "))
        })
}

/// Texts separated by commas: at least one, none empty.
pub(crate) fn list(text: &str) -> Result<Vec<String>, String> {
    let items: Vec<String> = text.split(',').map(|item| item.trim().to_owned()).collect();
    if items.iter().any(String::is_empty) {
        return Err("it is a list separated by commas, and one of its items is empty".to_owned());
    }
    Ok(items)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_name_is_checked_at_its_edges() {
        for good in ["abc", "agent-mesh-kv", "A.b_c", &"a".repeat(255)] {
            assert!(table_name(good).is_ok(), "{good}");
        }
        for bad in ["ab", "a b c", "a/b/c", "arn:aws:x", "äöü", &"a".repeat(256)] {
            assert!(table_name(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_bucket_name_is_checked_at_its_edges() {
        for good in ["abc", "a.b.c", "a-b", "1.2.3", &"a".repeat(63)] {
            assert!(bucket_name(good).is_ok(), "{good}");
        }
        for bad in [
            "ab",
            "Abc",
            "-ab",
            "ab-",
            ".ab",
            "a..b",
            "a_b",
            "192.168.5.4",
            "xn--abc",
            "sthree-abc",
            "abc-s3alias",
            "abc--x-s3",
            "s3://abc",
            &"a".repeat(64),
        ] {
            assert!(bucket_name(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_bus_name_a_region_and_an_account_are_checked() {
        assert!(bus_name("agent-mesh-events").is_ok());
        assert!(bus_name(&"a".repeat(256)).is_ok());
        assert!(bus_name(&"a".repeat(257)).is_err());
        assert!(bus_name("arn:aws:events:x").is_err());
        assert!(region("us-gov-west-1").is_ok());
        assert!(region("us-west-2.evil.example").is_err());
        assert!(region("us-west-2/").is_err());
        assert!(account("000000000000").is_ok());
        assert!(account("00000000000").is_err());
        assert!(account("00000000000a").is_err());
    }

    #[test]
    fn bytes_are_read_plain_and_with_a_unit_and_written_back() {
        let all = 0..=u64::MAX;
        assert_eq!(bytes("0", all.clone()), Ok(0));
        assert_eq!(bytes("1073741824", all.clone()), Ok(GIB));
        assert_eq!(bytes("1GiB", all.clone()), Ok(GIB));
        assert_eq!(bytes("3 mib", all.clone()), Ok(3 * MIB));
        assert_eq!(bytes("16KiB", all.clone()), Ok(16 * KIB));
        for bad in ["", "GiB", "1GB", "-1", "1.5GiB", "99999999999GiB"] {
            assert!(bytes(bad, all.clone()).is_err(), "{bad}");
        }
        assert!(bytes("1MiB", MIB..=GIB).is_ok());
        assert!(bytes("1048575", MIB..=GIB).is_err());
        assert!(bytes("1073741825", MIB..=GIB).is_err());
        assert_eq!(bytes_text(GIB), "1 GiB");
        assert_eq!(bytes_text(1536 * KIB), "1536 KiB");
        assert_eq!(bytes_text(7), "7");
        assert_eq!(bytes_text(0), "0");
    }

    #[test]
    fn numbers_switches_words_and_lists_are_read() {
        assert_eq!(number("30", 1..=3650), Ok(30));
        assert!(number("0", 1..=3650).is_err());
        assert!(number("3651", 1..=3650).is_err());
        assert_eq!(switch("On"), Ok(true));
        assert_eq!(switch("0"), Ok(false));
        assert!(switch("maybe").is_err());
        assert_eq!(word("AWS", &[("aws", 1), ("embedded", 2)]), Ok(1));
        assert_eq!(
            word("embeded", &[("aws", 1), ("embedded", 2)]),
            Err("it is one of aws, embedded; did you mean `embedded`?".to_owned())
        );
        assert_eq!(list("a, b"), Ok(vec!["a".to_owned(), "b".to_owned()]));
        assert!(list("a,,b").is_err());
        assert!(list("a,").is_err());
    }
}
