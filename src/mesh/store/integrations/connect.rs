//! Making and ending the caller's connections: all of it or nothing, the process and the secret included.

use std::collections::BTreeMap;
use std::sync::Arc;

use ulid::Ulid;

use super::{Integrations, listed, no_such_integration};
use crate::mesh::call::operation::{Allows, IntegrationConnect};
use crate::mesh::integration::book::CONNECTIONS_MAX;
use crate::mesh::integration::listing::Listing;
use crate::mesh::integration::row::{Connected, Registered, ServerSeen, new_version};
use crate::mesh::integration::{ConnectionId, Credentials, IntegrationBook, KnownTools, ServiceId};
use crate::mesh::store::key::{CONNECTION_PREFIX, RowKey, SecretKey};
use crate::mesh::store::secrets::{OpensConnections, Secrets};
use crate::mesh::store::table::{Condition, WriteOutcome};
use crate::mesh::upstream::ConnectionKey;
use crate::mesh::{Error, ErrorKind};

/// A connection that is to be made, or made anew.
#[derive(Debug)]
pub struct Connecting {
    /// The integration.
    pub service: ServiceId,
    /// Which of the caller's connections.
    pub connection: ConnectionId,
    /// What it signs in with; those of before where they are left out.
    pub credentials: Option<Credentials>,
    /// What fills a template's slots; those of before where they are left out.
    pub settings: Option<BTreeMap<String, String>>,
}

/// A connection that was made.
#[derive(Debug)]
pub struct Made {
    /// Who the server says it is.
    pub server: ServerSeen,
    /// Its tools.
    pub tools: Arc<KnownTools>,
    /// Whether there was one of the name before.
    pub existed: bool,
}

/// Takes back what was done of a connection, unless it was made: also where the caller has given up.
struct Undo {
    book: IntegrationBook,
    key: Arc<ConnectionKey>,
    /// The row and the secret, where there were none before.
    stored: Option<Stored>,
    is_armed: bool,
}

/// A row that was written where there was none, and the secret beside it.
struct Stored {
    row: RowKey,
    version: String,
    secret: SecretKey,
}

impl Undo {
    /// Takes everything back and waits for it.
    async fn now(mut self) {
        self.is_armed = false;
        take_back(self.book.clone(), Arc::clone(&self.key), self.stored.take()).await;
    }

    fn disarm(mut self) {
        self.is_armed = false;
    }
}

impl Drop for Undo {
    fn drop(&mut self) {
        if self.is_armed {
            let (book, key) = (self.book.clone(), Arc::clone(&self.key));
            tokio::spawn(take_back(book, key, self.stored.take()));
        }
    }
}

async fn take_back(book: IntegrationBook, key: Arc<ConnectionKey>, stored: Option<Stored>) {
    book.upstreams().disconnect(&key).await;
    let Some(Stored {
        row,
        version,
        secret,
    }) = stored
    else {
        return;
    };
    let parts = book.parts();
    // Only what this call has written: the same user may have connected again meanwhile.
    let now = parts.clock.now();
    let deleted = parts
        .table
        .delete(&row, Condition::Version { version, now })
        .await;
    book.connections_changed(&key.tenant, &key.user);
    match deleted.map(|deleted| deleted.value) {
        Ok(WriteOutcome::Done { .. }) => {
            if let Err(error) = parts.secrets.delete(&secret).await {
                tracing::error!(
                    ?error,
                    "credentials of a connection that failed could not be removed"
                );
            }
        }
        Ok(WriteOutcome::ConditionFailed { .. }) => {}
        Err(error) => {
            tracing::error!(
                ?error,
                "the row of a connection that failed could not be removed"
            );
        }
    }
}

impl<'call, P> Integrations<'call, P>
where
    P: Allows<IntegrationConnect> + OpensConnections,
{
    /// Connects the caller: a handshake and the list of tools, then its row and its credentials. Where any of it
    /// fails nothing stays, and a connection of before is as it was.
    ///
    /// # Errors
    /// `NOT_FOUND` where there is no such integration; `QUOTA_EXCEEDED`; what the server did instead.
    pub async fn connect(&self, wanted: Connecting) -> Result<Made, Error> {
        let view = self.view_now().await?;
        let service = &wanted.service;
        let registered = view.roll().service(service).cloned();
        let registered = registered.ok_or_else(|| no_such_integration(service))?;
        let before = self.connection_row(service, &wanted.connection).await?;
        let before = before.filter(|row| row.of == registered.id);
        let is_new = before.as_ref().is_none_or(|row| row.pending);
        let others = view
            .connections()
            .filter(|owned| owned.row.service == *service);
        if is_new && others.count() >= CONNECTIONS_MAX {
            return Err(too_many(service));
        }
        let mut row = self.new_row(&wanted, &registered, before.as_ref());
        let plan = self
            .plan(&registered, &row, wanted.credentials.as_ref())
            .await?;
        self.book().upstreams().check(&plan.target)?;

        let mut undo = Undo {
            book: self.book().clone(),
            key: Arc::new(plan.key.clone()),
            stored: None,
            is_armed: true,
        };
        let made = async {
            let upstream = self.connected(plan).await?;
            let list = listed(service, &*upstream).await?;
            let listing = Listing::of(&list);
            let pins = view.roll().pins(service).cloned().unwrap_or_default();
            let pins = self.pin(&registered, &pins, &listing).await?;
            row.server = ServerSeen::of(&upstream.identity());
            row.tools = listing.tools_for_row();
            self.keep(&row, &wanted, is_new, &mut undo).await?;
            self.require_registered(&registered).await?;
            Ok(Made {
                server: row.server.clone(),
                tools: Arc::new(listing.known(&pins)),
                existed: !is_new,
            })
        }
        .await;
        match made {
            Ok(made) => {
                undo.disarm();
                Ok(made)
            }
            Err(error) => {
                undo.now().await;
                Err(error)
            }
        }
    }

    /// Ends one of the caller's connections, with its process and its credentials; whether there was one.
    ///
    /// # Errors
    /// What the table and the secret store say.
    pub async fn disconnect(
        &self,
        service: &ServiceId,
        connection: &ConnectionId,
    ) -> Result<bool, Error> {
        let key = self.connection_key(service, connection);
        let row = self.connection_row(service, connection).await?;
        if row.is_some() {
            let changing = self.changing(Some(self.reach.user_id())).await?;
            // Whatever the row says: an attempt that was cut off may have left some.
            let secrets = Secrets::<P>::new(self.reach);
            secrets.delete_credentials(service, connection).await?;
            let row_key = self
                .keys
                .connection(service, self.reach.user_id(), connection);
            let deleted = self
                .reach
                .table()
                .delete(&row_key, Condition::Always)
                .await?;
            self.write_units(deleted.units);
            self.finish(changing).await?;
        }
        self.book().upstreams().disconnect(&key).await;
        Ok(row.is_some_and(|row| !row.pending))
    }

    fn new_row(
        &self,
        wanted: &Connecting,
        registered: &Registered,
        before: Option<&Connected>,
    ) -> Connected {
        let has_credentials = match &wanted.credentials {
            Some(given) => !given.is_empty(),
            None => before.is_some_and(|row| row.has_credentials && !row.pending),
        };
        let settings = wanted.settings.clone();
        Connected {
            service: wanted.service.clone(),
            user: self.reach.user_id().clone(),
            connection: wanted.connection.clone(),
            of: registered.id,
            revision: Ulid::generate(),
            settings: settings
                .or_else(|| before.map(|row| row.settings.clone()))
                .unwrap_or_default(),
            has_credentials,
            pending: false,
            server: before.map(|row| row.server.clone()).unwrap_or_default(),
            tools: Vec::new(),
            created_at: before.map_or_else(|| self.reach.now(), |row| row.created_at),
            version: new_version(),
        }
    }

    /// Writes the credentials and the row. Where there was no row, one that counts for nothing comes first, so
    /// that there are no credentials that nobody would remove.
    async fn keep(
        &self,
        row: &Connected,
        wanted: &Connecting,
        is_new: bool,
        undo: &mut Undo,
    ) -> Result<(), Error> {
        let user = self.reach.user_id();
        let key = self.keys.connection(&row.service, user, &row.connection);
        let changing = self.changing(Some(user)).await?;
        if is_new {
            let secret = self.keys.credentials(&row.service, user, &row.connection);
            undo.stored = Some(Stored {
                row: key.clone(),
                version: row.version.clone(),
                secret,
            });
        }
        if let Some(credentials) = &wanted.credentials {
            let secrets = Secrets::<P>::new(self.reach);
            if credentials.is_empty() {
                secrets
                    .delete_credentials(&row.service, &row.connection)
                    .await?;
            } else {
                if is_new {
                    let pending = Connected {
                        pending: true,
                        ..row.clone()
                    };
                    self.put_row(&key, &pending).await?;
                }
                secrets
                    .put_credentials(&row.service, &row.connection, credentials)
                    .await?;
            }
        }
        self.put_row(&key, row).await?;
        self.finish(changing).await
    }

    async fn put_row(&self, key: &RowKey, row: &Connected) -> Result<(), Error> {
        let written = self
            .reach
            .table()
            .put(key, row.to_row()?, Condition::Always)
            .await?;
        self.write_units(written.units);
        Ok(())
    }

    /// Whether the integration is still there: who removes it looks for connections after it has said so.
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

    async fn connection_row(
        &self,
        service: &ServiceId,
        connection: &ConnectionId,
    ) -> Result<Option<Connected>, Error> {
        let key = self
            .keys
            .connection(service, self.reach.user_id(), connection);
        let Some(row) = self.get(&key).await? else {
            return Ok(None);
        };
        let id = key
            .sort()
            .strip_prefix(CONNECTION_PREFIX)
            .unwrap_or_default();
        Connected::of_row(key.sort(), id, &row).map(Some)
    }
}

fn too_many(service: &ServiceId) -> Error {
    Error::new(
        ErrorKind::QuotaExceeded,
        format!("you have {CONNECTIONS_MAX} connections to `{service}`, and cannot have more"),
    )
    .fix("End one with integration_disconnect.")
    .detail("quota", "connections")
    .detail("allowed", CONNECTIONS_MAX)
}
