//! Measures the whole process over stdio: start, memory, calls a second, latency and CPU of a call.
//!
//! `cargo build --release --bin use_aws_mcp --example load && target/release/examples/load` prints a table of
//! every figure beside the most that it may be; docs/benchmarks.md says how each is taken.
#![expect(
    clippy::print_stderr,
    reason = "a person at a terminal wants to see how far it is"
)]

mod bare;
mod figure;
mod measure;
mod process;
mod server;
mod stub;
mod token;
mod upstream;

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;

use figure::{Figure, Machine};
use measure::Plan;

/// What can go wrong here ends the measurement that it belongs to, with a message.
type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// What to measure, and how to tell it.
#[derive(Debug, Parser)]
#[command(
    about = "Measures a build of use_aws_mcp over stdio and compares it with what it must reach"
)]
struct Options {
    /// The program to measure
    #[arg(default_value = "target/release/use_aws_mcp")]
    binary: PathBuf,
    /// A tenth of the calls, and shorter waits: to try the program out, not to publish
    #[arg(long)]
    quick: bool,
    /// Print JSON instead of a table
    #[arg(long)]
    json: bool,
    /// Measure only these: start, memory, calls, share, bus, rules, proxy, tenants, unread
    #[arg(long, value_delimiter = ',')]
    only: Vec<measure::Part>,
    /// Be the process that makes bare calls of the SDK (used by this program itself)
    #[arg(long, hide = true, num_args = 3, value_names = ["TABLE", "PK", "SK"])]
    bare_sdk: Option<Vec<String>>,
    /// Be a server behind the proxy (used by this program itself)
    #[arg(long, hide = true)]
    upstream: Option<upstream::Behaviour>,
    /// How many tools that server has
    #[arg(long, hide = true, default_value_t = 1)]
    tools: usize,
}

fn main() -> ExitCode {
    let options = Options::parse();
    if let Some(row) = &options.bare_sdk {
        return status(bare::serve(row));
    }
    if let Some(behaviour) = options.upstream {
        return status(upstream::serve_pipes(options.tools, behaviour));
    }
    status(run(&options))
}

fn status(result: Result<bool>) -> ExitCode {
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Measures and reports. False where a figure is over its most or could not be taken.
fn run(options: &Options) -> Result<bool> {
    let plan = Plan::new(&options.binary, options.quick)?;
    let before = Machine::now();
    let mut figures: Vec<Figure> = Vec::new();
    let mut failures: Vec<String> = Vec::new();
    for part in measure::Part::chosen(&options.only) {
        eprintln!("measuring {part} ...");
        match part.measure(&plan) {
            Ok(measured) => figures.extend(measured),
            Err(error) => {
                eprintln!("  {part}: {error}");
                failures.push(format!("{part}: {error}"));
            }
        }
    }
    let after = Machine::now();
    let text = match options.json {
        true => figure::json(&figures, &failures, &before, &after, options.quick)?,
        false => figure::table(&figures, &failures, &before, &after, options.quick),
    };
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())?;
    Ok(failures.is_empty() && figures.iter().all(Figure::is_within))
}
