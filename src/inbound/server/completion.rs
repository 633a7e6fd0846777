//! Completing what a person types: the scope and the key of an artifact's address.

use rmcp::model::*;
use rmcp::service::RequestContext;
use rmcp::{ErrorData, RoleServer};

use super::{ADDRESS_TEMPLATE, Server, invalid};
use crate::mesh::service::resources::Complete;
use crate::mesh::store::key::Scope;

impl Server {
    /// `completion/complete`.
    pub(super) async fn complete_argument(
        &self,
        params: CompleteRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CompleteResult, ErrorData> {
        self.require_resources::<CompleteRequestMethod>()?;
        self.require_caller(&context).await?;
        let values = match (&params.r#ref, params.argument.name.as_str()) {
            (Reference::Resource(template), "scope") if template.uri == ADDRESS_TEMPLATE => {
                let scopes = [Scope::User, Scope::Tenant].map(Scope::name).into_iter();
                let scopes = scopes.filter(|scope| scope.starts_with(&params.argument.value));
                (scopes.map(str::to_owned).collect(), false)
            }
            (Reference::Resource(template), "key") if template.uri == ADDRESS_TEMPLATE => {
                let chosen = params
                    .context
                    .as_ref()
                    .and_then(|context| context.get_argument("scope"));
                let scope = match chosen.map(String::as_str) {
                    None | Some("user") => Scope::User,
                    Some("tenant") => Scope::Tenant,
                    Some(_) => return Err(invalid("the scope is `user` or `tenant`")),
                };
                let complete = Complete {
                    scope,
                    prefix: params.argument.value,
                };
                let (found, _) = self.run(&context, complete).await?;
                (found.keys, found.has_more)
            }
            (Reference::Prompt(_), _) => (Vec::new(), false),
            _ => {
                return Err(invalid(
                    "only `scope` and `key` of the artifacts' template are completed",
                ));
            }
        };
        let mut completion = CompletionInfo::new(values.0).map_err(|error| invalid(&error))?;
        completion.has_more = Some(values.1);
        Ok(CompleteResult::new(completion))
    }
}
