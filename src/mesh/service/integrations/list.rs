//! Listing integrations: what is registered, the caller's own connections, and the tools that are held back.

use std::collections::HashMap;

use serde::Serialize;

use super::{Server, held_back};
use crate::mesh::call::grant::Granted;
use crate::mesh::call::operation::{IntegrationRead, Operation, Report, Subject};
use crate::mesh::call::tool::Tool;
use crate::mesh::integration::row::{Pin, Registered};
use crate::mesh::integration::view::{Owned, View};
use crate::mesh::integration::{
    ConnectionId, Difference, Endpoint, PinHash, Program, ServiceId, ToolPattern, unseen,
};
use crate::mesh::limit::{Cost, Direction};
use crate::mesh::service::cursor;
use crate::mesh::tenant::Permission;
use crate::mesh::upstream::{ConnectionState, Phase};
use crate::mesh::{Error, Timestamp};

/// How much of the answer's text the integrations may take: bytes, of 60,000.
const BYTES_MAX: usize = 56_000;

/// The most tools of one integration that are shown as held back.
const HELD_MAX: usize = 20;

/// The most characters of a fault.
const FAULT_CHARS_MAX: usize = 300;

/// What it is expected to read: units of 4 KiB.
const EXPECTED_UNITS: f64 = 1.0;

/// Lists integrations.
#[derive(Debug)]
pub struct IntegrationList {
    /// Only this one.
    pub service: Option<ServiceId>,
    /// Where the page before ended, as it stood in the cursor.
    pub position: Option<String>,
}

/// What [`IntegrationList`] answers.
#[derive(Debug, Serialize)]
pub struct IntegrationListAnswer {
    integrations: Vec<Item>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_cursor: Option<String>,
}

#[derive(Debug, Serialize)]
struct Item {
    service_id: String,
    name: String,
    server_type: &'static str,
    auth_method: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    template: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    command: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    category: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    capabilities: Vec<String>,
    /// Which of its tools are listed beside our own.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    direct_tools: Vec<ToolPattern>,
    created_at: Timestamp,
    created_by: String,
    connections: Vec<Connection>,
    /// What administrators have to look at.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    held_back: Vec<HeldBack>,
    #[serde(skip_serializing_if = "is_zero")]
    more_held_back: usize,
}

#[derive(Debug, Serialize)]
struct Connection {
    connection_id: String,
    state: &'static str,
    server: Server,
    protocol_version: String,
    tool_count: usize,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    held_back: Vec<String>,
    created_at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    used_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    restarts: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fault: Option<String>,
}

#[derive(Debug, Serialize)]
struct HeldBack {
    tool: String,
    hash: PinHash,
    since: Timestamp,
    difference: Difference,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde passes a reference"
)]
const fn is_zero(number: &usize) -> bool {
    *number == 0
}

impl IntegrationList {
    /// What a cursor of this listing is bound to.
    pub fn filters(&self) -> Vec<String> {
        let service = self.service.as_ref().map(ToString::to_string);
        vec![
            Tool::IntegrationList.name().to_owned(),
            service.unwrap_or_default(),
        ]
    }
}

impl Operation for IntegrationList {
    const TOOL: Tool = Tool::IntegrationList;
    type Needs = IntegrationRead;
    type Answer = IntegrationListAnswer;

    fn subject(&self) -> Subject {
        Subject::none().with_some("service_id", self.service.as_ref().map(ServiceId::as_str))
    }

    fn cost(&self) -> Cost {
        Cost::of(Direction::DynamodbRead, EXPECTED_UNITS)
    }

    async fn serve<'call>(
        self,
        call: &Granted<'call, Self>,
    ) -> Result<IntegrationListAnswer, Error> {
        let integrations = call.integrations();
        let view = integrations.view().await?;
        let states = integrations.states();
        let manages = call.also_holds(Permission::IntegrationManage);
        let mut answer = IntegrationListAnswer {
            integrations: Vec::new(),
            next_cursor: None,
        };
        let mut bytes = 0;
        for registered in view.roll().services() {
            let service = &registered.definition.service;
            let is_meant = self.service.as_ref().is_none_or(|only| only == service);
            let is_told = self
                .position
                .as_deref()
                .is_some_and(|after| service.as_str() <= after);
            if !is_meant || is_told {
                continue;
            }
            let item = Item::of(registered, &view, &states, manages);
            bytes += serde_json::to_string(&item).map_or(0, |text| text.len() + 1);
            if let Some(last) = answer.integrations.last().filter(|_| bytes > BYTES_MAX) {
                let filters = self.filters();
                let filters: Vec<_> = filters.iter().map(String::as_str).collect();
                answer.next_cursor = Some(cursor::seal(&last.service_id, &filters));
                break;
            }
            answer.integrations.push(item);
        }
        Ok(answer)
    }

    fn report(answer: &IntegrationListAnswer) -> Report {
        let connections = answer
            .integrations
            .iter()
            .map(|item| item.connections.len());
        Report {
            bytes: None,
            facts: vec![
                ("integrations", answer.integrations.len().into()),
                ("connections", connections.sum::<usize>().into()),
            ],
        }
    }
}

type States = HashMap<(ServiceId, ConnectionId), ConnectionState>;

impl Item {
    /// An integration as it is told: where it is, and what of it is held back, only to who `manages` it.
    fn of(registered: &Registered, view: &View, states: &States, manages: bool) -> Self {
        let definition = &registered.definition;
        let (template, command, url) = match &definition.endpoint {
            Endpoint::Stdio(Program::Template { template, .. }) => {
                (Some(template.clone()), None, None)
            }
            Endpoint::Stdio(Program::Command { command, .. }) => {
                (None, Some(command.clone()), None)
            }
            Endpoint::Remote(address) => (None, None, Some(address.url.clone())),
        };
        let own = view.connections();
        let own = own.filter(|owned| owned.row.service == definition.service);
        let mut held: Vec<HeldBack> = Vec::new();
        if manages && let Some(pins) = view.roll().pins(&definition.service) {
            held = pins.iter().filter_map(HeldBack::of).collect();
            held.sort_by(|one, other| one.tool.cmp(&other.tool));
        }
        let more_held_back = held.len().saturating_sub(HELD_MAX);
        held.truncate(HELD_MAX);
        Self {
            service_id: definition.service.to_string(),
            name: definition.name.clone(),
            server_type: definition.endpoint.server_type(),
            auth_method: definition.auth.name(),
            template: template.filter(|_| manages),
            command: command.filter(|_| manages),
            url: url.filter(|_| manages),
            description: definition.description.clone(),
            category: definition.category.clone(),
            capabilities: definition.capabilities.clone(),
            direct_tools: definition.direct_tools.clone(),
            created_at: registered.created_at,
            created_by: registered.created_by.to_string(),
            connections: own.map(|owned| Connection::of(owned, states)).collect(),
            held_back: held,
            more_held_back,
        }
    }
}

impl Connection {
    fn of(owned: &Owned, states: &States) -> Self {
        let row = &owned.row;
        let state = states.get(&(row.service.clone(), row.connection.clone()));
        let tools = owned.known_last().unwrap_or_else(|| owned.kept());
        let server = &row.server;
        Self {
            connection_id: row.connection.to_string(),
            state: match state.map(|state| state.phase) {
                None => "idle",
                Some(Phase::Connecting) => "connecting",
                Some(Phase::Connected) => "connected",
                Some(Phase::Degraded) => "degraded",
                Some(Phase::Down) => "down",
            },
            server: Server::of(server),
            protocol_version: server.protocol_version.clone(),
            tool_count: tools.len(),
            held_back: held_back(&tools),
            created_at: row.created_at,
            used_at: state.map(|state| state.used_at),
            restarts: state.map(|state| state.restarts),
            fault: state
                .and_then(|state| state.fault.as_deref())
                .map(|fault| unseen::excerpt(fault, FAULT_CHARS_MAX)),
        }
    }
}

impl HeldBack {
    fn of(pin: &Pin) -> Option<Self> {
        let held = pin.held.as_ref()?;
        let now = held.definition.as_deref();
        Some(Self {
            tool: pin.tool.to_string(),
            hash: held.hash,
            since: held.since,
            difference: now
                .map(|now| Difference::between(pin.definition.as_deref(), now))
                .unwrap_or_default(),
        })
    }
}
