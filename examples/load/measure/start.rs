//! From the start of the process to the answer of the handshake.

use std::sync::Arc;
use std::time::Duration;

use super::{Plan, body};
use crate::Result;
use crate::figure::{Figure, quantile};
use crate::server::Setup;

/// How often it is started.
const STARTS: usize = 20;

/// What the median may be: milliseconds.
const AT_MOST_MS: f64 = 30.0;

pub(super) fn measure(plan: &Plan) -> Result<Vec<Figure>> {
    let mut fresh = Vec::with_capacity(STARTS);
    for _ in 0..STARTS {
        let server = plan.start(Setup::embedded()?)?;
        fresh.push(server.ready());
        server.end()?;
    }
    let used = Arc::new(Setup::embedded()?);
    let mut server = plan.start_again(&used)?;
    server.drive(plan.count(2_000), 64, &mut body::kv_set, &mut |_| {})?;
    server.end()?;
    let mut again = Vec::with_capacity(STARTS);
    for _ in 0..STARTS {
        let server = plan.start_again(&used)?;
        again.push(server.ready());
        server.end()?;
    }
    Ok(vec![
        figure("start to handshake, new folder", &mut fresh),
        figure("start to handshake, used folder", &mut again),
    ])
}

fn figure(name: &str, times: &mut [Duration]) -> Figure {
    let ms = |part, times: &mut [Duration]| quantile(times, part).as_secs_f64() * 1e3;
    let (least, most) = (ms(0.0, times), ms(1.0, times));
    Figure::milliseconds(name, quantile(times, 0.5))
        .at_most(AT_MOST_MS)
        .note(format!("median of {STARTS}; {least:.1} to {most:.1}"))
}
