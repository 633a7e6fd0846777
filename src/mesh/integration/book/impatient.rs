//! The book for those who do not call: who would rather have nothing than wait, and who is told of changes.

use std::sync::Arc;
use std::time::Duration;

use super::IntegrationBook;
use crate::mesh::channels::Channels;
use crate::mesh::integration::news::IntegrationsChanged;
use crate::mesh::integration::view::View;
use crate::mesh::tenant::{TenantId, UserId};

impl IntegrationBook {
    /// What `user` of `tenant` has, for who would rather have nothing than wait for longer than `patience`. What is being read
    /// then is read to the end, for the next one.
    pub(in crate::mesh::integration) async fn view_within(
        &self,
        tenant: &TenantId,
        user: &UserId,
        patience: Duration,
    ) -> Option<Arc<View>> {
        let key = (tenant.clone(), user.clone());
        if let Some(view) = self.held(&key) {
            return Some(view);
        }
        let permit = Arc::clone(&self.0.impatient).try_acquire_owned().ok()?;
        let book = self.clone();
        let reading = tokio::spawn(async move {
            let _permit = permit;
            let (tenant, user) = &key;
            book.view(tenant, user).await
        });
        match tokio::time::timeout(patience, reading).await.ok()?.ok()? {
            Ok(seen) => Some(seen.view),
            Err(error) => {
                tracing::debug!(?error, "the integrations of a tenant could not be read");
                None
            }
        }
    }

    /// What this process sees change of what its callers have.
    pub(in crate::mesh::integration) fn changes(&self) -> &Channels<IntegrationsChanged> {
        &self.0.changes
    }

    pub(super) fn announce(&self, tenant: &TenantId, user: Option<&UserId>) {
        self.0.changes.announce(IntegrationsChanged {
            tenant: tenant.clone(),
            user: user.cloned(),
        });
    }
}
