//! What administrators do: registering and removing integrations, and approving what their tools have become.

use futures::{StreamExt as _, TryStreamExt as _, stream};
use ulid::Ulid;

use super::attempt::{ATTEMPT_LOOK, ATTEMPT_LOOKS_MAX, ROUNDS_MAX};
use super::{Integrations, no_such_integration};
use crate::mesh::call::operation::{Allows, IntegrationManage};
use crate::mesh::integration::row::{Connected, Pin, Registered, new_version};
use crate::mesh::integration::{ConnectionId, Definition, Difference, PinHash, ServiceId, plan};
use crate::mesh::limit::{Direction, RosterOf, RosterUnits};
use crate::mesh::store::key::{CONNECTION_PREFIX, Keyspace};
use crate::mesh::store::secrets::Secrets;
use crate::mesh::store::table::{Condition, Range, Row, WriteOutcome};
use crate::mesh::tenant::UserId;
use crate::mesh::{Error, ErrorKind};

/// Rows of one page that are removed, how many at once, and the most pages of one call.
const PAGE_ROWS: u32 = 200;
const REMOVALS_AT_ONCE: usize = 8;
const PAGES_MAX: usize = 256;

/// What became of an approval.
#[derive(Clone, Debug)]
pub struct Approval {
    /// The definition that is approved.
    pub hash: PinHash,
    /// Whether it was before.
    pub is_unchanged: bool,
    /// How it differs from the one before.
    pub difference: Difference,
}

/// What became of a registration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Defined {
    /// There was none of its id.
    Created,
    /// It was registered, and its direct tools were others.
    Updated,
    /// It was registered so already.
    Unchanged,
}

impl<'call, P> Integrations<'call, P>
where
    P: Allows<IntegrationManage>,
{
    /// Registers an integration. Of one that is registered already only the list of direct tools may be another,
    /// and stays as it is where `keeps_direct_tools`.
    ///
    /// # Errors
    /// `CONFLICT` where another one has its id, `QUOTA_EXCEEDED`, `NOT_SUPPORTED` where it may not be reached
    /// from here.
    pub async fn define(
        &self,
        definition: &Definition,
        keeps_direct_tools: bool,
    ) -> Result<Defined, Error> {
        let (service, endpoint) = (&definition.service, &definition.endpoint);
        plan::require_allowed(endpoint, self.reach.serves_many())?;
        let outline = plan::outline(endpoint);
        let checked = self.book().upstreams().check(&outline);
        // The slots of a template are filled by each connection.
        checked.or_else(|error| match is_about_settings(&error) {
            true => Ok(()),
            false => Err(error),
        })?;
        for _ in 0..ROUNDS_MAX {
            match self.registered_row(service).await? {
                Some(found) if found.leaving => {
                    self.remove_all(found).await?;
                }
                Some(found) if found.definition == *definition => return Ok(Defined::Unchanged),
                Some(found) if keeps_direct_tools && found.definition.is_like(definition) => {
                    return Ok(Defined::Unchanged);
                }
                Some(found) if found.definition.is_like(definition) => {
                    if self.redefine(found, definition).await? {
                        return Ok(Defined::Updated);
                    }
                }
                Some(_) => return Err(taken(service)),
                None => {
                    if self.add(definition).await? {
                        return Ok(Defined::Created);
                    }
                }
            }
        }
        Err(changing(service))
    }

    /// Removes an integration: the connections of all users, their credentials, what is pinned, and then
    /// itself. Answers how many connections there were; nothing where there was no such integration.
    ///
    /// # Errors
    /// What the table and the secret store say; the call may be repeated, and goes on where it ended.
    pub async fn remove(&self, service: &ServiceId) -> Result<Option<u64>, Error> {
        match self.registered_row(service).await? {
            None => Ok(None),
            Some(found) => self.remove_all(found).await.map(Some),
        }
    }

    /// Approves what `tool` says now, if it is `hash` where one is named.
    ///
    /// # Errors
    /// `NOT_FOUND` where there is no such tool, `CONFLICT` where it says something else than `hash`.
    pub async fn approve(
        &self,
        service: &ServiceId,
        tool: &str,
        hash: Option<PinHash>,
    ) -> Result<Approval, Error> {
        let registered = self.registered_row(service).await?;
        let registered = registered
            .filter(|found| !found.leaving)
            .ok_or_else(|| no_such_integration(service))?;
        let key = self.keys.pin(service, tool);
        let mut row = self.get(&key).await?;
        for _ in 0..ROUNDS_MAX {
            let pin = row.map(|row| self.read_pin(&key, &row)).transpose()?;
            let pin = pin.filter(|pin| pin.of == registered.id);
            let pin = pin.ok_or_else(|| no_such_tool(service, tool))?;
            let next = match decide(&pin, hash, self.reach.user_id())? {
                Decision::Approved(next) => next,
                Decision::Already(hash) => {
                    return Ok(Approval {
                        hash,
                        is_unchanged: true,
                        difference: Difference::default(),
                    });
                }
            };
            let changing = self.changing(None).await?;
            let condition = Condition::Version {
                version: pin.version.clone(),
                now: self.reach.now(),
            };
            let written = self
                .reach
                .table()
                .put(&key, next.to_row(), condition)
                .await?;
            self.write_units(written.units);
            self.finish(changing).await?;
            match written.value {
                WriteOutcome::Done { .. } => return Ok(approval(&pin, &next)),
                WriteOutcome::ConditionFailed { current } => row = current,
            }
        }
        Err(changing(service))
    }

    async fn add(&self, definition: &Definition) -> Result<bool, Error> {
        let now = self.reach.now();
        let time = now.as_millis().max(0).unsigned_abs();
        let registered = Registered {
            definition: definition.clone(),
            id: Ulid::from_parts(time, Ulid::generate().random()),
            leaving: false,
            created_at: now,
            created_by: self.reach.user_id().clone(),
            version: new_version(),
        };
        let service = definition.service.as_str();
        let roster = self.reach.roster(RosterOf::Integrations);
        let mut units = RosterUnits::default();
        let entered = roster.enter(service, registered.id, now, &mut units).await;
        self.read_units(units.read);
        self.write_units(units.write);
        entered?;
        let changing = self.changing(None).await?;
        let key = self.keys.integration(&definition.service);
        let written = self
            .reach
            .table()
            .put(&key, registered.to_row()?, Condition::Absent { now })
            .await?;
        self.write_units(written.units);
        self.finish(changing).await?;
        Ok(matches!(written.value, WriteOutcome::Done { .. }))
    }

    /// Writes another definition of what is registered; whether it was still `found`.
    async fn redefine(&self, found: Registered, definition: &Definition) -> Result<bool, Error> {
        let condition = Condition::Version {
            version: found.version.clone(),
            now: self.reach.now(),
        };
        let next = Registered {
            definition: definition.clone(),
            version: new_version(),
            ..found
        };
        let changing = self.changing(None).await?;
        let key = self.keys.integration(&definition.service);
        let table = self.reach.table();
        let written = table.put(&key, next.to_row()?, condition).await?;
        self.write_units(written.units);
        self.finish(changing).await?;
        Ok(matches!(written.value, WriteOutcome::Done { .. }))
    }

    async fn registered_row(&self, service: &ServiceId) -> Result<Option<Registered>, Error> {
        let key = self.keys.integration(service);
        let row = self.get(&key).await?;
        row.map(|row| Registered::of_row(key.sort(), &row))
            .transpose()
    }

    async fn remove_all(&self, found: Registered) -> Result<u64, Error> {
        let service = found.definition.service.clone();
        let key = self.keys.integration(&service);
        let found = match found.leaving {
            true => found,
            false => {
                let leaving = Registered {
                    leaving: true,
                    version: new_version(),
                    ..found.clone()
                };
                let changing = self.changing(None).await?;
                let condition = Condition::Version {
                    version: found.version,
                    now: self.reach.now(),
                };
                let written = self
                    .reach
                    .table()
                    .put(&key, leaving.to_row()?, condition)
                    .await?;
                self.write_units(written.units);
                self.finish(changing).await?;
                if !matches!(written.value, WriteOutcome::Done { .. }) {
                    return Err(self::changing(&service));
                }
                leaving
            }
        };
        let ended = self.remove_connections(&service).await?;
        let upstreams = self.book().upstreams();
        upstreams.forget(self.reach.tenant_id(), &service).await;
        self.remove_rows(&Keyspace::pins_prefix(&service)).await?;
        let changing = self.changing(None).await?;
        let condition = Condition::Version {
            version: found.version,
            now: self.reach.now(),
        };
        let deleted = self.reach.table().delete(&key, condition).await?;
        self.write_units(deleted.units);
        self.finish(changing).await?;
        let mut units = RosterUnits::default();
        let roster = self.reach.roster(RosterOf::Integrations);
        let left = roster.leave(service.as_str(), found.id, self.reach.now(), &mut units);
        if let Err(error) = left.await {
            // It is looked after where the quota is reached.
            tracing::warn!(
                ?error,
                "the place of an integration could not be given back"
            );
        }
        self.read_units(units.read);
        self.write_units(units.write);
        Ok(ended)
    }

    /// Ends the connections of all users; answers how many there were.
    async fn remove_connections(&self, service: &ServiceId) -> Result<u64, Error> {
        let prefix = Keyspace::connections_prefix(service, None);
        let mut ended = 0;
        let mut looks = 0;
        for _ in 0..PAGES_MAX {
            let rows = self.rows(&prefix).await?;
            if rows.is_empty() {
                return Ok(ended);
            }
            // Whoever is about to write credentials learns of the removal, and takes them back.
            let now = self.reach.now();
            let (attempted, settled): (Vec<_>, Vec<_>) = rows
                .iter()
                .partition(|(sort, row)| read(sort, row).is_ok_and(|row| row.is_attempted(now)));
            if !attempted.is_empty() && settled.is_empty() {
                looks += 1;
                if looks == ATTEMPT_LOOKS_MAX {
                    return Err(unfinished(service));
                }
                tokio::time::sleep(ATTEMPT_LOOK).await;
            }
            let removals: Vec<_> = settled
                .into_iter()
                .map(|(sort, row)| self.remove_connection(sort, row))
                .collect();
            let removed: Vec<bool> = stream::iter(removals)
                .buffer_unordered(REMOVALS_AT_ONCE)
                .try_collect()
                .await?;
            ended += removed.into_iter().map(u64::from).sum::<u64>();
        }
        Err(unfinished(service))
    }

    /// Ends one user's connection; whether it was one.
    async fn remove_connection(&self, sort: &str, row: &Row) -> Result<bool, Error> {
        let id = sort.strip_prefix(CONNECTION_PREFIX).unwrap_or_default();
        let Some((service, user, connection)) = read_place(id) else {
            return Err(Error::internal(format!(
                "the row `{sort}` is no connection's"
            )));
        };
        let read = read(sort, row);
        // Whatever its row says: an attempt that was cut off may have left some.
        let secrets = Secrets::<P>::new(self.reach);
        secrets
            .delete_credentials_of(&service, &user, &connection)
            .await?;
        let row_key = self.keys.connection(&service, &user, &connection);
        let deleted = self
            .reach
            .table()
            .delete(&row_key, Condition::Always)
            .await?;
        self.write_units(deleted.units);
        Ok(read.map_or(true, |read| !read.pending))
    }

    async fn remove_rows(&self, prefix: &str) -> Result<(), Error> {
        for _ in 0..PAGES_MAX {
            let rows = self.rows(prefix).await?;
            if rows.is_empty() {
                return Ok(());
            }
            let removals = rows.iter().map(async |(sort, _)| {
                let Some(key) = self.keys.integration_row(sort) else {
                    return Err(Error::internal("a row is none of an integration's"));
                };
                let deleted = self.reach.table().delete(&key, Condition::Always).await?;
                self.write_units(deleted.units);
                Ok(())
            });
            let removals: Vec<_> = removals.collect();
            stream::iter(removals)
                .buffer_unordered(REMOVALS_AT_ONCE)
                .try_collect::<()>()
                .await?;
        }
        Err(Error::internal(
            "an integration has more pins than can be removed",
        ))
    }

    async fn rows(&self, prefix: &str) -> Result<Vec<(String, Row)>, Error> {
        let range = Range {
            prefix: prefix.to_owned(),
            limit: PAGE_ROWS,
            consistent: true,
            ..Range::default()
        };
        let partition = self.keys.integrations();
        let page = self.reach.table().query(&partition, &range).await?;
        self.reach.spend(Direction::DynamodbRead, page.units);
        Ok(page.value.rows)
    }
}

fn is_about_settings(error: &Error) -> bool {
    let parameter = error.details().get("parameter");
    let parameter = parameter.and_then(serde_json::Value::as_str);
    parameter.is_some_and(|parameter| parameter.starts_with("settings"))
}

/// What an approval does to a pin.
enum Decision {
    Approved(Box<Pin>),
    Already(PinHash),
}

fn decide(pin: &Pin, hash: Option<PinHash>, user: &UserId) -> Result<Decision, Error> {
    match (&pin.held, hash) {
        (Some(held), None) => Ok(Decision::Approved(Box::new(pin.approving(held, user)))),
        (Some(held), Some(hash)) if held.hash == hash => {
            Ok(Decision::Approved(Box::new(pin.approving(held, user))))
        }
        (_, Some(hash)) if pin.approves(hash) => Ok(Decision::Already(hash)),
        (None, None) => {
            let newest = pin.approved.first();
            newest
                .map(|hash| Decision::Already(*hash))
                .ok_or_else(|| Error::internal("a pin approves nothing"))
        }
        (_, Some(_)) => Err(Error::new(
            ErrorKind::Conflict,
            format!(
                "`{}.{}` says something else than the definition of that hash",
                pin.service, pin.tool
            ),
        )
        .fix("Look at the difference again (integration_list) and give the hash that it shows.")),
    }
}

fn approval(before: &Pin, after: &Pin) -> Approval {
    let now = after.definition.as_deref();
    Approval {
        hash: after
            .approved
            .first()
            .copied()
            .unwrap_or(before.approved[0]),
        is_unchanged: false,
        difference: now
            .map(|now| Difference::between(before.definition.as_deref(), now))
            .unwrap_or_default(),
    }
}

fn read(sort: &str, row: &Row) -> Result<Connected, Error> {
    let id = sort.strip_prefix(CONNECTION_PREFIX).unwrap_or_default();
    Connected::of_row(sort, id, row)
}

/// The service, the user and the connection that a row is of.
fn read_place(id: &str) -> Option<(ServiceId, UserId, ConnectionId)> {
    let mut parts = id.splitn(3, '#');
    let service = parts.next()?.parse().ok()?;
    let user = parts.next()?.parse().ok()?;
    let connection = parts.next()?.parse().ok()?;
    Some((service, user, connection))
}

fn taken(service: &ServiceId) -> Error {
    Error::new(
        ErrorKind::Conflict,
        format!("there is an integration `{service}` that is registered differently"),
    )
    .fix(
        "Choose another id, or remove that one with integration_unregister (with all connections to it); \
         integration_list shows it.",
    )
    .detail("service_id", service.as_str())
}

fn changing(service: &ServiceId) -> Error {
    Error::new(
        ErrorKind::Overloaded,
        format!("the integration `{service}` is being changed by others"),
    )
    .fix("Repeat the call.")
}

fn unfinished(service: &ServiceId) -> Error {
    Error::new(
        ErrorKind::Overloaded,
        format!(
            "`{service}` has more connections than one call can end, or some that are being made"
        ),
    )
    .fix("Repeat the call; it goes on where this one ended.")
}

fn no_such_tool(service: &ServiceId, tool: &str) -> Error {
    Error::new(
        ErrorKind::NotFound,
        format!("nobody has seen a tool `{tool}` of `{service}`"),
    )
    .fix("integration_list shows the tools that are held back.")
    .detail("tool", tool)
}
