//! The handshakes of both eras: the newer one first, the older one where that gets no answer, and never both twice.

use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::time::timeout;

use super::dialect::{self, Dialect, STATELESS};
use super::link::{Link, Links, Outgoing};
use super::message::{self, Object};
use super::pool::settings::PoolSettings;
use super::scrub::Scrubber;
use super::session::{Core, Request, SEND_TIME_MAX, Session};
use crate::mesh::upstream::{ConnectionPlan, Era, ServerIdentity};
use crate::mesh::{Error, ErrorKind};

/// How much of a server's name and version is kept.
const NAME_CHARS_MAX: usize = 100;

/// A session that can be used.
pub(super) struct Established {
    /// The session.
    pub(super) session: Session,
    /// Who the server says it is.
    pub(super) identity: ServerIdentity,
}

/// Opens a link and shakes hands. `latest` has the link that is in use at any moment, for whoever gives up.
///
/// # Errors
/// What the link or the server did instead.
pub(super) async fn establish(
    links: &dyn Links,
    plan: &ConnectionPlan,
    settings: &PoolSettings,
    latest: &mut Option<Arc<dyn Link>>,
) -> Result<Established, Error> {
    let mut session = open(links, plan, settings, latest).await?;
    let mut greeted = greet(session.core(), plan.era, settings).await;
    // Some old servers end when their first request is none that they know.
    let is_put_off = plan.era != Some(Era::Sessions) && session.core().closed().is_cancelled();
    if greeted.is_err() && is_put_off {
        drop(session);
        if let Some(before) = latest.take() {
            let _ = timeout(settings.close_time_max, before.close()).await;
        }
        session = open(links, plan, settings, latest).await?;
        greeted = initialize(session.core(), settings.connect_time_max).await;
    }
    let identity = greeted?;
    session.core().list(false).await?;
    session.follow_tools();
    Ok(Established { session, identity })
}

async fn open(
    links: &dyn Links,
    plan: &ConnectionPlan,
    settings: &PoolSettings,
    latest: &mut Option<Arc<dyn Link>>,
) -> Result<Session, Error> {
    *latest = None;
    let opened = links.open(plan).await?;
    *latest = Some(opened.link.clone());
    Ok(Session::new(opened, Scrubber::of(plan), settings.calls_max))
}

async fn greet(
    core: &Core,
    era: Option<Era>,
    settings: &PoolSettings,
) -> Result<ServerIdentity, Error> {
    match era {
        Some(Era::Sessions) => match initialize(core, settings.connect_time_max).await {
            Err(refused) if !core.closed().is_cancelled() => {
                let discovered = discover(core, settings.discover_wait).await;
                let identity = discovered.ok().flatten().ok_or(refused)?;
                core.agree(Dialect::STATELESS);
                Ok(identity)
            }
            greeted => greeted,
        },
        Some(Era::Stateless) => newest_first(core, settings.connect_time_max / 2, settings).await,
        None => newest_first(core, settings.discover_wait, settings).await,
    }
}

/// The newer handshake, and where there is no answer in `wait` the older one beside it: whoever starts slowly
/// finds both, and answers one of them.
async fn newest_first(
    core: &Core,
    wait: Duration,
    settings: &PoolSettings,
) -> Result<ServerIdentity, Error> {
    let mut discovery = std::pin::pin!(discover(core, settings.connect_time_max));
    let early = timeout(wait, &mut discovery).await;
    if let Ok(Ok(Some(identity))) = early {
        core.agree(Dialect::STATELESS);
        return Ok(identity);
    }
    let refused = {
        let initialized = initialize(core, settings.connect_time_max);
        let mut initialized = std::pin::pin!(initialized);
        match early {
            // It may still be found: then both are waited for, and the older one decides if it succeeds.
            Err(_) => tokio::select! {
                greeted = &mut initialized => match greeted {
                    Err(refused) => refused,
                    greeted => return greeted,
                },
                found = &mut discovery => match (initialized.await, found) {
                    (Err(_), Ok(Some(identity))) => {
                        core.agree(Dialect::STATELESS);
                        return Ok(identity);
                    }
                    (greeted, _) => return greeted,
                },
            },
            Ok(_) => return initialized.await,
        }
    };
    match timeout(settings.discover_wait, discovery).await {
        Ok(Ok(Some(identity))) => {
            core.agree(Dialect::STATELESS);
            Ok(identity)
        }
        _ => Err(refused),
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Discovered<'a> {
    supported_versions: Vec<String>,
    #[serde(borrow, default)]
    capabilities: Option<&'a RawValue>,
    #[serde(borrow, default)]
    server_info: Option<&'a RawValue>,
    #[serde(borrow, rename = "_meta", default)]
    meta: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct DiscoveredMeta<'a> {
    #[serde(borrow, rename = "io.modelcontextprotocol/serverInfo", default)]
    server_info: Option<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Initialized<'a> {
    protocol_version: String,
    #[serde(borrow, default)]
    server_info: Option<&'a RawValue>,
}

#[derive(Deserialize, Default)]
struct Implementation {
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    version: Option<String>,
}

#[derive(Deserialize)]
struct Capabilities {
    #[serde(default)]
    tools: Option<ToolCapabilities>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ToolCapabilities {
    #[serde(default)]
    list_changed: Option<bool>,
}

/// Asks for what the server supports; nothing where it does not support the revision without sessions.
async fn discover(core: &Core, time: Duration) -> Result<Option<ServerIdentity>, Error> {
    core.propose(STATELESS);
    let params = Dialect::STATELESS.meta(None, None).unwrap_or_default();
    let params = Object::new().member("_meta", &params).end();
    let answer = core
        .request(Request::own("server/discover", time), |_| params)
        .await
        .map_err(|fault| core.told("server/discover", fault))?;
    let found: Discovered<'_> = serde_json::from_str(answer.get())
        .map_err(|error| wrong("server/discover").caused_by(error))?;
    if !found
        .supported_versions
        .iter()
        .any(|version| version == STATELESS)
    {
        return Ok(None);
    }
    let told = message::read::<DiscoveredMeta<'_>>(found.meta).and_then(|meta| meta.server_info);
    let tools = message::read::<Capabilities>(found.capabilities).and_then(|all| all.tools);
    if tools.is_some_and(|tools| tools.list_changed == Some(true)) {
        core.tools.ask_for_word();
    }
    let told = told.or(found.server_info);
    Ok(Some(identity(core, told, Dialect::STATELESS)))
}

/// The older handshake, in whatever revision the server answers it.
async fn initialize(core: &Core, time: Duration) -> Result<ServerIdentity, Error> {
    let answer = core
        .request(Request::own("initialize", time), |_| dialect::initialize())
        .await
        .map_err(|fault| core.told("initialize", fault))?;
    let found: Initialized<'_> =
        serde_json::from_str(answer.get()).map_err(|error| wrong("initialize").caused_by(error))?;
    let dialect = Dialect::of(&found.protocol_version).ok_or_else(|| {
        let revision = core.scrubber.show(&found.protocol_version);
        Error::new(
            ErrorKind::UpstreamError,
            format!(
                "the server speaks revision {revision} of the protocol, which is not known here"
            ),
        )
    })?;
    core.agree(dialect);
    let notification = Outgoing {
        text: message::notification("notifications/initialized", "{}"),
        request_id: None,
        method: Some("notifications/initialized".to_owned()),
        name: None,
        timeout: SEND_TIME_MAX,
        trace: None,
    };
    let link = core.link().ok_or_else(|| core.end())?;
    match timeout(SEND_TIME_MAX, link.send(notification)).await {
        Ok(sent) => sent?,
        Err(_) => {
            return Err(Error::new(
                ErrorKind::UpstreamUnavailable,
                "the server does not read what it is sent",
            ));
        }
    }
    Ok(identity(core, found.server_info, dialect))
}

fn identity(core: &Core, told: Option<&RawValue>, dialect: Dialect) -> ServerIdentity {
    let told = message::read::<Implementation>(told).unwrap_or_default();
    let shown = |text: Option<String>| {
        let text = core.scrubber.show(&text.unwrap_or_default());
        text.chars().take(NAME_CHARS_MAX).collect::<String>()
    };
    ServerIdentity {
        name: shown(told.name),
        version: shown(told.version),
        protocol_version: dialect.revision.to_owned(),
        era: dialect.era,
    }
}

fn wrong(method: &str) -> Error {
    Error::new(
        ErrorKind::UpstreamError,
        format!("the server answered {method} with what is no answer to it"),
    )
}
