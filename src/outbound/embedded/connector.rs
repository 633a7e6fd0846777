//! The seam to the SDK: takes its requests, finds the engine that answers, meets the injected faults.

use std::sync::Arc;

use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;
use bytes::Bytes;
use http_body_util::BodyExt;
use s3s::service::S3Service;

use super::dynamodb::Dynamo;
use super::eventbridge::EventBridge;
use super::faults::{Fault, Faults, Service};
use super::s3;
use super::secretsmanager::Secrets;
use super::sns::Sns;
use super::states::States;
use super::sts;
use super::wire::Answer;

/// What `x-amz-target` begins with in requests to DynamoDB.
const DYNAMODB_TARGET: &str = "DynamoDB_20120810.";

/// What `x-amz-target` begins with in requests to EventBridge.
const EVENTBRIDGE_TARGET: &str = "AWSEvents.";

/// What `x-amz-target` begins with in requests to Step Functions.
const STATES_TARGET: &str = "AWSStepFunctions.";

/// What `x-amz-target` begins with in requests to Secrets Manager.
const SECRETS_TARGET: &str = "secretsmanager.";

/// Everything that answers requests.
#[derive(Debug)]
pub(super) struct Engines {
    pub(super) dynamodb: Dynamo,
    pub(super) s3: S3Service,
    pub(super) eventbridge: EventBridge,
    pub(super) states: States,
    pub(super) sns: Sns,
    pub(super) secrets: Secrets,
    pub(super) faults: Faults,
}

/// The client and its only connector.
#[derive(Clone, Debug)]
pub(super) struct Connector(Arc<Engines>);

impl Connector {
    pub(super) fn new(engines: Arc<Engines>) -> Self {
        Self(engines)
    }
}

impl HttpClient for Connector {
    fn http_connector(
        &self,
        _: &HttpConnectorSettings,
        _: &RuntimeComponents,
    ) -> SharedHttpConnector {
        SharedHttpConnector::new(self.clone())
    }
}

impl HttpConnector for Connector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let engines = &self.0;
        let (service, operation) = addressee(&request);
        let fault = if engines.faults.any() {
            engines.faults.take(service, operation)
        } else {
            None
        };
        // A point read takes microseconds and holds no lock that a writer holds, so it is answered at
        // once; a task switch would cost more than the read.
        if fault.is_none()
            && service == Service::DynamoDb
            && let Some(body) = request.body().bytes()
            && let Some(answer) = engines.dynamodb.answer_at_once(operation, body)
        {
            return HttpConnectorFuture::ready(Ok(answer.into_response()));
        }
        let engines = Arc::clone(engines);
        HttpConnectorFuture::new(async move {
            match fault {
                None => engines.answer(service, request).await,
                Some(fault) => engines.meet(fault, service, request).await,
            }
        })
    }
}

impl Engines {
    async fn answer(
        &self,
        service: Service,
        request: HttpRequest,
    ) -> Result<HttpResponse, ConnectorError> {
        if service == Service::S3 {
            return s3::answer(&self.s3, request).await;
        }
        let operation = addressee(&request).1;
        let mut request = request;
        let body = collect(request.take_body()).await?;
        let answer = match service {
            Service::DynamoDb => self.dynamodb.answer(operation, body).await,
            Service::EventBridge => self.eventbridge.answer(operation, &body),
            Service::States => self.states.answer(operation, &body).await,
            Service::Sns => self.sns.answer(operation, body).await,
            Service::Secrets => {
                let answer = self.secrets.answer(operation, body).await;
                return Ok(answer.into_unshown_response());
            }
            Service::Sts | Service::S3 => sts::answer(&body),
        };
        Ok(answer.into_response())
    }

    async fn meet(
        &self,
        fault: Fault,
        service: Service,
        request: HttpRequest,
    ) -> Result<HttpResponse, ConnectorError> {
        match fault {
            Fault::Throttle => Ok(Answer::throttled(service).into_response()),
            Fault::ServerError => Ok(Answer::server_error(service).into_response()),
            Fault::Hang => std::future::pending().await,
            Fault::LoseAnswer => {
                self.answer(service, request).await?;
                Err(ConnectorError::io(
                    "the connection broke before the answer".into(),
                ))
            }
            Fault::Delay(pause) => {
                tokio::time::sleep(pause).await;
                self.answer(service, request).await
            }
        }
    }
}

/// The service and the operation that a request is for.
fn addressee(request: &HttpRequest) -> (Service, &'static str) {
    match request.headers().get("x-amz-target") {
        Some(target) => {
            if let Some(name) = target.strip_prefix(DYNAMODB_TARGET) {
                (Service::DynamoDb, Dynamo::operation(name))
            } else if let Some(name) = target.strip_prefix(STATES_TARGET) {
                (Service::States, States::operation(name))
            } else if let Some(name) = target.strip_prefix(SECRETS_TARGET) {
                (Service::Secrets, Secrets::operation(name))
            } else {
                let name = target.strip_prefix(EVENTBRIDGE_TARGET).unwrap_or_default();
                (Service::EventBridge, EventBridge::operation(name))
            }
        }
        None => match signed_for(request) {
            "sns" => {
                let body = request.body().bytes().unwrap_or_default();
                (Service::Sns, Sns::operation(body))
            }
            "sts" => (Service::Sts, "GetCallerIdentity"),
            _ => (Service::S3, s3::operation(request)),
        },
    }
}

/// The service that a request is signed for, as its signature says it. The address does not: all services
/// may share one endpoint.
fn signed_for(request: &HttpRequest) -> &str {
    let scope = request
        .headers()
        .get("authorization")
        .and_then(|header| header.split_once("Credential="))
        .map_or("", |(_, scope)| scope);
    // The key's id, the day, the region and the service.
    let scope = scope.split(',').next().unwrap_or_default();
    scope.split('/').nth(3).unwrap_or_default()
}

async fn collect(body: SdkBody) -> Result<Bytes, ConnectorError> {
    match body.bytes() {
        Some(bytes) => Ok(Bytes::copy_from_slice(bytes)),
        None => match body.collect().await {
            Ok(collected) => Ok(collected.to_bytes()),
            Err(error) => Err(ConnectorError::user(error)),
        },
    }
}
