//! Notices and subscriptions: throttles, states of a subscription, topics that go away, and what AWS denies.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use agent_mesh::mesh::store::Topics;
use agent_mesh::mesh::store::topics::{MailSubscription, Mailbox, Notice, SubscriptionState};
use agent_mesh::mesh::{Error, ErrorKind};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;

use super::{Answer, Cloud, tenant};

super::scripted![
    throttles_are_waited_for_in_every_way_that_they_are_told,
    throttles_without_end_are_told,
    a_notice_that_failed_may_have_reached_some,
    a_pending_subscription_becomes_confirmed_or_goes,
    a_pending_subscription_cannot_be_ended,
    a_subscription_that_is_not_seen_yet_is_pending,
    an_arn_that_is_not_told_is_none,
    an_address_is_looked_for_on_every_page,
    a_filter_that_somebody_changed_is_set_right,
    a_topic_that_goes_away_is_made_anew,
    an_operators_topic_that_is_gone_is_waited_for_by_nobody,
    every_refusal_has_its_kind,
];

const TOPIC: &str = "arn:aws:sns:us-west-2:123456789012:agent-mesh-alerts-acme";
const ADA: &str = "arn:aws:sns:us-west-2:123456789012:agent-mesh-alerts-acme:0c4b";

fn action(request: &HttpRequest) -> String {
    let body = std::str::from_utf8(request.body().bytes().unwrap()).unwrap();
    let action = body
        .split('&')
        .find_map(|pair| pair.strip_prefix("Action="));
    action.unwrap().to_owned()
}

fn ok(action: &str, result: &str) -> Answer {
    Some((
        200,
        format!("<{action}Response><{action}Result>{result}</{action}Result></{action}Response>"),
    ))
}

fn error(status: u16, code: &str, message: &str) -> Answer {
    Some((
        status,
        format!(
            "<ErrorResponse><Error><Type>Sender</Type><Code>{code}</Code><Message>{message}</Message></Error></ErrorResponse>"
        ),
    ))
}

fn topic() -> Answer {
    ok("CreateTopic", &format!("<TopicArn>{TOPIC}</TopicArn>"))
}

fn subscribed(arn: &str) -> Answer {
    ok(
        "Subscribe",
        &format!("<SubscriptionArn>{arn}</SubscriptionArn>"),
    )
}

fn attributes(pending: bool) -> Answer {
    let entry = format!("<entry><key>PendingConfirmation</key><value>{pending}</value></entry>");
    ok(
        "GetSubscriptionAttributes",
        &format!("<Attributes>{entry}</Attributes>"),
    )
}

fn listed(members: &[(&str, &str)], next: Option<&str>) -> Answer {
    let members: String = members
        .iter()
        .map(|(address, arn)| {
            format!(
                "<member><TopicArn>{TOPIC}</TopicArn><Protocol>email</Protocol><Endpoint>{address}</Endpoint><SubscriptionArn>{arn}</SubscriptionArn></member>"
            )
        })
        .collect();
    let next = next.map_or_else(String::new, |next| format!("<NextToken>{next}</NextToken>"));
    ok(
        "ListSubscriptionsByTopic",
        &format!("<Subscriptions>{members}</Subscriptions>{next}"),
    )
}

fn mailbox(known: Option<&'static str>) -> Mailbox<'static> {
    Mailbox {
        topic: TOPIC,
        address: "ada@example.com",
        known,
    }
}

fn notice() -> Notice {
    Notice {
        subject: "order failed".to_owned(),
        text: "text".to_owned(),
        alerts: Vec::new(),
        addresses: vec!["ada@example.com".to_owned()],
    }
}

async fn publish(cloud: &Cloud) -> Result<(), Error> {
    cloud
        .topics
        .publish(&tenant("acme"), TOPIC, &notice())
        .await
}

async fn subscribe(cloud: &Cloud) -> Result<MailSubscription, Error> {
    cloud.topics.subscribe(&tenant("acme"), mailbox(None)).await
}

async fn subscription(cloud: &Cloud, known: Option<&'static str>) -> MailSubscription {
    let tenant = tenant("acme");
    let found = cloud.topics.subscription(&tenant, mailbox(known)).await;
    found.unwrap()
}

fn is(state: SubscriptionState, arn: Option<&str>) -> MailSubscription {
    MailSubscription {
        arn: arn.map(str::to_owned),
        state,
    }
}

async fn throttles_are_waited_for_in_every_way_that_they_are_told() {
    for (status, code) in [
        (400, "Throttling"),
        (429, "Throttled"),
        (503, "ServiceUnavailable"),
    ] {
        let requests = AtomicUsize::new(0);
        let (cloud, wire) = Cloud::answering(move |_| {
            if requests.fetch_add(1, Ordering::SeqCst) < 2 {
                error(status, code, "Rate exceeded")
            } else {
                ok("Publish", "<MessageId>1</MessageId>")
            }
        });
        publish(&cloud).await.unwrap();
        assert_eq!(wire.count(), 3, "{code}");
    }
}

async fn throttles_without_end_are_told() {
    for (status, code) in [(400, "Throttling"), (429, "Throttled")] {
        let (cloud, wire) = Cloud::answering(move |_| error(status, code, "Rate exceeded"));
        let told = publish(&cloud).await.unwrap_err();
        assert_eq!(told.kind(), ErrorKind::AwsThrottled, "{code}");
        assert!(told.wait().is_some());
        assert_eq!(wire.count(), 3, "{code}");
    }
}

async fn a_notice_that_failed_may_have_reached_some() {
    for (status, code, may_be_done) in [(500, "InternalError", true), (400, "Throttling", false)] {
        let (cloud, _) = Cloud::answering(move |_| error(status, code, ""));
        let told = publish(&cloud).await.unwrap_err();
        assert_eq!(told.may_be_done(), may_be_done, "{code}");
    }
    let requests = AtomicUsize::new(0);
    let (cloud, _) = Cloud::answering(move |_| match requests.fetch_add(1, Ordering::SeqCst) {
        0 => ok("Publish", "<MessageId>1</MessageId>"),
        _ => error(404, "NotFound", ""),
    });
    let notice = Notice {
        addresses: (0..101)
            .map(|number| format!("{number}@example.com"))
            .collect(),
        ..notice()
    };
    let told = cloud.topics.publish(&tenant("acme"), TOPIC, &notice).await;
    assert!(told.unwrap_err().may_be_done());
}

async fn a_pending_subscription_becomes_confirmed_or_goes() {
    let looks = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&looks);
    let (cloud, _) = Cloud::answering(move |request| match action(request).as_str() {
        "Subscribe" => subscribed(ADA),
        "ListSubscriptionsByTopic" => listed(&[("ada@example.com", "Deleted")], None),
        _ => match counted.fetch_add(1, Ordering::SeqCst) {
            0 | 1 => attributes(true),
            2 => attributes(false),
            _ => error(404, "NotFound", "Subscription does not exist"),
        },
    });
    let pending = is(SubscriptionState::Pending, Some(ADA));
    assert_eq!(subscribe(&cloud).await.unwrap(), pending);
    assert_eq!(subscription(&cloud, Some(ADA)).await, pending);
    let confirmed = is(SubscriptionState::Confirmed, Some(ADA));
    assert_eq!(subscription(&cloud, Some(ADA)).await, confirmed);
    let gone = is(SubscriptionState::Gone, None);
    assert_eq!(subscription(&cloud, Some(ADA)).await, gone);
}

async fn a_pending_subscription_cannot_be_ended() {
    let (cloud, _) = Cloud::answering(|request| match action(request).as_str() {
        "GetSubscriptionAttributes" => attributes(true),
        "ListSubscriptionsByTopic" => listed(&[("ada@example.com", "PendingConfirmation")], None),
        other => panic!("{other} must not be asked for"),
    });
    for known in [None, Some(ADA)] {
        let tenant = tenant("acme");
        let ended = cloud.topics.unsubscribe(&tenant, mailbox(known)).await;
        assert!(!ended.unwrap());
    }
}

async fn a_subscription_that_is_not_seen_yet_is_pending() {
    let (cloud, _) = Cloud::answering(|request| match action(request).as_str() {
        "Subscribe" => subscribed(ADA),
        _ => error(404, "NotFound", "Subscription does not exist"),
    });
    let pending = is(SubscriptionState::Pending, Some(ADA));
    assert_eq!(subscribe(&cloud).await.unwrap(), pending);
}

async fn an_arn_that_is_not_told_is_none() {
    let (cloud, _) = Cloud::answering(|_| subscribed("pending confirmation"));
    let pending = is(SubscriptionState::Pending, None);
    assert_eq!(subscribe(&cloud).await.unwrap(), pending);
}

async fn an_address_is_looked_for_on_every_page() {
    let (cloud, wire) = Cloud::answering(|request| {
        let body = std::str::from_utf8(request.body().bytes().unwrap()).unwrap();
        if body.contains("NextToken=two") {
            listed(&[("Ada@Example.com", ADA)], None)
        } else {
            listed(
                &[
                    ("bob@example.com", "arn:bob"),
                    ("ada@example.com", "Deleted"),
                ],
                Some("two"),
            )
        }
    });
    let confirmed = is(SubscriptionState::Confirmed, Some(ADA));
    assert_eq!(subscription(&cloud, None).await, confirmed);
    assert_eq!(wire.count(), 2);
    // A list that never ends is not read for ever.
    let (cloud, wire) = Cloud::answering(|_| listed(&[("bob@example.com", "arn:bob")], Some("x")));
    let gone = is(SubscriptionState::Gone, None);
    assert_eq!(subscription(&cloud, None).await, gone);
    assert_eq!(wire.count(), 10);
}

async fn a_filter_that_somebody_changed_is_set_right() {
    let (cloud, wire) = Cloud::answering(|request| {
        let body = std::str::from_utf8(request.body().bytes().unwrap()).unwrap();
        match action(request).as_str() {
            "Subscribe" if body.contains("FilterPolicy") => error(
                400,
                "InvalidParameter",
                "Invalid parameter: Attributes Reason: Subscription already exists with different attributes",
            ),
            "Subscribe" => subscribed(ADA),
            "SetSubscriptionAttributes" => {
                assert!(body.contains("ada%40example.com"), "{body}");
                ok("SetSubscriptionAttributes", "")
            }
            _ => attributes(false),
        }
    });
    let confirmed = is(SubscriptionState::Confirmed, Some(ADA));
    assert_eq!(subscribe(&cloud).await.unwrap(), confirmed);
    assert_eq!(wire.count(), 4);
}

async fn a_topic_that_goes_away_is_made_anew() {
    let (cloud, wire) = Cloud::answering(|request| match action(request).as_str() {
        "CreateTopic" => topic(),
        _ => error(404, "NotFound", "Topic does not exist"),
    });
    let acme = tenant("acme");
    for made in 1..=2 {
        for _ in 0..2 {
            assert_eq!(cloud.topics.tenant_topic(&acme).await.unwrap(), TOPIC);
        }
        let told = publish(&cloud).await.unwrap_err();
        assert_eq!(told.kind(), ErrorKind::AwsUnavailable);
        assert_eq!(wire.count(), made * 2);
    }
}

async fn an_operators_topic_that_is_gone_is_waited_for_by_nobody() {
    let (cloud, _) = Cloud::answering(|_| error(404, "NotFound", "Topic does not exist"));
    let acme = tenant("acme");
    let topic = "arn:aws:sns:us-west-2:123456789012:ops";
    let told = cloud.topics.publish(&acme, topic, &notice()).await;
    let told = told.unwrap_err();
    assert_eq!(told.kind(), ErrorKind::NotFound);
    assert!(!told.message().contains("ops") && told.fix_text().is_some());
}

async fn every_refusal_has_its_kind() {
    for (status, code, message, kind) in [
        (
            400,
            "InvalidParameter",
            "Invalid parameter: Email address",
            ErrorKind::InvalidParameter,
        ),
        (
            403,
            "FilterPolicyLimitExceeded",
            "",
            ErrorKind::QuotaExceeded,
        ),
        (
            403,
            "SubscriptionLimitExceeded",
            "",
            ErrorKind::QuotaExceeded,
        ),
        (
            403,
            "AuthorizationError",
            "arn:aws:sts::123456789012:x",
            ErrorKind::AwsCredentials,
        ),
        (400, "KMSAccessDenied", "", ErrorKind::AwsCredentials),
        (400, "KMSDisabled", "", ErrorKind::AwsUnavailable),
        (500, "InternalError", "", ErrorKind::AwsUnavailable),
    ] {
        let (cloud, _) = Cloud::answering(move |_| error(status, code, message));
        let told = subscribe(&cloud).await.unwrap_err();
        assert_eq!(told.kind(), kind, "{code}");
        assert!(told.fix_text().is_some(), "{code}");
        assert!(!told.message().contains("arn:"), "{code}: {told}");
        let denied = cloud.topics.check(TOPIC).await.unwrap_err();
        assert_eq!(denied.kind(), kind, "{code}");
    }
}
