//! The row and the credentials of a connection, replaced as one: written step by step, and taken back from each.
//!
//! Credentials are put where the ones of before are not, after a mark in the row has said so, and count from the
//! moment on when the row names them. Whoever finds a mark waits until the call behind it has ended; what a call
//! that was cut off has left is removed by whoever connects or disconnects next, or unregisters the integration.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{sleep, timeout};

use super::{Integrations, no_such_integration};
use crate::mesh::call::operation::{Allows, IntegrationConnect};
use crate::mesh::integration::row::{ATTEMPT_TIME_MAX, Connected, Registered, new_version};
use crate::mesh::integration::{ConnectionId, Credentials, IntegrationBook, ServiceId};
use crate::mesh::store::SecretStore;
use crate::mesh::store::key::{CONNECTION_PREFIX, Keyspace, RowKey, SecretKey};
use crate::mesh::store::secrets::{OpensConnections, Secrets};
use crate::mesh::store::table::{Condition, Row, WriteOutcome};
use crate::mesh::upstream::ConnectionKey;
use crate::mesh::{Error, ErrorKind};

/// How often a row is written anew while others change it.
pub(super) const ROUNDS_MAX: usize = 4;

/// How long, from the mark on, credentials may be written.
const STORE_TIME_MAX: Duration = Duration::from_secs(ATTEMPT_TIME_MAX.as_secs() / 3);

/// How often and how long a row that a call is replacing is looked at until that has ended.
pub(super) const ATTEMPT_LOOKS_MAX: u32 = 100;
pub(super) const ATTEMPT_LOOK: Duration = Duration::from_millis(50);

/// What an attempt is to write.
#[derive(Clone, Copy)]
pub(super) struct Attempt<'a> {
    /// The row.
    pub(super) row: &'a Connected,
    /// The integration.
    pub(super) registered: &'a Registered,
    /// The credentials that it is to have; those of before where they are left out.
    pub(super) given: Option<&'a Credentials>,
}

/// Takes back what was done of a connection, unless it was made: also where the caller has given up.
pub(super) struct Undo {
    deeds: Option<Deeds>,
}

/// What a call has done so far, and nothing that another has.
struct Deeds {
    book: IntegrationBook,
    key: Arc<ConnectionKey>,
    /// As what it was tried out.
    revision: String,
    written: Option<Written>,
}

/// What was written, or may have been.
struct Written {
    row: RowKey,
    /// What the row was.
    before: Option<Row>,
    /// The versions that this call gives to the row.
    versions: Vec<String>,
    /// Where it puts credentials.
    secret: Option<SecretKey>,
}

impl Undo {
    /// Nothing but a connection that is tried out as `revision`.
    pub(super) fn new(book: &IntegrationBook, key: &Arc<ConnectionKey>, revision: &str) -> Self {
        Self {
            deeds: Some(Deeds {
                book: book.clone(),
                key: Arc::clone(key),
                revision: revision.to_owned(),
                written: None,
            }),
        }
    }

    /// Takes everything back and waits for it.
    pub(super) async fn now(mut self) {
        if let Some(deeds) = self.deeds.take() {
            deeds.take_back().await;
        }
    }

    /// It was made.
    pub(super) fn disarm(mut self) {
        self.deeds = None;
    }

    fn note(&mut self, written: Written) {
        if let Some(deeds) = &mut self.deeds {
            deeds.written = Some(written);
        }
    }
}

impl Drop for Undo {
    fn drop(&mut self) {
        if let Some(deeds) = self.deeds.take() {
            tokio::spawn(deeds.take_back());
        }
    }
}

impl Deeds {
    async fn take_back(self) {
        let Self {
            book,
            key,
            revision,
            written,
        } = self;
        book.upstreams().retire(&key, &revision).await;
        let Some(written) = written else {
            return;
        };
        if let Err(error) = written.take_back(&book).await {
            tracing::error!(?error, "what a failed connection has left is still there");
        }
        let stamp = Keyspace::of(&key.tenant).integrations_stamp(Some(&key.user));
        if let Err(error) = book.stamp(&stamp).await {
            tracing::warn!(?error, "a failed connection could not be announced");
        }
        book.connections_changed(&key.tenant, &key.user);
    }
}

impl Written {
    async fn take_back(&self, book: &IntegrationBook) -> Result<(), Error> {
        let (table, secrets) = (&book.parts().table, &book.parts().secrets);
        let current = table.get(&self.row, true).await?.value;
        let version = current
            .as_ref()
            .map(|row| row.version().unwrap_or_default());
        let version = match version {
            Some(version) if self.versions.iter().any(|own| own == version) => version.to_owned(),
            // The secret of a row that somebody else has written is that one's.
            Some(_) => return Ok(()),
            None => return self.forget(&**secrets).await,
        };
        let now = book.parts().clock.now();
        let condition = Condition::Version { version, now };
        // There is a row for as long as there may be a secret.
        match &self.before {
            Some(before) => {
                let put = table.put(&self.row, before.clone(), condition).await?;
                match put.value {
                    WriteOutcome::Done { .. } => self.forget(&**secrets).await,
                    WriteOutcome::ConditionFailed { .. } => Ok(()),
                }
            }
            None => {
                self.forget(&**secrets).await?;
                table.delete(&self.row, condition).await.map(drop)
            }
        }
    }

    async fn forget(&self, secrets: &dyn SecretStore) -> Result<(), Error> {
        match &self.secret {
            Some(secret) => secrets.delete(secret).await.map(drop),
            None => Ok(()),
        }
    }
}

impl<'call, P> Integrations<'call, P>
where
    P: Allows<IntegrationConnect> + OpensConnections,
{
    /// Writes the credentials and the row over what was `found`, if that is still there; `undo` learns of each step
    /// before it is taken.
    pub(super) async fn keep(
        &self,
        attempt: Attempt<'_>,
        found: Option<Connected>,
        undo: &mut Undo,
    ) -> Result<(), Error> {
        let Attempt {
            row, registered, ..
        } = attempt;
        let user = self.reach.user_id();
        let key = self.keys.connection(&row.service, user, &row.connection);
        let given = attempt.given.filter(|given| !given.is_empty());
        let before = found
            .as_ref()
            .filter(|found| found.of == row.of && !found.pending);
        let mark = match (before, given) {
            (Some(_), None) => None,
            _ => Some(self.mark(before.unwrap_or(row), before.is_none())),
        };
        let secret = given.and(row.credentials).map(|slot| {
            let keys = &self.keys;
            keys.credentials(&row.service, user, &row.connection, slot)
        });
        let changing = self.changing(Some(user)).await?;
        let first = mark.as_ref().unwrap_or(row);
        self.replace(&key, found, first, |before| {
            undo.note(Written {
                row: key.clone(),
                before,
                versions: vec![first.version.clone(), row.version.clone()],
                secret: secret.clone(),
            });
        })
        .await?;
        if let Some(mark) = &mark {
            let stored = timeout(STORE_TIME_MAX, async {
                // Whoever removes the integration says so before looking for connections: it has found the mark,
                // or is found here.
                self.require_registered(registered).await?;
                self.store(row, given).await
            });
            stored
                .await
                .unwrap_or_else(|_| Err(too_slow(&row.service)))?;
            let put = self
                .reach
                .table()
                .put(&key, row.to_row()?, self.still(mark));
            let put = put.await?;
            self.write_units(put.units);
            if !matches!(put.value, WriteOutcome::Done { .. }) {
                return Err(busy(&row.service));
            }
        }
        // From here on it is made. Other processes that read between the stamps learn of it with their next whole
        // copy.
        if let Err(error) = self.finish(changing).await {
            tracing::warn!(?error, "a connection that was made could not be announced");
        }
        Ok(())
    }

    /// The row while the rest is written: as it was, or one that counts for nothing where there was none.
    fn mark(&self, row: &Connected, pending: bool) -> Connected {
        Connected {
            pending,
            attempt_at: Some(self.reach.now()),
            version: new_version(),
            ..row.clone()
        }
    }

    /// Writes `next` where `found` is; `note` is told what is being replaced.
    async fn replace(
        &self,
        key: &RowKey,
        mut found: Option<Connected>,
        next: &Connected,
        mut note: impl FnMut(Option<Row>),
    ) -> Result<(), Error> {
        for _ in 0..ROUNDS_MAX {
            note(found.as_ref().map(Connected::to_row).transpose()?);
            let condition = match &found {
                Some(found) => self.still(found),
                None => Condition::Absent {
                    now: self.reach.now(),
                },
            };
            let put = self
                .reach
                .table()
                .put(key, next.to_row()?, condition)
                .await?;
            self.write_units(put.units);
            let WriteOutcome::ConditionFailed { current } = put.value else {
                return Ok(());
            };
            let current = current.map(|row| read(key, &row)).transpose()?;
            // Its tools may have been listed anew; anything else is another call's.
            let is_same = found.as_ref().zip(current.as_ref());
            if !is_same.is_some_and(|(found, current)| is_same_attempt(found, current)) {
                break;
            }
            found = current;
        }
        Err(busy(&next.service))
    }

    async fn store(&self, row: &Connected, given: Option<&Credentials>) -> Result<(), Error> {
        let Some((slot, given)) = row.credentials.zip(given) else {
            return Ok(());
        };
        let secrets = Secrets::<P>::new(self.reach);
        secrets
            .put_credentials(&row.service, &row.connection, slot, given)
            .await
    }

    /// That the row is still as it was read or written.
    pub(super) fn still(&self, row: &Connected) -> Condition {
        Condition::Version {
            version: row.version.clone(),
            now: self.reach.now(),
        }
    }

    /// Whether the integration is still there.
    async fn require_registered(&self, registered: &Registered) -> Result<(), Error> {
        let service = &registered.definition.service;
        let key = self.keys.integration(service);
        let found = self.get(&key).await?;
        let found = found
            .map(|row| Registered::of_row(key.sort(), &row))
            .transpose()?;
        match found {
            Some(found) if found.id == registered.id && !found.leaving => Ok(()),
            _ => Err(no_such_integration(service)),
        }
    }

    /// The row of one of the caller's connections, once no call is replacing it.
    ///
    /// # Errors
    /// `CONFLICT` where one has not ended in time.
    pub(super) async fn settled_row(
        &self,
        service: &ServiceId,
        connection: &ConnectionId,
    ) -> Result<Option<Connected>, Error> {
        let user = self.reach.user_id();
        let key = self.keys.connection(service, user, connection);
        for _ in 0..ATTEMPT_LOOKS_MAX {
            let Some(row) = self.get(&key).await? else {
                return Ok(None);
            };
            let row = read(&key, &row)?;
            if !row.is_attempted(self.reach.now()) {
                return Ok(Some(row));
            }
            sleep(ATTEMPT_LOOK).await;
        }
        Err(busy(service))
    }
}

fn read(key: &RowKey, row: &Row) -> Result<Connected, Error> {
    let id = key.sort().strip_prefix(CONNECTION_PREFIX);
    Connected::of_row(key.sort(), id.unwrap_or_default(), row)
}

fn is_same_attempt(one: &Connected, other: &Connected) -> bool {
    (one.of, one.revision, one.attempt_at) == (other.of, other.revision, other.attempt_at)
}

fn busy(service: &ServiceId) -> Error {
    Error::new(
        ErrorKind::Conflict,
        format!("another call makes or ends the same connection to `{service}`"),
    )
    .fix("Look at what has come of it (integration_list), and repeat the call if it is still wanted.")
    .detail("service_id", service.as_str())
}

fn too_slow(service: &ServiceId) -> Error {
    Error::new(
        ErrorKind::AwsUnavailable,
        format!("the credentials of `{service}` could not be kept in time"),
    )
    .fix("Repeat the call.")
}
