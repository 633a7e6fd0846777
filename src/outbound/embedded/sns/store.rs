//! Topics and their subscriptions on disk: a small file each, replaced as a whole.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use super::Refusal;
use super::filter::FilterPolicy;
use crate::outbound::embedded::lock::{ProcessLock, WAIT_MAX};

/// The largest file of a topic that is read, in bytes: far more than as many subscriptions as it may have.
const FILE_BYTES_MAX: u64 = 16 << 20;

/// What is kept of a topic.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Topic {
    pub(super) subscriptions: Vec<Subscription>,
}

/// A confirmed subscription by mail.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Subscription {
    pub(super) id: String,
    pub(super) endpoint: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) filter_policy: Option<FilterPolicy>,
}

/// The topics of one folder, which several processes may share.
#[derive(Debug)]
pub(super) struct TopicStore {
    folder: PathBuf,
    /// The lock keeps processes apart, the mutex the threads of this one.
    lock: Mutex<ProcessLock>,
}

impl TopicStore {
    pub(super) fn new(folder: PathBuf, lock: ProcessLock) -> Self {
        Self {
            folder,
            lock: Mutex::new(lock),
        }
    }

    /// The topic of that name, if it has been made.
    pub(super) fn read(&self, name: &str) -> io::Result<Option<Topic>> {
        let file = match File::open(self.path(name)) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut text = Vec::new();
        file.take(FILE_BYTES_MAX).read_to_end(&mut text)?;
        let topic = serde_json::from_slice(&text).map_err(io::Error::from)?;
        Ok(Some(topic))
    }

    /// Changes the topic of that name, which comes into being where it `may_create` it. Nothing is
    /// changed where `work` fails. It waits for the disk: subscriptions are few and must last.
    pub(super) fn change<T>(
        &self,
        name: &str,
        may_create: bool,
        work: impl FnOnce(&mut Topic) -> Result<T, Refusal>,
    ) -> Result<T, Refusal> {
        let lock = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        let _held = lock.hold(WAIT_MAX)?;
        let before = match self.read(name)? {
            None if !may_create => return Err(Refusal::not_found("Topic")),
            before => before,
        };
        let mut topic = before.clone().unwrap_or_default();
        let done = work(&mut topic)?;
        if before.as_ref() != Some(&topic) {
            self.replace(name, &topic)?;
        }
        Ok(done)
    }

    fn replace(&self, name: &str, topic: &Topic) -> io::Result<()> {
        let path = self.path(name);
        let new = path.with_extension("new");
        let text = serde_json::to_vec(topic).map_err(io::Error::from)?;
        let mut file = match File::create(&new) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                fs::create_dir_all(&self.folder)?;
                File::create(&new)
            }
            other => other,
        }?;
        file.write_all(&text)?;
        file.sync_all()?;
        drop(file);
        fs::rename(&new, &path)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}.json"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subscription(id: usize) -> Subscription {
        Subscription {
            id: id.to_string(),
            endpoint: format!("{id}@example.com"),
            filter_policy: FilterPolicy::parse(r#"{"to":["x"]}"#).ok(),
        }
    }

    fn store(folder: &tempfile::TempDir) -> TopicStore {
        let lock = ProcessLock::at(&folder.path().join("topics.lock")).unwrap();
        TopicStore::new(folder.path().join("topics"), lock)
    }

    #[test]
    fn a_change_is_seen_by_everyone_and_a_failed_one_by_nobody() {
        let folder = tempfile::tempdir().unwrap();
        let (one, other) = (store(&folder), store(&folder));
        assert_eq!(one.read("t").unwrap(), None);
        assert!(one.change("t", false, |_| Ok(())).is_err());
        let add = |topic: &mut Topic| {
            topic.subscriptions.push(subscription(1));
            Ok(())
        };
        one.change("t", true, add).unwrap();
        let kept = Topic {
            subscriptions: vec![subscription(1)],
        };
        assert_eq!(other.read("t").unwrap(), Some(kept.clone()));
        let fail = |topic: &mut Topic| {
            topic.subscriptions.clear();
            Err::<(), _>(Refusal::parameter("no"))
        };
        assert!(other.change("t", false, fail).is_err());
        assert_eq!(one.read("t").unwrap(), Some(kept));
        assert_eq!(one.read("other").unwrap(), None);
    }

    #[test]
    fn changes_at_once_are_all_kept() {
        let folder = tempfile::tempdir().unwrap();
        let shared = store(&folder);
        std::thread::scope(|scope| {
            for worker in 0..4 {
                let (shared, own) = (&shared, store(&folder));
                scope.spawn(move || {
                    for turn in 0..10 {
                        let store = if turn % 2 == 0 { shared } else { &own };
                        let add = |topic: &mut Topic| {
                            topic.subscriptions.push(subscription(worker * 10 + turn));
                            Ok(())
                        };
                        store.change("t", true, add).unwrap();
                    }
                });
            }
        });
        let topic = shared.read("t").unwrap().unwrap();
        assert_eq!(topic.subscriptions.len(), 40);
    }
}
