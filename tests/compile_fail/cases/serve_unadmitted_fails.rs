//! Fails because a service takes only a call that was permitted, admitted and recorded.

use agent_mesh::mesh::call::grant::Granted;
use agent_mesh::mesh::call::operation::Operation;
use agent_mesh::mesh::service::kv::KvGet;
use agent_mesh::mesh::tenant::TenantContext;

async fn serve(operation: KvGet, context: &TenantContext, call: &Granted<'_, KvGet>) {
    let _ = (context, call);
    let _ = operation.serve(context).await;
}

fn main() {
    let _ = serve;
}
