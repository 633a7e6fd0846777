//! A call of a tool: what is asked goes out as it came, and so does the result on its way back.

use std::time::Duration;

use serde_json::value::RawValue;
use tokio::time::Instant;

use super::{Core, Request};
use crate::mesh::upstream::{Era, UpstreamCall, UpstreamFault};
use crate::mesh::{Error, ErrorKind};
use crate::outbound::upstream::message::{Object, quoted};

/// How long the answer to a ping is waited for.
pub(in crate::outbound::upstream) const PING_TIME_MAX: Duration = Duration::from_secs(10);

/// The members of `params` that what a client continues with may not replace.
const OWN_MEMBERS: [&str; 3] = ["name", "arguments", "_meta"];

impl Core {
    /// Calls a tool.
    pub(in crate::outbound::upstream) async fn call(
        &self,
        call: UpstreamCall<'_>,
    ) -> Result<Box<RawValue>, UpstreamFault> {
        if call.cancelled.is_cancelled() {
            return Err(UpstreamFault::Cancelled);
        }
        let wants_progress = call.progress.is_some();
        let request = Request {
            method: "tools/call",
            name: Some(call.tool),
            timeout: call.timeout,
            cancelled: Some(&call.cancelled),
            progress: call.progress,
            input: call.input,
            trace: call.trace,
        };
        let dialect = self.dialect();
        self.request(request, |id| {
            let mut params = Object::new().member("name", &quoted(call.tool));
            if let Some(arguments) = call.arguments {
                params = params.member("arguments", arguments.get());
            }
            if let Some(continued) = call.continued {
                params = params.members(continued, &OWN_MEMBERS);
            }
            if let Some(meta) = dialect.meta(wants_progress.then_some(id), call.trace) {
                params = params.member("_meta", &meta);
            }
            params.end()
        })
        .await
    }

    /// A round trip. A server that does not know how to be pinged answers too.
    pub(in crate::outbound::upstream) async fn ping(&self) -> Result<Duration, Error> {
        let dialect = self.dialect();
        let method = match dialect.era {
            Era::Sessions => "ping",
            Era::Stateless => "server/discover",
        };
        let start = Instant::now();
        let answer = self
            .request(Request::own(method, PING_TIME_MAX), |_| {
                self.plain(Object::new())
            })
            .await;
        match answer {
            Ok(_) | Err(UpstreamFault::Refused { .. }) => Ok(start.elapsed()),
            Err(fault) => {
                let error = self.told("a ping", fault);
                Err(Error::new(ErrorKind::UpstreamUnavailable, error.message()).caused_by(error))
            }
        }
    }

    /// The parameters of a request of our own, with what each has to say in this dialect.
    pub(super) fn plain(&self, params: Object) -> String {
        match self.dialect().meta(None, None) {
            Some(meta) => params.member("_meta", &meta).end(),
            None => params.end(),
        }
    }
}
