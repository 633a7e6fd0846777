//! Answers in Secrets Manager's JSON.

use serde_json::Value;

use super::Refusal;
use crate::outbound::embedded::faults::Service;
use crate::outbound::embedded::wire::{
    Answer, INSUFFICIENT_STORAGE, JSON_1_1, SECRET_DAMAGED_CODE, SECRETS_KEY_CODE, storage_code,
};

/// The answer to what was done.
pub(super) fn ok(result: &Value) -> Answer {
    Answer::ok(JSON_1_1, result.to_string().into_bytes())
}

/// The answer to what was not carried out.
pub(super) fn refuse(refusal: Refusal) -> Answer {
    let error = |code: &str, message: &str| Answer::json_error(JSON_1_1, 400, code, message);
    match refusal {
        Refusal::Request(code, message) => error(code, &message),
        Refusal::Key(message) => error(SECRETS_KEY_CODE, &message),
        Refusal::Damaged(message) => error(SECRET_DAMAGED_CODE, message),
        Refusal::Storage(failure) => match storage_code(failure.cause) {
            Some((code, message)) => {
                Answer::json_error(JSON_1_1, INSUFFICIENT_STORAGE, code, message)
            }
            None => {
                tracing::warn!(%failure, "the secrets of the embedded cloud cannot be used");
                Answer::server_error(Service::Secrets)
            }
        },
    }
}
