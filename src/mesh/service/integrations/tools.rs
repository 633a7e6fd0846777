//! Finding tools of all the caller's connections: by name, or ranked by what is wanted.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::mesh::Error;
use crate::mesh::call::grant::Granted;
use crate::mesh::call::operation::{IntegrationRead, Operation, Report, Subject};
use crate::mesh::call::tool::Tool;
use crate::mesh::integration::direct::LeftOutBecause;
use crate::mesh::integration::pin::readable;
use crate::mesh::integration::search::{Found, Index};
use crate::mesh::integration::{
    ConnectionId, KnownTool, KnownTools, RefusedTool, ServiceId, unseen, written,
};
use crate::mesh::limit::{Cost, Direction};
use crate::mesh::service::cursor;
use crate::mesh::store::integrations::{Survey, Unavailable};

/// The most tools of one page.
pub const LIMIT_MAX: u32 = 200;

/// The longest query: bytes.
pub const QUERY_BYTES_MAX: usize = 1000;

/// How much of the answer's text the tools may take, and what cannot be listed: bytes, of 60,000 together.
const TOOLS_BYTES_MAX: usize = 48_000;
const UNAVAILABLE_BYTES_MAX: usize = 9_000;

/// The most characters of a title and of a description, by the level of detail.
const TITLE_CHARS_MAX: usize = 120;
const SUMMARY_CHARS_MAX: usize = 240;
const DESCRIPTION_CHARS_MAX: usize = 4000;

/// The most bytes of the schema of one tool.
const SCHEMA_BYTES_MAX: usize = 40_000;

/// The most characters of why something cannot be listed.
const MESSAGE_CHARS_MAX: usize = 400;

/// What it is expected to read: units of 4 KiB.
const EXPECTED_UNITS: f64 = 1.0;

/// How much of each tool is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detail {
    /// Its name.
    Name,
    /// And what it does.
    Summary,
    /// And its arguments.
    Schema,
}

/// Finds tools.
#[derive(Debug)]
pub struct McpListTools {
    /// Only of this integration.
    pub service: Option<ServiceId>,
    /// What is wanted, in words.
    pub query: Option<String>,
    /// How much of each.
    pub detail: Detail,
    /// How many at most: 1 to [`LIMIT_MAX`].
    pub limit: u32,
    /// Where the page before ended, as it stood in the cursor.
    pub position: Option<String>,
}

/// What [`McpListTools`] answers.
#[derive(Debug, Serialize)]
pub struct McpListToolsAnswer {
    tools: Vec<Item>,
    /// How many there are in all.
    total: usize,
    unavailable: Vec<Missing>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_cursor: Option<String>,
    /// Some of what cannot be listed is left out.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    truncated: bool,
}

#[derive(Debug, Serialize)]
struct Item {
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    connection_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    title: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<String>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    read_only: bool,
    /// Set where it cannot be called: `held_back`.
    #[serde(skip_serializing_if = "Option::is_none")]
    state: Option<&'static str>,
    /// What stands in its texts that nobody would see; they are shown escaped.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    flags: Vec<&'static str>,
    #[serde(rename = "inputSchema", skip_serializing_if = "Option::is_none")]
    input_schema: Option<Box<RawValue>>,
    #[serde(rename = "outputSchema", skip_serializing_if = "Option::is_none")]
    output_schema: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    annotations: Option<Box<RawValue>>,
    /// A schema is left out because it is too large.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    truncated: bool,
}

#[derive(Debug, Serialize)]
struct Missing {
    service_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    connection_id: Option<String>,
    message: String,
}

impl McpListTools {
    /// What a cursor of this listing is bound to.
    pub fn filters(&self) -> Vec<String> {
        let service = self.service.as_ref().map(ToString::to_string);
        let detail = match self.detail {
            Detail::Name => "name",
            Detail::Summary => "summary",
            Detail::Schema => "schema",
        };
        vec![
            Tool::McpListTools.name().to_owned(),
            service.unwrap_or_default(),
            self.query.clone().unwrap_or_default(),
            detail.to_owned(),
        ]
    }

    /// The page that `found` begins with, and where the next one does.
    fn page<'index>(
        &self,
        found: impl Iterator<Item = Found<'index>>,
        skipped: usize,
    ) -> (Vec<Item>, Option<String>) {
        let mut items = Vec::new();
        let mut bytes = 0;
        for found in found.skip(skipped) {
            let item = Item::of(found, self.detail);
            bytes += serde_json::to_string(&item).map_or(0, |text| text.len() + 1);
            let is_full = items.len() == self.limit as usize
                || (bytes > TOOLS_BYTES_MAX && !items.is_empty());
            if is_full {
                let position = (skipped + items.len()).to_string();
                let filters = self.filters();
                let filters: Vec<_> = filters.iter().map(String::as_str).collect();
                return (items, Some(cursor::seal(&position, &filters)));
            }
            items.push(item);
        }
        (items, None)
    }

    fn answer(&self, index: &Index, unavailable: Vec<Missing>) -> McpListToolsAnswer {
        let skipped = self.position.as_deref().and_then(|text| text.parse().ok());
        let skipped: usize = skipped.unwrap_or_default();
        let service = self.service.as_ref();
        let ((tools, next_cursor), total) = match &self.query {
            Some(query) => {
                let ranked = index.ranked(query, service);
                let total = ranked.len();
                (self.page(ranked.into_iter(), skipped), total)
            }
            None => {
                let total = index.all(service).count();
                (self.page(index.all(service), skipped), total)
            }
        };
        let mut answer = McpListToolsAnswer {
            tools,
            total,
            unavailable: Vec::new(),
            next_cursor,
            truncated: false,
        };
        let mut bytes = 0;
        for missing in unavailable {
            bytes += serde_json::to_string(&missing).map_or(0, |text| text.len() + 1);
            if bytes > UNAVAILABLE_BYTES_MAX {
                answer.truncated = true;
                break;
            }
            answer.unavailable.push(missing);
        }
        answer
    }
}

impl Operation for McpListTools {
    const TOOL: Tool = Tool::McpListTools;
    type Needs = IntegrationRead;
    type Answer = McpListToolsAnswer;

    fn subject(&self) -> Subject {
        Subject::none()
            .with_some("service_id", self.service.as_ref().map(ServiceId::as_str))
            .with("ranked", self.query.is_some())
    }

    fn cost(&self) -> Cost {
        Cost::of(Direction::DynamodbRead, EXPECTED_UNITS)
    }

    async fn serve<'call>(self, call: &Granted<'call, Self>) -> Result<McpListToolsAnswer, Error> {
        let survey = call.integrations().survey().await?;
        let is_meant =
            |service: &ServiceId| self.service.as_ref().is_none_or(|only| only == service);
        if let Some(service) = &self.service
            && survey.view.roll().service(service).is_none()
        {
            return Err(crate::mesh::store::integrations::no_such_integration(
                service,
            ));
        }
        let mut unavailable: Vec<Missing> = Vec::new();
        for found in &survey.unavailable {
            if is_meant(&found.owned.row.service) {
                unavailable.push(Missing::of(found));
            }
        }
        for (owned, tools) in &survey.sources {
            if is_meant(&owned.row.service) && !tools.refused().is_empty() {
                unavailable.push(Missing::refused(
                    &owned.row.service,
                    &owned.row.connection,
                    tools,
                ));
            }
        }
        unavailable.extend(Missing::not_direct(&survey, is_meant));
        let index = survey.view.index(survey.sources);
        Ok(self.answer(&index, unavailable))
    }

    fn report(answer: &McpListToolsAnswer) -> Report {
        Report {
            bytes: None,
            facts: vec![
                ("tools", answer.tools.len().into()),
                ("total", answer.total.into()),
                ("unavailable", answer.unavailable.len().into()),
            ],
        }
    }
}

impl Missing {
    fn of(found: &Unavailable) -> Self {
        let row = &found.owned.row;
        Self {
            service_id: row.service.to_string(),
            connection_id: named(&row.connection),
            message: unseen::excerpt(&found.message, MESSAGE_CHARS_MAX),
        }
    }

    fn refused(service: &ServiceId, connection: &ConnectionId, tools: &KnownTools) -> Self {
        let mut reasons: BTreeMap<String, Vec<&RefusedTool>> = BTreeMap::new();
        for tool in tools.refused() {
            reasons
                .entry(tool.reason.to_string())
                .or_default()
                .push(tool);
        }
        let reasons = reasons.into_iter().map(|(reason, tools)| {
            let names: Vec<_> = tools
                .iter()
                .map(|tool| format!("`{}`", tool.name))
                .collect();
            format!("{}: {reason}", names.join(", "))
        });
        let reasons: Vec<_> = reasons.collect();
        let message = format!("tools that cannot be used: {}", reasons.join("; "));
        Self {
            service_id: service.to_string(),
            connection_id: named(connection),
            // The names in it are escaped already.
            message: message.chars().take(MESSAGE_CHARS_MAX).collect(),
        }
    }
}

impl Missing {
    /// The tools that were chosen to be listed directly and cannot be: one entry for each integration.
    fn not_direct(survey: &Survey, is_meant: impl Fn(&ServiceId) -> bool) -> Vec<Self> {
        let mut reasons: BTreeMap<(ServiceId, LeftOutBecause), Vec<String>> = BTreeMap::new();
        let direct = survey.view.direct_tools(survey.sources.clone(), false);
        let meant = direct.left_out().iter();
        for left_out in meant.filter(|left_out| is_meant(&left_out.service)) {
            let names = reasons.entry((left_out.service.clone(), left_out.reason));
            names.or_default().push(format!("`{}`", left_out.tool));
        }
        let missing = reasons.into_iter().map(|((service, reason), names)| {
            let names = names.join(", ");
            let message = format!("tools that are not listed directly: {names}: {reason}");
            Self {
                service_id: service.to_string(),
                connection_id: None,
                message: unseen::excerpt(&message, MESSAGE_CHARS_MAX),
            }
        });
        missing.collect()
    }
}

impl Item {
    fn of(found: Found<'_>, detail: Detail) -> Self {
        let (row, tool) = (&found.owned.row, found.tool);
        let mut item = Self {
            name: format!("{}.{}", row.service, tool.name),
            connection_id: named(&row.connection),
            title: None,
            description: None,
            read_only: tool.read_only,
            state: tool.is_held_back().then_some("held_back"),
            flags: tool.unseen.flags(),
            input_schema: None,
            output_schema: None,
            annotations: None,
            truncated: false,
        };
        // What a tool that is held back says now is not for a model to read.
        if detail == Detail::Name || tool.is_held_back() {
            item.read_only &= !tool.is_held_back();
            return item;
        }
        item.describe(tool, detail);
        item
    }

    fn describe(&mut self, tool: &KnownTool, detail: Detail) {
        let members = readable(&tool.definition);
        let text = |name: &str| members.get(name).and_then(Value::as_str);
        let title = text("title").or_else(|| {
            let annotations = members.get("annotations")?;
            annotations.get("title").and_then(Value::as_str)
        });
        self.title = title.map(|title| unseen::excerpt(title, TITLE_CHARS_MAX));
        let chars_max = match detail {
            Detail::Schema => DESCRIPTION_CHARS_MAX,
            Detail::Name | Detail::Summary => SUMMARY_CHARS_MAX,
        };
        self.description = text("description").map(|text| unseen::excerpt(text.trim(), chars_max));
        if detail != Detail::Schema {
            return;
        }
        let mut room = SCHEMA_BYTES_MAX;
        let exact: BTreeMap<String, Box<RawValue>> =
            serde_json::from_str(tool.definition.get()).unwrap_or_default();
        let mut shown = |name: &str| {
            let raw = exact.get(name)?;
            let raw = match tool.unseen.is_none() {
                true => raw.clone(),
                false => written::escaped(raw)?,
            };
            match room.checked_sub(raw.get().len()) {
                Some(left) => {
                    room = left;
                    Some(raw)
                }
                None => {
                    self.truncated = true;
                    None
                }
            }
        };
        self.input_schema = shown("inputSchema");
        self.annotations = shown("annotations");
        self.output_schema = shown("outputSchema");
    }
}

/// A connection's id, where it is not the one that is meant where none is named.
fn named(connection: &ConnectionId) -> Option<String> {
    (*connection != ConnectionId::default()).then(|| connection.to_string())
}
