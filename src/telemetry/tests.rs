//! What is logged at which level, by whom, and how.

use std::sync::{Arc, Mutex};

use super::*;

#[derive(Clone, Default)]
struct Captured(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Captured {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn settings(level: LogLevel, rust_log: Option<&str>, format: LogFormat) -> LogSettings {
    LogSettings {
        level,
        directives: rust_log.map(str::to_owned),
        format,
        folder: None,
    }
}

/// What is logged when each of seven targets says something at each level.
fn logged(settings: &LogSettings) -> String {
    let captured = Captured::default();
    let writer = captured.clone();
    let log = Registry::default().with(layer(settings, false, move || writer.clone()));
    macro_rules! at_every_level {
        ($($target:literal)*) => {$(
            tracing::error!(target: $target, "error");
            tracing::warn!(target: $target, "warn");
            tracing::info!(target: $target, "info");
            tracing::debug!(target: $target, "debug");
            tracing::trace!(target: $target, "trace");
        )*};
    }
    tracing::subscriber::with_default(log, || {
        at_every_level!("agent_mesh::mesh" "rmcp::service" "aws_smithy_runtime::client" "hyper_util::client" "s3s::ops" "dynoxide::actions" "tungstenite::handshake");
    });
    let bytes = captured.0.lock().unwrap().clone();
    String::from_utf8(bytes).unwrap()
}

/// How many levels `target` logged at.
fn count(text: &str, target: &str) -> usize {
    text.lines().filter(|line| line.contains(target)).count()
}

fn counts(level: LogLevel, rust_log: Option<&str>) -> [usize; 4] {
    let text = logged(&settings(level, rust_log, LogFormat::Text));
    ["agent_mesh::", "rmcp::", "aws_smithy", "hyper_util"].map(|target| count(&text, target))
}

#[test]
fn libraries_are_quiet_and_rmcp_never_logs_what_is_called() {
    assert_eq!(counts(LogLevel::Error, None), [1, 1, 1, 1]);
    assert_eq!(counts(LogLevel::Warn, None), [2, 1, 2, 2]);
    assert_eq!(counts(LogLevel::Info, None), [3, 1, 2, 2]);
    assert_eq!(counts(LogLevel::Debug, None), [4, 1, 4, 4]);
    assert_eq!(counts(LogLevel::Trace, None), [5, 1, 4, 5]);
}

#[test]
fn the_embedded_parts_never_log_requests() {
    for (level, expected) in [
        (LogLevel::Info, 2),
        (LogLevel::Debug, 3),
        (LogLevel::Trace, 3),
    ] {
        let text = logged(&settings(level, None, LogFormat::Text));
        assert_eq!(count(&text, "s3s::"), expected);
        assert_eq!(count(&text, "dynoxide::"), expected);
        assert_eq!(
            count(&text, "tungstenite::"),
            3,
            "nor what it signs in with"
        );
    }
}

#[test]
fn rust_log_wins_and_must_name_rmcp_to_hear_it() {
    assert_eq!(counts(LogLevel::Error, Some("trace")), [5, 1, 4, 5]);
    assert_eq!(
        counts(LogLevel::Error, Some("trace,rmcp=debug")),
        [5, 4, 4, 5]
    );
    assert_eq!(
        counts(LogLevel::Error, Some("info,aws_smithy_runtime=trace")),
        [3, 1, 5, 3]
    );
    assert_eq!(
        counts(LogLevel::Trace, Some("agent_mesh=debug")),
        [4, 0, 0, 0]
    );
    assert_eq!(counts(LogLevel::Trace, Some("off")), [0, 0, 0, 0]);
    assert_eq!(counts(LogLevel::Info, Some("rmcp::service")), [0, 5, 0, 0]);
}

#[test]
fn brackets_hold_commas_together() {
    let text = "info,[call{tool=\"a\",user=b}]=debug,rmcp[x]=trace";
    assert_eq!(split(text).count(), 3);
    assert_eq!(targets(text), ["rmcp"]);
    assert_eq!(general_level(text), LevelFilter::INFO);
    assert_eq!(general_level("a=debug"), LevelFilter::OFF);
}

#[test]
fn a_line_of_json_is_json_and_no_line_has_colour() {
    let text = logged(&settings(LogLevel::Trace, None, LogFormat::Json));
    assert!(text.lines().count() > 10);
    for line in text.lines() {
        let value: serde_json::Value = serde_json::from_str(line).unwrap();
        assert!(
            value["timestamp"].as_str().unwrap().ends_with('Z'),
            "{line}"
        );
        assert!(
            value["level"].is_string() && value["message"].is_string(),
            "{line}"
        );
    }
    assert!(!text.contains('\u{1b}'));
    let text = logged(&settings(LogLevel::Trace, None, LogFormat::Text));
    assert!(!text.contains('\u{1b}'));
}

#[test]
fn a_line_of_the_access_log_says_what_it_knows_and_is_turned_off_by_its_target() {
    let access = |rust_log| {
        let captured = Captured::default();
        let writer = captured.clone();
        let settings = settings(LogLevel::Info, rust_log, LogFormat::Json);
        let log = Registry::default().with(layer(&settings, false, move || writer.clone()));
        let tenant = "acme";
        let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let whole = access::Access {
            method: "POST",
            route: "/tools/{name}",
            status: 200,
            bytes: Some(31),
            took: std::time::Duration::from_micros(1500),
            tenant: Some(tenant),
            request_id: "01K0000000000000000000000A".parse().ok(),
            trace: trace.parse().ok(),
        };
        tracing::subscriber::with_default(log, || {
            whole.log();
            access::Access {
                bytes: None,
                tenant: None,
                request_id: None,
                trace: None,
                ..whole
            }
            .log();
        });
        let bytes = captured.0.lock().unwrap().clone();
        let lines = serde_json::Deserializer::from_slice(&bytes).into_iter();
        lines
            .map(Result::unwrap)
            .collect::<Vec<serde_json::Value>>()
    };
    let [mut whole, mut bare] = <[_; 2]>::try_from(access(None)).unwrap();
    for line in [&mut whole, &mut bare] {
        let line = line.as_object_mut().unwrap();
        assert!(line.remove("timestamp").is_some());
    }
    let common = serde_json::json!({"level": "INFO", "target": "access", "method": "POST",
        "route": "/tools/{name}", "status": 200, "ms": 1.5});
    assert_eq!(bare, common);
    let known = serde_json::json!({"bytes": 31, "tenant": "acme",
        "request_id": "01K0000000000000000000000A", "trace_id": "0af7651916cd43dd8448eb211c80319c"});
    let mut expected = common;
    expected
        .as_object_mut()
        .unwrap()
        .extend(known.as_object().unwrap().clone());
    assert_eq!(whole, expected);
    assert!(access(Some("info,access=off")).is_empty());
    assert_eq!(access(Some("warn,access=info")).len(), 2);
}
