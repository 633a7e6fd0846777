//! The handle to a tenant's integrations: their rows, the caller's connections to them, and what is pinned.

mod attempt;
mod connect;
mod learn;
mod manage;
mod reach;

use std::collections::HashMap;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;

use super::key::{Keyspace, RowKey};
use super::secrets::OpensConnections;
use super::table::Row;
use crate::mesh::call::grant::Reach;
use crate::mesh::call::operation::{Allows, IntegrationRead};
use crate::mesh::call::tool::Tool;
use crate::mesh::integration::row::Registered;
use crate::mesh::integration::unseen;
use crate::mesh::integration::view::{Owned, View};
use crate::mesh::integration::{ConnectionId, IntegrationBook, KnownTools, ServiceId};
use crate::mesh::limit::Direction;
use crate::mesh::upstream::{ConnectionKey, ConnectionState, Phase, Upstream, UpstreamTool};
use crate::mesh::{Error, ErrorKind};

pub use connect::{Connecting, Made};
pub use manage::{Approval, Defined};

/// How long a server may take to list its tools.
pub const LIST_TIME_MAX: Duration = Duration::from_secs(20);

/// The most characters of what went wrong with a connection that are told.
const FAULT_CHARS_MAX: usize = 400;

/// A connection of the caller's that is open, and its tools.
#[derive(Clone)]
pub struct Reached {
    /// Whose it is.
    pub key: Arc<ConnectionKey>,
    /// The connection.
    pub upstream: Arc<dyn Upstream>,
    /// Its tools.
    pub tools: Arc<KnownTools>,
    owned: Arc<Owned>,
}

/// The caller's connections and what is known of their tools, without waiting for any of them.
pub struct Survey {
    /// What the caller has.
    pub view: Arc<View>,
    /// The connections whose tools are known, with them.
    pub sources: Vec<(Arc<Owned>, Arc<KnownTools>)>,
    /// The connections whose tools are not known, or are not known to be those of now.
    pub unavailable: Vec<Unavailable>,
}

/// A connection that cannot tell its tools now.
#[derive(Clone, Debug)]
pub struct Unavailable {
    /// The connection.
    pub owned: Arc<Owned>,
    /// Why, in the caller's terms.
    pub message: String,
}

/// Integrations of the caller's tenant and the caller's own connections, to the extent of the permission `P`.
pub struct Integrations<'call, P> {
    reach: Reach<'call>,
    keys: Keyspace,
    tool: Tool,
    permission: PhantomData<P>,
}

impl<'call, P> Integrations<'call, P> {
    pub(in crate::mesh) fn new(reach: Reach<'call>, tool: Tool) -> Self {
        Self {
            keys: reach.keyspace(),
            reach,
            tool,
            permission: PhantomData,
        }
    }

    /// What the caller has, at most 5 s old.
    ///
    /// # Errors
    /// What the table says.
    pub async fn view(&self) -> Result<Arc<View>, Error> {
        let seen = self
            .book()
            .view(self.reach.tenant_id(), self.reach.user_id());
        let seen = seen.await?;
        self.read_units(seen.units);
        Ok(seen.view)
    }

    /// How the caller's own connections are that this process has opened.
    pub fn states(&self) -> HashMap<(ServiceId, ConnectionId), ConnectionState> {
        let states = self.book().upstreams().states(Some(self.reach.tenant_id()));
        let own = states.into_iter().filter(|state| {
            state.key.tenant == *self.reach.tenant_id() && state.key.user == *self.reach.user_id()
        });
        own.map(|state| {
            let place = (state.key.service.clone(), state.key.connection.clone());
            (place, state)
        })
        .collect()
    }

    /// The tools of all of the caller's connections as they are known now. A server that is asked anew and
    /// does not answer at once delays nothing: its tools are those that were known before.
    ///
    /// # Errors
    /// What the table says.
    pub async fn survey(&self) -> Result<Survey, Error>
    where
        P: Allows<IntegrationRead> + OpensConnections,
    {
        let view = self.view().await?;
        let states = self.states();
        let mut sources = Vec::new();
        let mut unavailable = Vec::new();
        for owned in view.connections() {
            let place = (owned.row.service.clone(), owned.row.connection.clone());
            let state = states.get(&place);
            let (tools, message) = self.tools_now(owned, state).await?;
            if let Some(tools) = tools {
                sources.push((Arc::clone(owned), tools));
            }
            if let Some(message) = message {
                unavailable.push(Unavailable {
                    owned: Arc::clone(owned),
                    message,
                });
            }
        }
        Ok(Survey {
            view,
            sources,
            unavailable,
        })
    }

    /// What is known of the tools of one connection, and why that may not be what they are.
    async fn tools_now(
        &self,
        owned: &Arc<Owned>,
        state: Option<&ConnectionState>,
    ) -> Result<(Option<Arc<KnownTools>>, Option<String>), Error> {
        let last = || owned.known_last().unwrap_or_else(|| owned.kept());
        if let Some(state) = state.filter(|state| state.phase == Phase::Down) {
            return Ok((None, Some(fault_text(state, "is down"))));
        }
        let Some(upstream) = self.upstream(owned) else {
            return Ok((Some(last()), None));
        };
        let message = state
            .filter(|state| state.phase == Phase::Degraded)
            .map(|state| fault_text(state, "broke off and is connected to again at the next use"));
        match upstream.tools().now_or_never() {
            Some(Ok(list)) => {
                let tools = self.learned(owned, &*upstream, list).await?;
                Ok((Some(tools), message))
            }
            Some(Err(error)) => Ok((Some(last()), Some(error.message().to_owned()))),
            None => {
                list_soon(owned, upstream);
                let waiting = "has not listed its tools yet; these are the ones known before";
                Ok((
                    Some(last()),
                    Some(message.unwrap_or_else(|| waiting.to_owned())),
                ))
            }
        }
    }

    /// The caller's connection as its row has it.
    async fn owned(
        &self,
        service: &ServiceId,
        connection: &ConnectionId,
    ) -> Result<Arc<Owned>, Error> {
        let view = self.view().await?;
        if let Some(owned) = view.owned(service, connection) {
            return Ok(Arc::clone(owned));
        }
        // Another process may have made it since the copy was read.
        let view = self.view_now().await?;
        let owned = view.owned(service, connection).cloned();
        owned.ok_or_else(|| match view.roll().service(service) {
            None => no_such_integration(service),
            Some(_) => not_connected(service, connection),
        })
    }

    async fn view_now(&self) -> Result<Arc<View>, Error> {
        let seen = self
            .book()
            .view_now(self.reach.tenant_id(), self.reach.user_id());
        let seen = seen.await?;
        self.read_units(seen.units);
        Ok(seen.view)
    }

    fn upstream(&self, owned: &Owned) -> Option<Arc<dyn Upstream>> {
        self.book().upstreams().open(&owned.key, &owned.revision)
    }

    fn connection_key(&self, service: &ServiceId, connection: &ConnectionId) -> ConnectionKey {
        ConnectionKey {
            tenant: self.reach.tenant_id().clone(),
            user: self.reach.user_id().clone(),
            service: service.clone(),
            connection: connection.clone(),
        }
    }

    fn book(&self) -> &'call IntegrationBook {
        self.reach.integrations()
    }

    async fn get(&self, key: &RowKey) -> Result<Option<Row>, Error> {
        let found = self.reach.table().get(key, true).await?;
        self.read_units(found.units);
        Ok(found.value)
    }

    fn read_units(&self, units: f64) {
        if units > 0.0 {
            self.reach.spend(Direction::DynamodbRead, units);
        }
    }

    fn write_units(&self, units: f64) {
        self.reach.spend(Direction::DynamodbWrite, units);
    }
}

impl Reached {
    /// What was registered of it.
    pub fn registered(&self) -> &Registered {
        &self.owned.registered
    }
}

/// The tools of a server, in time.
async fn listed(
    service: &ServiceId,
    upstream: &dyn Upstream,
) -> Result<Arc<Vec<UpstreamTool>>, Error> {
    let mut listing = upstream.tools();
    // A list that is there already needs no timer.
    if let Some(list) = (&mut listing).now_or_never() {
        return list;
    }
    match tokio::time::timeout(LIST_TIME_MAX, listing).await {
        Ok(list) => list,
        Err(_) => Err(too_slow(service, "list its tools", LIST_TIME_MAX)),
    }
}

/// Has a server list its tools while nobody waits for it; one at a time for each connection.
fn list_soon(owned: &Arc<Owned>, upstream: Arc<dyn Upstream>) {
    if let Some(claim) = owned.claim_listing() {
        tokio::spawn(async move {
            let listed = tokio::time::timeout(LIST_TIME_MAX, upstream.tools()).await;
            tracing::debug!(
                in_time = listed.is_ok(),
                "a server was asked for its tools again"
            );
            drop(claim);
        });
    }
}

fn fault_text(state: &ConnectionState, what: &str) -> String {
    match &state.fault {
        Some(fault) => format!("{what}: {}", unseen::excerpt(fault, FAULT_CHARS_MAX)),
        None => what.to_owned(),
    }
}

fn too_slow(service: &ServiceId, what: &str, time: Duration) -> Error {
    Error::new(
        ErrorKind::UpstreamUnavailable,
        format!("`{service}` did not {what} within {} s", time.as_secs()),
    )
    .fix("Look whether the server is well (integration_test), then try again.")
}

/// That there is no such integration, as far as the tenant knows.
pub(in crate::mesh) fn no_such_integration(service: &ServiceId) -> Error {
    Error::new(
        ErrorKind::NotFound,
        format!("there is no integration `{service}`"),
    )
    .fix(
        "integration_list shows those there are; an administrator adds one with integration_register.",
    )
    .detail("service_id", service.as_str())
}

fn not_connected(service: &ServiceId, connection: &ConnectionId) -> Error {
    let message = match *connection == ConnectionId::default() {
        true => format!("you are not connected to `{service}`"),
        false => format!("you have no connection `{connection}` to `{service}`"),
    };
    Error::new(ErrorKind::NotFound, message)
        .fix(format!(
            "Connect with integration_connect {{\"service_id\": \"{service}\"}}."
        ))
        .detail("service_id", service.as_str())
}
