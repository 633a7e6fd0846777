//! What topics and mail subscriptions do, on every backend.

use agent_mesh::mesh::ErrorKind;
use agent_mesh::mesh::store::Topics;
use agent_mesh::mesh::store::topics::{
    MailSubscription, Mailbox, NOTICE_BYTES_MAX, Notice, SubscriptionState,
};

use crate::backend::{Stage, tenant};

crate::cases![
    a_tenants_topic_is_made_once,
    an_address_is_subscribed_once,
    a_subscription_is_found_by_its_address,
    a_subscription_ends_once,
    an_address_that_was_subscribed_by_hand_gets_its_filter,
    what_is_no_address_is_refused,
    a_notice_reaches_its_addresses_and_nobody_else,
    a_notice_of_every_size_is_taken,
    an_operators_topic_takes_notices,
    a_topic_that_is_gone_is_told_and_made_anew,
    lost_answers_change_nothing,
    topics_are_checked,
];

impl Stage {
    async fn topic(&self) -> String {
        self.topics.tenant_topic(&self.tenant).await.unwrap()
    }

    async fn subscribe(&self, topic: &str, address: &str) -> MailSubscription {
        let mailbox = mailbox(topic, address, None);
        self.topics.subscribe(&self.tenant, mailbox).await.unwrap()
    }

    async fn subscription(&self, mailbox: Mailbox<'_>) -> MailSubscription {
        self.topics
            .subscription(&self.tenant, mailbox)
            .await
            .unwrap()
    }
}

fn mailbox<'a>(topic: &'a str, address: &'a str, known: Option<&'a str>) -> Mailbox<'a> {
    Mailbox {
        topic,
        address,
        known,
    }
}

fn notice(text: &str, addresses: &[&str]) -> Notice {
    Notice {
        subject: "order failed".to_owned(),
        text: text.to_owned(),
        alerts: vec!["01J0000000000000000000000A".to_owned()],
        addresses: addresses.iter().map(|text| (*text).to_owned()).collect(),
    }
}

fn is_gone(subscription: &MailSubscription) -> bool {
    subscription.state == SubscriptionState::Gone
}

async fn a_tenants_topic_is_made_once(stage: Stage) {
    let topic = stage.topic().await;
    assert!(
        topic.ends_with(&format!(":agent-mesh-alerts-{}", stage.tenant)),
        "{topic}"
    );
    let carried = stage.wire.carried();
    assert_eq!(stage.topic().await, topic);
    assert_eq!(stage.wire.carried(), carried);
    let other = tenant();
    assert_ne!(stage.topics.tenant_topic(&other).await.unwrap(), topic);
}

async fn an_address_is_subscribed_once(stage: Stage) {
    let topic = stage.topic().await;
    let ada = stage.subscribe(&topic, "ada@example.com").await;
    assert!(ada.arn.is_some() && !is_gone(&ada), "{ada:?}");
    assert_eq!(stage.subscribe(&topic, "ada@example.com").await, ada);
    let bob = stage.subscribe(&topic, "bob@example.com").await;
    assert_ne!(bob.arn, ada.arn);
}

async fn a_subscription_is_found_by_its_address(stage: Stage) {
    let topic = stage.topic().await;
    let none = stage
        .subscription(mailbox(&topic, "ada@example.com", None))
        .await;
    assert!(is_gone(&none), "{none:?}");
    let ada = stage.subscribe(&topic, "ada@example.com").await;
    stage.subscribe(&topic, "bob@example.com").await;
    let stale = format!("{topic}:00000000-0000-0000-0000-000000000000");
    for known in [None, ada.arn.as_deref(), Some(stale.as_str())] {
        let found = stage
            .subscription(mailbox(&topic, "ada@example.com", known))
            .await;
        assert_eq!(found, ada, "{known:?}");
    }
}

async fn a_subscription_ends_once(stage: Stage) {
    let topic = stage.topic().await;
    let ada = stage.subscribe(&topic, "ada@example.com").await;
    let bob = stage.subscribe(&topic, "bob@example.com").await;
    let mailbox = mailbox(&topic, "ada@example.com", ada.arn.as_deref());
    for _ in 0..2 {
        assert!(
            stage
                .topics
                .unsubscribe(&stage.tenant, mailbox)
                .await
                .unwrap()
        );
        assert!(is_gone(&stage.subscription(mailbox).await));
    }
    let left = stage
        .subscription(Mailbox {
            address: "bob@example.com",
            known: None,
            ..mailbox
        })
        .await;
    assert_eq!(left, bob);
}

async fn an_address_that_was_subscribed_by_hand_gets_its_filter(stage: Stage) {
    let topic = stage.topic().await;
    let client = aws_sdk_sns::Client::new(&stage.sdk);
    let by_hand = client.subscribe().topic_arn(&topic).protocol("email");
    let by_hand = by_hand.endpoint("ada@example.com").send().await.unwrap();
    let ada = stage.subscribe(&topic, "ada@example.com").await;
    assert_eq!(ada.arn, by_hand.subscription_arn);
    let asked = client.get_subscription_attributes();
    let asked = asked.set_subscription_arn(ada.arn).send().await.unwrap();
    assert_eq!(
        asked.attributes.unwrap()["FilterPolicy"],
        r#"{"to":["ada@example.com"]}"#
    );
}

async fn what_is_no_address_is_refused(stage: Stage) {
    let topic = stage.topic().await;
    for address in ["ada", "a@b\r\nBcc: eve@example.com"] {
        let mailbox = mailbox(&topic, address, None);
        let error = stage.topics.subscribe(&stage.tenant, mailbox).await;
        let error = error.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidParameter, "{error:?}");
        assert_eq!(error.details()["parameter"], "email");
    }
}

async fn a_notice_reaches_its_addresses_and_nobody_else(stage: Stage) {
    let folder = stage.folder.as_ref().unwrap().join("mail");
    let topic = stage.topic().await;
    let addresses: Vec<String> = (0..110)
        .map(|number| format!("user-{number}.{}@example.com", stage.tenant))
        .collect();
    for address in &addresses {
        stage.subscribe(&topic, address).await;
    }
    // More than one message carries.
    let some: Vec<&str> = addresses[..105].iter().map(String::as_str).collect();
    let text = format!("grüße 🦀 of {}", stage.tenant);
    let notice = notice(&text, &some);
    let published = stage.topics.publish(&stage.tenant, &topic, &notice).await;
    published.unwrap();
    let mut receivers: Vec<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| std::fs::read_to_string(entry.unwrap().path()).unwrap())
        .filter_map(|mail| {
            let to = mail.lines().find_map(|line| line.strip_prefix("To: <"))?;
            let to = to.strip_suffix('>')?.to_owned();
            to.contains(stage.tenant.as_str()).then_some(to)
        })
        .collect();
    receivers.sort();
    let mut expected = addresses[..105].to_vec();
    expected.sort();
    assert_eq!(receivers, expected);
}

async fn a_notice_of_every_size_is_taken(stage: Stage) {
    let topic = stage.topic().await;
    let address = "ada@example.com";
    for (subject, length) in [
        ("grüße\r\nBcc: eve@example.com", 1),
        ("", 1000),
        (&"x".repeat(500), NOTICE_BYTES_MAX),
    ] {
        let notice = Notice {
            subject: subject.to_owned(),
            ..notice(&"x".repeat(length), &[address])
        };
        let published = stage.topics.publish(&stage.tenant, &topic, &notice).await;
        published.unwrap();
    }
    let carried = stage.wire.carried();
    let notice = notice(&"x".repeat(NOTICE_BYTES_MAX + 1), &[address]);
    let error = stage.topics.publish(&stage.tenant, &topic, &notice).await;
    assert_eq!(error.unwrap_err().kind(), ErrorKind::TooLarge);
    assert_eq!(stage.wire.carried(), carried);
}

/// The ARN of a topic that an operator made, beside the tenant's.
async fn operators(stage: &Stage) -> String {
    let name = format!("ops-{}", stage.tenant);
    let client = aws_sdk_sns::Client::new(&stage.sdk);
    let made = client.create_topic().name(name).send().await.unwrap();
    made.topic_arn.unwrap()
}

async fn an_operators_topic_takes_notices(stage: Stage) {
    let topic = operators(&stage).await;
    let notice = notice("text", &[]);
    let published = stage.topics.publish(&stage.tenant, &topic, &notice).await;
    published.unwrap();
}

/// The ARN of a tenant's topic that nobody has made.
async fn absent(stage: &Stage) -> String {
    let topic = stage.topic().await;
    topic.replace(stage.tenant.as_str(), "absent-one")
}

async fn a_topic_that_is_gone_is_told_and_made_anew(stage: Stage) {
    let topic = absent(&stage).await;
    let notice = notice("text", &["ada@example.com"]);
    let errors = [
        stage
            .topics
            .publish(&stage.tenant, &topic, &notice)
            .await
            .unwrap_err(),
        stage
            .topics
            .subscribe(&stage.tenant, mailbox(&topic, "ada@example.com", None))
            .await
            .unwrap_err(),
    ];
    for error in errors {
        assert_eq!(error.kind(), ErrorKind::AwsUnavailable, "{error:?}");
        assert!(error.fix_text().is_some());
        assert!(!error.message().contains("absent-one"), "{error}");
    }
    let none = stage
        .subscription(mailbox(&topic, "ada@example.com", None))
        .await;
    assert!(is_gone(&none));
}

async fn lost_answers_change_nothing(stage: Stage) {
    stage.wire.lose(&["POST"], 1);
    let topic = stage.topic().await;
    assert_eq!(stage.wire.left(), 0);
    stage.wire.lose(&["POST"], 1);
    let ada = stage.subscribe(&topic, "ada@example.com").await;
    assert_eq!(stage.wire.left(), 0);
    let found = stage
        .subscription(mailbox(&topic, "ada@example.com", None))
        .await;
    assert_eq!(found, ada);
    let mailbox = mailbox(&topic, "ada@example.com", None);
    stage.wire.lose(&["POST"], 2);
    assert!(
        stage
            .topics
            .unsubscribe(&stage.tenant, mailbox)
            .await
            .unwrap()
    );
    assert!(is_gone(&stage.subscription(mailbox).await));
}

async fn topics_are_checked(stage: Stage) {
    stage.topics.check(&operators(&stage).await).await.unwrap();
    let error = stage.topics.check(&absent(&stage).await).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AwsUnavailable, "{error:?}");
}
