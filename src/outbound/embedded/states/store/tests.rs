//! Executions in a database of their own: who may change one, what is left of it, who takes it next.

use super::*;
use crate::mesh::tenant::TenantId;
use crate::outbound::embedded::states::event::Said;
use crate::outbound::embedded::states::frame::ROOT;
use crate::outbound::embedded::states::schema;

const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);

/// Milliseconds after [`NOW`].
fn after(millis: i64) -> Timestamp {
    Timestamp::from_millis(NOW.as_millis() + millis)
}

fn database() -> (tempfile::TempDir, Connection) {
    let folder = tempfile::tempdir().unwrap();
    let mut connection = schema::connect(&folder.path().join("x.sqlite")).unwrap();
    schema::migrate(&mut connection).unwrap();
    (folder, connection)
}

fn frame(state: &str) -> Frame {
    Frame {
        state: state.to_owned(),
        input: serde_json::json!({}),
        entered_ms: NOW.as_millis(),
        entered: 1,
        last: 1,
        begun: false,
        retries: Vec::new(),
        due_ms: None,
        output: None,
    }
}

fn event(id: i64) -> Event {
    Said::plain("PassStateEntered").event(id, NOW, id - 1)
}

fn new(name: &str, owner: Option<&str>) -> NewExecution {
    NewExecution {
        machine: "m".to_owned(),
        name: name.to_owned(),
        definition: [1; 32],
        definition_text: "{}".to_owned(),
        input: "{}".to_owned(),
        seed: [2; 16],
        started_at: NOW,
        deadline: None,
        owner: owner.map(str::to_owned),
        frame: frame("A"),
        events: vec![event(1)],
    }
}

fn begun(connection: &mut Connection, new: &NewExecution) -> ExecutionId {
    match begin(connection, new).unwrap() {
        Begun::First(id) => id,
        other => panic!("{other:?}"),
    }
}

fn ended() -> (End, Timestamp) {
    let end = End {
        status: ExecutionStatus::Succeeded,
        output: Some("{}".to_owned()),
        error: None,
        cause: None,
    };
    (end, after(5))
}

fn count(connection: &Connection, table: &str) -> i64 {
    let sql = format!("SELECT count(*) FROM {table}");
    connection.query_row(&sql, [], |row| row.get(0)).unwrap()
}

#[test]
fn a_name_is_begun_once_and_the_same_again_only_while_it_runs() {
    let (_folder, mut connection) = database();
    let first = new("one", Some("us"));
    let id = begun(&mut connection, &first);
    assert_eq!(begin(&mut connection, &first).unwrap(), Begun::Again(NOW));
    let mut other = first.clone();
    other.input = "[]".to_owned();
    assert_eq!(begin(&mut connection, &other).unwrap(), Begun::Taken);
    let changes = Changes {
        events_count: 1,
        end: Some(ended()),
        ..Changes::default()
    };
    assert!(commit(&mut connection, id, "us", &changes).unwrap());
    assert_eq!(begin(&mut connection, &first).unwrap(), Begun::Taken);
}

#[test]
fn only_the_owner_changes_an_execution_and_only_while_it_runs() {
    let (_folder, mut connection) = database();
    let id = begun(&mut connection, &new("one", Some("us")));
    let changes = Changes {
        frames: [(ROOT.to_owned(), frame("B"))].into(),
        events: vec![event(2)],
        events_count: 2,
        ..Changes::default()
    };
    assert!(!commit(&mut connection, id, "them", &changes).unwrap());
    assert_eq!(count(&connection, "events"), 1, "nothing came of it");
    assert!(commit(&mut connection, id, "us", &changes).unwrap());
    assert_eq!(count(&connection, "events"), 2);
    let end = Changes {
        events_count: 2,
        end: Some(ended()),
        ..Changes::default()
    };
    assert!(commit(&mut connection, id, "us", &end).unwrap());
    assert_eq!(count(&connection, "frames"), 0);
    assert!(!commit(&mut connection, id, "us", &changes).unwrap());
    let told = describe(&connection, "m", "one").unwrap().unwrap();
    assert_eq!(
        (told.status, told.stopped_at),
        (ExecutionStatus::Succeeded, Some(after(5)))
    );
}

#[test]
fn what_is_let_go_of_is_taken_when_it_is_due_with_all_that_was_written() {
    let (_folder, mut connection) = database();
    let anyone = Whose::default();
    let id = begun(&mut connection, &new("one", Some("us")));
    let release = Changes {
        frames: [
            (ROOT.to_owned(), frame("B")),
            ("/0".to_owned(), frame("C")),
            ("/1".to_owned(), frame("D")),
        ]
        .into(),
        events: vec![event(2)],
        events_count: 2,
        release: Some(after(100)),
        ..Changes::default()
    };
    assert!(commit(&mut connection, id, "us", &release).unwrap());
    assert_eq!(owned(&connection, "us").unwrap(), [] as [ExecutionId; 0]);
    assert_eq!(next_due(&connection, &anyone).unwrap(), Some(after(100)));
    let early = claim(&mut connection, "them", &anyone, after(99), 9).unwrap();
    assert!(early.is_empty());
    let [taken] = claim(&mut connection, "them", &anyone, after(100), 9)
        .unwrap()
        .try_into()
        .unwrap();
    let taken: Claimed = taken;
    assert_eq!((taken.id, taken.events, taken.seed), (id, 2, [2; 16]));
    assert_eq!(taken.frames, release.frames);
    assert_eq!(next_due(&connection, &anyone).unwrap(), None);
    assert_eq!(owners(&connection).unwrap(), ["them"]);
    // What it had in hand is lost to the one who let go.
    assert!(!commit(&mut connection, id, "us", &Changes::default()).unwrap());
    let emptied = Changes {
        emptied: [ROOT.to_owned()].into(),
        events_count: 2,
        ..Changes::default()
    };
    assert!(commit(&mut connection, id, "them", &emptied).unwrap());
    assert_eq!(count(&connection, "frames"), 1, "the branch's own");
}

#[test]
fn executions_are_taken_in_the_order_in_which_they_are_due_and_no_more_than_asked_for() {
    let (_folder, mut connection) = database();
    let tenant: TenantId = "acme".parse().unwrap();
    let run =
        |number: u128| crate::mesh::workflow::run::execution_name(&tenant, ulid::Ulid(number));
    for (number, due) in [(1, 30), (2, 10), (3, 20)] {
        let mut new = new(&run(number), None);
        new.started_at = after(due);
        begun(&mut connection, &new);
    }
    let mut theirs = new("globex-1", None);
    theirs.started_at = NOW;
    begun(&mut connection, &theirs);
    let whose = Whose::of(Some(tenant.clone()));
    assert_eq!(next_due(&connection, &whose).unwrap(), Some(after(10)));
    let mut take = |most| {
        let claimed = claim(&mut connection, "us", &whose, after(30), most).unwrap();
        let names = claimed.into_iter().map(|claimed| claimed.name);
        names.collect::<Vec<_>>()
    };
    assert_eq!(take(2), [run(2), run(3)]);
    assert_eq!(take(2), [run(1)]);
    assert_eq!(take(2), [] as [String; 0]);
    let anyone = next_due(&connection, &Whose::default()).unwrap();
    assert_eq!(anyone, Some(NOW), "the other tenant's is left");
}

#[test]
fn an_owner_that_is_gone_leaves_what_runs_and_nothing_else() {
    let (_folder, mut connection) = database();
    let ids: Vec<ExecutionId> = ["a", "b", "c"]
        .map(|name| begun(&mut connection, &new(name, Some("us"))))
        .into();
    begun(&mut connection, &new("d", Some("them")));
    assert_eq!(running(&connection, 10).unwrap(), 4);
    assert_eq!(running(&connection, 3).unwrap(), 3);
    let end = Changes {
        events_count: 1,
        end: Some(ended()),
        ..Changes::default()
    };
    assert!(commit(&mut connection, ids[0], "us", &end).unwrap());
    let one = disown(&mut connection, "us", Some(ids[1]), after(1)).unwrap();
    assert_eq!(one, 1);
    assert_eq!(owned(&connection, "us").unwrap(), [ids[2]]);
    assert_eq!(disown(&mut connection, "us", None, after(2)).unwrap(), 1);
    assert_eq!(owners(&connection).unwrap(), ["them"]);
    let next = next_due(&connection, &Whose::default()).unwrap();
    assert_eq!(next, Some(after(1)));
}

#[test]
fn a_stop_ends_what_runs_whoever_owns_it_and_says_when_it_had_ended() {
    let (_folder, mut connection) = database();
    let id = begun(&mut connection, &new("one", Some("us")));
    let (end, _) = ended();
    let mut halt = |now| stop(&mut connection, "m", "one", &end, event, now).unwrap();
    assert_eq!(halt(after(7)), Some((id, after(7))));
    assert_eq!(halt(after(8)), Some((id, after(7))));
    assert!(!commit(&mut connection, id, "us", &Changes::default()).unwrap());
    assert_eq!(count(&connection, "events"), 2);
    let none = stop(&mut connection, "m", "two", &end, event, NOW).unwrap();
    assert_eq!(none, None);
}

#[test]
fn the_sweep_takes_what_ended_before_and_definitions_that_nobody_needs() {
    let (_folder, mut connection) = database();
    let old = begun(&mut connection, &new("old", Some("us")));
    let mut other = new("new", Some("us"));
    other.definition = [3; 32];
    begun(&mut connection, &other);
    let end = Changes {
        events_count: 1,
        end: Some(ended()),
        ..Changes::default()
    };
    assert!(commit(&mut connection, old, "us", &end).unwrap());
    assert_eq!(sweep(&mut connection, after(5)).unwrap(), 0, "not before");
    assert_eq!(sweep(&mut connection, after(6)).unwrap(), 1);
    assert_eq!(sweep(&mut connection, after(6)).unwrap(), 0);
    let left = ["executions", "definitions", "events", "frames"];
    assert_eq!(left.map(|table| count(&connection, table)), [1; 4]);
}
