//! The trace that a request belongs to, as W3C Trace Context writes it.

use std::fmt;
use std::str::FromStr;

/// The name of the header, and of the member of `_meta`, that carries a [`TraceParent`].
pub const TRACEPARENT: &str = "traceparent";

/// How long its text is: bytes.
const TEXT_BYTES: usize = 55;

/// The longest text that is looked at, of a version that may say more than ours: bytes.
const TEXT_BYTES_MAX: usize = 512;

/// The bit that says that whoever sent it records the trace.
const SAMPLED: u8 = 1;

/// A trace, and the span of it that a request is part of.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TraceParent {
    trace: u128,
    span: u64,
    flags: u8,
}

/// Why a text is no `traceparent`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "it is no traceparent: two, 32, 16 and two hex digits in lower case, ids that are not zero"
)]
pub struct InvalidTraceParent;

impl TraceParent {
    /// The span `span` of the trace `trace`; nothing where one of them is zero, which is no id.
    pub fn new(trace: u128, span: u64, is_sampled: bool) -> Option<Self> {
        (trace != 0 && span != 0).then_some(Self {
            trace,
            span,
            flags: u8::from(is_sampled),
        })
    }

    /// The trace's id.
    pub const fn trace(self) -> u128 {
        self.trace
    }

    /// The span's id.
    pub const fn span(self) -> u64 {
        self.span
    }

    /// Whether the trace is recorded by whoever sent it.
    pub const fn is_sampled(self) -> bool {
        self.flags & SAMPLED != 0
    }

    /// The trace's id as events, logs and other systems show it: 32 hex digits.
    pub fn trace_id(self) -> String {
        format!("{:032x}", self.trace)
    }
}

impl FromStr for TraceParent {
    type Err = InvalidTraceParent;

    /// Reads version 00, and what later versions begin with, as the specification asks for.
    fn from_str(text: &str) -> Result<Self, InvalidTraceParent> {
        let bytes = text.as_bytes();
        if bytes.len() < TEXT_BYTES || bytes.len() > TEXT_BYTES_MAX {
            return Err(InvalidTraceParent);
        }
        let (version, trace) = (hex(&bytes[..2])?, hex(&bytes[3..35])?);
        let (span, flags) = (hex(&bytes[36..52])?, hex(&bytes[53..55])?);
        let separated = [2, 35, 52].into_iter().all(|at| bytes[at] == b'-');
        let ends = match version {
            0 => bytes.len() == TEXT_BYTES,
            0xff => false,
            _ => bytes.get(TEXT_BYTES).is_none_or(|next| *next == b'-'),
        };
        let (Ok(span), Ok(flags)) = (u64::try_from(span), u8::try_from(flags)) else {
            return Err(InvalidTraceParent);
        };
        if !separated || !ends || trace == 0 || span == 0 {
            return Err(InvalidTraceParent);
        }
        Ok(Self {
            trace,
            span,
            flags: flags & SAMPLED,
        })
    }
}

/// The number that `digits`, hex in lower case, are.
fn hex(digits: &[u8]) -> Result<u128, InvalidTraceParent> {
    digits.iter().try_fold(0, |number, digit| {
        let value = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return Err(InvalidTraceParent),
        };
        Ok(number << 4 | u128::from(value))
    })
}

impl fmt::Display for TraceParent {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { trace, span, flags } = self;
        write!(formatter, "00-{trace:032x}-{span:016x}-{flags:02x}")
    }
}

impl fmt::Debug for TraceParent {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn what_is_read_is_written_again() {
        let parent: TraceParent = TEXT.parse().unwrap();
        assert_eq!(parent.to_string(), TEXT);
        assert_eq!(parent.trace_id(), "0af7651916cd43dd8448eb211c80319c");
        assert!(parent.is_sampled());
        let unsampled: TraceParent = TEXT.replace("-01", "-00").parse().unwrap();
        assert!(!unsampled.is_sampled());
    }

    #[test]
    fn of_a_later_version_its_beginning_is_read() {
        for text in [
            TEXT.replacen("00-", "cc-", 1),
            format!("{}-more", TEXT.replacen("00-", "cc-", 1)),
            TEXT.replace("-01", "-ff"),
        ] {
            let parent: TraceParent = text.parse().unwrap();
            assert_eq!(parent.to_string(), TEXT);
        }
        let long = format!("cc{}-{}", &TEXT[2..], "x".repeat(TEXT_BYTES_MAX - 56));
        assert!(long.parse::<TraceParent>().is_ok());
        assert!(format!("{long}x").parse::<TraceParent>().is_err());
    }

    #[test]
    fn what_is_no_trace_is_refused() {
        for text in [
            "",
            "00",
            &TEXT[..54],
            &format!("{TEXT}-more"),
            &TEXT.to_uppercase(),
            &TEXT.replacen("00-", "ff-", 1),
            &TEXT.replace("0af7651916cd43dd8448eb211c80319c", &"0".repeat(32)),
            &TEXT.replace("b7ad6b7169203331", &"0".repeat(16)),
            &TEXT.replace("-b7", "_b7"),
            &TEXT.replace("-b7", "-é"),
        ] {
            assert_eq!(
                text.parse::<TraceParent>(),
                Err(InvalidTraceParent),
                "{text}"
            );
        }
        assert_eq!(TraceParent::new(0, 1, true), None);
        assert_eq!(TraceParent::new(1, 0, true), None);
    }
}
