//! The mesh behind a listener, with all its routes.

mod health;
mod watched;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ::http::{StatusCode, Uri};
use axum::extract::State;
use axum::routing::get;
use axum::{Router, middleware};
use secrecy::SecretSlice;
use tokio_util::sync::CancellationToken;

use super::{App, Carrier, sign_in};
use crate::config::{Config, HttpSettings};
use crate::inbound::dashboard;
use crate::inbound::front::MeshFront;
use crate::inbound::rest;
use crate::inbound::sign_in::{ProtectedResource, SignIn, WELL_KNOWN};
use crate::inbound::transport::http::{
    self, Cors, Drain, Figures, Gate, Http, Listener, ListenerSettings, Origin, SILENCE_MAX,
    SessionKeys, TlsFiles,
};
use crate::inbound::transport::{sse, websocket};
use crate::mesh::upstream::Upstreams;
use crate::mesh::{Clock, Error, SystemClock};
use crate::platform;
use crate::telemetry::Watch;
use crate::telemetry::metrics::Metrics;
use health::Asked;
use watched::Watched;

/// How long events that have not been published yet may keep the process.
const PUBLISH_TIME_MAX: Duration = Duration::from_secs(5);

/// The most connections of operators.
const OPERATORS_CONNECTIONS_MAX: usize = 64;

/// An application that listens, and has yet to serve.
pub struct Serving {
    app: App,
    listener: Listener,
    address: SocketAddr,
    router: Router,
    /// What is for operators alone, where they have an address.
    operators: Option<(Listener, Router)>,
    drain: Drain,
    url: String,
}

/// How a server is told to end.
#[derive(Clone, Debug, Default)]
pub struct End {
    /// Cancelled when it is to end in its own time.
    pub begin: CancellationToken,
    /// Cancelled when it is to end at once.
    pub cut: CancellationToken,
}

impl Serving {
    /// Takes the address that `config` names, and opens what is behind it. It serves until
    /// it is told to `end`. Within a runtime.
    ///
    /// # Errors
    /// The address is taken, the certificate or the way to sign in cannot be used, or what
    /// [`App::open`] says.
    pub async fn open(config: &Config, end: End) -> Result<Self, Error> {
        Self::open_with(config, end, Arc::new(SystemClock::new()), None).await
    }

    /// As [`Serving::open`], with a clock of the caller's, and connections to other servers of the caller's
    /// where they are given.
    ///
    /// # Errors
    /// As [`Serving::open`].
    pub async fn open_with(
        config: &Config,
        end: End,
        clock: Arc<dyn Clock>,
        upstreams: Option<Arc<dyn Upstreams>>,
    ) -> Result<Self, Error> {
        let settings = &config.http;
        let figures = Arc::<Figures>::default();
        let listener = listener(settings, Arc::clone(&figures)).await?;
        let address = listener.address().map_err(cannot_listen(settings.bind))?;
        // Nothing is counted where nobody can read it.
        let metrics = config
            .metrics
            .bind
            .map(|bind| (bind, Metrics::new(&config.metrics, clock.as_ref())));
        let watch = Watch {
            metrics: metrics.as_ref().map(|(_, metrics)| Arc::clone(metrics)),
            is_traced: config.traces.is_some(),
        };
        let app = App::open_over(Carrier::Http, config, clock, upstreams, watch).await?;
        let drain = Drain {
            begin: end.begin,
            cut: end.cut,
            delay: settings.drain_delay,
            finish: settings.drain_time,
            ending: CancellationToken::new(),
        };
        let url = public_url(settings, address);
        let asked = Asked {
            backplane: Arc::clone(&app.shared().backplane),
            draining: drain.begin.clone(),
        };
        if let Some((_, metrics)) = &metrics {
            let figures = Arc::clone(&figures);
            metrics.watch_listener(move || watched::told(&figures));
        }
        let watched = Watched {
            figures: Arc::clone(&figures),
            metrics: metrics
                .as_ref()
                .map(|(_, metrics)| metrics.http().clone())
                .unwrap_or_default(),
            clock: Arc::clone(&app.shared().backplane.clock),
        };
        let operators = match metrics {
            Some((bind, metrics)) => Some((
                plain_listener(bind).await?,
                health::operators(asked.clone(), metrics),
            )),
            None => None,
        };
        let routes = router(config, &app, &url, drain.ending.clone(), figures)?;
        let router = routes.merge(health::public(asked));
        let router = guarded(router, &config.http)
            .layer(middleware::from_fn_with_state(watched, watched::watch));
        Ok(Self {
            app,
            listener,
            address,
            router,
            operators,
            drain,
            url,
        })
    }

    /// Where it listens.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where operators are told how it is, where they are.
    ///
    /// # Errors
    /// What the system says.
    pub fn operators_address(&self) -> io::Result<Option<SocketAddr>> {
        let operators = self.operators.as_ref();
        operators
            .map(|(listener, _)| listener.address())
            .transpose()
    }

    /// The address by which clients reach it.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The application.
    pub const fn app(&self) -> &App {
        &self.app
    }

    /// Serves until it is told to end and all requests have, and publishes what has happened.
    pub async fn run(self) {
        let ending = self.drain.ending.clone();
        let stopping = async {
            ending.cancelled().await;
            self.app.stop_workflows().await;
        };
        let operators = serve_operators(self.operators, self.drain.cut.clone());
        let operators = tokio::spawn(operators);
        tokio::join!(self.listener.serve(self.router, self.drain), stopping);
        tracing::info!("all requests have ended");
        self.app.close(PUBLISH_TIME_MAX).await;
        // Operators watch to the end.
        operators.abort();
    }
}

/// Serves operators until `end`.
async fn serve_operators(operators: Option<(Listener, Router)>, end: CancellationToken) {
    let Some((listener, router)) = operators else {
        return;
    };
    let drain = Drain {
        begin: end.clone(),
        delay: Duration::ZERO,
        finish: Duration::ZERO,
        cut: end,
        ending: CancellationToken::new(),
    };
    listener.serve(router, drain).await;
}

/// A listener for few, without TLS.
async fn plain_listener(bind: SocketAddr) -> Result<Listener, Error> {
    let listening = Listener::bind(ListenerSettings {
        bind,
        tls: None,
        connections_max: OPERATORS_CONNECTIONS_MAX,
        silence_max: SILENCE_MAX,
        // Operators' own are not counted.
        figures: Arc::default(),
    });
    listening.await.map_err(|error| {
        Error::internal(format!("this server cannot listen at {bind} for operators"))
            .caused_by(error)
            .fix("Name another address in AGENT_MESH_METRICS_BIND, or end what listens there.")
    })
}

async fn listener(settings: &HttpSettings, figures: Arc<Figures>) -> Result<Listener, Error> {
    let files = platform::raise_descriptors().unwrap_or(u64::MAX);
    // The rest is for files, for AWS and for other servers.
    let most = usize::try_from(files / 4 * 3).unwrap_or(usize::MAX);
    if most < settings.connections_max {
        tracing::warn!(
            connections = most,
            "the system lets this process open too few files for the connections that it may have"
        );
    }
    let listening = Listener::bind(ListenerSettings {
        bind: settings.bind,
        tls: settings
            .tls
            .clone()
            .map(|(certificate, key)| TlsFiles { certificate, key }),
        connections_max: settings.connections_max.min(most),
        silence_max: SILENCE_MAX,
        figures,
    });
    listening.await.map_err(cannot_listen(settings.bind))
}

fn cannot_listen(bind: SocketAddr) -> impl FnOnce(io::Error) -> Error {
    move |error| {
        Error::internal(format!("this server cannot listen at {bind}"))
            .caused_by(error)
            .fix("Name another address in AGENT_MESH_BIND, or end what listens there.")
    }
}

/// All routes for tenants.
fn router(
    config: &Config,
    app: &App,
    url: &str,
    ending: CancellationToken,
    figures: Arc<Figures>,
) -> Result<Router, Error> {
    let settings = &config.http;
    let sign_in = sign_in::sign_in(&config.sign_in, url)?;
    let discovery = discovery(&sign_in);
    let front = MeshFront::new(Arc::clone(app.shared()), sign_in);
    let clock = Arc::clone(&app.shared().backplane.clock);
    let (keys, streams_max) = (keys(settings)?, settings.streams_max);
    let http = Http::new(front, keys, streams_max, clock, ending, figures);
    let folder = url.parse::<Uri>();
    let folder = folder.as_ref().map_or("", Uri::path);
    Ok(Router::new()
        .merge(http.routes())
        .merge(rest::routes(&http, url))
        .merge(websocket::routes(&http))
        .merge(sse::routes(&http, folder))
        .merge(dashboard::routes(&http))
        .merge(discovery))
}

/// Where clients find out where to get a token, if there is anything to find.
fn discovery(sign_in: &SignIn) -> Router {
    let Some(resource) = sign_in.resource().cloned() else {
        return Router::new();
    };
    let told = async |State(resource): State<ProtectedResource>, uri: Uri| match resource
        .metadata_at(uri.path())
    {
        Some(metadata) => health::json(StatusCode::OK, &metadata),
        None => health::json(StatusCode::NOT_FOUND, &serde_json::json!({})),
    };
    Router::new()
        .route(WELL_KNOWN, get(told))
        .route(&format!("{WELL_KNOWN}/{{*rest}}"), get(told))
        .with_state(resource)
}

/// What every request passes first.
fn guarded(routes: Router, settings: &HttpSettings) -> Router {
    let origins = settings.cors.origins.iter();
    let origins: Vec<Origin> = origins.filter_map(|text| text.parse().ok()).collect();
    let gate = Gate::new(settings.bind.ip(), &settings.hosts(), &origins);
    let cors = (!origins.is_empty()).then(|| Cors {
        origins,
        headers: settings.cors.headers.clone(),
        credentials: settings.cors.credentials,
        max_age: settings.cors.max_age,
    });
    http::guarded(routes, gate, cors.as_ref())
}

/// The keys of the settings; without any, one that ends with this process.
fn keys(settings: &HttpSettings) -> Result<SessionKeys, Error> {
    let unusable = |error| Error::internal("the keys that seal cannot be used").caused_by(error);
    if !settings.state_keys.is_empty() {
        return SessionKeys::new(&settings.state_keys).map_err(unusable);
    }
    let mut key = vec![0; 32];
    aws_lc_rs::rand::fill(&mut key)
        .map_err(|_| Error::internal("the system has no randomness for a key"))?;
    SessionKeys::new(&[SecretSlice::from(key)]).map_err(unusable)
}

/// The address by which clients reach it.
fn public_url(settings: &HttpSettings, address: SocketAddr) -> String {
    settings.public_url.clone().unwrap_or_else(|| {
        let scheme = if settings.tls.is_some() {
            "https"
        } else {
            "http"
        };
        match address.ip().to_canonical().is_loopback() {
            true => format!("{scheme}://localhost:{}", address.port()),
            false => format!("{scheme}://{address}"),
        }
    })
}
