//! What a server says in a response or an event: whether it answers the request that was sent.

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

/// The most messages of one batch, which the revision 2025-03-26 has.
pub(in super::super) const BATCH_MAX: usize = 64;

/// One message of a server's.
pub(super) struct Said {
    /// The message: the text of a JSON object.
    pub(super) text: String,
    /// Whether it answers the request.
    pub(super) answers: bool,
    /// Whether it is a request or a notification.
    pub(super) asks: bool,
}

/// It is no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NoMessage;

/// The members that tell an answer from other messages.
#[derive(Deserialize)]
struct Peek<'a> {
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    method: Option<IgnoredAny>,
    result: Option<IgnoredAny>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
}

/// The messages of `text`, read as what was said to the request `request_id`.
pub(super) fn read(text: String, request_id: i64) -> Result<Vec<Said>, NoMessage> {
    if !text.trim_start().starts_with('[') {
        return Ok(vec![one(text, request_id)?]);
    }
    let batch: Vec<&RawValue> = serde_json::from_str(&text).map_err(|_| NoMessage)?;
    if batch.len() > BATCH_MAX {
        return Err(NoMessage);
    }
    batch
        .into_iter()
        .map(|message| one(message.get().to_owned(), request_id))
        .collect()
}

fn one(text: String, request_id: i64) -> Result<Said, NoMessage> {
    let peek: Peek<'_> = serde_json::from_str(&text).map_err(|_| NoMessage)?;
    if peek.method.is_some() {
        return Ok(Said {
            text,
            answers: false,
            asks: true,
        });
    }
    match (peek.id, peek.result, peek.error) {
        // It may be the answer to another request that is on its way.
        (Some(id), ..) => {
            let answers = id.get() == request_id.to_string();
            Ok(Said {
                text,
                answers,
                asks: false,
            })
        }
        // Who turns a request away without reading it knows no id.
        (None, None, Some(error)) => Ok(Said {
            text: refusal(request_id, error.get()),
            answers: true,
            asks: false,
        }),
        _ => Err(NoMessage),
    }
}

/// The error that `text` answers with, as an answer to `request_id` whatever id it has.
pub(super) fn error_of(text: &str, request_id: i64) -> Option<String> {
    let peek: Peek<'_> = serde_json::from_str(text).ok()?;
    let error = peek.error.filter(|error| error.get().starts_with('{'))?;
    Some(refusal(request_id, error.get()))
}

/// Whether `text` says that there is no session. Many a server that has been started anew says so with status
/// 400 and an error of its own code, instead of with the status 404 that the protocol has for it.
pub(super) fn denies_session(text: &str) -> bool {
    #[derive(Deserialize)]
    struct Denial {
        code: i64,
        message: String,
    }
    let Ok(peek) = serde_json::from_str::<Peek<'_>>(text) else {
        return false;
    };
    let denial = peek
        .error
        .and_then(|error| serde_json::from_str::<Denial>(error.get()).ok());
    denial.is_some_and(|denial| {
        let message = denial.message.to_ascii_lowercase();
        let says_so = message.contains("session") || message.contains("not initialized");
        matches!(denial.code, -32_001 | -32_000) && says_so
    })
}

/// A JSON-RPC error with `error` as it was written.
pub(super) fn refusal(request_id: i64, error: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":{request_id},"error":{error}}}"#)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answers(text: &str) -> Result<Vec<bool>, NoMessage> {
        let said = read(text.to_owned(), 7)?;
        Ok(said.iter().map(|said| said.answers).collect())
    }

    #[test]
    fn an_answer_is_told_from_other_messages() {
        assert_eq!(answers(r#"{"id":7,"result":{}}"#), Ok(vec![true]));
        assert_eq!(answers(r#"{"id":7,"error":{"code":1}}"#), Ok(vec![true]));
        assert_eq!(answers(r#"{"id":8,"result":{}}"#), Ok(vec![false]));
        assert_eq!(answers(r#"{"id":"7","result":{}}"#), Ok(vec![false]));
        assert_eq!(
            answers(r#"{"method":"notifications/progress"}"#),
            Ok(vec![false])
        );
        assert_eq!(answers(r#"{"id":7,"method":"ping"}"#), Ok(vec![false]));
        let batch = r#"[{"method":"x"},{"id":7,"result":1}]"#;
        assert_eq!(answers(batch), Ok(vec![false, true]));
        for garbage in [
            "",
            "{",
            "null",
            "7",
            "{}",
            "<html>",
            r#"{"id":null,"result":1}"#,
            "[1]",
            r#"{"id":7}x"#,
        ] {
            assert_eq!(answers(garbage), Err(NoMessage), "{garbage}");
        }
    }

    #[test]
    fn an_error_without_an_id_answers_what_was_sent() {
        let said = read(
            r#"{"id":null,"error":{"code":-32700, "x":1.50}}"#.to_owned(),
            7,
        )
        .unwrap();
        assert!(said[0].answers);
        assert_eq!(
            said[0].text,
            r#"{"jsonrpc":"2.0","id":7,"error":{"code":-32700, "x":1.50}}"#
        );
        assert_eq!(
            error_of(r#"{"id":"server-error","error":{}}"#, 7).unwrap(),
            r#"{"jsonrpc":"2.0","id":7,"error":{}}"#
        );
        assert_eq!(error_of(r#"{"error":"no"}"#, 7), None);
    }

    #[test]
    fn a_session_is_denied_in_the_words_that_servers_have_for_it() {
        for denial in [
            r#"{"jsonrpc":"2.0","error":{"code":-32000,"message":"Bad Request: No valid session ID provided"}}"#,
            r#"{"error":{"code":-32000,"message":"Bad Request: Server not initialized"},"id":null}"#,
            r#"{"error":{"code":-32001,"message":"Session not found"},"id":7}"#,
        ] {
            assert!(denies_session(denial), "{denial}");
        }
        for other in [
            r#"{"id":7,"result":{"code":-32000,"message":"No such session"}}"#,
            r#"{"id":null,"error":{"code":-32000,"message":"Unsupported protocol version"}}"#,
            r#"{"id":null,"error":{"code":-32602,"message":"session"}}"#,
            r#"{"id":null,"error":"session"}"#,
            "session",
        ] {
            assert!(!denies_session(other), "{other}");
        }
    }

    #[test]
    fn a_batch_has_a_bound() {
        let batch =
            |messages: usize| format!("[{}]", vec![r#"{"method":"x"}"#; messages].join(","));
        assert_eq!(answers(&batch(BATCH_MAX)).unwrap().len(), BATCH_MAX);
        answers(&batch(BATCH_MAX + 1)).unwrap_err();
    }
}
