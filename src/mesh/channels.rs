//! What this process tells those who watch: one channel for each tenant that has somebody watching, so that
//! what is told of one tenant crowds out nobody else's.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::broadcast::{self, Receiver, Sender};

use super::tenant::TenantId;

/// How much of one tenant may wait to be told to one who watches. Who falls further behind is told that
/// anything may have happened.
pub const WAITING_MAX: usize = 256;

/// What is told of one tenant.
pub trait TenantNews: Clone {
    /// Of which.
    fn tenant(&self) -> &TenantId;
}

/// The channels of the tenants that have somebody watching.
#[derive(Debug)]
pub struct Channels<News> {
    by_tenant: Mutex<HashMap<TenantId, Sender<News>>>,
    /// Whether there are any, to be asked without the lock.
    has_any: AtomicBool,
}

impl<News> Default for Channels<News> {
    fn default() -> Self {
        Self {
            by_tenant: Mutex::default(),
            has_any: AtomicBool::new(false),
        }
    }
}

impl<News: TenantNews> Channels<News> {
    /// Listens to what is told of `tenant` from now on.
    pub fn watch(&self, tenant: &TenantId) -> Receiver<News> {
        let mut channels = self.channels();
        // Watching begins seldom, so that it can afford to forget whom nobody watches any more.
        channels.retain(|_, channel| channel.receiver_count() > 0);
        self.has_any.store(true, Ordering::Release);
        channels
            .entry(tenant.clone())
            .or_insert_with(|| broadcast::channel(WAITING_MAX).0)
            .subscribe()
    }

    /// Tells whoever watches the tenant of the news; there may be nobody.
    pub fn announce(&self, news: News) {
        let mut channels = self.channels();
        let tenant = news.tenant().clone();
        if let Some(channel) = channels.get(&tenant)
            && channel.send(news).is_err()
        {
            channels.remove(&tenant);
            self.has_any.store(!channels.is_empty(), Ordering::Release);
        }
    }

    /// Whether somebody may be watching `tenant`, for news that are costly to make. Where nobody watches any
    /// tenant the answer takes no lock.
    pub fn may_be_watched(&self, tenant: &TenantId) -> bool {
        self.has_any.load(Ordering::Acquire) && self.channels().contains_key(tenant)
    }

    fn channels(&self) -> MutexGuard<'_, HashMap<TenantId, Sender<News>>> {
        self.by_tenant
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::broadcast::error::TryRecvError;

    use super::*;

    /// Of whom it is, and which it is.
    #[derive(Clone, Debug, PartialEq, Eq)]
    struct Told(TenantId, usize);

    impl TenantNews for Told {
        fn tenant(&self) -> &TenantId {
            &self.0
        }
    }

    fn tenant(name: &str) -> TenantId {
        name.parse().unwrap()
    }

    #[test]
    fn a_tenants_flood_reaches_its_own_watchers_alone() {
        let channels = Channels::default();
        let (loud, quiet) = (tenant("loud"), tenant("quiet"));
        let mut of_loud = channels.watch(&loud);
        let mut of_quiet = channels.watch(&quiet);
        channels.announce(Told(quiet.clone(), 1));
        for number in 0..=WAITING_MAX {
            channels.announce(Told(loud.clone(), number));
        }
        channels.announce(Told(quiet.clone(), 2));
        assert!(matches!(of_loud.try_recv(), Err(TryRecvError::Lagged(1))));
        assert_eq!(of_loud.try_recv().unwrap(), Told(loud, 1));
        for number in [1, 2] {
            let told = of_quiet.try_recv().unwrap();
            assert_eq!(told, Told(quiet.clone(), number));
        }
        assert!(matches!(of_quiet.try_recv(), Err(TryRecvError::Empty)));
    }

    #[test]
    fn channels_that_nobody_listens_to_are_dropped() {
        let channels = Channels::default();
        for number in 0..100 {
            drop(channels.watch(&tenant(&format!("t{number}"))));
        }
        let kept = channels.watch(&tenant("kept"));
        assert_eq!(channels.channels().len(), 1);
        assert!(channels.may_be_watched(&tenant("kept")));
        assert!(!channels.may_be_watched(&tenant("nobody")));
        drop(kept);
        channels.announce(Told(tenant("kept"), 0));
        channels.announce(Told(tenant("nobody"), 0));
        assert_eq!(channels.channels().len(), 0);
        assert!(!channels.may_be_watched(&tenant("kept")));
    }
}
