//! Links of every kind against servers on loopback that do what the test says, faults included.

mod http;
mod oauth;
mod reach;
mod server;
mod sse;
mod websocket;

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::time::Duration;

use futures::future::BoxFuture;
use secrecy::SecretString;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::super::link::{Incoming, Link, Outgoing};
use super::*;
use crate::mesh::upstream::{ConnectionKey, ConnectionSecrets, SignIn};
use crate::mesh::{ManualClock, Timestamp};

/// Longer than anything here takes on a machine that does anything at all.
const PATIENCE: Duration = Duration::from_secs(60);

/// A secret that must not show anywhere.
const CANARY: &str = "canary-7f3a";

/// A link and what comes over it.
struct Client {
    link: Arc<dyn Link>,
    incoming: mpsc::Receiver<Incoming>,
}

impl Client {
    async fn open(links: &RemoteLinks, plan: &ConnectionPlan) -> Result<Self, Error> {
        let Opened { link, incoming } = within(links.open(plan)).await?;
        Ok(Self { link, incoming })
    }

    async fn send(&self, message: Outgoing) {
        within(self.link.send(message)).await.unwrap();
    }

    async fn next(&mut self) -> Incoming {
        within(self.incoming.recv())
            .await
            .expect("the link tells how it ends")
    }

    async fn message(&mut self) -> String {
        match self.next().await {
            Incoming::Message(text) => text,
            other => panic!("{other:?} is no message"),
        }
    }

    async fn failed(&mut self, id: i64) -> (bool, Error) {
        match self.next().await {
            Incoming::Failed {
                request_id,
                not_sent,
                error,
            } => {
                assert_eq!(request_id, id);
                assert_hides_canary(&error);
                (not_sent, error)
            }
            other => panic!("{other:?} is no failure"),
        }
    }

    async fn closed(&mut self) -> Error {
        match self.next().await {
            Incoming::Closed(error) => error,
            other => panic!("{other:?} is no end"),
        }
    }
}

async fn within<T>(work: impl Future<Output = T>) -> T {
    timeout(PATIENCE, work).await.expect("it does not hang")
}

fn assert_hides_canary(error: &Error) {
    let shown = format!(
        "{error:?} {error} {:?} {:?} {:?}",
        error.fix_text(),
        error.causes(),
        error.details()
    );
    assert!(!shown.contains(CANARY), "{shown}");
}

fn request(id: i64, method: &str) -> Outgoing {
    Outgoing {
        text: format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}"}}"#),
        request_id: Some(id),
        method: Some(method.to_owned()),
        name: None,
        timeout: PATIENCE,
        trace: None,
    }
}

fn notification(method: &str) -> Outgoing {
    Outgoing {
        text: format!(r#"{{"jsonrpc":"2.0","method":"{method}"}}"#),
        request_id: None,
        method: Some(method.to_owned()),
        name: None,
        timeout: PATIENCE,
        trace: None,
    }
}

fn result(id: i64) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{"of":{id}}}}}"#)
}

fn plan(kind: RemoteKind, url: &str) -> ConnectionPlan {
    let canary = SecretString::from(CANARY);
    let secrets = ConnectionSecrets::new([&canary]);
    let headers = BTreeMap::from([("X-Api-Key".to_owned(), canary)]);
    ConnectionPlan {
        key: ConnectionKey {
            tenant: "acme".parse().unwrap(),
            user: "ann".parse().unwrap(),
            service: "server".parse().unwrap(),
            connection: Default::default(),
        },
        revision: "1".to_owned(),
        target: ConnectionTarget::Remote {
            kind,
            url: url.to_owned(),
            headers,
            sign_in: SignIn::Headers,
        },
        secrets,
        era: None,
        children_max: 1,
    }
}

/// Links that reach this machine.
fn local_links() -> RemoteLinks {
    links(&[], &[])
}

/// Links that reach this machine and what `rules` list; `names` says in turn what every name leads to, the
/// last one for good.
fn links(rules: &[&str], names: &[&[&str]]) -> RemoteLinks {
    let clock = Arc::new(ManualClock::at(Timestamp::from_seconds(1_700_000_000)));
    links_at(clock, rules, names)
}

fn links_at(clock: Arc<ManualClock>, rules: &[&str], names: &[&[&str]]) -> RemoteLinks {
    let rules = rules.iter().map(|rule| rule.parse().unwrap()).collect();
    let egress = EgressPolicy::new(rules, true);
    let lookup = Arc::new(Turns::new(names));
    RemoteLinks::trial(egress, lookup, clock, server::client_tls())
}

/// A name server that changes its mind.
struct Turns {
    answers: std::sync::Mutex<Vec<Vec<IpAddr>>>,
}

impl Turns {
    fn new(names: &[&[&str]]) -> Self {
        let parse = |answer: &&[&str]| answer.iter().map(|one| one.parse().unwrap()).collect();
        let answers = names.iter().rev().map(parse).collect();
        Self {
            answers: std::sync::Mutex::new(answers),
        }
    }
}

impl egress::Lookup for Turns {
    fn lookup<'a>(&'a self, _host: &'a str) -> BoxFuture<'a, io::Result<Vec<IpAddr>>> {
        let mut answers = self.answers.lock().unwrap();
        let answer = match answers.len() {
            0 => Vec::new(),
            1 => answers[0].clone(),
            _ => answers.pop().unwrap(),
        };
        futures::future::ready(Ok(answer)).boxed()
    }
}
