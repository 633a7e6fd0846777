//! What a server's list of tools has that is new: pinned at first sight, held back where it changed.

use std::sync::Arc;

use futures::{StreamExt as _, TryStreamExt as _, stream};
use serde_json::value::RawValue;

use super::Integrations;
use crate::mesh::Error;
use crate::mesh::call::operation::Subject;
use crate::mesh::integration::listing::{DEFINITIONS_BYTES_MAX, ListedTool, Listing, ServicePins};
use crate::mesh::integration::row::{Connected, Held, Pin, Registered, ServerSeen, new_version};
use crate::mesh::integration::unseen;
use crate::mesh::integration::view::Owned;
use crate::mesh::integration::{IntegrationBook, KnownTools};
use crate::mesh::store::key::{Keyspace, PIN_PREFIX, RowKey};
use crate::mesh::store::table::{Condition, WriteOutcome};
use crate::mesh::tenant::{TenantId, UserId};
use crate::mesh::upstream::{ServerIdentity, Upstream, UpstreamTool};

/// The event that says that a tool is held back.
const TOOL_CHANGED: &str = "Integration.ToolChanged";

/// How many pins are written at once.
const WRITES_AT_ONCE: usize = 16;

/// The most characters of what a server calls itself that are kept.
const SERVER_CHARS_MAX: usize = 100;

/// A change of rows that other processes have copies of: its stamp is written before the rows and after them.
/// Broken off, it has at least been announced, and this process has given up its own copies.
pub(super) struct Changing {
    book: IntegrationBook,
    stamp: RowKey,
    tenant: TenantId,
    /// Whose connections change; the tenant's integrations or pins where there is none.
    user: Option<UserId>,
}

impl Changing {
    /// Every row is written; answers what the stamp has cost.
    pub(super) async fn finish(self) -> Result<f64, Error> {
        self.book.stamp(&self.stamp).await
    }
}

impl Drop for Changing {
    fn drop(&mut self) {
        match &self.user {
            Some(user) => self.book.connections_changed(&self.tenant, user),
            None => self.book.roll_changed(&self.tenant),
        }
    }
}

impl ServerSeen {
    /// What a server says it is, escaped and cut.
    pub(in crate::mesh) fn of(identity: &ServerIdentity) -> Self {
        let shown = |text: &str| unseen::excerpt(text, SERVER_CHARS_MAX);
        Self {
            name: shown(&identity.name),
            version: shown(&identity.version),
            protocol_version: shown(&identity.protocol_version),
            era: Some(identity.era),
        }
    }
}

impl<'call, P> Integrations<'call, P> {
    /// The tools of `list` as the caller may know and call them. What is new of it is written first: a tool
    /// that is seen for the first time is pinned, one that says something else than is approved is held back.
    pub(super) async fn learned(
        &self,
        owned: &Arc<Owned>,
        upstream: &dyn Upstream,
        list: Arc<Vec<UpstreamTool>>,
    ) -> Result<Arc<KnownTools>, Error> {
        if let Some(tools) = owned.known(&list) {
            return Ok(tools);
        }
        let _turn = owned.learning.lock().await;
        if let Some(tools) = owned.known(&list) {
            return Ok(tools);
        }
        let listing = owned.listing(&list);
        let pins = self.pin(&owned.registered, &owned.pins, &listing).await?;
        let tools = Arc::new(listing.known(&pins));
        let server = ServerSeen::of(&upstream.identity());
        if let Err(error) = self.remember(&owned.row, server, &listing).await {
            // The next time it is listed it is tried again.
            tracing::warn!(?error, "the tools of a connection could not be kept");
        }
        owned.know(list, listing, Arc::clone(&tools));
        Ok(tools)
    }

    /// Pins what `listing` has that is new; answers what is pinned then.
    pub(super) async fn pin(
        &self,
        registered: &Registered,
        pins: &Arc<ServicePins>,
        listing: &Listing,
    ) -> Result<Arc<ServicePins>, Error> {
        let news = listing.news(pins);
        if news.fresh.is_empty() && news.changed.is_empty() {
            return Ok(Arc::clone(pins));
        }
        let changing = self.changing(None).await?;
        let mut room = DEFINITIONS_BYTES_MAX.saturating_sub(pins.text_bytes());
        let fresh: Vec<_> = news
            .fresh
            .iter()
            .map(|tool| self.fresh_pin(registered, tool, kept_text(tool, &mut room)))
            .collect();
        let writes = fresh.into_iter().map(|pin| self.add_pin(pin));
        let mut written: Vec<Pin> = stream::iter(writes)
            .buffer_unordered(WRITES_AT_ONCE)
            .try_collect()
            .await?;
        for (tool, pin) in news.changed {
            let text = kept_text(tool, &mut room);
            written.push(self.hold_back(tool, pin, text).await?);
        }
        self.finish(changing).await?;
        Ok(Arc::new(pins.with(written)))
    }

    fn fresh_pin(
        &self,
        registered: &Registered,
        tool: &ListedTool,
        definition: Option<Arc<RawValue>>,
    ) -> Pin {
        Pin {
            service: registered.definition.service.clone(),
            tool: Arc::clone(&tool.name),
            of: registered.id,
            approved: vec![tool.hash],
            definition,
            held: None,
            created_at: self.reach.now(),
            approved_by: None,
            version: new_version(),
        }
    }

    /// Writes the pin of a tool that is seen for the first time. Where another process was first, what it has
    /// seen counts.
    async fn add_pin(&self, pin: Pin) -> Result<Pin, Error> {
        let key = self.keys.pin(&pin.service, &pin.tool);
        let now = self.reach.now();
        let mut condition = Condition::Absent { now };
        // The second round replaces what an earlier registration of the name has left.
        for _ in 0..2 {
            let written = self
                .reach
                .table()
                .put(&key, pin.to_row(), condition)
                .await?;
            self.write_units(written.units);
            let WriteOutcome::ConditionFailed { current } = written.value else {
                return Ok(pin);
            };
            let found = current.map(|row| self.read_pin(&key, &row)).transpose()?;
            match found {
                Some(found) if found.of == pin.of => return Ok(found),
                Some(found) => {
                    let version = found.version;
                    condition = Condition::Version { version, now };
                }
                None => condition = Condition::Absent { now },
            }
        }
        Err(Error::internal("a pin is being changed by others"))
    }

    /// Notes that a tool says what nobody has approved.
    async fn hold_back(
        &self,
        tool: &ListedTool,
        pin: Pin,
        definition: Option<Arc<RawValue>>,
    ) -> Result<Pin, Error> {
        let slot = self.reach.reserve_note()?;
        let now = self.reach.now();
        let condition = Condition::Version {
            version: pin.version.clone(),
            now,
        };
        let held = Pin {
            held: Some(Held {
                hash: tool.hash,
                definition,
                since: now,
            }),
            version: new_version(),
            ..pin
        };
        let key = self.keys.pin(&held.service, &held.tool);
        let written = self
            .reach
            .table()
            .put(&key, held.to_row(), condition)
            .await?;
        self.write_units(written.units);
        match written.value {
            WriteOutcome::Done { .. } => {
                let data = Subject::none()
                    .with("service_id", held.service.as_str())
                    .with("tool", &*held.tool)
                    .with("hash", tool.hash.to_string());
                self.reach.note(slot, self.tool, TOOL_CHANGED, data)?;
                Ok(held)
            }
            WriteOutcome::ConditionFailed { current } => {
                let current = current.map(|row| self.read_pin(&key, &row)).transpose()?;
                Ok(current.unwrap_or(held))
            }
        }
    }

    pub(super) fn read_pin(
        &self,
        key: &RowKey,
        row: &crate::mesh::store::table::Row,
    ) -> Result<Pin, Error> {
        let id = key.sort().strip_prefix(PIN_PREFIX).unwrap_or_default();
        Pin::of_row(key.sort(), id, row)
    }

    /// Keeps what a connection's server and tools are, where its row has something else.
    async fn remember(
        &self,
        row: &Connected,
        server: ServerSeen,
        listing: &Listing,
    ) -> Result<(), Error> {
        let tools = listing.tools_for_row();
        if row.server == server && row.tools == tools {
            return Ok(());
        }
        let new = Connected {
            server,
            tools,
            version: new_version(),
            ..row.clone()
        };
        let changing = self.changing(Some(self.reach.user_id())).await?;
        let key = self
            .keys
            .connection(&row.service, self.reach.user_id(), &row.connection);
        let condition = Condition::Version {
            version: row.version.clone(),
            now: self.reach.now(),
        };
        let written = self
            .reach
            .table()
            .put(&key, new.to_row()?, condition)
            .await?;
        self.write_units(written.units);
        self.finish(changing).await
    }

    /// Begins a change of the tenant's integrations or pins, or of a user's connections.
    pub(super) async fn changing(&self, user: Option<&UserId>) -> Result<Changing, Error> {
        let tenant = self.reach.tenant_id();
        let changing = Changing {
            book: self.book().clone(),
            stamp: Keyspace::of(tenant).integrations_stamp(user),
            tenant: tenant.clone(),
            user: user.cloned(),
        };
        let units = changing.book.stamp(&changing.stamp).await?;
        self.write_units(units);
        Ok(changing)
    }

    pub(super) async fn finish(&self, changing: Changing) -> Result<(), Error> {
        let units = changing.finish().await?;
        self.write_units(units);
        Ok(())
    }
}

/// The text of a definition, where there is room for it among those that are kept.
fn kept_text(tool: &ListedTool, room: &mut usize) -> Option<Arc<RawValue>> {
    let bytes = tool.definition.get().len();
    *room = room.checked_sub(bytes)?;
    Some(Arc::clone(&tool.definition))
}
