//! Our matcher of event patterns against an emulator's TestEventPattern: the corpus, random pairs, and
//! attempts to reach another tenant's events.

mod generate;

use agent_mesh::mesh::event::pattern::Pattern;
use agent_mesh::mesh::tenant::TenantId;
use aws_sdk_eventbridge::Client;
use aws_sdk_eventbridge::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_eventbridge::error::ProvideErrorMetadata;
use futures::StreamExt;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use self::generate::Generator;
use crate::backend::Stage;

crate::cases![
    the_corpus_is_answered_alike,
    what_is_refused_here_is_refused_there,
    random_pairs_are_answered_alike,
    no_native_pattern_reaches_another_tenants_event,
];

const CORPUS: &str = include_str!("patterns/corpus.json");
const REFUSED: &str = include_str!("patterns/refused.json");
const WIDENING: &str = include_str!("patterns/widening.json");

/// How many questions are under way at once.
const AT_ONCE: usize = 8;

/// How many random pairs are asked, unless `AGENT_MESH_TEST_PATTERN_PAIRS` says otherwise.
const RANDOM_PAIRS: usize = 400;

/// A pattern of what an event's detail holds, with details that fit and that do not.
#[derive(Deserialize)]
struct Group {
    about: String,
    pattern: Box<RawValue>,
    fits: Vec<Box<RawValue>>,
    not: Vec<Box<RawValue>>,
    #[serde(default)]
    differs: Differs,
}

/// Where the emulator is known to answer otherwise: places in the two lists, and in what it differs.
#[derive(Default, Deserialize)]
struct Differs {
    #[serde(default)]
    fits: Vec<usize>,
    #[serde(default)]
    not: Vec<usize>,
    #[serde(default)]
    why: String,
}

/// A pattern that is refused here.
#[derive(Deserialize)]
struct Refused {
    about: String,
    pattern: String,
    /// Why the emulator takes it.
    emulator_accepts: Option<String>,
}

#[derive(Deserialize)]
struct Attempt {
    about: String,
    pattern: String,
}

/// A question to the emulator, and the answer that is expected.
struct Question {
    about: String,
    pattern: String,
    event: String,
    expected: bool,
    /// Whether the emulator is known to answer otherwise.
    differs: bool,
}

impl Stage {
    /// A client for what the product itself never asks.
    pub(crate) fn eventbridge(&self) -> Client {
        let settings = self.connection.settings();
        let mut config = aws_sdk_eventbridge::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new("us-west-2"))
            .credentials_provider(Credentials::new("test", "test", None, None, "test"));
        config.set_endpoint_url(settings.endpoint_url.clone());
        config.set_http_client(settings.http_client.clone());
        Client::from_conf(config.build())
    }
}

/// An event with `detail`, with every member that EventBridge wants of one.
fn envelope(source: &str, detail_type: &str, detail: &str) -> String {
    let (source, detail_type) = (Value::from(source), Value::from(detail_type));
    format!(
        r#"{{"version":"0","id":"1","detail-type":{detail_type},"source":{source},"account":"000000000000",
            "time":"2026-11-20T12:00:00Z","region":"us-west-2","resources":[],"detail":{detail}}}"#
    )
}

/// What the emulator says of a pattern and an event; none where it refuses the pattern.
async fn ask(client: &Client, pattern: &str, event: &str) -> Option<bool> {
    let answer = client
        .test_event_pattern()
        .event_pattern(pattern)
        .event(event)
        .send()
        .await;
    match answer {
        Ok(answer) => Some(answer.result),
        Err(error) => {
            let code = error
                .as_service_error()
                .and_then(ProvideErrorMetadata::code);
            assert_eq!(
                code,
                Some("InvalidEventPatternException"),
                "{pattern}: {error:?}"
            );
            None
        }
    }
}

/// Puts every question, and tells all answers that are not as expected.
async fn put(client: &Client, questions: Vec<Question>) {
    let answers = futures::stream::iter(questions).map(|question| async move {
        let answer = ask(client, &question.pattern, &question.event).await;
        let wanted = Some(question.expected != question.differs);
        (answer != wanted).then(|| {
            format!(
                "{}: {} and {} are {answer:?}, not {wanted:?}",
                question.about, question.pattern, question.event
            )
        })
    });
    let wrong: Vec<_> = answers
        .buffer_unordered(AT_ONCE)
        .filter_map(|wrong| async { wrong })
        .collect()
        .await;
    assert!(
        wrong.is_empty(),
        "{} wrong:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

async fn the_corpus_is_answered_alike(stage: Stage) {
    let groups: Vec<Group> = serde_json::from_str(CORPUS).unwrap();
    let mut questions = Vec::new();
    for group in &groups {
        let differs = &group.differs;
        let count = differs.fits.len() + differs.not.len();
        assert_eq!(count == 0, differs.why.is_empty(), "{}", group.about);
        let pattern = format!(r#"{{"detail":{}}}"#, group.pattern);
        for (details, expected, differs) in [
            (&group.fits, true, &differs.fits),
            (&group.not, false, &differs.not),
        ] {
            for (place, detail) in details.iter().enumerate() {
                questions.push(Question {
                    about: group.about.clone(),
                    pattern: pattern.clone(),
                    event: envelope("s", "t", detail.get()),
                    expected,
                    differs: differs.contains(&place),
                });
            }
        }
    }
    assert!(questions.len() >= 400, "{}", questions.len());
    let differing = questions.iter().filter(|question| question.differs).count();
    assert!(differing <= 6, "{differing}");
    put(&stage.eventbridge(), questions).await;
}

async fn what_is_refused_here_is_refused_there(stage: Stage) {
    let client = stage.eventbridge();
    let event = envelope("s", "t", "{}");
    for refused in serde_json::from_str::<Vec<Refused>>(REFUSED).unwrap() {
        // The SDK sends no empty text.
        if refused.pattern.is_empty() {
            continue;
        }
        assert!(
            Pattern::parse(&refused.pattern).is_err(),
            "{}",
            refused.about
        );
        let answer = ask(&client, &refused.pattern, &event).await;
        assert_eq!(
            answer.is_some(),
            refused.emulator_accepts.is_some(),
            "{}: {}",
            refused.about,
            refused.pattern
        );
    }
}

async fn random_pairs_are_answered_alike(stage: Stage) {
    let number = |variable: &str, default: usize| {
        std::env::var(variable).map_or(default, |text| text.parse().expect("a whole number"))
    };
    let pairs = number("AGENT_MESH_TEST_PATTERN_PAIRS", RANDOM_PAIRS);
    let seed = number("AGENT_MESH_TEST_PATTERN_SEED", 1);
    let mut generator = Generator::new(seed as u64);
    let mut questions = Vec::with_capacity(pairs);
    while questions.len() < pairs {
        let (pattern, events) = generator.pattern_with_events();
        let text = pattern.to_string();
        let parsed = match Pattern::parse(&text) {
            Ok(parsed) => parsed,
            // Choices in choices may come to more than anybody takes.
            Err(fault) if fault.message().contains("make two rules of it") => continue,
            Err(fault) => panic!("{text}: {fault}"),
        };
        for detail in events {
            let event = envelope("s", "t", &detail.to_string());
            questions.push(Question {
                about: format!("seed {seed}"),
                expected: parsed.matches(&serde_json::from_str(&event).unwrap()),
                pattern: text.clone(),
                event,
                differs: false,
            });
        }
    }
    let matched = questions
        .iter()
        .filter(|question| question.expected)
        .count();
    let rate = matched * 100 / questions.len();
    assert!((10..90).contains(&rate), "{rate} % match");
    put(&stage.eventbridge(), questions).await;
}

async fn no_native_pattern_reaches_another_tenants_event(stage: Stage) {
    let client = stage.eventbridge();
    let acme: TenantId = "acme".parse().unwrap();
    let sources = [
        "agent-mesh.other",
        "agent-mesh.acme-2",
        "agent-mesh.acm",
        "agent-mesh.acme.x",
        "AGENT-MESH.ACME",
        "agent-mesh.аcme",
        "agent-mesh.acme ",
        "aws.states",
        "",
    ];
    let details = [
        r#"{"k":"v","tenant_id":"acme","source":"agent-mesh.acme","n":1,"ip":"10.0.0.1"}"#,
        r#"{"tenant_id":"other","source":"agent-mesh.other","detail":{"k":"v"},"detail-type":"Order.Failed"}"#,
        r#"[{"k":"v"},{"source":"agent-mesh.acme"}]"#,
        r#""agent-mesh.acme""#,
    ];
    let mut questions = Vec::new();
    let (mut accepted, mut refused) = (0, 0);
    for Attempt { about, pattern } in serde_json::from_str::<Vec<Attempt>>(WIDENING).unwrap() {
        let forced = Pattern::parse_callers(&pattern).and_then(|pattern| pattern.on_bus(&acme));
        let Ok(forced) = forced else {
            refused += 1;
            continue;
        };
        accepted += 1;
        for source in sources {
            for detail in details {
                questions.push(Question {
                    about: about.clone(),
                    pattern: forced.clone(),
                    event: envelope(source, "Order.Failed", detail),
                    expected: false,
                    differs: false,
                });
            }
        }
    }
    assert!(accepted >= 20 && refused >= 40, "{accepted} {refused}");
    // The same of the tenant's own source are reached, so that it is the source which keeps others out.
    let open = Pattern::parse_callers(r#"{"detail":{"nothing":[{"exists":false}]}}"#);
    let open = open.unwrap().on_bus(&acme).unwrap();
    questions.extend(details.map(|detail| Question {
        about: "the tenant's own".to_owned(),
        pattern: open.clone(),
        event: envelope("agent-mesh.acme", "Order.Failed", detail),
        expected: true,
        differs: false,
    }));
    put(&client, questions).await;
}
