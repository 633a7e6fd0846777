//! The caller's connections where they are used: opened by themselves, and once more where one broke.

use std::sync::Arc;
use std::time::Duration;

use super::{Integrations, Reached, listed};
use crate::mesh::integration::row::{Connected, Registered};
use crate::mesh::integration::view::{Owned, revision};
use crate::mesh::integration::{ConnectionId, Credentials, ServiceId, plan};
use crate::mesh::store::secrets::{OpensConnections, Secrets};
use crate::mesh::upstream::{ConnectionKey, ConnectionPlan, Phase, Upstream};
use crate::mesh::{Error, ErrorKind};

/// How often and how long a connection that broke is looked at until it is seen to have ended.
const END_LOOKS_MAX: u32 = 25;
const END_LOOK: Duration = Duration::from_millis(20);

/// How long a call whose connection broke waits until it may be opened again: the pause after a first failure, and
/// after a second.
const RECONNECT_WAIT_MAX: Duration = Duration::from_secs(1);

impl<'call, P> Integrations<'call, P> {
    /// The caller's connection, opened where it is not open. Where it is, and the copy of its row is fresh,
    /// nothing is asked of anybody. A connection that broke a moment ago comes back as it is; its calls say
    /// that they were not sent.
    ///
    /// # Errors
    /// `NOT_FOUND` where there is no such integration, or the caller is not connected to it;
    /// `UPSTREAM_UNAVAILABLE` with what the server last said.
    pub async fn reach(
        &self,
        service: &ServiceId,
        connection: &ConnectionId,
    ) -> Result<Reached, Error>
    where
        P: OpensConnections,
    {
        let owned = self.owned(service, connection).await?;
        let (owned, upstream) = match self.upstream(&owned) {
            Some(upstream) => (owned, upstream),
            None => self.open(owned).await?,
        };
        self.reached(owned, upstream).await
    }

    /// The same connection anew, after it broke in the middle of a call. It is the one that its row has now.
    ///
    /// # Errors
    /// As [`Self::reach`].
    pub async fn reconnect(&self, broken: &Reached) -> Result<Reached, Error>
    where
        P: OpensConnections,
    {
        let ConnectionKey {
            service,
            connection,
            ..
        } = &*broken.key;
        let owned = self.owned(service, connection).await?;
        // What takes no more may be seen to have ended a moment later.
        for _ in 0..END_LOOKS_MAX {
            let open = self.upstream(&owned);
            let is_same = open.is_some_and(|open| Arc::ptr_eq(&open, &broken.upstream));
            if !is_same || !self.is_connected(&broken.key) {
                break;
            }
            tokio::time::sleep(END_LOOK).await;
        }
        let opened = match self.open(Arc::clone(&owned)).await {
            Err(early) => match early.wait().filter(|wait| *wait <= RECONNECT_WAIT_MAX) {
                Some(wait) => {
                    tokio::time::sleep(wait).await;
                    self.open(owned).await
                }
                None => Err(early),
            },
            opened => opened,
        };
        let (owned, upstream) = opened?;
        self.reached(owned, upstream).await
    }

    fn is_connected(&self, key: &ConnectionKey) -> bool {
        let states = self.book().upstreams().states(Some(&key.tenant));
        let mut own = states.iter().filter(|state| state.key == *key);
        own.any(|state| state.phase == Phase::Connected)
    }

    /// Opens the connection as its row has it, which may be a newer one than `owned`.
    async fn open(&self, owned: Arc<Owned>) -> Result<(Arc<Owned>, Arc<dyn Upstream>), Error>
    where
        P: OpensConnections,
    {
        let (owned, plan) = self.current_plan(owned).await?;
        let upstream = self.book().upstreams().connect(plan).await?;
        // Whoever ended it meanwhile may have found nothing to end yet.
        if self.view().await?.is_current(&owned.key, &owned.revision) {
            return Ok((owned, upstream));
        }
        let ConnectionKey {
            service,
            connection,
            ..
        } = &*owned.key;
        let upstreams = self.book().upstreams();
        upstreams.retire(&owned.key, &owned.revision).await;
        self.owned(service, connection).await?;
        Err(replaced(service).not_done())
    }

    async fn current_plan(&self, owned: Arc<Owned>) -> Result<(Arc<Owned>, ConnectionPlan), Error>
    where
        P: OpensConnections,
    {
        let error = match self.plan(&owned.registered, &owned.row, None).await {
            Ok(plan) => return Ok((owned, plan)),
            Err(error) => error,
        };
        // Its credentials may have been replaced since the copy was read.
        let view = self.view_now().await?;
        let now = view.owned(&owned.key.service, &owned.key.connection);
        match now.filter(|now| now.revision != owned.revision) {
            Some(now) => {
                let plan = self.plan(&now.registered, &now.row, None).await?;
                Ok((Arc::clone(now), plan))
            }
            None => Err(error),
        }
    }

    /// Everything that is needed to open the caller's connection of `row`, with the credentials that are
    /// given, else with those that are kept.
    pub(super) async fn plan(
        &self,
        registered: &Registered,
        row: &Connected,
        given: Option<&Credentials>,
    ) -> Result<ConnectionPlan, Error>
    where
        P: OpensConnections,
    {
        let endpoint = &registered.definition.endpoint;
        plan::require_allowed(endpoint, self.reach.serves_many())?;
        let secrets = Secrets::<P>::new(self.reach);
        let credentials = match given {
            Some(given) => given.clone(),
            None => match row.credentials {
                Some(slot) => {
                    let kept = secrets.credentials(&row.service, &row.connection, slot);
                    kept.await?.unwrap_or_default()
                }
                None => Credentials::default(),
            },
        };
        plan::require(registered.definition.auth, &credentials)?;
        let texts = plan::texts(endpoint);
        let referents = secrets
            .referents(plan::parameter(endpoint), texts, &credentials)
            .await?;
        let target = plan::target(
            &registered.definition,
            &row.settings,
            &credentials,
            &referents,
        )?;
        Ok(ConnectionPlan {
            key: self.connection_key(&row.service, &row.connection),
            revision: revision(row),
            secrets: plan::secrets(&target, &credentials, &referents),
            target,
            era: row.server.era,
            children_max: self.reach.limits().children,
        })
    }

    async fn reached(
        &self,
        owned: Arc<Owned>,
        upstream: Arc<dyn Upstream>,
    ) -> Result<Reached, Error> {
        let list = listed(&owned.key.service, &*upstream).await?;
        let tools = self.learned(&owned, &*upstream, list).await?;
        Ok(Reached {
            key: Arc::clone(&owned.key),
            upstream,
            tools,
            owned,
        })
    }
}

fn replaced(service: &ServiceId) -> Error {
    Error::new(
        ErrorKind::UpstreamUnavailable,
        format!("the connection to `{service}` was made anew while it was being opened"),
    )
    .fix("Repeat the call.")
}
