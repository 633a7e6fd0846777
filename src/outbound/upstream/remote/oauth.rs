//! Tokens for client credentials (RFC 6749, section 4.4): one at a time for one connection, in memory only.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use reqwest::{Client, RequestBuilder, StatusCode, Url};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Deserializer};
use tokio::sync::Mutex;
use tokio::time::timeout;

use super::failure::{Failure, unavailable};
use super::server::body;
use crate::mesh::upstream::{ClientCredentials, ConnectionSecrets};
use crate::mesh::{Clock, Error, ErrorKind};

/// How long one request for a token may take.
pub(super) const TOKEN_TIME_MAX: Duration = Duration::from_secs(10);

/// The largest answer to a request for a token, in bytes.
pub(super) const TOKEN_ANSWER_BYTES_MAX: usize = 64 << 10;

/// How long before its end a token is no longer used; half its time where that is shorter.
pub(super) const TOKEN_MARGIN: Duration = Duration::from_secs(30);

/// How long a token is used that does not say how long it is good.
const TOKEN_TIME_UNSAID: Duration = Duration::from_secs(300);

/// The longest that a token is used, whatever it says.
const TOKEN_TIME_LONGEST: Duration = Duration::from_secs(86_400);

/// How long a failure answers those who ask again, so that a crowd that waits does not ask one by one.
pub(super) const FAILURE_KEPT: Duration = Duration::from_secs(5);

/// Where a connection's tokens come from.
pub(super) struct TokenSource {
    url: Url,
    credentials: ClientCredentials,
    /// Learns each token before it is used.
    secrets: ConnectionSecrets,
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    token: Option<Token>,
    /// How many tokens there have been.
    count: u64,
    /// The server takes the secret in the form alone.
    in_form: bool,
    /// The last failure, and when it was.
    failed: Option<(Duration, ErrorKind, String)>,
}

/// A token, ready for its header.
#[derive(Clone)]
pub(super) struct Token {
    pub(super) header: HeaderValue,
    /// Which one of the connection's tokens it is.
    pub(super) number: u64,
    /// When it is no longer used, by the monotonic clock.
    until: Duration,
}

/// What a token's server answers; without `Debug`, since it is the secret.
#[derive(Deserialize)]
struct Answer {
    #[serde(deserialize_with = "secret")]
    access_token: SecretString,
    token_type: Option<String>,
    expires_in: Option<serde_json::Value>,
}

/// What it answers when it does not give one.
#[derive(Deserialize)]
struct Refusal {
    error: String,
}

impl TokenSource {
    pub(super) fn new(
        url: Url,
        credentials: ClientCredentials,
        secrets: ConnectionSecrets,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            url,
            credentials,
            secrets,
            clock,
            state: Mutex::new(State::default()),
        }
    }

    /// A token that is good; a new one if `refused` is the one that there is. Who comes while one is being
    /// fetched waits for it.
    pub(super) async fn token(
        &self,
        client: &Client,
        refused: Option<u64>,
    ) -> Result<Token, Failure> {
        let mut state = self.state.lock().await;
        let now = self.clock.monotonic();
        if let Some(token) = &state.token
            && refused != Some(token.number)
            && now < token.until
        {
            return Ok(token.clone());
        }
        if let Some((at, kind, message)) = &state.failed
            && now < *at + FAILURE_KEPT
        {
            return Err(Failure::before(Error::new(*kind, message.clone())));
        }
        state.token = None;
        match self.fetch(client, &mut state).await {
            Ok(token) => {
                state.failed = None;
                state.token = Some(token.clone());
                Ok(token)
            }
            Err(error) => {
                let now = self.clock.monotonic();
                state.failed = Some((now, error.kind(), error.message().to_owned()));
                Err(Failure::before(error))
            }
        }
    }

    async fn fetch(&self, client: &Client, state: &mut State) -> Result<Token, Error> {
        let asked = self.clock.monotonic();
        let work = async {
            let (status, body) = self.ask(client, state.in_form).await?;
            if state.in_form || !asks_for_form(status, &body) {
                return Ok::<_, Error>((status, body));
            }
            let second = self.ask(client, true).await?;
            state.in_form = second.0.is_success();
            Ok(second)
        };
        let late = |_| unavailable("The server that gives tokens did not answer in time.");
        let (status, body) = timeout(TOKEN_TIME_MAX, work).await.map_err(late)??;
        if !status.is_success() {
            return Err(refusal(status, &body));
        }
        state.count += 1;
        self.read(&body, asked, state.count)
    }

    fn read(&self, body: &[u8], asked: Duration, number: u64) -> Result<Token, Error> {
        // The cause would show what was sent.
        let answer: Answer = serde_json::from_slice(body).map_err(|_| no_token())?;
        let is_bearer = |kind: &String| kind.eq_ignore_ascii_case("bearer");
        let token = answer.access_token.expose_secret();
        if !answer.token_type.as_ref().is_none_or(is_bearer) || token.is_empty() {
            return Err(no_token());
        }
        let header = sensitive(&format!("Bearer {token}"))?;
        self.secrets.learn(&answer.access_token);
        let lives = answer.expires_in.as_ref().and_then(seconds);
        let lives = lives.unwrap_or(TOKEN_TIME_UNSAID).min(TOKEN_TIME_LONGEST);
        Ok(Token {
            header,
            number,
            until: asked + lives - TOKEN_MARGIN.min(lives / 2),
        })
    }

    /// Asks once; the secret goes into a header, or into the form.
    async fn ask(&self, client: &Client, in_form: bool) -> Result<(StatusCode, Vec<u8>), Error> {
        let response = self.request(client, in_form)?.send().await;
        let response =
            response.map_err(|error| of_token_server(Failure::of_request(error).error))?;
        let status = response.status();
        match body(response, TOKEN_ANSWER_BYTES_MAX).await {
            Ok(body) => Ok((status, body)),
            Err(failure) => Err(of_token_server(failure.error)),
        }
    }

    fn request(&self, client: &Client, in_form: bool) -> Result<RequestBuilder, Error> {
        let (id, secret) = (
            self.credentials.client_id.expose_secret(),
            self.credentials.client_secret.expose_secret(),
        );
        let mut form = form_urlencoded::Serializer::new(String::new());
        form.append_pair("grant_type", "client_credentials");
        if let Some(scope) = &self.credentials.scope {
            form.append_pair("scope", scope);
        }
        let mut request = client
            .post(self.url.clone())
            .header(ACCEPT, "application/json")
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded");
        if in_form {
            form.append_pair("client_id", id);
            form.append_pair("client_secret", secret);
        } else {
            request = request.header(AUTHORIZATION, basic(id, secret)?);
        }
        Ok(request.body(form.finish()))
    }
}

/// RFC 6749, section 2.3.1: both are encoded as in a form before they are joined.
fn basic(id: &str, secret: &str) -> Result<HeaderValue, Error> {
    let encoded = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
    let pair = BASE64_STANDARD.encode(format!("{}:{}", encoded(id), encoded(secret)));
    sensitive(&format!("Basic {pair}"))
}

fn sensitive(text: &str) -> Result<HeaderValue, Error> {
    let mut value = HeaderValue::from_str(text).map_err(|_| no_token())?;
    value.set_sensitive(true);
    Ok(value)
}

/// Whether a server may want the secret in the form instead of the header.
fn asks_for_form(status: StatusCode, body: &[u8]) -> bool {
    let invalid_client = serde_json::from_slice::<Refusal>(body)
        .is_ok_and(|refusal| refusal.error == "invalid_client");
    status == StatusCode::UNAUTHORIZED || (status == StatusCode::BAD_REQUEST && invalid_client)
}

fn secret<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SecretString, D::Error> {
    String::deserialize(deserializer).map(SecretString::from)
}

/// Some servers write the number as a text.
fn seconds(value: &serde_json::Value) -> Option<Duration> {
    let text = value.as_str().and_then(|text| text.parse().ok());
    value.as_u64().or(text).map(Duration::from_secs)
}

fn no_token() -> Error {
    Error::new(
        ErrorKind::UpstreamError,
        "The server that gives tokens answered without a bearer token.",
    )
}

fn refusal(status: StatusCode, body: &[u8]) -> Error {
    // Only the words that the standard knows are repeated: anything else could be what was sent.
    const KNOWN: [&str; 6] = [
        "invalid_request",
        "invalid_client",
        "invalid_grant",
        "unauthorized_client",
        "unsupported_grant_type",
        "invalid_scope",
    ];
    let code = status.as_u16();
    if status.is_server_error() || code == 429 {
        return unavailable(&format!(
            "The server that gives tokens failed (status {code})."
        ));
    }
    let said = serde_json::from_slice::<Refusal>(body).ok();
    let word = said.and_then(|said| KNOWN.into_iter().find(|&known| known == said.error));
    let reason = word.map_or_else(|| format!("status {code}"), str::to_owned);
    Error::new(
        ErrorKind::UpstreamError,
        format!("The server that gives tokens refused the client credentials ({reason})."),
    )
    .fix("Connect again with client_id, client_secret, token_url and scope that are good: integration_connect.")
}

/// Says of an error that it was not the integrated server's.
fn of_token_server(error: Error) -> Error {
    let message = error
        .message()
        .replacen("The server", "The server that gives tokens", 1);
    let fix = error.fix_text().map(str::to_owned);
    let told = Error::new(error.kind(), message).caused_by(error);
    match fix {
        Some(fix) => told.fix(fix),
        None => told,
    }
}
