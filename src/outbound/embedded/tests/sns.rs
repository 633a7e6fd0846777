//! Topics and subscriptions as the SDK meets them, and the mails that come of them.

use aws_sdk_sns::error::ProvideErrorMetadata;
use aws_sdk_sns::types::MessageAttributeValue;

use super::*;
use crate::outbound::embedded::{Fault, Service};

const OPERATOR_TOPIC: &str = "arn:aws:sns:us-west-2:000000000000:ops";

fn sns(cloud: &EmbeddedCloud) -> aws_sdk_sns::Client {
    aws_sdk_sns::Client::new(&config(cloud))
}

/// The texts of the mails in the folder, the oldest first.
fn mails(folder: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(folder.join("mail")) else {
        return Vec::new();
    };
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let texts = paths.iter().map(|path| {
        assert_eq!(path.extension().unwrap(), "eml");
        std::fs::read_to_string(path).unwrap()
    });
    texts.collect()
}

fn list(texts: &[&str]) -> MessageAttributeValue {
    MessageAttributeValue::builder()
        .data_type("String.Array")
        .string_value(serde_json::json!(texts).to_string())
        .build()
        .unwrap()
}

async fn made(client: &aws_sdk_sns::Client, name: &str) -> String {
    let topic = client.create_topic().name(name).send().await.unwrap();
    topic.topic_arn.unwrap()
}

async fn subscribed(client: &aws_sdk_sns::Client, topic: &str, address: &str) -> String {
    let policy = serde_json::json!({"to": [address]}).to_string();
    let subscribed = client
        .subscribe()
        .topic_arn(topic)
        .protocol("email")
        .endpoint(address)
        .attributes("FilterPolicy", policy)
        .return_subscription_arn(true);
    subscribed.send().await.unwrap().subscription_arn.unwrap()
}

#[tokio::test]
async fn each_subscriber_gets_a_mail_for_what_passes_the_filter() {
    let folder = tempfile::tempdir().unwrap();
    let cloud = cloud(folder.path());
    let client = sns(&cloud);
    let topic = made(&client, "agent-mesh-alerts-acme").await;
    assert_eq!(topic, made(&client, "agent-mesh-alerts-acme").await);
    let ada = subscribed(&client, &topic, "ada@example.com").await;
    assert_eq!(ada, subscribed(&client, &topic, "ada@example.com").await);
    let bob = subscribed(&client, &topic, "bob@example.com").await;
    assert_ne!(ada, bob);
    let publish = |to: &[&str]| {
        let publish = client.publish().topic_arn(&topic).subject("order failed");
        let publish = publish.message("<&> grüße 🦀\nBcc: eve@example.com");
        publish.message_attributes("to", list(to)).send()
    };
    publish(&["ada@example.com", "eve@example.com"])
        .await
        .unwrap();
    publish(&["nobody@example.com"]).await.unwrap();
    let found = mails(folder.path());
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(
        found[0].contains("To: <ada@example.com>\r\n"),
        "{}",
        found[0]
    );
    assert!(
        found[0].contains("Subject: order failed\r\n"),
        "{}",
        found[0]
    );
    client
        .unsubscribe()
        .subscription_arn(&ada)
        .send()
        .await
        .unwrap();
    client
        .unsubscribe()
        .subscription_arn(&ada)
        .send()
        .await
        .unwrap();
    publish(&["ada@example.com", "bob@example.com"])
        .await
        .unwrap();
    assert_eq!(mails(folder.path()).len(), 2);
}

#[tokio::test]
async fn subscriptions_are_listed_looked_at_and_changed() {
    let folder = tempfile::tempdir().unwrap();
    let cloud = cloud(folder.path());
    let client = sns(&cloud);
    let topic = made(&client, "agent-mesh-alerts-acme").await;
    let ada = subscribed(&client, &topic, "ada@example.com").await;
    let attributes = async || {
        let asked = client.get_subscription_attributes().subscription_arn(&ada);
        asked.send().await.unwrap().attributes.unwrap()
    };
    let found = attributes().await;
    assert_eq!(found["PendingConfirmation"], "false");
    assert_eq!(found["Endpoint"], "ada@example.com");
    assert_eq!(found["FilterPolicy"], r#"{"to":["ada@example.com"]}"#);
    let other = client
        .subscribe()
        .topic_arn(&topic)
        .protocol("email")
        .endpoint("ada@example.com")
        .attributes("FilterPolicy", r#"{"to":["x"]}"#);
    let refused = other.send().await.unwrap_err();
    assert!(
        refused.message().unwrap().contains("different attributes"),
        "{refused:?}"
    );
    let set = client
        .set_subscription_attributes()
        .subscription_arn(&ada)
        .attribute_name("FilterPolicy")
        .attribute_value(r#"{"to":["x"]}"#);
    set.send().await.unwrap();
    assert_eq!(attributes().await["FilterPolicy"], r#"{"to":["x"]}"#);
    let listed = client.list_subscriptions_by_topic().topic_arn(&topic);
    let listed = listed.send().await.unwrap();
    let listed = listed.subscriptions();
    assert_eq!(listed.len(), 1);
    assert_eq!(listed[0].subscription_arn(), Some(ada.as_str()));
    assert_eq!(listed[0].endpoint(), Some("ada@example.com"));
    let described = client.get_topic_attributes().topic_arn(&topic).send();
    let described = described.await.unwrap().attributes.unwrap();
    assert_eq!(described["SubscriptionsConfirmed"], "1");
}

#[tokio::test]
async fn an_operators_topic_needs_no_making_and_its_notices_lie_in_the_folder() {
    let folder = tempfile::tempdir().unwrap();
    let cloud = cloud(folder.path());
    let client = sns(&cloud);
    client
        .get_topic_attributes()
        .topic_arn(OPERATOR_TOPIC)
        .send()
        .await
        .unwrap();
    let topics = [
        OPERATOR_TOPIC,
        "arn:aws:sns:us-west-2:123456789012:ops",
        "arn:aws:sns:eu-west-1:000000000000:ops",
    ];
    for topic in topics {
        let published = client.publish().topic_arn(topic).message("hello");
        published.send().await.unwrap();
    }
    let found = mails(folder.path());
    assert_eq!(found.len(), topics.len());
    for mail in found {
        assert!(mail.contains("<ops@topic.invalid>"), "{mail}");
    }
    for absent in [
        "arn:aws:sns:us-west-2:000000000000:agent-mesh-alerts-nobody",
        "arn:aws:sns:us-west-2:123456789012:agent-mesh-alerts-nobody",
        "arn:aws:sns:us-west-2:123456789012:a b",
        "arn:aws:sns:us-west-2:123456789012",
        "ops",
    ] {
        let refused = client.publish().topic_arn(absent).message("hello").send();
        assert_eq!(
            refused.await.unwrap_err().code(),
            Some("NotFound"),
            "{absent}"
        );
    }
}

#[tokio::test]
async fn what_sns_would_not_take_is_refused_in_its_words() {
    let folder = tempfile::tempdir().unwrap();
    let cloud = cloud(folder.path());
    let client = sns(&cloud);
    let topic = made(&client, "agent-mesh-alerts-acme").await;
    for name in ["", "a b", "../x", "a/b", &"x".repeat(129)] {
        let refused = client.create_topic().name(name).send().await.unwrap_err();
        assert_eq!(refused.code(), Some("InvalidParameter"), "{name}");
    }
    for address in [
        "",
        "ada",
        "@b",
        "a@",
        "a@b\r\nBcc: c@d",
        "a b@c",
        "a,b@c",
        "<a@b>",
        "a@b@c",
    ] {
        let subscribe = client.subscribe().topic_arn(&topic).protocol("email");
        let refused = subscribe.endpoint(address).send().await.unwrap_err();
        assert_eq!(refused.code(), Some("InvalidParameter"), "{address}");
    }
    let https = client.subscribe().topic_arn(&topic).protocol("https");
    let refused = https
        .endpoint("https://example.com")
        .send()
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Some("InvalidParameter"));
    let publish = |subject: &str, message: &str| {
        let publish = client.publish().topic_arn(&topic).subject(subject);
        publish.message(message).send()
    };
    for (subject, message) in [
        ("grüße", "x"),
        ("two\nlines", "x"),
        (" x", "x"),
        (&"x".repeat(100), "x"),
        ("x", ""),
        ("x", &"x".repeat((256 << 10) + 1)),
    ] {
        let refused = publish(subject, message).await.unwrap_err();
        assert_eq!(refused.code(), Some("InvalidParameter"), "{subject}");
    }
    publish(&"x".repeat(99), &"x".repeat(256 << 10))
        .await
        .unwrap();
    let unknown = client.list_topics().send().await.unwrap_err();
    assert_eq!(unknown.code(), Some("InvalidAction"));
    assert!(mails(folder.path()).is_empty());
}

#[tokio::test]
async fn a_topic_takes_as_many_subscriptions_as_sns_does() {
    let folder = tempfile::tempdir().unwrap();
    let cloud = cloud(folder.path());
    let client = sns(&cloud);
    let topic = made(&client, "agent-mesh-alerts-acme").await;
    for number in 0..200 {
        subscribed(&client, &topic, &format!("user-{number}@example.com")).await;
    }
    let one_more = client.subscribe().topic_arn(&topic).protocol("email");
    let refused = one_more
        .endpoint("one-more@example.com")
        .send()
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Some("FilterPolicyLimitExceeded"));
    subscribed(&client, &topic, "user-7@example.com").await;
}

#[tokio::test]
async fn another_process_sees_the_subscription_and_a_start_later_too() {
    let folder = tempfile::tempdir().unwrap();
    let one = cloud(folder.path());
    let other = cloud(folder.path());
    let topic = made(&sns(&one), "agent-mesh-alerts-acme").await;
    let ada = subscribed(&sns(&one), &topic, "ada@example.com").await;
    drop(one);
    let publish = sns(&other).publish().topic_arn(&topic).message("hello");
    let publish = publish.message_attributes("to", list(&["ada@example.com"]));
    publish.send().await.unwrap();
    drop(other);
    assert_eq!(mails(folder.path()).len(), 1);
    let later = cloud(folder.path());
    assert_eq!(
        ada,
        subscribed(&sns(&later), &topic, "ada@example.com").await
    );
}

#[tokio::test]
async fn sns_throttles_and_fails_in_its_own_words() {
    let folder = tempfile::tempdir().unwrap();
    let cloud = cloud(folder.path());
    let no_retry = aws_sdk_sns::config::retry::RetryConfig::disabled();
    let conf = sns(&cloud).config().to_builder().retry_config(no_retry);
    let client = aws_sdk_sns::Client::from_conf(conf.build());
    for (fault, code) in [
        (Fault::Throttle, "Throttled"),
        (Fault::ServerError, "InternalError"),
    ] {
        cloud.faults().inject(Service::Sns, "CreateTopic", fault, 1);
        let refused = client.create_topic().name("a").send().await.unwrap_err();
        assert_eq!(refused.code(), Some(code));
    }
    cloud
        .faults()
        .inject(Service::Sns, "Publish", Fault::LoseAnswer, 1);
    let publish = || {
        client
            .publish()
            .topic_arn(OPERATOR_TOPIC)
            .message("x")
            .send()
    };
    publish().await.unwrap_err();
    assert_eq!(mails(folder.path()).len(), 1);
    assert_eq!(cloud.faults().waiting(), 0);
}

#[test]
fn another_service_of_this_cloud_publishes_in_the_same_way() {
    use crate::outbound::embedded::sns::Publication;

    let folder = tempfile::tempdir().unwrap();
    let cloud = cloud(folder.path());
    let publication = Publication {
        topic: OPERATOR_TOPIC.to_owned(),
        message: "from a state machine".to_owned(),
        ..Publication::default()
    };
    cloud.engines.sns.publish(&publication).unwrap();
    assert!(mails(folder.path())[0].contains("from a state machine"));
}
