//! The client against services over real sockets.

use std::sync::Mutex;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use ulid::Ulid;

use super::*;
use crate::mesh::call::arguments::ArgumentsHash;
use crate::mesh::call::operation::Subject;

/// A policy service as small as HTTP allows: it keeps what it was asked and says one thing.
struct Service {
    url: String,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Service {
    /// `answer` is a whole response; nothing hangs up.
    async fn start(answer: Option<String>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/policy/", listener.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let heard = Arc::clone(&asked);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, answer.clone(), Arc::clone(&heard)));
            }
        });
        Self { url, asked }
    }

    fn client(&self) -> PolicyService {
        let key = SecretString::from("k3y");
        PolicyService::new(&self.url, Some(&key), Duration::from_secs(30)).unwrap()
    }
}

async fn serve(mut stream: TcpStream, answer: Option<String>, heard: Arc<Mutex<Vec<String>>>) {
    let mut request = String::new();
    while !is_whole(&request) {
        let mut bytes = [0; 4096];
        match stream.read(&mut bytes).await {
            Ok(0) | Err(_) => return,
            Ok(read) => request.push_str(&String::from_utf8_lossy(&bytes[..read])),
        }
    }
    heard.lock().unwrap().push(request);
    if let Some(answer) = answer {
        let _ = stream.write_all(answer.as_bytes()).await;
    }
}

fn is_whole(request: &str) -> bool {
    let Some((head, body)) = request.split_once("\r\n\r\n") else {
        return false;
    };
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "));
    length.is_none_or(|length| body.len() >= length.parse().unwrap())
}

fn response(status: &str, body: &str) -> Option<String> {
    let length = body.len();
    Some(format!(
        "HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
    ))
}

fn question() -> Arc<Question> {
    Arc::new(Question {
        tenant_id: "acme".parse().unwrap(),
        user_id: "ada".parse().unwrap(),
        role: "user",
        tool: "kv_set",
        permission: "kv.write",
        arguments_sha256: ArgumentsHash::of("{}"),
        subject: Subject::none().with("key", "a"),
        request_id: Ulid(1),
        trace_id: Some("0af7651916cd43dd8448eb211c80319c".to_owned()),
    })
}

async fn asked(answer: Option<String>) -> Result<Ruling, Undecided> {
    let service = Service::start(answer).await;
    service.client().verify(question()).await
}

#[tokio::test]
async fn the_question_is_one_request_with_the_key_and_without_any_value() {
    let service = Service::start(response("200 OK", r#"{"allow":true,"ttl_ms":1500}"#)).await;
    let ruling = service.client().verify(question()).await.unwrap();
    let expected = Ruling {
        allow: true,
        reason: None,
        ttl: Some(Duration::from_millis(1500)),
    };
    assert_eq!(ruling, expected);
    let asked = service.asked.lock().unwrap();
    let (head, body) = asked[0].split_once("\r\n\r\n").unwrap();
    assert!(
        head.starts_with("POST /policy/verify HTTP/1.1\r\n"),
        "{head}"
    );
    assert!(head.contains("authorization: Bearer k3y\r\n"), "{head}");
    assert!(
        head.contains("content-type: application/json\r\n"),
        "{head}"
    );
    let body: serde_json::Value = serde_json::from_str(body).unwrap();
    let expected = serde_json::json!({
        "tenant_id": "acme",
        "user_id": "ada",
        "role": "user",
        "tool": "kv_set",
        "permission": "kv.write",
        "arguments_sha256": "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a",
        "subject": {"key": "a"},
        "request_id": Ulid(1).to_string(),
        "trace_id": "0af7651916cd43dd8448eb211c80319c",
    });
    assert_eq!(body, expected);
}

#[tokio::test]
async fn a_denial_has_its_reason() {
    let answer = response("200 OK", r#"{"allow":false,"reason":"no","more":1}"#);
    let ruling = asked(answer).await.unwrap();
    assert_eq!(
        (ruling.allow, ruling.reason.as_deref()),
        (false, Some("no"))
    );
}

#[tokio::test]
async fn what_is_no_answer_decides_nothing() {
    let long = format!(
        r#"{{"allow":true,"reason":"{}"}}"#,
        "x".repeat(ANSWER_BYTES_MAX)
    );
    for body in [
        "",
        "{}",
        "true",
        r#"{"allow":"true"}"#,
        r#"{"allow":1}"#,
        r#"{"allow":true,"allow":false}"#,
        r#"{"allow":true,"ttl_ms":-1}"#,
        r#"{"allow":true"#,
        &long,
    ] {
        let ruling = asked(response("200 OK", body)).await;
        assert!(matches!(ruling, Err(Undecided::Answer(_))), "{body:.40}");
    }
    for status in [
        "204 No Content",
        "302 Found",
        "400 Bad Request",
        "401 No",
        "403 No",
    ] {
        let ruling = asked(response(status, r#"{"allow":true}"#)).await;
        assert!(matches!(ruling, Err(Undecided::Answer(_))), "{status}");
    }
}

#[tokio::test]
async fn a_service_that_is_down_or_overloaded_is_an_outage() {
    for status in ["500 No", "503 No", "429 Slow", "408 Late"] {
        let ruling = asked(response(status, r#"{"allow":true}"#)).await;
        assert!(matches!(ruling, Err(Undecided::Outage(_))), "{status}");
    }
    assert!(matches!(asked(None).await, Err(Undecided::Outage(_))));
    let nobody = {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        format!("http://{}", listener.local_addr().unwrap())
    };
    let client = PolicyService::new(&nobody, None, Duration::from_secs(30)).unwrap();
    assert!(matches!(
        client.verify(question()).await,
        Err(Undecided::Outage(_))
    ));
}

#[tokio::test]
async fn an_answer_at_the_limit_of_size_is_read() {
    let shell = r#"{"allow":true,"reason":""}"#.len();
    let body = format!(
        r#"{{"allow":true,"reason":"{}"}}"#,
        "x".repeat(ANSWER_BYTES_MAX - shell)
    );
    assert!(asked(response("200 OK", &body)).await.unwrap().allow);
}

#[test]
fn a_service_is_reached_in_a_way_that_nobody_else_can_answer_on() {
    let of = |url: &str| verify_url(url).map(String::from);
    assert_eq!(of("https://a.example").unwrap(), "https://a.example/verify");
    assert_eq!(
        of("http://[::1]:8080/x/").unwrap(),
        "http://[::1]:8080/x/verify"
    );
    assert_eq!(of("http://a.example"), Err(InvalidService::Plain));
    assert_eq!(of("ftp://localhost"), Err(InvalidService::Plain));
    for more in [
        "https://u@a.example",
        "https://a.example?x",
        "https://a.example#x",
    ] {
        assert_eq!(of(more), Err(InvalidService::More));
    }
    assert!(matches!(of("policy"), Err(InvalidService::Url(_))));
}

#[test]
fn a_key_is_what_a_header_can_hold_and_is_not_shown() {
    let of = |key: &str| bearer(&SecretString::from(key));
    assert!(of(&"k".repeat(KEY_BYTES_MAX)).is_ok());
    for wrong in ["", "a b", "ä", "a\r\nb", &"k".repeat(KEY_BYTES_MAX + 1)] {
        assert_eq!(of(wrong), Err(InvalidService::Key));
    }
    assert!(!format!("{:?}", of("secret").unwrap()).contains("secret"));
}
