//! Random operations of two tenants with two users each, all with the same names, against a small model.

use std::cell::Cell;
use std::collections::{BTreeMap, HashMap};

use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestRunner};
use serde_json::{Value, json};

use crate::kv::names_of;
use crate::support::{Caller, Failure, World};

/// Names that lie inside each other, so that a mistake in a prefix shows.
const NAMES: [&str; 5] = ["a", "a/a", "a/ab", "ab", "b"];

const PEOPLE: [(&str, &str); 4] = [
    ("acme", "ada"),
    ("acme", "bob"),
    ("globex", "ada"),
    ("globex", "bob"),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Kind {
    Value,
    Artifact,
}

/// What must hold for a write.
#[derive(Clone, Copy, Debug)]
enum Guard {
    None,
    Absent,
    /// The version that somebody, maybe another tenant, was told last under this name.
    LastTold,
}

#[derive(Clone, Debug)]
enum Action {
    Write(u8, Guard),
    Read,
    Delete(Guard),
    List(usize),
}

#[derive(Clone, Debug)]
struct Step {
    person: usize,
    kind: Kind,
    shared: bool,
    name: usize,
    action: Action,
}

/// Where something lies: its kind, its tenant and, unless the tenant shares it, its user.
type Place = (Kind, &'static str, Option<&'static str>);

#[derive(Default)]
struct Model {
    held: HashMap<Place, BTreeMap<&'static str, (u8, String)>>,
    /// The last version that anybody was told, by kind and name.
    told: HashMap<(Kind, &'static str), String>,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let guard = || prop_oneof![3 => Just(Guard::None), 1 => Just(Guard::Absent), 2 => Just(Guard::LastTold)];
    let action = prop_oneof![
        4 => (any::<u8>(), guard()).prop_map(|(content, guard)| Action::Write(content, guard)),
        3 => Just(Action::Read),
        2 => guard().prop_map(Action::Delete),
        2 => (0..NAMES.len()).prop_map(Action::List),
    ];
    let kind = prop_oneof![Just(Kind::Value), Just(Kind::Artifact)];
    let step = (0..PEOPLE.len(), kind, any::<bool>(), 0..NAMES.len(), action);
    let step = step.prop_map(|(person, kind, shared, name, action)| Step {
        person,
        kind,
        shared,
        name,
        action,
    });
    prop::collection::vec(step, 1..40)
}

#[test]
fn random_operations_of_two_tenants_do_what_the_model_says() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let (world, callers) = runtime.block_on(async {
        let world = World::of_two_tenants().await;
        let mut callers = Vec::new();
        for (tenant, user) in PEOPLE {
            callers.push(world.user(tenant, user, "user").await);
        }
        (world, callers)
    });
    let case = Cell::new(0);
    let mut runner = TestRunner::new(Config {
        cases: 24,
        ..Config::default()
    });
    let result = runner.run(&steps(), |steps| {
        case.set(case.get() + 1);
        runtime.block_on(play(&callers, &format!("case {}/", case.get()), &steps))
    });
    drop(world);
    result.unwrap_or_else(|failure| panic!("{failure}"));
}

/// Plays `steps` under keys that no other case uses.
async fn play(callers: &[Caller], root: &str, steps: &[Step]) -> Result<(), TestCaseError> {
    let mut model = Model::default();
    for step in steps {
        let caller = &callers[step.person];
        let (tenant, user) = PEOPLE[step.person];
        let place = (step.kind, tenant, (!step.shared).then_some(user));
        let name = NAMES[step.name];
        match &step.action {
            Action::Write(content, guard) => {
                write(
                    caller, root, &mut model, step, place, name, *content, *guard,
                )
                .await?;
            }
            Action::Read => read(caller, root, &model, step, place, name).await?,
            Action::Delete(guard) => {
                delete(caller, root, &mut model, step, place, name, *guard).await?;
            }
            Action::List(prefix) => list(caller, root, &model, step, place, NAMES[*prefix]).await?,
        }
    }
    Ok(())
}

impl Model {
    /// The guard's version, and whether it holds.
    fn judge(&self, place: Place, name: &'static str, guard: Guard) -> (Option<String>, bool) {
        let current = self.held.get(&place).and_then(|held| held.get(name));
        match guard {
            Guard::None => (None, true),
            Guard::Absent => (None, current.is_none()),
            Guard::LastTold => {
                let told = self.told.get(&(place.0, name));
                let version = told
                    .cloned()
                    .unwrap_or_else(|| "01ARZ3NDEKTSV4RRFFQ69G5FAV".to_owned());
                let holds = current.is_some_and(|(_, held)| *held == version);
                (Some(version), holds)
            }
        }
    }
}

fn arguments(root: &str, step: &Step, name: &str, guard: Guard, version: Option<String>) -> Value {
    let mut arguments = json!({ "key": format!("{root}{name}") });
    if step.shared {
        arguments["scope"] = json!("tenant");
    }
    if let Guard::Absent = guard {
        arguments["if_absent"] = json!(true);
    }
    if let Some(version) = version {
        let member = if step.kind == Kind::Value {
            "if_version"
        } else {
            "if_etag"
        };
        arguments[member] = json!(version);
    }
    arguments
}

#[expect(clippy::too_many_arguments, reason = "one step in one place")]
async fn write(
    caller: &Caller,
    root: &str,
    model: &mut Model,
    step: &Step,
    place: Place,
    name: &'static str,
    content: u8,
    guard: Guard,
) -> Result<(), TestCaseError> {
    let (version, holds) = model.judge(place, name, guard);
    let mut arguments = arguments(root, step, name, guard, version);
    // The content tells whose it is, so that no two places ever hold the same.
    let body = format!("{content} {place:?}");
    let (tool, member, version) = match step.kind {
        Kind::Value => ("kv_set", "value", "version"),
        Kind::Artifact => ("artifacts_put", "content", "etag"),
    };
    arguments[member] = json!(body);
    let answer = caller.call(tool, arguments).await.unwrap();
    if !holds {
        prop_assert!(answer.is_error, "{tool} {}", answer.text);
        let failure = Failure::of(answer.value());
        prop_assert_eq!(failure.code(), "CONFLICT");
        return Ok(());
    }
    prop_assert!(!answer.is_error, "{tool} {}", answer.text);
    let version = answer.value()[version].as_str().unwrap().to_owned();
    model.told.insert((step.kind, name), version.clone());
    model
        .held
        .entry(place)
        .or_default()
        .insert(name, (content, version));
    Ok(())
}

async fn read(
    caller: &Caller,
    root: &str,
    model: &Model,
    step: &Step,
    place: Place,
    name: &'static str,
) -> Result<(), TestCaseError> {
    let mut arguments = arguments(root, step, name, Guard::None, None);
    let (tool, member) = match step.kind {
        Kind::Value => ("kv_get", "value"),
        Kind::Artifact => ("artifacts_get", "content"),
    };
    if step.kind == Kind::Value {
        arguments["consistent"] = json!(true);
    }
    let got = caller.ok(tool, arguments).await;
    let expected = model.held.get(&place).and_then(|held| held.get(name));
    prop_assert_eq!(&got["found"], &json!(expected.is_some()));
    let expected = expected.map(|(content, _)| json!(format!("{content} {place:?}")));
    prop_assert_eq!(got.get(member), expected.as_ref());
    Ok(())
}

async fn delete(
    caller: &Caller,
    root: &str,
    model: &mut Model,
    step: &Step,
    place: Place,
    name: &'static str,
    guard: Guard,
) -> Result<(), TestCaseError> {
    // There is no deletion of what is absent.
    let guard = if let Guard::Absent = guard {
        Guard::None
    } else {
        guard
    };
    let (version, holds) = model.judge(place, name, guard);
    let arguments = arguments(root, step, name, guard, version);
    let tool = if step.kind == Kind::Value {
        "kv_delete"
    } else {
        "artifacts_delete"
    };
    let answer = caller.call(tool, arguments).await.unwrap();
    if !holds {
        prop_assert!(answer.is_error, "{tool} {}", answer.text);
        let failure = Failure::of(answer.value());
        prop_assert_eq!(failure.code(), "CONFLICT");
        return Ok(());
    }
    let existed = model
        .held
        .get_mut(&place)
        .and_then(|held| held.remove(name))
        .is_some();
    prop_assert_eq!(&answer.value()["existed"], &json!(existed));
    Ok(())
}

async fn list(
    caller: &Caller,
    root: &str,
    model: &Model,
    step: &Step,
    place: Place,
    prefix: &'static str,
) -> Result<(), TestCaseError> {
    let tool = if step.kind == Kind::Value {
        "kv_list"
    } else {
        "artifacts_list"
    };
    let mut arguments = json!({"prefix": format!("{root}{prefix}"), "limit": 2});
    if step.shared {
        arguments["scope"] = json!("tenant");
    }
    let (items, _) = caller.list_all(tool, arguments).await;
    let held = model.held.get(&place).into_iter().flat_map(BTreeMap::keys);
    let expected: Vec<_> = held
        .filter(|name| name.starts_with(prefix))
        .map(|name| format!("{root}{name}"))
        .collect();
    prop_assert_eq!(names_of(&items), expected);
    Ok(())
}
