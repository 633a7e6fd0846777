//! Making and ending the caller's connections: all of it or nothing, the process and the secret included.

use std::collections::BTreeMap;
use std::sync::Arc;

use ulid::Ulid;

use super::attempt::{Attempt, ROUNDS_MAX, Undo};
use super::{Integrations, listed, no_such_integration};
use crate::mesh::call::operation::{Allows, IntegrationConnect};
use crate::mesh::integration::book::CONNECTIONS_MAX;
use crate::mesh::integration::listing::Listing;
use crate::mesh::integration::row::{Connected, Registered, SecretSlot, ServerSeen, new_version};
use crate::mesh::integration::{ConnectionId, Credentials, KnownTools, ServiceId};
use crate::mesh::store::secrets::{OpensConnections, Secrets};
use crate::mesh::store::table::WriteOutcome;
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

impl<'call, P> Integrations<'call, P>
where
    P: Allows<IntegrationConnect> + OpensConnections,
{
    /// Connects the caller: a handshake and the list of tools beside whatever is open, then its row and its
    /// credentials. Where any of it fails nothing stays, and a connection of before is as it was, its row, its
    /// credentials and the calls on it.
    ///
    /// # Errors
    /// `NOT_FOUND` where there is no such integration; `QUOTA_EXCEEDED`; `CONFLICT` where another call makes the
    /// same connection at the same time; what the server did instead.
    pub async fn connect(&self, wanted: Connecting) -> Result<Made, Error> {
        let view = self.view_now().await?;
        let service = &wanted.service;
        let registered = view.roll().service(service).cloned();
        let registered = registered.ok_or_else(|| no_such_integration(service))?;
        let found = self.settled_row(service, &wanted.connection).await?;
        let before = found.as_ref();
        let before = before.filter(|row| row.of == registered.id && !row.pending);
        let others = view
            .connections()
            .filter(|owned| owned.row.service == *service);
        if before.is_none() && others.count() >= CONNECTIONS_MAX {
            return Err(too_many(service));
        }
        let existed = before.is_some();
        // Secrets that no row names any more, or soon will not.
        let leaves_some = found.as_ref().is_some_and(|found| {
            wanted.credentials.is_some() || !existed || found.attempt_at.is_some()
        });
        let mut row = self.new_row(&wanted, &registered, before);
        let plan = self
            .plan(&registered, &row, wanted.credentials.as_ref())
            .await?;
        self.book().upstreams().check(&plan.target)?;

        let (key, revision) = (Arc::new(plan.key.clone()), plan.revision.clone());
        let mut undo = Undo::new(self.book(), &key, &revision);
        let made = async {
            let upstream = self.book().upstreams().try_out(plan).await?;
            let list = listed(service, &*upstream).await?;
            let listing = Listing::of(&list);
            let pins = view.roll().pins(service).cloned().unwrap_or_default();
            let pins = self.pin(&registered, &pins, &listing).await?;
            row.server = ServerSeen::of(&upstream.identity());
            row.tools = listing.tools_for_row();
            let attempt = Attempt {
                row: &row,
                registered: &registered,
                given: wanted.credentials.as_ref(),
            };
            self.keep(attempt, found, &mut undo).await?;
            Ok(Made {
                server: row.server.clone(),
                tools: Arc::new(listing.known(&pins)),
                existed,
            })
        }
        .await;
        match made {
            Ok(made) => {
                self.book().upstreams().take_over(&key, &revision);
                undo.disarm();
                self.tidy(&row, &key, &revision, leaves_some).await;
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
    /// What the table and the secret store say; `CONFLICT` while it is being made.
    pub async fn disconnect(
        &self,
        service: &ServiceId,
        connection: &ConnectionId,
    ) -> Result<bool, Error> {
        let user = self.reach.user_id();
        let row_key = self.keys.connection(service, user, connection);
        let mut ended = None;
        for _ in 0..ROUNDS_MAX {
            let Some(row) = self.settled_row(service, connection).await? else {
                break;
            };
            ended = Some(!row.pending);
            let changing = self.changing(Some(user)).await?;
            // Whatever the row says: an attempt that was cut off may have left some.
            let secrets = Secrets::<P>::new(self.reach);
            secrets
                .delete_credentials(service, connection, None)
                .await?;
            let condition = self.still(&row);
            let deleted = self.reach.table().delete(&row_key, condition).await?;
            self.write_units(deleted.units);
            self.finish(changing).await?;
            if matches!(deleted.value, WriteOutcome::Done { .. }) {
                break;
            }
        }
        let key = self.connection_key(service, connection);
        self.book().upstreams().disconnect(&key).await;
        Ok(ended.unwrap_or(false))
    }

    /// What is left to do once the connection is made. What fails of it, the next connect or the end of the
    /// connection does.
    async fn tidy(&self, row: &Connected, key: &ConnectionKey, revision: &str, leaves_some: bool) {
        if leaves_some {
            let secrets = Secrets::<P>::new(self.reach);
            let deleted =
                secrets.delete_credentials(&row.service, &row.connection, row.credentials);
            if let Err(error) = deleted.await {
                tracing::warn!(?error, "earlier credentials could not be removed");
            }
        }
        // Whoever ended it meanwhile found nothing to end yet.
        let view = self.view().await;
        if view.is_ok_and(|view| !view.is_current(key, revision)) {
            self.book().upstreams().retire(key, revision).await;
        }
    }

    fn new_row(
        &self,
        wanted: &Connecting,
        registered: &Registered,
        before: Option<&Connected>,
    ) -> Connected {
        let kept = before.and_then(|row| row.credentials);
        let credentials = match &wanted.credentials {
            Some(given) => (!given.is_empty()).then(|| SecretSlot::beside(kept)),
            None => kept,
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
            credentials,
            pending: false,
            attempt_at: None,
            server: before.map(|row| row.server.clone()).unwrap_or_default(),
            tools: Vec::new(),
            created_at: before.map_or_else(|| self.reach.now(), |row| row.created_at),
            version: new_version(),
        }
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
