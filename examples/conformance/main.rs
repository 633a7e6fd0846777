//! The fixtures that the MCP conformance suite asks of a server, behind this library's own listener.
//!
//! `cargo run --example conformance -- --bind 127.0.0.1:3000` serves them at `/mcp` until its standard input ends,
//! and its first line says where. Then `npx @modelcontextprotocol/conformance server --url http://127.0.0.1:3000/mcp
//! --requirements 2026-07-28` judges the transport; not_applicable.toml says what is left out, and why.

mod catalog;
mod front;
mod input;
mod server;
mod task;
mod tool;

use std::io::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use agent_mesh::inbound::transport::http::{
    Drain, Gate, Http, Listener, ListenerSettings, SILENCE_MAX, SessionKeys, guarded,
};
use agent_mesh::mesh::SystemClock;
use clap::Parser;
use tokio::io::AsyncReadExt;
use tokio_util::sync::CancellationToken;

use front::FixtureFront;
use server::Fixtures;

/// What can go wrong here ends the program, with a message.
type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// The most connections, and the most streams: the suite has a few.
const CONNECTIONS_MAX: usize = 256;
const STREAMS_MAX: usize = 64;

/// How long requests may take to end once standard input has.
const DRAIN_TIME: Duration = Duration::from_secs(2);

/// A key that everybody knows: these sessions are worth nothing.
const KEY: [u8; 32] = *b"the conformance suite's own key.";

/// Where to listen.
#[derive(Debug, Parser)]
#[command(about = "Serves the fixtures of the MCP conformance suite")]
struct Options {
    /// The address and port; port 0 is any that is free
    #[arg(long, default_value = "127.0.0.1:0")]
    bind: SocketAddr,
}

#[tokio::main]
async fn main() -> Result<()> {
    let options = Options::parse();
    let listener = Listener::bind(ListenerSettings {
        bind: options.bind,
        tls: None,
        connections_max: CONNECTIONS_MAX,
        silence_max: SILENCE_MAX,
        figures: Arc::default(),
    });
    let listener = listener.await?;
    let address = listener.address()?;
    let drain = Drain {
        begin: CancellationToken::new(),
        delay: Duration::ZERO,
        finish: DRAIN_TIME,
        cut: CancellationToken::new(),
        ending: CancellationToken::new(),
    };
    let clock = Arc::new(SystemClock::new());
    let front = FixtureFront::new(Fixtures::new(clock.clone())?);
    let keys = SessionKeys::new(&[KEY.to_vec().into()])?;
    let http = Http::new(
        front,
        keys,
        STREAMS_MAX,
        clock,
        drain.ending.clone(),
        Arc::default(),
    );
    let router = guarded(http.routes(), Gate::new(address.ip(), &[], &[]), None);
    writeln!(std::io::stdout(), "http://{address}/mcp")?;
    let begin = drain.begin.clone();
    tokio::spawn(async move {
        let mut rest = Vec::new();
        let _ = tokio::io::stdin().take(1024).read_to_end(&mut rest).await;
        begin.cancel();
    });
    listener.serve(router, drain).await;
    Ok(())
}
