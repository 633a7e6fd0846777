//! What an alert says: a text for people who get mail, JSON for what listens to an operator's topic.

use std::fmt::Write as _;

use serde::Serialize;
use serde_json::value::RawValue;
use ulid::Ulid;

use crate::mesh::event::record::{Event, Outcome};
use crate::mesh::event::rule::Alert;
use crate::mesh::store::topics::Notice;
use crate::mesh::tenant::TenantId;
use crate::mesh::{Error, Timestamp};

/// How much of an event's detail a mail tells, in bytes.
const MAIL_DETAIL_BYTES_MAX: usize = 16 << 10;

/// A larger detail is left out of a notice to a topic, which then has its size; well within
/// [`NOTICE_BYTES_MAX`](crate::mesh::store::topics::NOTICE_BYTES_MAX).
const TOPIC_DETAIL_BYTES_MAX: usize = 64 << 10;

/// How many names of alerts a notice tells.
const NAMES_TOLD_MAX: usize = 50;

/// What a notice to a topic says: one JSON object.
#[derive(Serialize)]
struct Told<'a> {
    tenant_id: &'a TenantId,
    alerts: Vec<&'a str>,
    event_id: Ulid,
    time: Timestamp,
    detail_type: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<&'a str>,
    tool: &'a str,
    outcome: Outcome,
    user_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail_bytes: Option<usize>,
}

/// The one mail for all `alerts` that an event has raised and that are mailed.
pub(super) fn to_people(event: &Event, alerts: &[&Alert], addresses: Vec<String>) -> Notice {
    let mut text = String::new();
    let names = names_of(alerts).join(", ");
    let (data, cut) = cut(event.data.get(), MAIL_DETAIL_BYTES_MAX);
    // Writing to a text cannot fail.
    let _ = writeln!(
        text,
        "An event of the tenant {} has raised: {names}",
        event.tenant_id
    );
    let _ = writeln!(text);
    let _ = writeln!(text, "Event:   {}", event.detail_type);
    let _ = writeln!(text, "Time:    {}", event.time);
    if let Some(source) = &event.source {
        let _ = writeln!(text, "Source:  {source}");
    }
    let _ = writeln!(text, "Tool:    {}", event.tool);
    let _ = writeln!(text, "Outcome: {}", outcome(event));
    let _ = writeln!(text, "User:    {}", event.user_id);
    let _ = writeln!(text, "Id:      {}", event.event_id);
    let _ = writeln!(text, "Detail:  {data}{cut}");
    Notice {
        subject: subject(event, &names),
        text,
        alerts: ids_of(alerts),
        addresses,
    }
}

/// The one notice for all `alerts` that an event has raised and that go to the same topic.
///
/// # Errors
/// `INTERNAL`, which cannot happen.
pub(super) fn to_topic(event: &Event, alerts: &[&Alert]) -> Result<Notice, Error> {
    let is_large = event.data.get().len() > TOPIC_DETAIL_BYTES_MAX;
    let told = Told {
        tenant_id: &event.tenant_id,
        alerts: names_of(alerts),
        event_id: event.event_id,
        time: event.time,
        detail_type: &event.detail_type,
        source: event.source.as_deref(),
        tool: &event.tool,
        outcome: event.outcome,
        user_id: event.user_id.as_str(),
        detail: (!is_large).then_some(&*event.data),
        detail_bytes: is_large.then(|| event.data.get().len()),
    };
    let text = serde_json::to_string(&told)
        .map_err(|cause| Error::internal("a notice is no JSON").caused_by(cause))?;
    Ok(Notice {
        subject: subject(event, &told.alerts.join(", ")),
        text,
        alerts: ids_of(alerts),
        addresses: Vec::new(),
    })
}

fn subject(event: &Event, names: &str) -> String {
    format!("[{}] {}: {names}", event.tenant_id, event.detail_type)
}

fn names_of<'a>(alerts: &[&'a Alert]) -> Vec<&'a str> {
    let named = alerts.iter().take(NAMES_TOLD_MAX);
    named.map(|alert| alert.name.as_str()).collect()
}

fn ids_of(alerts: &[&Alert]) -> Vec<String> {
    alerts.iter().map(|alert| alert.id.to_string()).collect()
}

fn outcome(event: &Event) -> String {
    let word = match event.outcome {
        Outcome::Ok => "ok",
        Outcome::Error => "error",
        Outcome::Denied => "denied",
        Outcome::Limited => "limited",
        Outcome::Unknown => "unknown",
    };
    match &event.error_code {
        Some(code) => format!("{word} ({code})"),
        None => word.to_owned(),
    }
}

/// The beginning of `text`, and a word about the rest where there is one.
fn cut(text: &str, bytes_max: usize) -> (&str, &'static str) {
    match text.len() <= bytes_max {
        true => (text, ""),
        false => (
            &text[..text.floor_char_boundary(bytes_max)],
            " ... (cut; events_query has all of it)",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mesh::event::fakes::event;
    use crate::mesh::event::rule::{Delivery, Trigger};
    use crate::mesh::store::topics::NOTICE_BYTES_MAX;

    fn alert(name: &str) -> Alert {
        Alert {
            name: name.to_owned(),
            id: Ulid::generate(),
            trigger: Trigger::Rule("orders".to_owned()),
            delivery: Delivery::Mail {
                address: "ada@example.com".to_owned(),
                subscription: None,
            },
            created_at: Timestamp::from_millis(0),
            created_by: "ada".parse().unwrap(),
        }
    }

    fn large() -> Event {
        let mut event = event("acme", 1_700_000_000_000);
        let text = "ä\u{1}".repeat(30_000);
        event.data = serde_json::value::to_raw_value(&serde_json::json!({ "text": text })).unwrap();
        event
    }

    #[test]
    fn a_mail_tells_the_event_and_all_alerts_but_no_address() {
        let (one, two) = (alert("one"), alert("two"));
        let addresses = vec!["ada@example.com".to_owned()];
        let event = event("acme", 1_700_000_000_000);
        let notice = to_people(&event, &[&one, &two], addresses.clone());
        assert_eq!(notice.subject, "[acme] KV.Set: one, two");
        assert_eq!(notice.alerts, [one.id.to_string(), two.id.to_string()]);
        assert_eq!(notice.addresses, addresses);
        for part in [
            "one, two",
            "KV.Set",
            "2023-11-14T22:13:20.000Z",
            r#"{"key":"a/b"}"#,
            &event.event_id.to_string(),
        ] {
            assert!(notice.text.contains(part), "{part}: {}", notice.text);
        }
        assert!(!notice.text.contains("example.com"));
    }

    #[test]
    fn a_topic_gets_json_with_the_detail() {
        let mut event = event("acme", 1_700_000_000_000);
        event.source = Some("till".to_owned());
        let notice = to_topic(&event, &[&alert("one")]).unwrap();
        let value: serde_json::Value = serde_json::from_str(&notice.text).unwrap();
        assert_eq!(value["tenant_id"], "acme");
        assert_eq!(value["alerts"][0], "one");
        assert_eq!(value["source"], "till");
        assert_eq!(value["detail"]["key"], "a/b");
        assert_eq!(value.get("detail_bytes"), None);
        assert!(notice.addresses.is_empty());
    }

    #[test]
    fn however_large_an_event_is_its_notices_fit() {
        let event = large();
        let alerts: Vec<Alert> = (0..1000).map(|_| alert(&"n".repeat(64))).collect();
        let alerts: Vec<&Alert> = alerts.iter().collect();
        let mail = to_people(&event, &alerts, Vec::new());
        assert!(mail.text.len() <= NOTICE_BYTES_MAX);
        assert!(mail.text.contains("cut;"));
        let topic = to_topic(&event, &alerts).unwrap();
        assert!(topic.text.len() <= NOTICE_BYTES_MAX);
        let value: serde_json::Value = serde_json::from_str(&topic.text).unwrap();
        assert_eq!(value["detail_bytes"], event.data.get().len());
    }
}
