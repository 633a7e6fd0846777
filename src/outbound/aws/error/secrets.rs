//! What Secrets Manager calls its faults, where it is its alone.

use super::DOCTOR;
use crate::mesh::{Error, ErrorKind};
use crate::outbound::embedded::{SECRET_DAMAGED_CODE, SECRETS_KEY_CODE};

/// The failure that a code of Secrets Manager stands for, where no other service has it.
pub(super) fn of_secrets(code: &str, message: &str) -> Option<Error> {
    Some(match code {
        "ResourceNotFoundException" => {
            Error::new(ErrorKind::AwsUnavailable, "the secret is not there any more")
                .fix("try again")
        }
        "ResourceExistsException" | "InvalidRequestException" | "PreconditionNotMetException" => {
            Error::new(
                ErrorKind::AwsUnavailable,
                "the secret is being changed or deleted by someone else",
            )
            .fix("try again in a few seconds")
        }
        // Other services throttle by this word; here it says how many secrets an account may have.
        "LimitExceededException" => Error::new(
            ErrorKind::QuotaExceeded,
            "the secret store takes no more secrets",
        )
        .fix("remove secrets and connections that nobody needs, or have the operator raise the quota"),
        "DecryptionFailure" | "EncryptionFailure" => Error::new(
            ErrorKind::AwsUnavailable,
            "the key that secrets are encrypted with cannot be used",
        )
        .fix(format!("the operator enables the key; {DOCTOR}")),
        // The embedded cloud's own words, which hold neither a secret nor a path.
        SECRETS_KEY_CODE => Error::new(ErrorKind::AwsUnavailable, message)
            .fix("the owner of the data folder restores its file `secrets.key`, or removes that file and the folder `secrets` beside it and sets all secrets anew"),
        SECRET_DAMAGED_CODE => Error::new(ErrorKind::AwsUnavailable, message)
            .fix("set it again: a new value replaces what is there"),
        _ => return None,
    })
}
