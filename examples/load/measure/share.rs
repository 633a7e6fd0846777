//! What the server adds to a bare call of the SDK: both in one run against the same stand-in for DynamoDB.

use std::fmt::Write as _;
use std::time::Duration;

use super::{Plan, body};
use crate::Result;
use crate::bare::BareSdk;
use crate::figure::{Figure, quantile};
use crate::process::{cpu, settle};
use crate::server::Setup;
use crate::stub::Stub;

/// After how long the stand-in answers.
const ANSWER_AFTER: Duration = Duration::from_millis(4);

/// How many calls one side makes before it is the other's turn.
const BLOCK: usize = 10;

/// How long publishing may take after the calls.
const SETTLE_MAX: Duration = Duration::from_secs(30);

const P50_AT_MOST_US: f64 = 150.0;
const CPU_AT_MOST_US: f64 = 200.0;

pub(super) fn measure(plan: &Plan) -> Result<Vec<Figure>> {
    let stub = Stub::start(ANSWER_AFTER)?;
    let mut server = plan.start(Setup::aws(&stub)?)?;
    let mut store = String::new();
    body::kv_set(0, &mut store);
    server.call(&store)?;
    let (partition, sort) = stub.a_row().ok_or("kv_set stored nothing")?;
    let mut bare = BareSdk::start(&stub, &partition, &sort)?;
    let mut get = |_: usize, line: &mut String| body::kv_get(0, line);
    bare.calls(BLOCK * 5)?;
    server.run(BLOCK * 5, 1, &mut get)?;
    stub.take_requests();

    let before = (cpu(server.id()), cpu(bare.id()));
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    let blocks = plan.count(4_000) / BLOCK;
    for _ in 0..blocks {
        theirs.extend(bare.calls(BLOCK)?);
        ours.extend(server.drive(BLOCK, 1, &mut get, &mut |_| {})?);
    }
    let settled = settle(server.id(), SETTLE_MAX);
    let after = (cpu(server.id()), cpu(bare.id()));

    let each = |after: Option<Duration>, before: Option<Duration>| {
        let used = after?.saturating_sub(before?);
        Some(used.as_secs_f64() * 1e6 / (blocks * BLOCK) as f64)
    };
    let (our_cpu, their_cpu) = (each(after.0, before.0), each(after.1, before.1));
    let (our_p50, their_p50) = (quantile(&mut ours, 0.5), quantile(&mut theirs, 0.5));
    let difference = (our_p50.as_secs_f64() - their_p50.as_secs_f64()) * 1e6;
    let mut requests = String::new();
    for (operation, count) in stub.take_requests() {
        write!(requests, " {operation} {count}")?;
    }
    Ok(vec![
        Figure::microseconds("kv_get on AWS, our share: p50", Some(difference))
            .at_most(P50_AT_MOST_US)
            .note(format!(
                "{:.0} over the pipe, {:.0} bare; {} calls each, the stand-in answers after 4 ms",
                our_p50.as_secs_f64() * 1e6,
                their_p50.as_secs_f64() * 1e6,
                blocks * BLOCK
            )),
        Figure::microseconds(
            "kv_get on AWS, our share: CPU",
            our_cpu.zip(their_cpu).map(|(ours, theirs)| ours - theirs),
        )
        .at_most(CPU_AT_MOST_US)
        .note(format!(
            "{:.0} ours, {:.0} bare; published {} ms after; requests:{requests}",
            our_cpu.unwrap_or_default(),
            their_cpu.unwrap_or_default(),
            settled.as_millis()
        )),
    ])
}
