//! Rows read back, and what an approval does to a pin.

use super::*;
use crate::mesh::integration::{AuthMethod, Endpoint, Program};

fn raw(text: &str) -> Arc<RawValue> {
    Arc::from(RawValue::from_string(text.to_owned()).unwrap())
}

fn hash(name: &str) -> PinHash {
    PinHash::of(&raw(&format!(r#"{{"name":"{name}"}}"#))).unwrap()
}

fn registered() -> Registered {
    Registered {
        definition: Definition {
            service: "files".parse().unwrap(),
            name: "Files".to_owned(),
            endpoint: Endpoint::Stdio(Program::Template {
                template: "files".to_owned(),
                env: BTreeMap::new(),
            }),
            auth: AuthMethod::None,
            description: None,
            category: None,
            capabilities: vec!["read".to_owned()],
            direct_tools: Vec::new(),
        },
        id: Ulid::generate(),
        leaving: false,
        created_at: Timestamp::from_millis(1_700_000_000_123),
        created_by: "ada".parse().unwrap(),
        version: new_version(),
    }
}

fn connected() -> Connected {
    Connected {
        service: "files".parse().unwrap(),
        user: "ada@example.com".parse().unwrap(),
        connection: "work.2".parse().unwrap(),
        of: Ulid::generate(),
        revision: Ulid::generate(),
        settings: BTreeMap::from([("folder".to_owned(), "/srv".to_owned())]),
        credentials: Some(SecretSlot::Second),
        attempt_at: Some(Timestamp::from_millis(7)),
        pending: true,
        server: ServerSeen {
            name: "a server".to_owned(),
            version: "1".to_owned(),
            protocol_version: "2025-06-18".to_owned(),
            era: Some(Era::Sessions),
        },
        tools: vec![
            ("read".into(), hash("read")),
            ("write".into(), hash("write")),
        ],
        created_at: Timestamp::from_millis(-5),
        version: new_version(),
    }
}

fn pin() -> Pin {
    Pin {
        service: "files".parse().unwrap(),
        tool: "read".into(),
        of: Ulid::generate(),
        approved: vec![hash("read")],
        definition: Some(raw(r#"{"name":"read"}"#)),
        held: Some(Held {
            hash: hash("other"),
            definition: Some(raw(r#"{"name":"other"}"#)),
            since: Timestamp::from_millis(7),
        }),
        created_at: Timestamp::from_millis(5),
        approved_by: None,
        version: new_version(),
    }
}

#[test]
fn rows_read_back_as_they_were_written() {
    for leaving in [true, false] {
        let registered = Registered {
            leaving,
            ..registered()
        };
        let row = registered.to_row().unwrap();
        assert_eq!(Registered::of_row("I#files", &row).unwrap(), registered);
    }
    let bare = Connected {
        settings: BTreeMap::new(),
        credentials: None,
        attempt_at: None,
        pending: false,
        server: ServerSeen::default(),
        tools: Vec::new(),
        ..connected()
    };
    for connected in [connected(), bare] {
        let row = connected.to_row().unwrap();
        let read = Connected::of_row("C#", "files#ada@example.com#work.2", &row).unwrap();
        assert_eq!(read, connected);
    }
    let pin = pin();
    let read = Pin::of_row("P#", "files#read", &pin.to_row()).unwrap();
    assert_eq!(read.to_row(), pin.to_row());
    assert!(Pin::of_row("P#", "files#re ad", &pin.to_row()).is_err());
    assert!(Connected::of_row("C#", "files#ada", &connected().to_row().unwrap()).is_err());
    assert!(Registered::of_row("I#files", &pin.to_row()).is_err());
}

#[test]
fn an_approval_adds_a_definition_and_keeps_the_ones_before_it_to_a_number() {
    let user = "root".parse().unwrap();
    let mut pin = pin();
    let held = pin.held.clone().unwrap();
    pin = pin.approving(&held, &user);
    assert!(pin.held.is_none() && pin.approved_by.as_ref() == Some(&user));
    assert_eq!(pin.approved, [hash("other"), hash("read")]);
    for number in 0..APPROVED_MAX {
        let held = Held {
            hash: hash(&format!("v{number}")),
            ..held.clone()
        };
        pin = pin.approving(&held, &user);
    }
    assert_eq!(pin.approved.len(), APPROVED_MAX);
    assert!(!pin.approves(hash("read")) && pin.approves(hash("v0")));
}
