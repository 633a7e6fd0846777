//! What stands in the `id` of a message, and what can be done with it.

use std::fmt;

use rmcp::model::RequestId;

/// The longest id as JSON text, in bytes. Clients count, or send a UUID of 38 bytes.
pub(super) const ID_TEXT_BYTES_MAX: usize = 256;

/// An id as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Id {
    /// An integer or a string, as the protocol asks for.
    Usable(RequestId),
    /// A number that is no 64-bit integer. Such a request is refused, but the refusal can name it.
    Number(String),
    /// Neither: null, an object, a string that is too long.
    Unusable,
}

impl Id {
    /// From the JSON text of the member.
    pub(super) fn parse(text: &str) -> Self {
        if text.len() > ID_TEXT_BYTES_MAX {
            return Self::Unusable;
        }
        if text.starts_with('"') {
            return serde_json::from_str::<String>(text).map_or(Self::Unusable, |id| {
                Self::Usable(RequestId::String(id.into()))
            });
        }
        if let Ok(number) = text.parse::<i64>()
            && !text.starts_with('+')
        {
            return Self::Usable(RequestId::Number(number));
        }
        match serde_json::from_str::<serde_json::Number>(text) {
            Ok(_) => Self::Number(text.to_owned()),
            Err(_) => Self::Unusable,
        }
    }

    /// Whether an answer can bear this id.
    pub(super) fn can_be_answered(&self) -> bool {
        !matches!(self, Self::Unusable)
    }
}

impl From<RequestId> for Id {
    fn from(id: RequestId) -> Self {
        Self::Usable(id)
    }
}

/// The id as JSON text; nothing for [`Id::Unusable`].
impl fmt::Display for Id {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usable(id) => write_id(formatter, id),
            Self::Number(text) => formatter.write_str(text),
            Self::Unusable => Ok(()),
        }
    }
}

/// `id` as JSON text.
pub(super) fn write_id(output: &mut impl fmt::Write, id: &RequestId) -> fmt::Result {
    match id {
        RequestId::Number(number) => write!(output, "{number}"),
        RequestId::String(text) => {
            let text = serde_json::to_string(&**text).map_err(|_| fmt::Error)?;
            output.write_str(&text)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_and_strings_are_usable_and_other_numbers_can_be_named() {
        let text = |text: &str| Id::Usable(RequestId::String(text.into()));
        assert_eq!(Id::parse("7"), Id::Usable(RequestId::Number(7)));
        assert_eq!(Id::parse("-7"), Id::Usable(RequestId::Number(-7)));
        assert_eq!(Id::parse(r#""7""#), text("7"));
        assert_eq!(Id::parse(r#""\u00e9\n""#), text("é\n"));
        assert_eq!(Id::parse(r#""\u00e9\n""#).to_string(), r#""é\n""#);
        for number in ["1.5", "1e3", "9223372036854775808", "-9223372036854775809"] {
            assert_eq!(Id::parse(number), Id::Number(number.to_owned()));
            assert_eq!(Id::parse(number).to_string(), number);
        }
        for other in ["null", "true", "{}", "[1]", "+1", "", "x", "\"\\ud800\""] {
            assert_eq!(Id::parse(other), Id::Unusable, "{other}");
        }
    }
}
