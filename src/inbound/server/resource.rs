//! Resources: artifacts, values and events that are too large for an answer, and the alerts that were raised.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rmcp::model::*;
use rmcp::service::RequestContext;
use rmcp::{ErrorData, RoleServer};

use super::{LIST_FRESH_MS, MethodFault, RequestHead, Server, Shared, invalid};
use crate::inbound::error::no_resource;
use crate::inbound::tool::{is_wrong_cursor, wrong_cursor};
use crate::mesh::Error;
use crate::mesh::call::Answer;
use crate::mesh::call::tool::{Tool, Toolset};
use crate::mesh::service::address::InvalidAddress;
use crate::mesh::service::artifacts::{ArtifactAddress, is_text_type};
use crate::mesh::service::cursor::InvalidCursor;
use crate::mesh::service::events::AlertsRead;
use crate::mesh::service::events::alerts::raised::{ADDRESS, MEDIA_TYPE};
use crate::mesh::service::events::{EVENT_TYPE, EventAddress, EventRead};
use crate::mesh::service::kv::{VALUE_TYPE, ValueAddress, ValueRead};
use crate::mesh::service::resources::{
    Complete, ResourcesList, ResourcesListAnswer, ResourcesRead,
};
use crate::mesh::store::artifacts::KEY_BYTES_MAX;
use crate::mesh::store::key::Scope;

/// The template of the artifacts' addresses.
const ARTIFACT_TEMPLATE: &str = "mesh://artifacts/{scope}/{+key}";

/// The template of the events' addresses.
const EVENT_TEMPLATE: &str = "mesh://events/{event_id}";

/// The template of the values' addresses.
const VALUE_TEMPLATE: &str = "mesh://values/{scope}/{+key}";

impl Shared {
    /// `resources/list`: the alerts that were raised, then the artifacts. Values are listed by their tool
    /// alone.
    pub(in crate::inbound) async fn resource_page(
        &self,
        cursor: Option<&str>,
        head: &RequestHead,
    ) -> Result<ListResourcesResult, MethodFault> {
        let caller = self.caller(head).await.map_err(MethodFault::Identity)?;
        let list = ResourcesList::at(cursor);
        let mut result = ListResourcesResult::with_all_items(Vec::new());
        let sees_alerts = self.catalog.offers(Tool::AlertsRead)
            && caller.permissions().contains(Tool::AlertsRead.permission());
        if sees_alerts && cursor.is_none() {
            result.resources.push(alerts_resource());
        }
        if self.catalog.has(Toolset::Artifacts) {
            let page = self.resources_at(list, head).await?;
            let resources = page.resources.into_iter().map(|(address, object)| {
                let mut resource = Resource::new(address.to_string(), address.key.as_str());
                resource.size = Some(object.size);
                resource
            });
            result.resources.extend(resources);
            result.next_cursor = page.next_cursor;
        }
        result.ttl_ms = Some(0);
        result.cache_scope = Some(CacheScope::Private);
        Ok(result)
    }

    /// The page that a cursor leads to. One that does not fit is charged and recorded like any call.
    async fn resources_at(
        &self,
        list: Result<ResourcesList, InvalidCursor>,
        head: &RequestHead,
    ) -> Result<ResourcesListAnswer, MethodFault> {
        let request = head.clone().into_request(None);
        let list = list.map_err(|fault| (fault, wrong_cursor(fault)));
        let (fault, list) = match list {
            Ok(list) => (None, Ok(list)),
            Err((fault, error)) => (Some(fault), Err(error)),
        };
        let answer = self.backplane.call(request, list).await;
        let answer: Answer<ResourcesListAnswer> = answer.map_err(MethodFault::Identity)?;
        let request_id = answer.request_id();
        answer.into_result().map_err(|error| match fault {
            Some(fault) if is_wrong_cursor(&error) => MethodFault::Cursor(fault),
            _ => MethodFault::Failed(error, request_id),
        })
    }

    /// `resources/read`.
    pub(in crate::inbound) async fn resource(
        &self,
        uri: String,
        head: &RequestHead,
    ) -> Result<ReadResourceResult, MethodFault> {
        self.caller(head).await.map_err(MethodFault::Identity)?;
        if uri == ADDRESS && self.catalog.offers(Tool::AlertsRead) {
            let (alerts, request_id) = self.run(head, AlertsRead).await?;
            let text = serde_json::to_string(&alerts).map_err(|error| {
                tracing::error!(%error, %request_id, "the alerts are no JSON");
                MethodFault::Failed(Error::internal("the alerts are no JSON"), request_id)
            })?;
            return Ok(contents(ResourceContents::TextResourceContents {
                uri,
                mime_type: Some(MEDIA_TYPE.to_owned()),
                text,
                meta: None,
            }));
        }
        let (mime_type, body) = match uri.parse::<ValueAddress>() {
            Ok(address) if self.catalog.offers(Tool::ValuesRead) => {
                let (found, _) = self.run(head, ValueRead { address }).await?;
                (VALUE_TYPE.to_owned(), found.body.into())
            }
            _ if self.catalog.offers(Tool::EventRead) && uri.parse::<EventAddress>().is_ok() => {
                let address = uri.parse().map_err(MethodFault::Address)?;
                let (found, _) = self.run(head, EventRead { address }).await?;
                (EVENT_TYPE.to_owned(), found.body.into())
            }
            _ => {
                let address = self.artifact_at(&uri).map_err(MethodFault::Address)?;
                let (found, _) = self.run(head, ResourcesRead { address }).await?;
                (found.head.content_type, found.body)
            }
        };
        let is_text = is_text_type(&mime_type);
        let mime_type = Some(mime_type);
        Ok(contents(match std::str::from_utf8(&body) {
            Ok(text) if is_text => ResourceContents::TextResourceContents {
                uri,
                mime_type,
                text: text.to_owned(),
                meta: None,
            },
            _ => ResourceContents::BlobResourceContents {
                uri,
                mime_type,
                blob: STANDARD.encode(&body),
                meta: None,
            },
        }))
    }

    /// The artifact that `uri` names, where artifacts are offered.
    fn artifact_at(&self, uri: &str) -> Result<ArtifactAddress, InvalidAddress> {
        match self.catalog.has(Toolset::Artifacts) {
            true => uri.parse(),
            false => Err(InvalidAddress),
        }
    }
}

impl Server {
    /// `resources/templates/list`.
    pub(super) fn resource_templates(&self) -> ListResourceTemplatesResult {
        let template = |address: &str, name: &str, title: &str, text: &str| {
            let mut template = ResourceTemplate::new(address, name);
            template.title = Some(title.to_owned());
            template.description = Some(text.to_owned());
            template
        };
        let mut templates = Vec::new();
        if self.shared.catalog.has(Toolset::Artifacts) {
            templates.push(template(
                ARTIFACT_TEMPLATE,
                "artifact",
                "Artifact",
                "A stored file; scope is `user` or `tenant`. Add ?range=first-last for a part of it.",
            ));
        }
        if self.shared.catalog.has(Toolset::Kv) {
            templates.push(template(
                VALUE_TEMPLATE,
                "value",
                "Value",
                "The JSON text of a stored value; scope is `user` or `tenant`. Add ?range=first-last for \
                 a part of it.",
            ));
        }
        if self.shared.catalog.offers(Tool::EventRead) {
            templates.push(template(
                EVENT_TEMPLATE,
                "event",
                "Event",
                "One event with all of its detail, as JSON. Add ?range=first-last for a part of it.",
            ));
        }
        let mut result = ListResourceTemplatesResult::with_all_items(templates);
        result.ttl_ms = Some(LIST_FRESH_MS);
        result.cache_scope = Some(CacheScope::Private);
        result
    }

    /// `completion/complete`, for the members of the templates.
    pub(super) async fn completion(
        &self,
        params: CompleteRequestParams,
        context: &RequestContext<RoleServer>,
    ) -> Result<CompleteResult, ErrorData> {
        // Not every completion comes to a call, but all of them are for callers alone.
        self.require_caller(context).await?;
        let argument = params.argument;
        let (values, has_more) = match (&params.r#ref, argument.name.as_str()) {
            (Reference::Resource(template), "scope")
                if [ARTIFACT_TEMPLATE, VALUE_TEMPLATE].contains(&template.uri.as_str()) =>
            {
                let scopes = [Scope::User, Scope::Tenant].map(Scope::name).into_iter();
                let scopes = scopes.filter(|scope| scope.starts_with(&argument.value));
                (scopes.map(str::to_owned).collect(), false)
            }
            (Reference::Resource(template), "key") if template.uri == ARTIFACT_TEMPLATE => {
                let chosen = params.context.as_ref();
                let chosen = chosen.and_then(|chosen| chosen.get_argument("scope"));
                let scope = match chosen.map(String::as_str) {
                    None | Some("user") => Scope::User,
                    Some("tenant") => Scope::Tenant,
                    Some(_) => return Err(invalid("the scope is `user` or `tenant`")),
                };
                let prefix = argument.value;
                if prefix.len() > KEY_BYTES_MAX || prefix.chars().any(char::is_control) {
                    return Ok(CompleteResult::default());
                }
                let (found, _) = self.run(context, Complete { scope, prefix }).await?;
                (found.keys, found.has_more)
            }
            (Reference::Resource(template), "key") if template.uri == VALUE_TEMPLATE => {
                (Vec::new(), false)
            }
            (Reference::Resource(template), "event_id") if template.uri == EVENT_TEMPLATE => {
                (Vec::new(), false)
            }
            (Reference::Prompt(_), _) => (Vec::new(), false),
            _ => {
                return Err(invalid(
                    "only `scope` and `key` of the templates are completed",
                ));
            }
        };
        let mut completion = CompletionInfo::new(values).map_err(|error| invalid(&error))?;
        completion.has_more = Some(has_more);
        Ok(CompleteResult::new(completion))
    }

    /// The artifact that `uri` names, where artifacts are offered.
    pub(super) fn artifact_address(&self, uri: &str) -> Result<ArtifactAddress, ErrorData> {
        self.shared.artifact_at(uri).map_err(no_resource)
    }
}

fn contents(contents: ResourceContents) -> ReadResourceResult {
    let mut result = ReadResourceResult::new(vec![contents]);
    result.ttl_ms = Some(0);
    result.cache_scope = Some(CacheScope::Private);
    result
}

/// The alerts that were raised, as they are listed.
fn alerts_resource() -> Resource {
    let mut resource = Resource::new(ADDRESS, "alerts");
    resource.title = Some("Alerts".to_owned());
    resource.description = Some(
        "The newest 100 alerts that were raised in the tenant, of the last 30 days. Subscribe to it to be \
         told of new ones."
            .to_owned(),
    );
    resource.mime_type = Some(MEDIA_TYPE.to_owned());
    resource
}
