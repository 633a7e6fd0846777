//! The request that opens a WebSocket, and its answer.

use std::future::Future;

use axum::extract::Request;
use axum::response::Response;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::header::{
    AUTHORIZATION, CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL,
    SEC_WEBSOCKET_VERSION, UPGRADE,
};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use hyper::upgrade::OnUpgrade;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::super::http::Lasting;
use super::super::http::answer::{empty, fault};

/// What a subprotocol begins with that is a token.
const BEARER: &str = "bearer.";

/// A request that opens a WebSocket.
pub(in crate::inbound) struct Handshake {
    headers: HeaderMap,
    accept: HeaderValue,
    protocol: Option<&'static str>,
    upgrade: OnUpgrade,
    lasting: Option<Lasting>,
}

/// What a client offers to speak.
#[derive(Debug, Default, PartialEq, Eq)]
struct Offers {
    /// Whether it offers what is spoken here.
    ours: bool,
    /// Whether it offers anything else.
    others: bool,
    /// The token among them.
    token: Option<String>,
}

impl Handshake {
    /// Takes `request`, which is to speak `protocol`, or says none.
    ///
    /// # Errors
    /// It opens no WebSocket, or speaks something else.
    pub(in crate::inbound) fn of(
        mut request: Request,
        protocol: &'static str,
    ) -> Result<Self, Response> {
        let headers = request.headers();
        let key = headers.get(SEC_WEBSOCKET_KEY);
        let is_one = has_word(headers, &CONNECTION, "upgrade")
            && has_word(headers, &UPGRADE, "websocket")
            && has_word(headers, &SEC_WEBSOCKET_VERSION, "13");
        let (true, Some(key)) = (is_one, key) else {
            return Err(no_websocket());
        };
        let accept = derive_accept_key(key.as_bytes());
        let accept = HeaderValue::try_from(accept).map_err(|_| no_websocket())?;
        let offers = Offers::of(headers, protocol)?;
        if !offers.ours && (offers.others || offers.token.is_some()) {
            let message = format!("this endpoint speaks the subprotocol `{protocol}`: offer it");
            return Err(malformed(&message));
        }
        let mut headers = headers.clone();
        if let Some(token) = offers.token {
            if headers.contains_key(AUTHORIZATION) {
                return Err(malformed(
                    "a token comes in the header Authorization or as a subprotocol, not as both",
                ));
            }
            let mut value = HeaderValue::try_from(format!("Bearer {token}"))
                .map_err(|_| malformed("the subprotocol `bearer.` holds no token"))?;
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
        let upgrade = hyper::upgrade::on(&mut request);
        Ok(Self {
            headers,
            accept,
            protocol: offers.ours.then_some(protocol),
            upgrade,
            lasting: request.extensions_mut().remove(),
        })
    }

    /// The headers of the request, with the token where any other request has it.
    pub(in crate::inbound) const fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    /// Accepts: what `talk` makes of the connection goes on over it.
    pub(in crate::inbound) fn accept<Talk>(self, talk: impl FnOnce(OnUpgrade) -> Talk) -> Response
    where
        Talk: Future<Output = ()> + Send + 'static,
    {
        let talk = talk(self.upgrade);
        match self.lasting {
            Some(lasting) => lasting.spawn(talk),
            None => drop(tokio::spawn(talk)),
        }
        let mut response = empty(StatusCode::SWITCHING_PROTOCOLS);
        let headers = response.headers_mut();
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
        headers.insert(SEC_WEBSOCKET_ACCEPT, self.accept);
        if let Some(protocol) = self.protocol {
            headers.insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(protocol));
        }
        response
    }
}

impl Offers {
    fn of(headers: &HeaderMap, protocol: &str) -> Result<Self, Response> {
        let mut offers = Self::default();
        for word in words(headers, &SEC_WEBSOCKET_PROTOCOL) {
            if word == protocol {
                offers.ours = true;
            } else if let Some(encoded) = word.strip_prefix(BEARER) {
                let token = URL_SAFE_NO_PAD.decode(encoded).ok();
                let token = token.and_then(|token| String::from_utf8(token).ok());
                let token = token.filter(|_| offers.token.is_none());
                offers.token = Some(token.ok_or_else(|| {
                    malformed(
                        "the subprotocol `bearer.` takes one token, in base64url without padding",
                    )
                })?);
            } else {
                offers.others = true;
            }
        }
        Ok(offers)
    }
}

/// The words of a header that holds a list.
fn words<'headers>(
    headers: &'headers HeaderMap,
    name: &HeaderName,
) -> impl Iterator<Item = &'headers str> {
    let values = headers.get_all(name).iter();
    let texts = values.filter_map(|value| value.to_str().ok());
    texts
        .flat_map(|text| text.split(','))
        .map(str::trim)
        .filter(|word| !word.is_empty())
}

fn has_word(headers: &HeaderMap, name: &HeaderName, wanted: &str) -> bool {
    words(headers, name).any(|word| word.eq_ignore_ascii_case(wanted))
}

fn malformed(message: &str) -> Response {
    fault(StatusCode::BAD_REQUEST, "INVALID_REQUEST", message)
}

fn no_websocket() -> Response {
    let mut response = fault(
        StatusCode::UPGRADE_REQUIRED,
        "UPGRADE_REQUIRED",
        "this endpoint is a WebSocket of version 13",
    );
    let headers = response.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offers(values: &[&str]) -> Result<Offers, StatusCode> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(SEC_WEBSOCKET_PROTOCOL, value.parse().unwrap());
        }
        Offers::of(&headers, "mcp").map_err(|response| response.status())
    }

    #[test]
    fn a_token_may_be_one_of_the_subprotocols_that_are_offered() {
        let token = URL_SAFE_NO_PAD.encode("a.b-c");
        let with = format!("mcp, bearer.{token}");
        let read = offers(&[&with]).unwrap();
        assert!(read.ours && !read.others);
        assert_eq!(read.token.as_deref(), Some("a.b-c"));
        let apart = format!("bearer.{token}");
        assert_eq!(offers(&["mcp", &apart]).unwrap(), read);
        assert_eq!(offers(&[]).unwrap(), Offers::default());
        for wrong in ["bearer.", "bearer.!", "bearer.YQ==", "bearer._w"] {
            let read = offers(&["mcp", wrong]);
            let is_empty = wrong == "bearer.";
            assert!(is_empty || read == Err(StatusCode::BAD_REQUEST), "{wrong}");
        }
        assert_eq!(offers(&[&apart, &apart]), Err(StatusCode::BAD_REQUEST));
    }

    #[test]
    fn lists_may_be_spread_over_headers_and_words_are_written_in_any_case() {
        let mut headers = HeaderMap::new();
        headers.append(CONNECTION, "keep-alive, Upgrade".parse().unwrap());
        assert!(has_word(&headers, &CONNECTION, "upgrade"));
        assert!(!has_word(&headers, &UPGRADE, "websocket"));
    }
}
