//! What is recorded of every call, and what happens to who calls too often.

use std::time::Duration;

use futures::future::join_all;
use serde_json::{Value, json};
use tokio::time::sleep;

use super::super::client::{Client, Reply};
use super::super::narrator::{Narrator, Wrong};
use super::super::people::{ADA, BEN, EVE, Person};
use super::data::text;

/// What an agent tells the others.
const SHIPPED: &str = "Order.Shipped";

/// How often a query is repeated while events are still on their way.
const LOOKS_MAX: u32 = 40;

/// The pause between two looks.
const LOOK: Duration = Duration::from_millis(250);

/// How many listings are asked for at once where one a second is allowed.
const LISTINGS: usize = 4;

/// Events: sent by an agent, and left by every call.
pub(super) async fn events(client: &Client, narrator: &mut Narrator<'_>) -> Result<(), Wrong> {
    narrator.act("Events: every call leaves one, and agents send their own");
    let shipped = narrator
        .step(
            format!("ben@acme tells the others that an order was shipped: events_send {SHIPPED}"),
            async {
                let arguments = json!({
                    "detail_type": SHIPPED, "detail": {"order": 4711}, "priority": "high",
                });
                let sent = client.call(&BEN, "events_send", arguments).await?.done()?;
                let id = text(&sent, "event_id")?.to_owned();
                let answer = format!("event {id}, recorded for good");
                Ok((id, answer))
            },
        )
        .await?;
    narrator
        .step(
            "ada@acme asks what has happened at acme: events_query",
            async {
                let arguments = json!({"order": "asc", "limit": 100});
                let is_there = |events: &[Value]| find(events, "event_id", &shipped).is_some();
                let events = query(client, &ADA, arguments, is_there).await?;
                let order =
                    find(&events, "event_id", &shipped).ok_or("ben's event is not there")?;
                if order["detail"] != json!({"order": 4711}) || order["user_id"] != "ben" {
                    return Err(format!("ben's event came back as {order}"));
                }
                let denied =
                    find(&events, "outcome", "denied").ok_or("what cleo tried is not there")?;
                if denied["user_id"] != "cleo" {
                    return Err(format!("somebody else was denied something: {denied}"));
                }
                if let Some(foreign) = find(&events, "user_id", "eve") {
                    return Err(format!(
                        "an event of globex is among those of acme: {foreign}"
                    ));
                }
                let lines: Vec<String> = events.iter().map(line).collect();
                Ok(((), lines.join("\n")))
            },
        )
        .await?;
    narrator
        .step("eve@globex asks the same", async {
            let events = query(
                client,
                &EVE,
                json!({"order": "asc", "limit": 100}),
                |events| !events.is_empty(),
            )
            .await?;
            let foreign = events.iter().find(|event| event["user_id"] != "eve");
            match foreign {
                Some(foreign) => Err(format!(
                    "an event of acme is among those of globex: {foreign}"
                )),
                None => Ok(((), format!("{} events, all of globex", events.len()))),
            }
        })
        .await
}

/// A limit that one tenant meets and the other does not notice.
pub(super) async fn limits(client: &Client, narrator: &mut Narrator<'_>) -> Result<(), Wrong> {
    narrator.act("A limit, met and explained");
    let wait = narrator
        .step(format!("globex may list files once a second (s3_list = 1); eve@globex lists {LISTINGS} times at once"), async {
            let (mut done, mut refused) = (0, Vec::new());
            for reply in list_at_once(client, &EVE).await {
                match reply? {
                    Reply::Done(_) => done += 1,
                    other => refused.push(other.failed("RATE_LIMITED")?),
                }
            }
            let wait = |error: &Value| error["retry_after_ms"].as_u64();
            let last = refused.iter().max_by_key(|error| wait(error)).ok_or("no limit was met")?;
            let wait = wait(last).ok_or("the refusal does not say how long to wait")?;
            let answer = format!(
                "{done} done, {} refused with RATE_LIMITED: {}\n{} (retry_after_ms: {wait})",
                refused.len(),
                text(last, "message")?,
                text(last, "fix")?,
            );
            Ok((wait, answer))
        })
        .await?;
    narrator
        .step(
            format!("ada@acme lists {LISTINGS} times at once in the meantime"),
            async {
                for reply in list_at_once(client, &ADA).await {
                    reply?.done()?;
                }
                Ok((
                    (),
                    format!(
                        "all {LISTINGS} done: the limits of one tenant are not those of another"
                    ),
                ))
            },
        )
        .await?;
    narrator
        .step(
            format!("eve@globex waits the {wait} ms that she was told, and lists again"),
            async {
                sleep(Duration::from_millis(wait)).await;
                client
                    .call(&EVE, "artifacts_list", json!({}))
                    .await?
                    .done()?;
                Ok(((), "done".to_owned()))
            },
        )
        .await
}

/// What the server had recorded before it was killed.
pub(super) async fn survived(client: &Client, narrator: &mut Narrator<'_>) -> Result<(), Wrong> {
    narrator
        .step(
            "ada@acme looks for the event of her last call before the crash: events_query",
            async {
                let arguments = json!({"tool": "kv_set", "order": "desc", "limit": 20});
                let is_there = |events: &[Value]| events.iter().any(is_last_call);
                let events = query(client, &ADA, arguments, is_there).await?;
                let event = events.iter().find(|event| is_last_call(event));
                let event = event.ok_or("the event of the last call is lost")?;
                Ok(((), line(event)))
            },
        )
        .await
}

fn is_last_call(event: &Value) -> bool {
    event["detail_type"] == "KV.Set" && event["detail"]["key"] == "last-words"
}

async fn list_at_once(client: &Client, who: &Person) -> Vec<Result<Reply, String>> {
    let listings = (0..LISTINGS).map(|_| client.call(who, "artifacts_list", json!({})));
    join_all(listings).await
}

/// The events that a query finds; it is repeated until it finds what it should, for some seconds.
async fn query(
    client: &Client,
    who: &Person,
    arguments: Value,
    is_complete: impl Fn(&[Value]) -> bool,
) -> Result<Vec<Value>, String> {
    let mut looks = 0;
    loop {
        let mut answer = client
            .call(who, "events_query", arguments.clone())
            .await?
            .done()?;
        let events = match answer["events"].take() {
            Value::Array(events) => events,
            other => return Err(format!("a list of events was due, and this came: {other}")),
        };
        looks += 1;
        if is_complete(&events) || looks == LOOKS_MAX {
            return Ok(events);
        }
        sleep(LOOK).await;
    }
}

fn find<'events>(events: &'events [Value], member: &str, value: &str) -> Option<&'events Value> {
    events.iter().find(|event| event[member] == value)
}

/// An event on one line: what, who, how it ended, about what.
fn line(event: &Value) -> String {
    let text = |name: &str| event[name].as_str().unwrap_or("-");
    let about = match (&event["error_code"], &event["detail"]) {
        (Value::String(code), _) => code.clone(),
        (_, detail) if detail["key"].is_string() => detail["key"].to_string(),
        (_, detail) => detail.to_string(),
    };
    let (kind, who, outcome) = (text("detail_type"), text("user_id"), text("outcome"));
    format!("{kind:16} by {who:4}  {outcome:7}  {about}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_told_on_one_line() {
        let event = |outcome: &str, code: Option<&str>, detail: Value| {
            let mut event = json!({
                "detail_type": "KV.Set", "user_id": "ada", "outcome": outcome, "detail": detail,
            });
            if let Some(code) = code {
                event["error_code"] = json!(code);
            }
            line(&event)
        };
        let key = json!({"key": "plan", "scope": "user"});
        assert_eq!(
            event("ok", None, key),
            r#"KV.Set           by ada   ok       "plan""#
        );
        assert_eq!(
            event("denied", Some("PERMISSION_DENIED"), json!({})),
            "KV.Set           by ada   denied   PERMISSION_DENIED"
        );
        let order = json!({"order": 4711});
        assert_eq!(
            event("ok", None, order),
            r#"KV.Set           by ada   ok       {"order":4711}"#
        );
    }
}
