//! Four processes on one folder at once, under load and kills.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::client::Client;
use crate::server::{Start, WAIT_MAX};

/// Several windows of a desktop client.
const PROCESSES: usize = 4;

/// How long they work.
const WORK_TIME: Duration = Duration::from_secs(6);

/// How long one of them lives before it is killed. The first one is never killed.
const LIFE_TIME: Duration = Duration::from_millis(900);

/// Keys that each of them writes in turn.
const KEYS: usize = 20;

/// What all of them know to be acknowledged.
#[derive(Default)]
struct Known {
    /// The number that was last written under a key, by its one writer.
    values: BTreeMap<String, u64>,
    artifacts: BTreeMap<String, u64>,
    events: BTreeSet<String>,
    /// Increments of the counter that all of them share: acknowledged, and begun in all.
    counted: u64,
    count_begun: u64,
    /// Reads of what another process has written.
    read_from_others: u64,
    kills: u64,
}

/// One process with its client.
struct Worker<'a> {
    number: usize,
    start: &'a Start,
    known: &'a Mutex<Known>,
    client: Client,
    born: Instant,
    sequence: u64,
}

impl<'a> Worker<'a> {
    fn new(number: usize, start: &'a Start, known: &'a Mutex<Known>) -> Self {
        Self {
            number,
            start,
            known,
            client: Client::open(start),
            born: Instant::now(),
            sequence: 0,
        }
    }

    fn work(&mut self, end: Instant) {
        while Instant::now() < end {
            self.sequence += 1;
            self.write();
            self.read();
            self.count();
            if self.number > 0 && self.born.elapsed() > LIFE_TIME {
                self.die();
            }
        }
        self.client.finish();
    }

    fn key(&self) -> String {
        format!("{}/{}", self.number, self.sequence as usize % KEYS)
    }

    fn write(&mut self) {
        let (key, number) = (self.key(), self.sequence);
        self.client
            .ask("kv_set", json!({"key": key, "value": number}));
        self.known
            .lock()
            .unwrap()
            .values
            .insert(key.clone(), number);
        if number % 4 == 0 {
            let put = json!({"key": key, "content": content(number)});
            self.client.ask("artifacts_put", put);
            self.known.lock().unwrap().artifacts.insert(key, number);
        }
        if number % 5 == 0 {
            let send = json!({"detail_type": "Sharing.Sent", "detail": {"from": self.number}});
            let sent = self.client.ask("events_send", send);
            self.known
                .lock()
                .unwrap()
                .events
                .insert(sent["event_id"].as_str().unwrap().to_owned());
        }
    }

    /// Reads what another process has written: never older than what it was told is there.
    fn read(&mut self) {
        let picked = self.sequence as usize * 31;
        let of = |known: &BTreeMap<String, u64>| {
            let (key, number) = known.iter().nth(picked % known.len().max(1))?;
            Some((key.clone(), *number))
        };
        let (value, artifact) = {
            let known = self.known.lock().unwrap();
            (of(&known.values), of(&known.artifacts))
        };
        if let Some((key, least)) = value {
            let found = self
                .client
                .ask("kv_get", json!({"key": key, "consistent": true}));
            let number = found["value"].as_u64();
            assert!(number >= Some(least), "{key} was {least} already: {found}");
            if !key.starts_with(&format!("{}/", self.number)) {
                self.known.lock().unwrap().read_from_others += 1;
            }
        }
        if let Some((key, least)) = artifact {
            let found = self
                .client
                .ask("artifacts_get", json!({"key": key, "as": "text"}));
            assert!(
                number_of(&found) >= least,
                "{key} was {least} already: {found}"
            );
        }
    }

    /// Counts the shared counter up by one, whatever the others do to it meanwhile.
    fn count(&mut self) {
        self.known.lock().unwrap().count_begun += 1;
        loop {
            let found = self
                .client
                .ask("kv_get", json!({"key": "counter", "consistent": true}));
            let mut set =
                json!({"key": "counter", "value": found["value"].as_u64().unwrap_or(0) + 1});
            match found["version"].as_str() {
                Some(version) => set["if_version"] = version.into(),
                None => set["if_absent"] = true.into(),
            }
            let result = self.client.call("kv_set", set);
            if result["isError"] == false {
                self.known.lock().unwrap().counted += 1;
                return;
            }
            assert_eq!(
                result["structuredContent"]["error"]["code"], "CONFLICT",
                "{result}"
            );
        }
    }

    /// Is killed with writes under way, and started again.
    fn die(&mut self) {
        for number in 0..8 {
            let set = json!({"key": format!("dying/{}/{number}", self.number), "value": number});
            self.client.post_call("kv_set", set);
        }
        self.client.kill();
        self.known.lock().unwrap().kills += 1;
        self.client = Client::open(self.start);
        self.born = Instant::now();
    }
}

/// An artifact whose parts all name its number.
fn content(number: u64) -> String {
    format!("{number},").repeat(1 + number as usize % 300)
}

fn number_of(found: &Value) -> u64 {
    let text = found["content"]
        .as_str()
        .unwrap_or_else(|| panic!("no text: {found}"));
    let number = text.split(',').next().unwrap().parse().unwrap();
    assert_eq!(text, content(number), "the artifact is torn");
    number
}

#[test]
fn four_processes_share_a_folder_under_load_and_kills() {
    let folder = tempfile::tempdir().unwrap();
    let start = Start::on(folder.path()).generous();
    let known = Mutex::new(Known::default());
    // All of them open the new folder at the same moment.
    thread::scope(|scope| {
        let end = Instant::now() + WORK_TIME;
        for number in 0..PROCESSES {
            let (start, known) = (&start, &known);
            scope.spawn(move || Worker::new(number, start, known).work(end));
        }
    });
    let known = known.into_inner().unwrap();
    assert!(
        known.kills >= PROCESSES as u64 - 1,
        "only {} kills",
        known.kills
    );
    assert!(
        known.read_from_others > 20,
        "only {} reads of others' values",
        known.read_from_others
    );

    let mut client = Client::open(&start);
    for (key, number) in &known.values {
        assert_eq!(
            client.ask("kv_get", json!({"key": key}))["value"],
            *number,
            "{key}"
        );
    }
    for (key, number) in &known.artifacts {
        let found = client.ask("artifacts_get", json!({"key": key, "as": "text"}));
        assert_eq!(number_of(&found), *number, "{key}");
    }
    let counter = client.ask("kv_get", json!({"key": "counter"}))["value"]
        .as_u64()
        .unwrap();
    assert_eq!(counter, known.counted, "increments were lost or done twice");
    assert_eq!(known.counted, known.count_begun);
    check_events(&mut client, &known);
    client.finish();
}

/// Every accepted event is there, whichever process took it and however that process ended.
fn check_events(client: &mut Client, known: &Known) {
    let end = Instant::now() + WAIT_MAX;
    loop {
        let mut found = BTreeSet::new();
        let mut arguments = json!({"detail_type": "Sharing.Sent", "limit": 500});
        loop {
            let page = client.ask("events_query", arguments.clone());
            for event in page["events"].as_array().unwrap() {
                assert!(
                    found.insert(event["event_id"].as_str().unwrap().to_owned()),
                    "twice: {event}"
                );
            }
            match page.get("next_cursor") {
                Some(next) => arguments["cursor"] = next.clone(),
                None => break,
            }
        }
        let missing = known.events.difference(&found).count();
        if missing == 0 {
            assert_eq!(found.len(), known.events.len(), "events that nobody sent");
            return;
        }
        assert!(
            Instant::now() < end,
            "{missing} of {} events are lost",
            known.events.len()
        );
        thread::sleep(Duration::from_millis(200));
    }
}
