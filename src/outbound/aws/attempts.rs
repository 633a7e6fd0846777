//! Whether an answer of AWS was lost on the way, so that a repetition may meet its own earlier success, and
//! a failure may hide one.

use std::error::Error as StdError;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::context::{
    BeforeTransmitInterceptorContextRef, FinalizerInterceptorContextRef,
};
use aws_smithy_runtime_api::client::interceptors::{Intercept, dyn_dispatch_hint};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::{ConnectorError, SdkError};
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::config_bag::ConfigBag;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;

use super::answer::code_among;
use super::error::{IDLE_FAULTS, Part, fault};
use crate::mesh::Error;

/// Watches one change: hand a clone to it as an interceptor, and ask afterwards.
#[derive(Clone, Debug, Default)]
pub(super) struct LostAnswers(Arc<Attempts>);

#[derive(Debug, Default)]
struct Attempts {
    /// An attempt is on its way. It stays so where the time of the whole operation runs out meanwhile.
    on_its_way: AtomicBool,
    lost: AtomicBool,
}

impl LostAnswers {
    /// Whether an attempt may have reached AWS and ended without an answer, or with one that leaves open
    /// what was done.
    pub(super) fn any(&self) -> bool {
        self.0.lost.load(Ordering::Acquire) || self.0.on_its_way.load(Ordering::Acquire)
    }

    /// The failure of the change, which says whether it may have been done all the same.
    pub(super) fn fault<E>(&self, part: Part, error: SdkError<E, HttpResponse>) -> Error
    where
        E: ProvideErrorMetadata + StdError + Send + Sync + 'static,
    {
        self.judge(fault(part, error))
    }

    /// `error`, which says whether the change may have been done all the same.
    pub(super) fn judge(&self, error: Error) -> Error {
        match self.any() {
            true => error.maybe_done(),
            false => error.not_done(),
        }
    }
}

#[dyn_dispatch_hint]
impl Intercept for LostAnswers {
    fn name(&self) -> &'static str {
        "LostAnswers"
    }

    fn read_before_transmit(
        &self,
        _context: &BeforeTransmitInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        self.0.on_its_way.store(true, Ordering::Release);
        Ok(())
    }

    fn read_after_attempt(
        &self,
        context: &FinalizerInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let was_sent = self.0.on_its_way.swap(false, Ordering::AcqRel);
        let failure = match context.output_or_error() {
            Some(Ok(_)) => return Ok(()),
            Some(Err(error)) => error.as_connector_error(),
            None => None,
        };
        let did_nothing = context.response().is_some_and(says_that_nothing_was_done)
            || failure.is_some_and(was_before_the_request);
        if was_sent && !did_nothing {
            self.0.lost.store(true, Ordering::Release);
        }
        Ok(())
    }
}

/// Whether an answer that is an error says that the request was not carried out.
fn says_that_nothing_was_done(response: &HttpResponse) -> bool {
    match response.status().as_u16() {
        300..500 => true,
        500.. => code_among(response, &IDLE_FAULTS).is_some(),
        _ => false,
    }
}

/// Whether there was no connection that could have carried the request.
fn was_before_the_request(error: &ConnectorError) -> bool {
    let mut cause: Option<&(dyn StdError + 'static)> = Some(error);
    while let Some(found) = cause {
        let client = found.downcast_ref::<hyper_util::client::legacy::Error>();
        if client.is_some_and(hyper_util::client::legacy::Error::is_connect) {
            return true;
        }
        cause = found.source();
    }
    error.is_user()
}
