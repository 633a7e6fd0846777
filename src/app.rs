//! Joins configuration, backends, services and transports; the only file that knows them all.

pub(crate) mod oversight;
mod serving;
pub mod sign_in;
mod target;

use std::sync::Arc;
use std::time::Duration;

use aws_smithy_runtime_api::client::interceptors::SharedInterceptor;

use crate::config::{self, Backend, Config, Identity};
use crate::inbound::server::{Server, Shared, Streams, Unasked};
use crate::inbound::task::RunTools;
use crate::inbound::tool::catalog::Catalog;
use crate::mesh::call::sequence::IdSequence;
use crate::mesh::call::tool::Toolset;
use crate::mesh::call::{Backplane, CALL_TIME_MAX};
use crate::mesh::channels::Channels;
use crate::mesh::event::rules::{RuleBook, RuleParts};
use crate::mesh::event::{
    EventReads, Outbox, OutboxSettings, Pace, Publisher, PublisherSettings, Rollup,
};
use crate::mesh::integration::waiting::WaitingTable;
use crate::mesh::integration::{BookParts, IntegrationBook};
use crate::mesh::limit::Limiter;
use crate::mesh::store::mail::MailPolicy;
use crate::mesh::store::{Bucket, Bus, BusRules, Table};
use crate::mesh::tenant::TenantDirectory;
use crate::mesh::upstream::Upstreams;
use crate::mesh::workflow::{
    LocalMachines, RunBook, RunBookParts, WatchPace, Watcher, WorkflowNames,
};
use crate::mesh::{Clock, Error, SystemClock};
use crate::outbound::aws::{
    AwsBucket, AwsBus, AwsBusRules, AwsSecrets, AwsSettings, AwsStates, AwsTable, AwsTopics,
    Connection, Observed,
};
use crate::outbound::embedded::{EmbeddedCloud, EmbeddedSettings, FolderMachines};
use crate::outbound::upstream::child::{self, ChildLinks, ChildSettings};
use crate::outbound::upstream::remote::{EgressPolicy, RemoteLinks, RemoteSettings};
use crate::outbound::upstream::{PoolSettings, ServerLinks, UpstreamPool};
use crate::platform;
use crate::telemetry::Watch;
use crate::telemetry::metrics::{AwsMetrics, UpstreamMetrics};

pub use serving::{End, Serving};

pub(crate) use target::target;

/// Everything that one process is made of, whatever transports it serves.
pub struct App {
    shared: Arc<Shared>,
    connection: Arc<Connection>,
    embedded: Option<EmbeddedCloud>,
    watcher: Watcher,
}

impl App {
    /// Opens everything that `config` names. Within a runtime; nothing is asked of AWS yet.
    ///
    /// # Errors
    /// What the embedded cloud or the outbox says of their folders.
    pub async fn open(config: &Config) -> Result<Self, Error> {
        Self::open_with(config, Arc::new(SystemClock::new()), None).await
    }

    /// As [`App::open`], with a clock of the caller's, and connections to other servers of the caller's where
    /// they are given.
    ///
    /// # Errors
    /// As [`App::open`].
    pub async fn open_with(
        config: &Config,
        clock: Arc<dyn Clock>,
        upstreams: Option<Arc<dyn Upstreams>>,
    ) -> Result<Self, Error> {
        let watch = Watch {
            metrics: None,
            is_traced: config.traces.is_some(),
        };
        Self::open_over(Carrier::Pipes, config, clock, upstreams, watch).await
    }

    /// As [`App::open_with`], for requests that come over `carrier`, watched by `watch`.
    ///
    /// # Errors
    /// As [`App::open`]; over HTTP also what is wrong with the file of static tokens.
    pub async fn open_over(
        carrier: Carrier,
        config: &Config,
        clock: Arc<dyn Clock>,
        upstreams: Option<Arc<dyn Upstreams>>,
        watch: Watch,
    ) -> Result<Self, Error> {
        let serves_many = carrier.serves_many(config);
        let (mut settings, embedded) = backend(config, &clock)?;
        settings.interceptors.extend(aws_observer(&watch, &clock));
        let connection = Connection::new(settings, Arc::clone(&clock));
        let outbox = outbox(config, &connection, &clock).await?;
        let audit = oversight::audit(config, &clock)?;
        let parts = Parts {
            table: Arc::new(AwsTable::new(Arc::clone(&connection))),
            bucket: Arc::new(AwsBucket::new(Arc::clone(&connection))),
            bus: Arc::new(AwsBus::new(Arc::clone(&connection))),
            tenants: Arc::clone(&config.tenants) as _,
            rollup: Rollup::new(outbox.clone(), audit.clone(), Arc::clone(&clock)),
            connection,
            outbox,
            clock,
            watch,
        };
        let runs = parts.runs(config);
        let watcher = runs.watch();
        let rules = parts.rules(config, &runs);
        let integrations = parts.integrations(config, serves_many, upstreams);
        let publisher = parts.publisher(config, &rules);
        let (connection, clock, watch) = (parts.connection, parts.clock, parts.watch);
        let backplane = Backplane {
            resolver: sign_in::resolver(carrier, config, &parts.tenants, &clock)?,
            policy: oversight::policy(config, &clock)?,
            audit,
            limiter: Limiter::new(),
            publisher,
            rollup: parts.rollup,
            outbox: parts.outbox,
            serves_many,
            event_reads: event_reads(config),
            table: parts.table,
            bucket: parts.bucket,
            bus: parts.bus,
            runs,
            workflows: rules.workflows,
            integrations,
            rules: rules.book,
            bus_rules: bus_rules(config, &connection),
            native_rules_max: config.automation.native_rules_max,
            secrets: Arc::new(AwsSecrets::new(Arc::clone(&connection))),
            topics: rules.topics,
            mail: mail_policy(config),
            alerts: rules.alerts,
            waiting_calls: WaitingTable::default(),
            event_ids: IdSequence::default(),
            changes: Channels::default(),
            observer: watch.observer(),
            clock,
            call_time_max: CALL_TIME_MAX,
        };
        let shared = shared(config, backplane);
        watch.see(&shared.backplane);
        if let Some(cloud) = &embedded {
            cloud.set_tool_caller(Arc::new(RunTools::new(&shared)));
        }
        tokio::spawn(config.tenants.watch(config::tenants::POLL_INTERVAL));
        Ok(Self {
            shared,
            connection,
            embedded,
            watcher,
        })
    }

    /// A server for a new session over pipes.
    pub fn server(&self) -> Server {
        let unasked = match self.shared.backplane.serves_many {
            true => Unasked::Untold,
            false => Unasked::Told,
        };
        Server::new(Arc::clone(&self.shared), unasked)
    }

    /// What all sessions share.
    pub fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// The way to AWS, or to the embedded cloud.
    pub fn connection(&self) -> &Arc<Connection> {
        &self.connection
    }

    /// The embedded cloud, where that is the backend.
    pub fn embedded(&self) -> Option<&EmbeddedCloud> {
        self.embedded.as_ref()
    }

    /// Begins no more steps of workflows that run in this process, and leaves them to the next one; steps that
    /// are under way have a second to end. Again it does nothing more.
    pub async fn stop_workflows(&self) {
        if let Some(cloud) = &self.embedded {
            cloud.stop_workflows().await;
        }
    }

    /// Stops workflows and publishes what waits in the outbox, as far as that goes within `time`. What does not go is handed
    /// over through the bucket on AWS, and what cannot be stays in the outbox for the next process.
    pub async fn close(self, time: Duration) {
        let clock = Arc::clone(&self.shared.backplane.clock);
        let start = clock.monotonic();
        tokio::join!(self.stop_workflows(), self.watcher.stop());
        let left = time.saturating_sub(clock.monotonic().saturating_sub(start));
        let upstreams = self.shared.backplane.integrations.upstreams();
        let (drained, ()) = tokio::join!(
            self.shared.backplane.publisher.drain(left),
            upstreams.close(left)
        );
        if drained.left > 0 {
            tracing::warn!(
                events = drained.left,
                "events stay in the outbox for the next process"
            );
        }
    }
}

/// Over what requests come, which decides how they say whose they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carrier {
    /// Standard input and output, of one user or, by tokens in the messages, of many.
    Pipes,
    /// HTTP, by bearer tokens.
    Http,
}

impl Carrier {
    /// Whether callers of several tenants may come.
    const fn serves_many(self, config: &Config) -> bool {
        match self {
            Self::Pipes => matches!(config.identity, Identity::Jwt(_)),
            Self::Http => true,
        }
    }
}

/// What all sessions share.
fn shared(config: &Config, backplane: Backplane) -> Arc<Shared> {
    Arc::new(Shared {
        backplane: Arc::new(backplane),
        catalog: catalog(config),
        streams: Streams::default(),
    })
}

/// Which state machines tenants mean: those that the operator has given them, and in the embedded cloud
/// those of the folder.
pub(crate) fn workflows(config: &Config, directory: &Arc<dyn TenantDirectory>) -> WorkflowNames {
    let local = match config.backend.backend {
        Backend::Aws => None,
        Backend::Embedded => {
            Some(Arc::new(FolderMachines::new(&config.data_dir)) as Arc<dyn LocalMachines>)
        }
    };
    WorkflowNames::new(Arc::clone(directory), local)
}

/// Where events wait until they are published.
async fn outbox(
    config: &Config,
    connection: &Connection,
    clock: &Arc<dyn Clock>,
) -> Result<Outbox, Error> {
    Outbox::open(OutboxSettings {
        root: config.outbox_dir.clone(),
        target: target(config, connection.region().await),
        bytes_max: config.events.outbox_bytes_max,
        clock: Arc::clone(clock),
    })
}

/// What several others are made of.
struct Parts {
    connection: Arc<Connection>,
    table: Arc<dyn Table>,
    bucket: Arc<dyn Bucket>,
    bus: Arc<dyn Bus>,
    tenants: Arc<dyn TenantDirectory>,
    outbox: Outbox,
    rollup: Rollup,
    clock: Arc<dyn Clock>,
    watch: Watch,
}

impl Parts {
    /// The runs of workflows.
    fn runs(&self, config: &Config) -> RunBook {
        RunBook::new(RunBookParts {
            table: Arc::clone(&self.table),
            states: Arc::new(AwsStates::new(Arc::clone(&self.connection))),
            outbox: self.outbox.clone(),
            tenants: Arc::clone(&self.tenants),
            clock: Arc::clone(&self.clock),
            pace: match config.backend.backend {
                Backend::Aws => WatchPace::AWS,
                Backend::Embedded => WatchPace::EMBEDDED,
            },
            retention_days: config.events.retention_days,
        })
    }

    /// What does what the rules say.
    fn rules(&self, config: &Config, runs: &RunBook) -> RuleParts {
        RuleParts {
            book: Arc::new(RuleBook::new(
                Arc::clone(&self.table),
                Arc::clone(&self.clock),
            )),
            launcher: Arc::new(runs.clone()),
            workflows: workflows(config, &self.tenants),
            topics: Arc::new(AwsTopics::new(Arc::clone(&self.connection))),
            alerts: Arc::new(Channels::default()),
        }
    }

    /// The integrations of the tenants, over `upstreams` where they are given.
    fn integrations(
        &self,
        config: &Config,
        serves_many: bool,
        upstreams: Option<Arc<dyn Upstreams>>,
    ) -> IntegrationBook {
        let clock = Arc::clone(&self.clock);
        let upstreams = upstreams.unwrap_or_else(|| {
            let links = Arc::new(server_links(config, serves_many, &clock));
            let metrics = self.watch.metrics.as_ref();
            Arc::new(UpstreamPool::counted(
                links,
                Arc::clone(&clock),
                PoolSettings::default(),
                metrics.map_or_else(UpstreamMetrics::default, |all| all.upstream().clone()),
            ))
        });
        IntegrationBook::new(BookParts {
            table: Arc::clone(&self.table),
            secrets: Arc::new(AwsSecrets::new(Arc::clone(&self.connection))),
            upstreams,
            clock,
        })
    }

    /// The publisher, at work.
    fn publisher(&self, config: &Config, rules: &RuleParts) -> Publisher {
        Publisher::start(PublisherSettings {
            outbox: self.outbox.clone(),
            table: Arc::clone(&self.table),
            bucket: Arc::clone(&self.bucket),
            bus: Arc::clone(&self.bus),
            tenants: Arc::clone(&self.tenants),
            rules: Some(rules.clone()),
            rollup: self.rollup.clone(),
            retention_days: config.events.retention_days,
            clock: Arc::clone(&self.clock),
            pace: Pace::default(),
            // The embedded cloud lies on the same disk as the outbox.
            hand_over: config.backend.backend == Backend::Aws,
        })
    }
}

/// What watches requests to AWS, where anybody wants to know of them.
fn aws_observer(watch: &Watch, clock: &Arc<dyn Clock>) -> Option<SharedInterceptor> {
    let metrics = match &watch.metrics {
        Some(metrics) => metrics.aws().clone(),
        None if watch.is_traced => AwsMetrics::default(),
        None => return None,
    };
    let observed = Observed::new(metrics, Arc::clone(clock));
    Some(SharedInterceptor::new(observed))
}

/// What leads to other servers: processes and addresses. A process that serves many starts no programs that
/// one of them names.
fn server_links(config: &Config, serves_many: bool, clock: &Arc<dyn Clock>) -> ServerLinks {
    let settings = &config.integrations;
    let egress = EgressPolicy::new(settings.egress_allow.clone(), settings.allow_loopback_http);
    let remote = RemoteLinks::new(RemoteSettings { egress }, Arc::clone(clock));
    let children = child_settings(config, clock);
    let children = ChildLinks::new(ChildSettings {
        commands: children.commands.filter(|_| !serves_many),
        ..children
    });
    ServerLinks::new(children, remote)
}

/// Whether each read is an event of its own.
const fn event_reads(config: &Config) -> EventReads {
    match config.events.reads {
        config::EventReads::Each => EventReads::Each,
        config::EventReads::Rollup => EventReads::Rollup,
    }
}

/// The rules of the bus itself: AWS has such, the embedded cloud has not.
fn bus_rules(config: &Config, connection: &Arc<Connection>) -> Option<Arc<dyn BusRules>> {
    let role = config.automation.events_role_arn.as_deref();
    match config.backend.backend {
        Backend::Aws => Some(Arc::new(AwsBusRules::new(Arc::clone(connection), role))),
        Backend::Embedded => None,
    }
}

/// Where alerts may be mailed to. The embedded cloud keeps mails as files, so there any domain will do
/// unless the operator has named some.
fn mail_policy(config: &Config) -> MailPolicy {
    let domains = &config.automation.alert_domains;
    match config.backend.backend {
        Backend::Embedded if domains.is_empty() => MailPolicy::Anywhere,
        _ => MailPolicy::Domains(domains.clone()),
    }
}

/// The way to AWS that the settings describe, whichever backend is in force.
pub(crate) fn aws_settings(config: &Config) -> AwsSettings {
    let names = config.resources.clone();
    AwsSettings {
        region: config.region.clone(),
        bucket_owner: config.bucket_owner.clone(),
        ..AwsSettings::new(names.kv_table, names.artifacts_bucket, names.event_bus)
    }
}

/// The way to the three resources: AWS, or the cloud in the data folder.
pub(crate) fn backend(
    config: &Config,
    clock: &Arc<dyn Clock>,
) -> Result<(AwsSettings, Option<EmbeddedCloud>), Error> {
    let names = config.resources.clone();
    match config.backend.backend {
        Backend::Aws => Ok((aws_settings(config), None)),
        Backend::Embedded => {
            let cloud = EmbeddedCloud::open(EmbeddedSettings {
                folder: config.data_dir.clone(),
                table: names.kv_table.clone(),
                bucket: names.artifacts_bucket.clone(),
                bus: names.event_bus.clone(),
                clock: Arc::clone(clock),
            })?;
            let client = cloud.http_client();
            let settings = AwsSettings::embedded(
                client,
                names.kv_table,
                names.artifacts_bucket,
                names.event_bus,
            );
            Ok((settings, Some(cloud)))
        }
    }
}

/// What the processes of integrations may be, by the settings.
pub fn child_settings(config: &Config, clock: &Arc<dyn Clock>) -> ChildSettings {
    let integrations = &config.integrations;
    ChildSettings {
        executable: platform::own_program(),
        folder: child::children_folder(&config.data_dir),
        commands: match config.identity {
            Identity::Env => Some(integrations.allowed_commands.clone()),
            Identity::Jwt(_) => None,
        },
        templates: Arc::clone(&integrations.templates),
        readable: integrations.child_paths.clone(),
        private: integrations.private.clone(),
        home: integrations.home.clone(),
        search_path: integrations.search_path.clone(),
        locale: integrations.locale.clone(),
        clock: Arc::clone(clock),
    }
}

/// The tools that the settings offer.
pub(crate) fn catalog(config: &Config) -> Catalog {
    let toolset = |toolset| match toolset {
        config::Toolset::Kv => Toolset::Kv,
        config::Toolset::Artifacts => Toolset::Artifacts,
        config::Toolset::Events => Toolset::Events,
        config::Toolset::Workflows => Toolset::Workflows,
        config::Toolset::Integrations => Toolset::Integrations,
    };
    let toolsets: Vec<_> = config.toolsets.iter().map(toolset).collect();
    Catalog::new(&toolsets, config.read_only)
}
