//! Tools of integrated servers that a tenant has chosen to be listed beside our own, as `<service>__<tool>`.

use std::collections::BTreeMap;
use std::fmt;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use super::book::IntegrationBook;
use super::id::{ConnectionId, ServiceId};
use super::tools::{KnownTool, KnownTools, NAME_BYTES_MAX as TOOL_NAME_BYTES_MAX, is_tool_name};
use super::view::{Owned, View};
use super::written;
use crate::mesh::call::tool::Tool;
use crate::mesh::tenant::{Permission, TenantContext};
use crate::mesh::upstream::Phase;

/// The most names and beginnings of names that an integration chooses its tools by.
pub const PATTERNS_MAX: usize = 64;

/// The longest name under which a tool is listed: bytes. Some models take none that is longer.
pub const NAME_BYTES_MAX: usize = 64;

/// How many tools are listed directly to one caller, and how many bytes they take up together.
pub const TOOLS_MAX: usize = 128;
/// See [`TOOLS_MAX`].
pub const BYTES_MAX: usize = 64 << 10;

/// The member of `_meta` that says where something came from.
pub const ORIGIN: &str = "com.agent-mesh/origin";

/// How long a list of tools waits for the table.
const PATIENCE: Duration = Duration::from_millis(300);

/// The most tools of one caller that are named as left out.
const LEFT_OUT_MAX: usize = 40;

/// What stands between the service and the tool; no service's id holds it.
const SEPARATOR: &str = "__";

/// The name of a tool, or the beginning of the names of some with `*` behind it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ToolPattern(String);

/// A text that is no [`ToolPattern`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "must be the name of a tool, 1 to {TOOL_NAME_BYTES_MAX} of A-Z, a-z, 0-9 and _ . -, or the beginning of some \
     with * behind it"
)]
pub struct InvalidToolPattern;

/// A connection and its tools.
pub type Source = (Arc<Owned>, Arc<KnownTools>);

/// The tools that are listed directly to one caller.
#[derive(Debug, Default)]
pub struct DirectTools {
    sources: Vec<Source>,
    only_reads: bool,
    texts: Vec<String>,
    left_out: Vec<LeftOut>,
    fingerprint: u64,
}

/// A tool that was chosen and cannot be listed directly.
#[derive(Clone, Debug)]
pub struct LeftOut {
    /// The integration.
    pub service: ServiceId,
    /// The tool, by the server's own name.
    pub tool: Arc<str>,
    /// Why.
    pub reason: LeftOutBecause,
}

/// Why a tool that was chosen cannot be listed directly.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LeftOutBecause {
    /// Its name would not be one that every client takes.
    Name,
    /// Its definition is not one that every client can read: one of those may cost a client the whole list.
    Shape,
    /// There is no room for it any more.
    Room,
}

impl ToolPattern {
    /// Whether the tool `name` is meant.
    pub fn matches(&self, name: &str) -> bool {
        match self.0.strip_suffix('*') {
            Some(beginning) => name.starts_with(beginning),
            None => self.0 == name,
        }
    }

    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ToolPattern {
    type Err = InvalidToolPattern;

    fn from_str(text: &str) -> Result<Self, InvalidToolPattern> {
        let named = text.strip_suffix('*').unwrap_or(text);
        match text == "*" || is_tool_name(named) {
            true => Ok(Self(text.to_owned())),
            false => Err(InvalidToolPattern),
        }
    }
}

impl TryFrom<String> for ToolPattern {
    type Error = InvalidToolPattern;

    fn try_from(text: String) -> Result<Self, InvalidToolPattern> {
        text.parse()
    }
}

impl From<ToolPattern> for String {
    fn from(pattern: ToolPattern) -> Self {
        pattern.0
    }
}

impl fmt::Debug for ToolPattern {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// The name under which `tool` of `service` is listed.
pub fn listed_name(service: &ServiceId, tool: &str) -> String {
    format!("{service}{SEPARATOR}{tool}")
}

/// The service and the tool that a caller may mean by `name`: `<service>__<tool>`, also behind the prefix of a
/// client, `mcp__<anything>__`, whose end is not to be seen: the likeliest reading comes first.
pub fn readings(name: &str) -> Vec<(ServiceId, &str)> {
    let split = |name: &'_ str| -> Option<(ServiceId, usize)> {
        let (service, tool) = name.split_once(SEPARATOR)?;
        let service = service.parse().ok()?;
        is_tool_name(tool).then_some((service, tool.len()))
    };
    let ends = match name.strip_prefix("mcp__") {
        None => vec![0],
        Some(rest) => {
            let skipped = name.len() - rest.len();
            let ends = rest.match_indices(SEPARATOR);
            ends.map(|(end, _)| skipped + end + SEPARATOR.len())
                .take(READINGS_MAX)
                .collect()
        }
    };
    let found = ends.into_iter().filter_map(|end| {
        let (service, bytes) = split(&name[end..])?;
        Some((service, &name[name.len() - bytes..]))
    });
    found.collect()
}

/// The most readings of one name.
const READINGS_MAX: usize = 8;

impl IntegrationBook {
    /// The tools that are listed directly to `caller`, and only those that change nothing where `only_reads`.
    /// What is there already is taken; what has to be read is waited for a moment, and then goes on being
    /// read without anybody waiting. Nothing where it is not known.
    pub async fn direct_tools(
        &self,
        caller: &TenantContext,
        only_reads: bool,
    ) -> Option<Arc<DirectTools>> {
        if !caller.permissions().contains(Permission::ProxyCall) {
            return Some(Arc::default());
        }
        let view = self
            .view_within(caller.tenant_id(), caller.user_id(), PATIENCE)
            .await?;
        let chosen: Vec<_> = view
            .connections()
            .filter(|owned| is_source(owned))
            .collect();
        if chosen.is_empty() {
            return Some(Arc::default());
        }
        let states = self.upstreams().states(Some(caller.tenant_id()));
        let down: Vec<_> = states
            .iter()
            .filter(|state| state.phase == Phase::Down)
            .map(|state| &state.key)
            .collect();
        let sources = chosen
            .into_iter()
            .filter(|owned| !down.contains(&&*owned.key))
            .map(|owned| {
                let tools = owned.known_last().unwrap_or_else(|| owned.kept());
                (Arc::clone(owned), tools)
            });
        Some(view.direct_tools(sources.collect(), only_reads))
    }

    /// Which of the readings of a name is one of a tool that the caller's tenant has chosen, else of an
    /// integration that it has; the first where that is not known.
    pub async fn meant<'name>(
        &self,
        caller: &TenantContext,
        mut readings: Vec<(ServiceId, &'name str)>,
    ) -> Option<(ServiceId, &'name str)> {
        let view = self.view_within(caller.tenant_id(), caller.user_id(), PATIENCE);
        let Some(view) = view.await else {
            return readings.into_iter().next();
        };
        readings.retain(|(service, _)| view.roll().service(service).is_some());
        let is_chosen = |(service, tool): &(ServiceId, &str)| {
            let registered = view.roll().service(service);
            registered.is_some_and(|found| found.definition.lists_directly(tool))
        };
        let chosen = readings.iter().position(is_chosen).unwrap_or_default();
        (chosen < readings.len()).then(|| readings.swap_remove(chosen))
    }
}

/// Whether tools of a connection may be listed: it is the one that is meant where none is named.
pub(super) fn is_source(owned: &Owned) -> bool {
    owned.row.connection == ConnectionId::default()
        && !owned.registered.definition.direct_tools.is_empty()
}

impl View {
    /// Those of the tools of `sources` that are listed directly: the list that was made last, where it is of
    /// the same.
    pub(in crate::mesh) fn direct_tools(
        &self,
        mut sources: Vec<Source>,
        only_reads: bool,
    ) -> Arc<DirectTools> {
        sources.retain(|(owned, _)| is_source(owned));
        let mut held = self.held_direct_tools();
        match &*held {
            Some(direct) if direct.is_of(&sources, only_reads) => Arc::clone(direct),
            _ => {
                let direct = Arc::new(DirectTools::of(sources, only_reads));
                *held = Some(Arc::clone(&direct));
                direct
            }
        }
    }
}

impl DirectTools {
    fn of(sources: Vec<Source>, only_reads: bool) -> Self {
        let mut direct = Self {
            sources,
            only_reads,
            ..Self::default()
        };
        let mut chosen = Vec::new();
        for (owned, tools) in &direct.sources {
            let definition = &owned.registered.definition;
            let chosen_of = tools.iter().filter(|tool| {
                !tool.is_held_back()
                    && (tool.read_only || !only_reads)
                    && definition.lists_directly(&tool.name)
            });
            let service = &owned.row.service;
            chosen.extend(chosen_of.map(|tool| (listed_name(service, &tool.name), owned, tool)));
        }
        chosen.sort_by(|(one, ..), (other, ..)| one.cmp(other));
        let mut bytes = 0;
        for (name, owned, tool) in chosen {
            let listed = match has_room(&direct.texts, bytes, tool) {
                true => text_of(&name, owned, tool),
                false => Err(LeftOutBecause::Room),
            };
            match listed {
                Ok(text) if bytes + text.len() < BYTES_MAX => {
                    bytes += text.len() + 1;
                    direct.texts.push(text);
                }
                listed if direct.left_out.len() < LEFT_OUT_MAX => direct.left_out.push(LeftOut {
                    service: owned.row.service.clone(),
                    tool: Arc::clone(&tool.name),
                    reason: listed.err().unwrap_or(LeftOutBecause::Room),
                }),
                _ => {}
            }
        }
        if !direct.texts.is_empty() {
            let mut hasher = DefaultHasher::new();
            direct.texts.hash(&mut hasher);
            direct.fingerprint = hasher.finish();
        }
        direct
    }

    /// The definitions, each the text of a JSON object, in the order of their names.
    pub fn texts(&self) -> &[String] {
        &self.texts
    }

    /// What was chosen and is not among them; those that are held back apart.
    pub fn left_out(&self) -> &[LeftOut] {
        &self.left_out
    }

    /// Differs where the definitions do.
    pub const fn fingerprint(&self) -> u64 {
        self.fingerprint
    }

    fn is_of(&self, sources: &[Source], only_reads: bool) -> bool {
        let same = |((owned, tools), (other, others)): (&Source, &Source)| {
            Arc::ptr_eq(owned, other) && Arc::ptr_eq(tools, others)
        };
        self.only_reads == only_reads
            && self.sources.len() == sources.len()
            && self.sources.iter().zip(sources).all(same)
    }
}

fn has_room(texts: &[String], bytes: usize, tool: &KnownTool) -> bool {
    texts.len() < TOOLS_MAX && bytes + tool.definition.get().len() < BYTES_MAX + SLACK
}

/// How much shorter a definition may be as it is listed: white space apart, and members that are left out.
const SLACK: usize = 4096;

/// What is shown of a definition: what is pinned. What else there may be (pictures, what a client is to do
/// before a call) could change without anybody having approved it.
#[derive(Deserialize)]
struct Shown<'a> {
    #[serde(borrow, default)]
    title: Option<&'a RawValue>,
    #[serde(borrow, default)]
    description: Option<&'a RawValue>,
    #[serde(borrow, rename = "inputSchema")]
    input_schema: Option<&'a RawValue>,
    #[serde(borrow, default, rename = "outputSchema")]
    output_schema: Option<&'a RawValue>,
    #[serde(borrow, default)]
    annotations: Option<&'a RawValue>,
}

/// What every client can read.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(dead_code, reason = "that it can be read is all that is wanted")]
struct Readable {
    #[serde(default)]
    title: Option<String>,
    #[serde(default)]
    description: Option<String>,
    input_schema: Schema,
    #[serde(default)]
    output_schema: Option<Schema>,
    #[serde(default)]
    annotations: Option<Annotations>,
}

#[derive(Deserialize)]
#[expect(dead_code, reason = "that it can be read is all that is wanted")]
struct Schema {
    #[serde(rename = "type")]
    kind: ObjectKind,
    #[serde(default)]
    properties: Option<BTreeMap<String, Map<String, Value>>>,
    #[serde(default)]
    required: Option<Vec<String>>,
}

#[derive(Deserialize)]
enum ObjectKind {
    #[serde(rename = "object")]
    Object,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(dead_code, reason = "that it can be read is all that is wanted")]
struct Annotations {
    #[serde(default)]
    title: Option<String>,
    #[serde(default)]
    read_only_hint: Option<bool>,
    #[serde(default)]
    destructive_hint: Option<bool>,
    #[serde(default)]
    idempotent_hint: Option<bool>,
    #[serde(default)]
    open_world_hint: Option<bool>,
}

/// The definition as it is listed under `name`.
fn text_of(name: &str, owned: &Owned, tool: &KnownTool) -> Result<String, LeftOutBecause> {
    // Behind a client's prefix nobody could tell it from one of our own.
    let is_own = Tool::named(&format!("mcp__{SEPARATOR}{name}")).is_some();
    if is_own || name.len() > NAME_BYTES_MAX || name.contains('.') {
        return Err(LeftOutBecause::Name);
    }
    let text = tool.definition.get();
    serde_json::from_str::<Map<String, Value>>(text).map_err(|_| LeftOutBecause::Shape)?;
    serde_json::from_str::<Readable>(text).map_err(|_| LeftOutBecause::Shape)?;
    let shown: Shown<'_> = serde_json::from_str(text).map_err(|_| LeftOutBecause::Shape)?;
    let members = [
        ("title", shown.title),
        ("description", shown.description),
        ("inputSchema", shown.input_schema),
        ("outputSchema", shown.output_schema),
        ("annotations", shown.annotations),
    ];
    let mut listed = format!("{{\"name\":{}", Value::from(name));
    for (member, raw) in members {
        let Some(raw) = raw else { continue };
        listed.push_str(&format!(",\"{member}\":"));
        match tool.unseen.is_none() {
            true => listed.push_str(raw.get()),
            false => {
                let escaped = written::escaped(raw).ok_or(LeftOutBecause::Shape)?;
                listed.push_str(escaped.get());
            }
        }
    }
    let origin = json!({
        "service_id": owned.row.service.as_str(),
        "tool": &*tool.name,
        "connection_id": owned.row.connection.as_str(),
    });
    let meta = json!({ ORIGIN: origin });
    listed.push_str(&format!(",\"_meta\":{meta}}}"));
    Ok(listed)
}

impl fmt::Display for LeftOutBecause {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name => write!(
                formatter,
                "`<service>__<tool>` is not 1 to {NAME_BYTES_MAX} of A-Z, a-z, 0-9, _ and -, or ends in a name of \
                 this server's own"
            ),
            Self::Shape => formatter
                .write_str("its definition is not at hand, or is none that every client can read"),
            Self::Room => write!(
                formatter,
                "there is room for {TOOLS_MAX} tools and {BYTES_MAX} bytes"
            ),
        }
    }
}

#[cfg(test)]
mod tests;
