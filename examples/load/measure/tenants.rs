//! What each of many tenants costs in memory once it has made calls.

use super::{Plan, body};
use crate::Result;
use crate::figure::Figure;
use crate::server::{Run, Server};
use crate::token::Issuer;

/// How many calls each tenant makes: one that writes, one that reads, one that sends.
const CALLS: usize = 3;

const IN_FLIGHT: usize = 64;

const AT_MOST_KIB: f64 = 20.0;

pub(super) fn measure(plan: &Plan) -> Result<Vec<Figure>> {
    let issuer = Issuer::new()?;
    let tenants = plan.count(10_000);
    // One more, which makes as many calls as all others before their memory is looked at.
    let mut server = plan.start(issuer.setup(tenants + 1)?)?;
    let idle = resident(&server);
    calls(&mut server, tenants, &mut |_| issuer.token(tenants))?;
    let warm = resident(&server);
    calls(&mut server, tenants, &mut |tenant| issuer.token(tenant))?;
    let used = resident(&server);

    let each = |before: Option<f64>| Some((used? - before?) / tenants as f64 / 1024.0);
    let alone = each(warm).unwrap_or_default();
    let idle_mb = idle.unwrap_or_default() / 1e6;
    Ok(vec![
        Figure::new("memory of a tenant", each(idle), "KiB").at_most(AT_MOST_KIB).note(format!(
            "{tenants} tenants, {CALLS} calls each; {alone:.1} KiB of it came with the tenants and not \
             with as many calls of one; idle with their file {idle_mb:.1} MB"
        )),
    ])
}

fn resident(server: &Server) -> Option<f64> {
    server.memory().map(|memory| memory.resident as f64)
}

fn calls(
    server: &mut Server,
    tenants: usize,
    token: &mut dyn FnMut(usize) -> String,
) -> Result<Run> {
    let mut current = (usize::MAX, String::new());
    server.run(tenants * CALLS, IN_FLIGHT, &mut |number, line| {
        let tenant = number / CALLS;
        if current.0 != tenant {
            current = (tenant, token(tenant));
        }
        let (name, arguments) = match number % CALLS {
            0 => ("kv_set", "{\"key\":\"state\",\"value\":{\"step\":1}}"),
            1 => ("kv_get", "{\"key\":\"state\"}"),
            _ => (
                "events_send",
                "{\"detail_type\":\"Order.Placed\",\"detail\":{\"order\":1}}",
            ),
        };
        body::tool(name, arguments, Some(&current.1), line);
    })
}
