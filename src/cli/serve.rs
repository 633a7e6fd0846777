//! `serve`: clients reach the mesh by address.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use clap::Args;
use secrecy::SecretSlice;
use tokio_util::sync::CancellationToken;

use super::{ExitStatus, Output, runtime, tell};
use crate::app::{App, Carrier, sign_in};
use crate::config::{Config, HttpSettings};
use crate::inbound::front::MeshFront;
use crate::inbound::rest;
use crate::inbound::transport::http::{
    self, Cors, Drain, Gate, Http, Listener, ListenerSettings, Origin, SessionKeys, TlsFiles,
};
use crate::mesh::{Error, SystemClock};
use crate::platform;

/// How long events that have not been published yet may keep the process.
const PUBLISH_TIME_MAX: Duration = Duration::from_secs(5);

/// How long work that does not heed its cancellation may hold up the end of the process.
const STRAGGLERS_TIME_MAX: Duration = Duration::from_millis(100);

/// `serve` has no arguments but the settings.
#[derive(Debug, Args)]
pub struct Arguments {}

/// Serves clients until the process is told to end.
pub fn run(_: &Arguments, config: &Config, output: &mut Output) -> ExitStatus {
    if let Err(mistakes) = config.sign_in.check(config.http.bind) {
        output.error(&mistakes.to_string());
        return ExitStatus::Configuration;
    }
    if let Err(error) = platform::not_dumpable() {
        tracing::warn!(%error, "other processes of this user can read this one's memory");
    }
    let runtime = match runtime() {
        Ok(runtime) => runtime,
        Err(error) => {
            output.error(&format!("the runtime could not be started: {error}"));
            return ExitStatus::Failure;
        }
    };
    let status = match runtime.block_on(serve(config)) {
        Ok(()) => ExitStatus::Success,
        Err(error) => {
            tracing::error!(?error, "the server could not be opened");
            tell(&error, output);
            ExitStatus::Failure
        }
    };
    runtime.shutdown_timeout(STRAGGLERS_TIME_MAX);
    status
}

async fn serve(config: &Config) -> Result<(), Error> {
    let listener = listener(&config.http).await?;
    let address = listener
        .address()
        .map_err(cannot_listen(config.http.bind))?;
    let clock = Arc::new(SystemClock::new());
    let app = App::open_over(Carrier::Http, config, clock, None).await?;
    let drain = drain(&config.http)?;
    let router = router(config, &app, address, drain.ending.clone())?;
    tracing::info!(
        address = %address,
        url = public_url(&config.http, address),
        "listening; clients are served at /mcp"
    );
    let watching = app.stop_when(drain.ending.clone());
    tokio::join!(listener.serve(router, drain), watching);
    tracing::info!("all requests have ended");
    app.close(PUBLISH_TIME_MAX).await;
    Ok(())
}

async fn listener(settings: &HttpSettings) -> Result<Listener, Error> {
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
    });
    listening.await.map_err(cannot_listen(settings.bind))
}

fn cannot_listen(bind: SocketAddr) -> impl FnOnce(std::io::Error) -> Error {
    move |error| {
        Error::internal(format!("this server cannot listen at {bind}"))
            .caused_by(error)
            .fix("Name another address in AGENT_MESH_BIND, or end what listens there.")
    }
}

/// When it ends: at the first signal in its own time, at the second one at once.
fn drain(settings: &HttpSettings) -> Result<Drain, Error> {
    let begin = CancellationToken::new();
    let told = begin.clone();
    let signal = || {
        platform::shutdown_signal()
            .map_err(|error| Error::internal("signals cannot be received").caused_by(error))
    };
    let signal = signal()?;
    tokio::spawn(async move {
        let name = signal.await;
        tracing::info!(
            signal = name,
            "told to end; requests under way are finished first"
        );
        told.cancel();
    });
    Ok(Drain {
        begin,
        delay: settings.drain_delay,
        finish: settings.drain_time,
        ending: CancellationToken::new(),
    })
}

fn router(
    config: &Config,
    app: &App,
    address: SocketAddr,
    ending: CancellationToken,
) -> Result<Router, Error> {
    let settings = &config.http;
    let sign_in = sign_in::sign_in(&config.sign_in, &public_url(settings, address))?;
    let front = MeshFront::new(Arc::clone(app.shared()), sign_in);
    let clock = Arc::clone(&app.shared().backplane.clock);
    let http = Http::new(front, keys(settings)?, settings.streams_max, clock, ending);
    let origins: Vec<Origin> = settings
        .cors
        .origins
        .iter()
        .filter_map(|text| text.parse().ok())
        .collect();
    let gate = Gate::new(settings.bind.ip(), &settings.hosts(), &origins);
    let cors = (!origins.is_empty()).then(|| Cors {
        origins,
        headers: settings.cors.headers.clone(),
        credentials: settings.cors.credentials,
        max_age: settings.cors.max_age,
    });
    let rest = rest::routes(&http, &public_url(settings, address));
    Ok(http::guarded(
        http.routes().merge(rest),
        gate,
        cors.as_ref(),
    ))
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
