//! A home for children: folders, settings, and a child that does whatever it is told.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use agent_mesh::mesh::integration::template::ArgumentPattern;
use agent_mesh::mesh::integration::{ConnectionId, Slot, Template};
use agent_mesh::mesh::upstream::{
    ConnectionKey, ConnectionPlan, ConnectionSecrets, ConnectionTarget,
};
use agent_mesh::mesh::{Error, SystemClock};
use agent_mesh::outbound::upstream::child::{ChildLinks, ChildSettings};
use agent_mesh::outbound::upstream::link::{Incoming, Links, Opened, Outgoing};
use agent_mesh::platform;
use secrecy::SecretString;
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::server::WAIT_MAX;

/// Runs the Python that each line holds, and answers with what it leaves in `result`.
pub(super) const SCRIPT: &str = r#"
import json, sys
for line in sys.stdin:
    message = json.loads(line)
    scope = {}
    try:
        exec(message["code"], scope)
        result = {"ok": scope.get("result")}
    except BaseException as error:
        result = {"error": type(error).__name__ + ": " + str(error)}
    print(json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": result}), flush=True)
"#;

/// The folders and settings of one server.
pub(super) struct Home {
    folder: tempfile::TempDir,
    pub(super) settings: ChildSettings,
}

/// A child and what it says.
pub(super) struct Child {
    pub(super) opened: Opened,
    next_id: i64,
}

impl Home {
    pub(super) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self::within(folder)
    }

    fn within(folder: tempfile::TempDir) -> Self {
        let data = folder.path().join("data");
        std::fs::create_dir(&data).unwrap();
        std::fs::write(data.join("table.db"), "secret of the tenants").unwrap();
        let mut commands = BTreeMap::from([
            ("python".to_owned(), Some(python())),
            ("missing".to_owned(), None),
        ]);
        if let Some(node) = find("node") {
            commands.insert("node".to_owned(), Some(node));
        }
        let settings = ChildSettings {
            executable: env!("CARGO_BIN_EXE_use_aws_mcp").into(),
            folder: data.join("children"),
            commands: Some(commands),
            templates: Default::default(),
            readable: Vec::new(),
            private: vec![data],
            home: None,
            search_path: "/usr/local/bin:/usr/bin:/bin".to_owned(),
            locale: BTreeMap::from([("LANG".to_owned(), "C.UTF-8".to_owned())]),
            clock: Arc::new(SystemClock::new()),
        };
        Self { folder, settings }
    }

    pub(super) fn path(&self) -> &Path {
        self.folder.path()
    }

    pub(super) fn children(&self) -> &Path {
        &self.settings.folder
    }

    pub(super) fn links(&self) -> ChildLinks {
        ChildLinks::new(self.settings.clone())
    }

    pub(super) async fn open(&self, user: &str) -> Child {
        self.open_with(user, &[]).await
    }

    pub(super) async fn open_with(&self, user: &str, env: &[(&str, &str)]) -> Child {
        let target = ConnectionTarget::Command {
            command: "python".to_owned(),
            args: args(&["-c", SCRIPT]),
            env: secrets(env),
        };
        Child::new(self.links().open(&plan(user, target)).await.unwrap())
    }

    pub(super) async fn open_program(&self, program: &Path, words: &[&str], user: &str) -> Child {
        let target = ConnectionTarget::Command {
            command: program.display().to_string(),
            args: args(words),
            env: BTreeMap::new(),
        };
        Child::new(self.links().open(&plan(user, target)).await.unwrap())
    }

    /// The wardens of this home's children, and all that they have started.
    pub(super) fn tree(&self) -> Vec<u32> {
        tree(self.children())
    }

    /// Waits until no process and no folder of a child is left.
    pub(super) async fn nothing_is_left(&self) {
        let deadline = Instant::now() + WAIT_MAX;
        loop {
            let left: Vec<PathBuf> = std::fs::read_dir(self.children())
                .into_iter()
                .flatten()
                .flatten()
                .map(|entry| entry.path())
                .collect();
            if left.is_empty() {
                return;
            }
            assert!(Instant::now() < deadline, "left: {left:?}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

/// The wardens of the children in `folder`, and all that they have started.
pub(super) fn tree(folder: &Path) -> Vec<u32> {
    let records = agent_mesh::outbound::upstream::child::folder::list(folder);
    let wardens = records.iter().filter_map(|record| record.warden);
    wardens
        .flat_map(|warden| {
            let below = platform::descendants(warden.id);
            std::iter::once(warden.id).chain(below.into_iter().map(|entry| entry.id))
        })
        .collect()
}

impl Child {
    pub(super) fn new(opened: Opened) -> Self {
        Self { opened, next_id: 0 }
    }

    pub(super) fn id(&self) -> u32 {
        self.opened.link.process().unwrap()
    }

    /// What `code` leaves in `result`, or what it raised.
    pub(super) async fn run(&mut self, code: &str) -> Result<Value, String> {
        self.next_id += 1;
        let text = json!({"id": self.next_id, "code": code}).to_string();
        self.send(text).await.map_err(|error| error.to_string())?;
        match timeout(WAIT_MAX, self.opened.incoming.recv())
            .await
            .unwrap()
        {
            Some(Incoming::Message(text)) => {
                let mut answer: Value = serde_json::from_str(&text).unwrap();
                match answer["result"]["error"].take() {
                    Value::Null => Ok(answer["result"]["ok"].take()),
                    error => Err(error.as_str().unwrap().to_owned()),
                }
            }
            Some(Incoming::Closed(error)) => {
                // For whoever asks how it closed.
                let (tell, incoming) = tokio::sync::mpsc::channel(1);
                let message = error.to_string();
                tell.try_send(Incoming::Closed(error)).unwrap();
                self.opened.incoming = incoming;
                Err(message)
            }
            other => panic!("{other:?}"),
        }
    }

    pub(super) async fn send(&self, text: String) -> Result<(), Error> {
        let message = Outgoing {
            text,
            request_id: Some(self.next_id),
            method: None,
            name: None,
            timeout: WAIT_MAX,
            trace: None,
        };
        self.opened.link.send(message).await
    }

    /// Waits until it is closed, and says why.
    pub(super) async fn closed(&mut self) -> Error {
        loop {
            match timeout(WAIT_MAX, self.opened.incoming.recv())
                .await
                .unwrap()
            {
                Some(Incoming::Closed(error)) => return error,
                Some(_) => {}
                None => panic!("it ended without a word"),
            }
        }
    }

    pub(super) fn last_words(&self) -> Option<String> {
        self.opened.link.last_words()
    }

    pub(super) async fn close(self) {
        self.opened.link.close().await;
    }
}

pub(super) fn plan(user: &str, target: ConnectionTarget) -> ConnectionPlan {
    let key = ConnectionKey {
        tenant: "acme".parse().unwrap(),
        user: user.parse().unwrap(),
        service: "script".parse().unwrap(),
        connection: ConnectionId::default(),
    };
    let secrets = match &target {
        ConnectionTarget::Command { env, .. } | ConnectionTarget::Template { env, .. } => {
            ConnectionSecrets::new(env.values())
        }
        ConnectionTarget::Remote { .. } => ConnectionSecrets::default(),
    };
    ConnectionPlan {
        key,
        revision: "1".to_owned(),
        target,
        secrets,
        era: None,
        children_max: 16,
    }
}

pub(super) fn template(words: &[&str], pattern: &str) -> Template {
    Template {
        program: python(),
        args: words
            .iter()
            .map(|word| match word.contains("{root}") {
                true => ArgumentPattern::parse(word).unwrap(),
                false => {
                    let doubled = word.replace('{', "{{").replace('}', "}}");
                    ArgumentPattern::parse(&doubled).unwrap()
                }
            })
            .collect(),
        slots: BTreeMap::from([("root".to_owned(), Slot::pattern(pattern).unwrap())]),
        env: ["TOKEN".to_owned()].into(),
        paths: Vec::new(),
        writable: Vec::new(),
        ports: vec![443],
    }
}

pub(super) fn secrets(pairs: &[(&str, &str)]) -> BTreeMap<String, SecretString> {
    let secret = |(name, value): &(&str, &str)| {
        ((*name).to_owned(), SecretString::from((*value).to_owned()))
    };
    pairs.iter().map(secret).collect()
}

fn args(words: &[&str]) -> Vec<SecretString> {
    words
        .iter()
        .map(|word| SecretString::from((*word).to_owned()))
        .collect()
}

/// A Python that is no script of a version manager's.
pub(super) fn python() -> PathBuf {
    find("python3").expect("tests need a python3 in /usr/bin or /usr/local/bin")
}

pub(super) fn find(name: &str) -> Option<PathBuf> {
    ["/usr/bin", "/usr/local/bin"]
        .into_iter()
        .map(|folder| Path::new(folder).join(name))
        .find(|path| path.is_file())
}
