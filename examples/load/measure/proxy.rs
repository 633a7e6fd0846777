//! What the proxy adds to a call of another server, over pipes and over HTTP, and what servers that behave
//! badly cost the others.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Plan, body};
use crate::Result;
use crate::figure::{Figure, quantile};
use crate::process::{cpu, settle};
use crate::server::{Server, Setup};
use crate::upstream::{self, Behaviour, http_body};

/// How many calls one side makes before it is the other's turn.
const BLOCK: usize = 10;

/// How long publishing may take after the calls.
const SETTLE_MAX: Duration = Duration::from_secs(30);

/// How many servers are registered to be searched, and how many tools each has.
const SERVERS: usize = 100;
const TOOLS_EACH: usize = 10;

const P50_AT_MOST_US: f64 = 150.0;
const CPU_AT_MOST_US: f64 = 100.0;
const SEARCH_AT_MOST_MS: f64 = 5.0;

pub(super) fn measure(plan: &Plan) -> Result<Vec<Figure>> {
    let mut figures = pipes(plan)?;
    figures.extend(http(plan)?);
    figures.extend(many(plan)?);
    Ok(figures)
}

/// A server that may start this program as a child, and reach loopback.
fn setup() -> Result<Setup> {
    let program = std::env::current_exe()?.display().to_string();
    Ok(Setup::embedded()?
        .with_value("AGENT_MESH_ALLOWED_COMMANDS", &program)
        .with_value("AGENT_MESH_ALLOW_LOOPBACK_HTTP", "true")
        .with_value("AGENT_MESH_EGRESS_ALLOW", "127.0.0.1"))
}

/// Calls a tool that must work.
fn ask(server: &mut Server, tool: &str, arguments: &str) -> Result<String> {
    let mut call = String::new();
    body::tool(tool, arguments, None, &mut call);
    server.call(&call)
}

/// Registers this program as a server over pipes, and connects to it.
fn integrate(server: &mut Server, id: &str, tools: usize, behaviour: Behaviour) -> Result<()> {
    let program = serde_json::to_string(&std::env::current_exe()?.display().to_string())?;
    let behaviour = behaviour.name();
    let register = format!(
        "{{\"service_id\":\"{id}\",\"name\":\"{id}\",\"server_type\":\"stdio\",\"command\":{program},\
         \"args\":[\"--upstream\",\"{behaviour}\",\"--tools\",\"{tools}\"]}}"
    );
    ask(server, "integration_register", &register)?;
    ask(
        server,
        "integration_connect",
        &format!("{{\"service_id\":\"{id}\"}}"),
    )?;
    Ok(())
}

/// What a call says to the tool, whichever way it goes.
const ARGUMENTS: &str = "{\"customer_id\":\"c-17\",\"limit\":20}";

/// The name of the first tool of [`upstream`].
const TOOL: &str = "invoice_metric_0";

fn proxied(service: &str) -> impl Fn(usize, &mut String) + use<> {
    let arguments = format!("{{\"tool_name\":\"{service}.{TOOL}\",\"arguments\":{ARGUMENTS}}}");
    move |_, line: &mut String| body::tool("mcp_proxy", &arguments, None, line)
}

/// Both sides take turns; the figures of what ours adds.
fn compare(
    plan: &Plan,
    way: &str,
    server: &mut Server,
    service: &str,
    mut direct: impl FnMut(usize) -> Result<Vec<Duration>>,
) -> Result<Vec<Figure>> {
    let mut call = proxied(service);
    direct(BLOCK * 5)?;
    server.run(BLOCK * 5, 1, &mut call)?;
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    let blocks = plan.count(4_000) / BLOCK;
    let before = cpu(server.id());
    for _ in 0..blocks {
        theirs.extend(direct(BLOCK)?);
        ours.extend(server.drive(BLOCK, 1, &mut call, &mut |_| {})?);
    }
    settle(server.id(), SETTLE_MAX);
    let used = cpu(server.id()).zip(before);
    let each = used.map(|(after, before)| {
        after.saturating_sub(before).as_secs_f64() * 1e6 / (blocks * BLOCK) as f64
    });
    let micros = |duration: Duration| duration.as_secs_f64() * 1e6;
    let (ours, theirs) = (
        micros(quantile(&mut ours, 0.5)),
        micros(quantile(&mut theirs, 0.5)),
    );
    Ok(vec![
        Figure::microseconds(
            format!("proxied call to {way}, added: p50"),
            Some(ours - theirs),
        )
        .at_most(P50_AT_MOST_US)
        .note(format!(
            "{ours:.0} through the proxy, {theirs:.0} direct; {} calls each",
            blocks * BLOCK
        )),
        Figure::microseconds(format!("proxied call to {way}: our CPU"), each)
            .at_most(CPU_AT_MOST_US)
            .note("event, limits and publishing included".to_owned()),
    ])
}

/// Pipes to pipes: the same program called by the server and by this one.
fn pipes(plan: &Plan) -> Result<Vec<Figure>> {
    let mut server = plan.start(setup()?)?;
    integrate(&mut server, "echo", TOOLS_EACH, Behaviour::Plain)?;
    let direct =
        Arc::new(Setup::embedded()?.with_arguments(&["--upstream", "plain", "--tools", "10"]));
    let mut direct = direct.start(&std::env::current_exe()?)?;
    let mut call = |_: usize, line: &mut String| body::tool(TOOL, ARGUMENTS, None, line);
    compare(plan, "pipes", &mut server, "echo", |count| {
        direct.drive(count, 1, &mut call, &mut |_| {})
    })
}

/// Pipes to HTTP: the server behind it is in this process.
fn http(plan: &Plan) -> Result<Vec<Figure>> {
    let address = upstream::serve_http(TOOLS_EACH)?;
    let mut server = plan.start(setup()?)?;
    let register = format!(
        "{{\"service_id\":\"web\",\"name\":\"web\",\"server_type\":\"http\",\"url\":\"http://{address}/mcp\"}}"
    );
    ask(&mut server, "integration_register", &register)?;
    ask(
        &mut server,
        "integration_connect",
        "{\"service_id\":\"web\"}",
    )?;
    let mut direct = Direct::open(address)?;
    compare(plan, "HTTP", &mut server, "web", |count| {
        (0..count).map(|_| direct.call()).collect()
    })
}

/// A connection over which calls are made without the server.
struct Direct {
    output: TcpStream,
    input: BufReader<TcpStream>,
}

impl Direct {
    fn open(address: SocketAddr) -> Result<Self> {
        let output = TcpStream::connect(address)?;
        output.set_nodelay(true)?;
        let input = BufReader::new(output.try_clone()?);
        Ok(Self { output, input })
    }

    fn call(&mut self) -> Result<Duration> {
        let begun = Instant::now();
        let body = format!(
            "{{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"tools/call\",\"params\":{{\"name\":\"{TOOL}\",\
             \"arguments\":{ARGUMENTS}}}}}"
        );
        let head = format!(
            "POST /mcp HTTP/1.1\r\nhost: load\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        self.output.write_all((head + &body).as_bytes())?;
        let mut status = String::new();
        self.input.read_line(&mut status)?;
        let answer = http_body(&mut self.input)?;
        match answer.contains("\"result\"") {
            true => Ok(begun.elapsed()),
            false => Err(format!("a direct call was answered {status}{answer}").into()),
        }
    }
}

/// A thousand tools to search, and three servers that behave badly beside one that does not.
fn many(plan: &Plan) -> Result<Vec<Figure>> {
    let mut server = plan.start(setup()?)?;
    for number in 0..SERVERS {
        integrate(
            &mut server,
            &format!("s{number}"),
            TOOLS_EACH,
            Behaviour::Plain,
        )?;
    }
    let queries = [
        "find a customer invoice",
        "deploy branch",
        "employee report",
        "metric of a server",
    ];
    let mut search = |number: usize, line: &mut String| {
        let query = queries[number % queries.len()];
        body::tool(
            "mcp_list_tools",
            &format!("{{\"query\":\"{query}\"}}"),
            None,
            line,
        );
    };
    let mut searches = server.run(plan.count(1_000), 1, &mut search)?.latencies;
    let millis = |duration: Duration| duration.as_secs_f64() * 1e3;
    let found = Figure::milliseconds(
        "mcp_list_tools with a query, 1,000 tools: p50",
        quantile(&mut searches, 0.5),
    )
    .at_most(SEARCH_AT_MOST_MS)
    .note(format!(
        "of {SERVERS} servers; p99 {:.2} ms",
        millis(quantile(&mut searches, 0.99))
    ));

    let mut call = proxied("s0");
    let mut alone = server.run(plan.count(4_000), 1, &mut call)?.latencies;
    let bad = [
        ("hangs", Behaviour::Hang),
        ("garbles", Behaviour::Garbage),
        ("floods", Behaviour::Flood),
    ];
    for (id, behaviour) in bad {
        integrate(&mut server, id, 1, behaviour)?;
    }
    // They are called again and again, and nobody waits for what comes of it.
    let mut beside = Vec::new();
    for round in 0..plan.count(4_000) / BLOCK {
        let (service, _) = bad[round % bad.len()];
        if round % 20 < bad.len() {
            let arguments = format!(
                "{{\"tool_name\":\"{service}.{TOOL}\",\"timeout_ms\":2000,\"arguments\":{{}}}}"
            );
            let mut noise = String::new();
            body::tool("mcp_proxy", &arguments, None, &mut noise);
            server.post(&noise)?;
        }
        beside.extend(server.drive(BLOCK, 1, &mut call, &mut |_| {})?);
    }
    let (alone, beside) = (quantile(&mut alone, 0.99), quantile(&mut beside, 0.99));
    Ok(vec![
        found,
        Figure::milliseconds(
            "proxied call beside servers that hang, garble and flood: p99",
            beside,
        )
        .note(format!("{:.2} ms without them", millis(alone))),
    ])
}
