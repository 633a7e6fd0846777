//! Whether an answer of AWS was lost on the way, so that a repetition may meet its own earlier success.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::context::FinalizerInterceptorContextRef;
use aws_smithy_runtime_api::client::interceptors::{Intercept, dyn_dispatch_hint};
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::config_bag::ConfigBag;

/// Watches one operation: hand a clone to it as an interceptor, and ask afterwards.
#[derive(Clone, Debug, Default)]
pub(super) struct LostAnswers(Arc<AtomicBool>);

impl LostAnswers {
    /// Whether an attempt ended without an answer, or with one that leaves open what was done.
    pub(super) fn any(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

#[dyn_dispatch_hint]
impl Intercept for LostAnswers {
    fn name(&self) -> &'static str {
        "LostAnswers"
    }

    fn read_after_attempt(
        &self,
        context: &FinalizerInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let failed = context
            .output_or_error()
            .is_none_or(|result| result.is_err());
        let told = context
            .response()
            .is_some_and(|response| (300..500).contains(&response.status().as_u16()));
        if failed && !told {
            self.0.store(true, Ordering::Release);
        }
        Ok(())
    }
}
