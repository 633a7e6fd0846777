//! What went wrong on the way to a server, in the caller's terms, and whether the request may have arrived.

use std::error::Error as StdError;
use std::io;
use std::time::Duration;

use reqwest::StatusCode;
use reqwest::header::{HeaderMap, RETRY_AFTER};
use tokio_rustls::rustls;

use super::egress::{Blocked, not_reachable};
use crate::mesh::upstream::MESSAGE_BYTES_MAX;
use crate::mesh::{Error, ErrorKind};

/// The longest wait that a server may ask for before the next try.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(3600);

/// Statuses that say that a request was turned away before anything was done.
const TURNED_AWAY: [u16; 15] = [
    307, 308, 400, 401, 403, 404, 405, 406, 411, 413, 414, 415, 421, 429, 431,
];

/// Why a message got no answer.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) error: Error,
    /// It was certainly not carried out.
    pub(super) not_sent: bool,
    /// The whole link is of no use any more.
    pub(super) closes: bool,
}

impl Failure {
    /// Nothing was carried out.
    pub(super) fn before(error: Error) -> Self {
        Self {
            error,
            not_sent: true,
            closes: false,
        }
    }

    /// It may have been carried out.
    pub(super) fn after(error: Error) -> Self {
        Self {
            not_sent: false,
            ..Self::before(error)
        }
    }

    pub(super) fn closing(self) -> Self {
        Self {
            closes: true,
            ..self
        }
    }

    /// The server answered with what is no answer.
    pub(super) fn garbage(what: &str) -> Self {
        Self::after(Error::new(
            ErrorKind::UpstreamError,
            format!("The server {what}."),
        ))
    }

    pub(super) fn too_large() -> Self {
        let limit = MESSAGE_BYTES_MAX >> 20;
        Self::garbage(&format!("sent a message of more than {limit} MiB"))
    }

    pub(super) fn timed_out() -> Self {
        Self::after(Error::new(
            ErrorKind::Timeout,
            "The server did not answer in time.",
        ))
    }

    /// The connection ended before the answer.
    pub(super) fn broken_off() -> Self {
        Self::after(unavailable("The server broke off before it had answered."))
    }

    /// The server no longer knows the session: a new one has to be opened.
    pub(super) fn session_ended() -> Self {
        Self::before(unavailable("The server has ended the session.")).closing()
    }

    /// What a request ran into before there was an answer.
    pub(super) fn of_request(error: reqwest::Error) -> Self {
        let error = error.without_url();
        match error.is_connect() || error.is_builder() {
            true => Self::before(unconnected(error)),
            false => {
                Self::after(unavailable("The connection to the server broke.").caused_by(error))
            }
        }
    }

    /// What a status says that is no success.
    pub(super) fn of_status(status: StatusCode, headers: &HeaderMap) -> Self {
        let code = status.as_u16();
        let refused = |what: &str, fix: &str| {
            Error::new(ErrorKind::UpstreamError, format!("{what} (status {code}).")).fix(fix)
        };
        let url = "Look at the URL that the integration was registered with.";
        let error = match code {
            401 => refused(
                "The server refused the credentials",
                "Connect again with credentials that are good: integration_connect.",
            ),
            403 => refused(
                "The server does not allow this with these credentials",
                "Connect with credentials that are allowed to: integration_connect.",
            ),
            404 | 405 | 410 => refused("There is no MCP server at this address", url),
            300..=399 => refused(
                "The server sends elsewhere, and redirects are not followed",
                "Register the URL that the server sends to.",
            ),
            429 | 500.. => {
                let what = match code {
                    429 => "The server takes no more requests now",
                    _ => "The server failed",
                };
                let error = unavailable(&format!("{what} (status {code})."));
                match retry_after(headers) {
                    Some(wait) => error.retry_after(wait),
                    None => error,
                }
            }
            _ => refused("The server did not take the request", url),
        };
        match TURNED_AWAY.contains(&code) {
            true => Self::before(error),
            false => Self::after(error),
        }
    }
}

/// Why there is no connection: an error of a resolver, a socket or TLS, at whatever depth.
pub(super) fn unconnected(error: impl StdError + Send + Sync + 'static) -> Error {
    let (mut blocked, mut untrusted) = (None, false);
    walk(&error, &mut |cause| {
        if let Some(cause) = cause.downcast_ref::<Blocked>() {
            blocked = Some(matches!(cause, Blocked::Refused));
        }
        if let Some(cause) = cause.downcast_ref::<rustls::Error>() {
            untrusted |= matches!(cause, rustls::Error::InvalidCertificate(_));
        }
    });
    match (blocked, untrusted) {
        (Some(true), _) => not_reachable(),
        (Some(false), _) => unavailable("The server's name leads to no address."),
        (None, true) => Error::new(
            ErrorKind::UpstreamError,
            "The server's certificate is not trusted.",
        )
        .fix("Register the name that the certificate is made for; it must be valid and of a known authority."),
        (None, false) => unavailable("The server cannot be connected to."),
    }
    .caused_by(error)
}

pub(super) fn unavailable(message: &str) -> Error {
    Error::new(ErrorKind::UpstreamUnavailable, message)
}

/// Shows `error` and all its causes, also what an I/O error wraps, which is no source of it.
fn walk<'a>(
    error: &'a (dyn StdError + 'static),
    see: &mut dyn FnMut(&'a (dyn StdError + 'static)),
) {
    see(error);
    let wrapped = error
        .downcast_ref::<io::Error>()
        .and_then(io::Error::get_ref);
    if let Some(wrapped) = wrapped {
        walk(wrapped, see);
    } else if let Some(source) = error.source() {
        walk(source, see);
    }
}

/// How long a server asks to wait: seconds; a date is not looked at.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers
        .get(RETRY_AFTER)?
        .to_str()
        .ok()?
        .trim()
        .parse()
        .ok()?;
    Some(Duration::from_secs(seconds).min(RETRY_AFTER_MAX))
}
