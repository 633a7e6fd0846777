//! Key sets from real files and over real sockets.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::mesh::tenant::test_key::{TestKey, key_set};
use crate::mesh::{ManualClock, SystemClock, Timestamp};
use origin::{FetchError, Fetched};

/// What the publisher answers with.
#[derive(Clone)]
enum Answer {
    Ok(String),
    OkFor(String, &'static str),
    Redirect(String),
    Status(u16),
    Endless,
    TooLong,
    Silent,
    HangUp,
}

/// A publisher of keys on this machine, as small as HTTP allows.
struct Publisher {
    port: u16,
    answer: Arc<Mutex<Answer>>,
    requests: Arc<AtomicUsize>,
}

impl Publisher {
    async fn start(answer: Answer) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (answer, requests) = (Arc::new(Mutex::new(answer)), Arc::new(AtomicUsize::new(0)));
        let (answers, count) = (Arc::clone(&answer), Arc::clone(&requests));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::SeqCst);
                let answer = answers.lock().unwrap().clone();
                tokio::spawn(reply(stream, answer));
            }
        });
        Self {
            port,
            answer,
            requests,
        }
    }

    fn says(&self, answer: Answer) {
        *self.answer.lock().unwrap() = answer;
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}/keys.json?secret=1", self.port)
    }

    fn origin(&self) -> HttpOrigin {
        HttpOrigin::new(Url::parse(&self.url()).unwrap(), Duration::from_millis(500))
    }

    fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }
}

async fn reply(mut stream: TcpStream, answer: Answer) {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        if stream.read(&mut byte).await.unwrap_or(0) == 0 {
            return;
        }
        request.push(byte[0]);
    }
    let ok = |body: &str, more: &str| {
        format!(
            "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n{more}\r\n{body}",
            body.len()
        )
    };
    let text = match answer {
        Answer::Ok(body) => ok(&body, ""),
        Answer::OkFor(body, cache) => ok(&body, &format!("cache-control: {cache}\r\n")),
        Answer::Redirect(to) => {
            format!("HTTP/1.1 302 Found\r\nlocation: {to}\r\ncontent-length: 0\r\n\r\n")
        }
        Answer::Status(status) => format!("HTTP/1.1 {status} No\r\ncontent-length: 0\r\n\r\n"),
        Answer::TooLong => ok(&" ".repeat(KEY_SET_BYTES_MAX + 1), ""),
        Answer::Endless => return endless(stream).await,
        Answer::Silent => return tokio::time::sleep(Duration::from_secs(60)).await,
        Answer::HangUp => return,
    };
    let _ = stream.write_all(text.as_bytes()).await;
}

/// Spaces in chunks of 64 KiB until the client has had enough.
async fn endless(mut stream: TcpStream) {
    let _ = stream
        .write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
        .await;
    let chunk = format!("10000\r\n{}\r\n", " ".repeat(1 << 16));
    while stream.write_all(chunk.as_bytes()).await.is_ok() {}
}

fn jwks(location: &str) -> Jwks {
    Jwks::new(location.parse().unwrap(), Arc::new(SystemClock::new()))
}

async fn has(jwks: &Jwks, kid: &str) -> Option<bool> {
    jwks.key(kid).await.ok().map(|key| key.is_some())
}

fn set_of(names: &[&str]) -> String {
    let keys: Vec<TestKey> = names
        .iter()
        .map(|name| TestKey::new("EdDSA", name))
        .collect();
    key_set(&keys.iter().collect::<Vec<_>>())
}

#[tokio::test]
async fn keys_come_over_http_and_are_found_after_they_rotate() {
    let publisher = Publisher::start(Answer::Ok(set_of(&["a"]))).await;
    let clock = Arc::new(ManualClock::at(Timestamp::from_seconds(0)));
    let jwks = Jwks::new(publisher.url().parse().unwrap(), clock.clone());
    assert_eq!(jwks.load().await.unwrap().len(), 1);
    assert_eq!(has(&jwks, "a").await, Some(true));
    publisher.says(Answer::Ok(set_of(&["b"])));
    assert_eq!(has(&jwks, "b").await, Some(false));
    assert_eq!(publisher.requests(), 1);
    clock.advance(Duration::from_secs(30));
    assert_eq!(has(&jwks, "b").await, Some(true));
    assert_eq!(has(&jwks, "a").await, Some(false));
    assert_eq!(publisher.requests(), 2);

    publisher.says(Answer::HangUp);
    clock.advance(Duration::from_secs(600));
    assert_eq!(
        has(&jwks, "b").await,
        Some(true),
        "the last good keys serve"
    );
    assert_eq!(publisher.requests(), 3);
    clock.advance(STALE_MAX);
    assert_eq!(has(&jwks, "b").await, None);
    publisher.says(Answer::Ok(set_of(&["c"])));
    clock.advance(Duration::from_secs(30));
    assert_eq!(has(&jwks, "c").await, Some(true));
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let elsewhere = Publisher::start(Answer::Ok(set_of(&["a"]))).await;
    let publisher = Publisher::start(Answer::Redirect(elsewhere.url())).await;
    let refused = publisher.origin().fetch().await;
    assert!(
        matches!(refused, Err(FetchError::Status(302))),
        "{refused:?}"
    );
    assert_eq!(elsewhere.requests(), 0);
}

#[tokio::test]
async fn only_a_plain_success_counts() {
    for status in [201, 204, 304, 401, 404, 500] {
        let publisher = Publisher::start(Answer::Status(status)).await;
        let refused = publisher.origin().fetch().await;
        assert!(
            matches!(refused, Err(FetchError::Status(seen)) if seen == status),
            "{refused:?}"
        );
    }
    let publisher = Publisher::start(Answer::HangUp).await;
    let refused = publisher.origin().fetch().await.unwrap_err();
    assert!(matches!(refused, FetchError::Request(_)));
    assert!(!format!("{refused:?}{}", publisher.origin().name()).contains("secret"));
}

#[tokio::test]
async fn an_answer_is_read_up_to_its_limit_and_no_longer_than_its_time() {
    let publisher = Publisher::start(Answer::Endless).await;
    assert!(matches!(
        publisher.origin().fetch().await,
        Err(FetchError::TooLarge)
    ));
    publisher.says(Answer::TooLong);
    assert!(matches!(
        publisher.origin().fetch().await,
        Err(FetchError::TooLarge)
    ));
    publisher.says(Answer::Ok(" ".repeat(KEY_SET_BYTES_MAX)));
    assert_eq!(
        publisher.origin().fetch().await.unwrap().body.len(),
        KEY_SET_BYTES_MAX
    );
    publisher.says(Answer::Silent);
    let start = Instant::now();
    let refused = publisher.origin().fetch().await;
    assert!(
        matches!(&refused, Err(FetchError::Request(error)) if error.is_timeout()),
        "{refused:?}"
    );
    assert!(start.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn a_publisher_says_how_long_its_keys_hold() {
    for (header, seconds) in [
        ("public, max-age=120", Some(120)),
        ("MAX-AGE=\"7\"", Some(7)),
        ("max-age=120, no-cache", Some(0)),
        ("no-store", Some(0)),
        ("max-age=soon", None),
        ("private", None),
    ] {
        let publisher = Publisher::start(Answer::OkFor("{}".to_owned(), header)).await;
        let Fetched { max_age, .. } = publisher.origin().fetch().await.unwrap();
        assert_eq!(max_age, seconds.map(Duration::from_secs), "{header}");
    }
}

/// TLS needs a provider of cryptography for the process; the library panics where it finds none.
#[tokio::test]
async fn https_to_a_server_that_speaks_no_tls_is_an_error_and_no_panic() {
    let publisher = Publisher::start(Answer::Ok(set_of(&["a"]))).await;
    let url = publisher.url().replace("http:", "https:");
    for url in [url.clone(), url.replace("127.0.0.1", "localhost")] {
        let origin = HttpOrigin::new(Url::parse(&url).unwrap(), Duration::from_secs(2));
        let refused = origin.fetch().await;
        assert!(
            matches!(refused, Err(FetchError::Request(_))),
            "{refused:?}"
        );
    }
}

#[tokio::test]
async fn localhost_is_this_machine() {
    let publisher = Publisher::start(Answer::Ok(set_of(&["a"]))).await;
    let url = publisher.url().replace("127.0.0.1", "localhost");
    assert_eq!(has(&jwks(&url), "a").await, Some(true));
}

#[tokio::test]
async fn a_file_is_read_again_when_it_changes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.json");
    let clock = Arc::new(ManualClock::at(Timestamp::from_seconds(0)));
    let jwks = Jwks::new(path.to_str().unwrap().parse().unwrap(), clock.clone());
    assert_eq!(has(&jwks, "a").await, None, "there is no file yet");
    std::fs::write(&path, set_of(&["a"])).unwrap();
    clock.advance(Duration::from_secs(1));
    assert_eq!(has(&jwks, "a").await, Some(true));
    std::fs::write(&path, set_of(&["b"])).unwrap();
    assert_eq!(
        has(&jwks, "b").await,
        Some(true),
        "an unknown key is looked for at once"
    );
    std::fs::write(&path, set_of(&["c"])).unwrap();
    clock.advance(Duration::from_secs(1));
    assert_eq!(
        has(&jwks, "b").await,
        Some(false),
        "a key that is withdrawn is gone in a second"
    );
    std::fs::write(&path, "half a fi").unwrap();
    clock.advance(Duration::from_secs(1));
    assert_eq!(
        has(&jwks, "c").await,
        Some(true),
        "the last good keys serve"
    );
    std::fs::write(&path, set_of(&["d"])).unwrap();
    clock.advance(Duration::from_secs(5));
    assert_eq!(has(&jwks, "d").await, Some(true));
}

#[tokio::test]
async fn a_file_is_read_up_to_its_limit() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.json");
    let fetch = async || FileOrigin::new(path.clone()).fetch().await;
    std::fs::write(&path, " ".repeat(KEY_SET_BYTES_MAX)).unwrap();
    assert_eq!(fetch().await.unwrap().body.len(), KEY_SET_BYTES_MAX);
    std::fs::write(&path, " ".repeat(KEY_SET_BYTES_MAX + 1)).unwrap();
    assert!(matches!(fetch().await, Err(FetchError::TooLarge)));
    let refused = FileOrigin::new(folder.path().to_owned()).fetch().await;
    assert!(matches!(refused, Err(FetchError::NoFile)));
}

#[test]
fn a_location_is_a_file_or_a_safe_address() {
    let location = |text: &str| text.parse::<JwksLocation>();
    for file in ["keys.json", "/etc/mesh/keys.json", "a b", " keys.json "] {
        let path = PathBuf::from(file.trim());
        assert_eq!(location(file), Ok(JwksLocation::File(path)), "{file}");
    }
    let path = PathBuf::from("/etc/mesh/keys.json");
    assert_eq!(
        location("file:///etc/mesh/keys.json"),
        Ok(JwksLocation::File(path))
    );
    for url in [
        "https://id.example/keys",
        "HTTPS://id.example/keys",
        "http://localhost:8080/keys",
        "http://127.0.0.1/keys",
        "http://127.9.9.9/keys",
        "http://[::1]:8080/keys",
    ] {
        assert!(matches!(location(url), Ok(JwksLocation::Url(_))), "{url}");
    }
    for plain in [
        "http://id.example/keys",
        "http://localhost.evil.example/keys",
        "http://127.0.0.1.evil.example/keys",
        "http://10.0.0.1/keys",
        "http://[::2]/keys",
    ] {
        assert_eq!(location(plain), Err(InvalidLocation::Plain), "{plain}");
    }
    assert_eq!(location(" "), Err(InvalidLocation::Empty));
    assert_eq!(
        location("ftp://id.example/keys"),
        Err(InvalidLocation::Scheme)
    );
    assert_eq!(
        location("https://me:secret@id.example/"),
        Err(InvalidLocation::Credentials)
    );
    assert!(matches!(location("https://"), Err(InvalidLocation::Url(_))));
}
