//! A wire that loses answers: the request arrives, is carried out, and nobody hears of it.

use std::sync::{Arc, Mutex};

use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient,
    SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;

/// An HTTP client whose next answers can be lost.
#[derive(Clone, Debug)]
pub(crate) struct Lossy {
    inner: SharedHttpClient,
    script: Arc<Mutex<Script>>,
}

#[derive(Debug, Default)]
struct Script {
    /// Answers to requests with all of these in their method, target header or address are lost ...
    matching: &'static [&'static str],
    /// ... this many times.
    times: usize,
    /// How many requests have been carried.
    carried: usize,
    /// Requests to S3 that do not say who must own the bucket.
    ownerless: Vec<String>,
}

impl Lossy {
    pub(crate) fn new(inner: SharedHttpClient) -> Self {
        Self {
            inner,
            script: Arc::default(),
        }
    }

    /// Loses the answers to the next `times` requests that have each of `matching` in their method, target
    /// header or address.
    pub(crate) fn lose(&self, matching: &'static [&'static str], times: usize) {
        let mut script = self.script.lock().unwrap();
        script.matching = matching;
        script.times = times;
    }

    /// How many answers are still to be lost.
    pub(crate) fn left(&self) -> usize {
        self.script.lock().unwrap().times
    }

    /// How many requests have been carried.
    pub(crate) fn carried(&self) -> usize {
        self.script.lock().unwrap().carried
    }

    /// Requests to S3 that did not say who must own the bucket.
    pub(crate) fn ownerless(&self) -> Vec<String> {
        self.script.lock().unwrap().ownerless.clone()
    }

    fn loses(&self, request: &HttpRequest) -> bool {
        let header = |name: &str| request.headers().get(name).unwrap_or("");
        let (method, target) = (request.method(), header("x-amz-target"));
        let text = format!("{method} {target} {}", request.uri());
        let mut script = self.script.lock().unwrap();
        script.carried += 1;
        let is_of_s3 = header("authorization").contains("/s3/aws4_request");
        // A bucket that is being created has no owner yet.
        let creates = !header("x-amz-object-ownership").is_empty();
        if is_of_s3 && !creates && header("x-amz-expected-bucket-owner").is_empty() {
            script.ownerless.push(text.clone());
        }
        let loses = script.times > 0 && script.matching.iter().all(|part| text.contains(part));
        if loses {
            script.times -= 1;
        }
        loses
    }
}

impl HttpClient for Lossy {
    fn http_connector(
        &self,
        settings: &HttpConnectorSettings,
        components: &RuntimeComponents,
    ) -> SharedHttpConnector {
        SharedHttpConnector::new(LossyConnector {
            inner: self.inner.http_connector(settings, components),
            wire: self.clone(),
        })
    }
}

#[derive(Debug)]
struct LossyConnector {
    inner: SharedHttpConnector,
    wire: Lossy,
}

impl HttpConnector for LossyConnector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let loses = self.wire.loses(&request);
        let answer = self.inner.call(request);
        HttpConnectorFuture::new(async move {
            let answer = answer.await?;
            if loses {
                let status = answer.status().as_u16();
                return Err(ConnectorError::io(
                    format!("the answer, a {status}, was lost").into(),
                ));
            }
            Ok(answer)
        })
    }
}
