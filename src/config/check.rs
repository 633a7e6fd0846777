//! What a setting's text must look like, and what it then means.
//!
//! Each function says what would be right.

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

/// Whether `text` is a host's name in lower case: labels of letters, digits and hyphens between dots.
pub(crate) fn is_host(text: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    text.len() <= 253 && text.split('.').all(label)
}

#[cfg(test)]
mod tests;
