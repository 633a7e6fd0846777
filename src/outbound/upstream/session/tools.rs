//! The tools of a server: all pages, within bounds, each definition as it was written, and listed anew when they change.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tokio::time::{sleep_until, timeout};

use super::{Core, Lasting, Request, SEND_TIME_MAX};
use crate::mesh::upstream::{CONNECT_TIME_MAX, Era, TOOLS_MAX, UpstreamFault, UpstreamTool};
use crate::mesh::{Error, ErrorKind};
use crate::outbound::upstream::message::{self, Object};

/// The most pages of one listing.
pub(super) const PAGES_MAX: usize = 200;

/// How much all definitions of one server may weigh.
pub(super) const DEFINITIONS_BYTES_MAX: usize = 16 << 20;

/// The longest name of a tool; the protocol allows half of it.
const NAME_BYTES_MAX: usize = 256;

/// How long one listing may take.
const LIST_TIME_MAX: Duration = CONNECT_TIME_MAX;

/// How soon after one listing the next may begin, however often the server says that its tools changed.
pub(super) const LIST_INTERVAL_MIN: Duration = Duration::from_secs(1);

/// How long a caller waits for a listing that is under way; one that takes longer is nobody's concern.
const LIST_WAIT_MAX: Duration = Duration::from_secs(2);

/// The shortest time for which a list is good, whatever the server says.
const TTL_MIN: Duration = Duration::from_secs(60);

/// How long after a listing that failed, or a subscription that ended, it is tried again.
const AGAIN_AFTER: Duration = Duration::from_secs(60);

/// The code of servers that have no tools at all.
const UNKNOWN_METHOD: i64 = -32601;

/// The tools of one server as they were last listed.
pub(in crate::outbound::upstream) struct Tools {
    listed: Mutex<Listed>,
    generation: AtomicU64,
    wants_word: AtomicBool,
    wake: Notify,
    turns: watch::Sender<u64>,
}

#[derive(Default)]
struct Listed {
    tools: Option<Arc<Vec<UpstreamTool>>>,
    began: Option<Instant>,
    expires: Option<Instant>,
    is_stale: bool,
    is_listing: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Page<'a> {
    #[serde(borrow)]
    tools: &'a RawValue,
    #[serde(borrow, default)]
    next_cursor: Option<&'a RawValue>,
    #[serde(borrow, default)]
    ttl_ms: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Named {
    name: String,
}

/// What one listing found.
struct Listing {
    tools: Vec<UpstreamTool>,
    ttl: Option<Duration>,
}

impl Tools {
    pub(super) fn new() -> Self {
        Self {
            listed: Mutex::default(),
            generation: AtomicU64::new(0),
            wants_word: AtomicBool::new(false),
            wake: Notify::new(),
            turns: watch::Sender::new(0),
        }
    }

    /// The server can tell that its tools changed, if it is asked to.
    pub(in crate::outbound::upstream) fn ask_for_word(&self) {
        self.wants_word.store(true, Ordering::Relaxed);
    }

    /// How often they were listed.
    pub(in crate::outbound::upstream) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// Rises whenever a listing has ended, however it did.
    pub(in crate::outbound::upstream) fn listings(&self) -> watch::Receiver<u64> {
        self.turns.subscribe()
    }

    /// They are not what they were: they are listed anew soon.
    pub(super) fn changed(&self) {
        self.lock().is_stale = true;
        self.wake.notify_one();
    }

    /// No longer told.
    pub(in crate::outbound::upstream) fn forget(&self) {
        self.lock().tools = None;
    }

    /// How long a listing is worth waiting for that is under way or about to begin.
    fn wait(&self) -> Option<Duration> {
        let listed = self.lock();
        let since = listed.began.map(|began| began.elapsed());
        match since {
            Some(since) if listed.is_listing => LIST_WAIT_MAX.checked_sub(since),
            Some(since) if since < LIST_INTERVAL_MIN => None,
            _ => listed.is_stale.then_some(LIST_WAIT_MAX),
        }
    }

    fn expire(&self) {
        let is_over = {
            let mut listed = self.lock();
            let is_over = listed.expires.is_some_and(|end| end <= Instant::now());
            if is_over {
                listed.expires = None;
            }
            is_over
        };
        if is_over {
            self.changed();
        }
    }

    fn begin(&self) {
        let mut listed = self.lock();
        listed.is_stale = false;
        listed.is_listing = true;
        // The first change after connecting is listed at once.
        listed.began = listed.tools.is_some().then(Instant::now);
    }

    fn finish(&self, listing: Option<Listing>, is_subscribed: bool) {
        let mut listed = self.lock();
        listed.is_listing = false;
        if let Some(Listing { tools, ttl }) = listing {
            listed.tools = Some(Arc::new(tools));
            let ttl = ttl.filter(|_| !is_subscribed);
            listed.expires = ttl.map(|ttl| Instant::now() + ttl.clamp(TTL_MIN, 24 * 60 * TTL_MIN));
            self.generation.fetch_add(1, Ordering::Release);
        }
        drop(listed);
        self.turns.send_modify(|turn| *turn += 1);
    }

    fn lock(&self) -> MutexGuard<'_, Listed> {
        self.listed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Lists the tools whenever the server says that they changed, until the session ends.
pub(super) async fn follow(core: Arc<Core>) {
    let mut subscription = core.subscribe().await;
    let wants_word = core.tools.wants_word.load(Ordering::Relaxed);
    let mut again = None;
    loop {
        if wants_word && subscription.is_none() && again.is_none() {
            again = Some(Instant::now() + AGAIN_AFTER);
        }
        tokio::select! {
            () = core.closed.cancelled() => return,
            () = core.tools.wake.notified() => {}
            () = ended(&mut subscription) => {
                subscription = None;
                continue;
            }
            () = sleep_until(again.unwrap_or_else(Instant::now)), if again.is_some() => {
                again = None;
                if subscription.is_none() {
                    subscription = core.subscribe().await;
                }
            }
        }
        let began = core.tools.lock().began;
        if let Some(began) = began {
            sleep_until(began + LIST_INTERVAL_MIN).await;
        }
        if core.list(subscription.is_some()).await.is_err() && !core.closed.is_cancelled() {
            tracing::debug!("a server said that its tools changed, and did not list them");
            again = Some(Instant::now() + AGAIN_AFTER);
        }
    }
}

async fn ended(subscription: &mut Option<Lasting<'_>>) {
    match subscription {
        Some(subscription) => subscription.ended().await,
        None => std::future::pending().await,
    }
}

impl Core {
    /// The tools, after a listing that is under way or due, if that does not take too long.
    ///
    /// # Errors
    /// Why the session ended, once they are no longer told.
    pub(in crate::outbound::upstream) async fn current_tools(
        &self,
    ) -> Result<Arc<Vec<UpstreamTool>>, Error> {
        self.tools.expire();
        let mut turns = self.tools.turns.subscribe();
        if let Some(wait) = self.tools.wait().filter(|_| !self.closed.is_cancelled()) {
            tokio::select! {
                _ = timeout(wait, turns.changed()) => {}
                () = self.closed.cancelled() => {}
            }
        }
        let last = self.tools.lock().tools.clone();
        last.ok_or_else(|| self.end())
    }

    /// Lists the tools.
    ///
    /// # Errors
    /// What the server did instead; the last list stays.
    pub(in crate::outbound::upstream) async fn list(
        &self,
        is_subscribed: bool,
    ) -> Result<(), Error> {
        self.tools.begin();
        let found = match timeout(LIST_TIME_MAX, self.all_pages()).await {
            Ok(found) => found,
            Err(_) => Err(self.told("tools/list", UpstreamFault::TimedOut)),
        };
        match found {
            Ok(listing) => {
                self.tools.finish(Some(listing), is_subscribed);
                Ok(())
            }
            Err(error) => {
                self.tools.finish(None, is_subscribed);
                Err(error)
            }
        }
    }

    async fn all_pages(&self) -> Result<Listing, Error> {
        let mut listing = Listing {
            tools: Vec::new(),
            ttl: None,
        };
        let (mut names, mut bytes) = (HashSet::new(), 0);
        let mut cursor: Option<Box<RawValue>> = None;
        for _ in 0..PAGES_MAX {
            let request = Request::own("tools/list", LIST_TIME_MAX);
            let page = self
                .request(request, |_| {
                    let params = Object::new();
                    self.plain(match &cursor {
                        Some(cursor) => params.member("cursor", cursor.get()),
                        None => params,
                    })
                })
                .await;
            let page = match page {
                Ok(page) => page,
                Err(UpstreamFault::Refused {
                    code: UNKNOWN_METHOD,
                    ..
                }) if listing.tools.is_empty() => return Ok(listing),
                Err(fault) => return Err(self.told("tools/list", fault)),
            };
            let page: Page<'_> = serde_json::from_str(page.get())
                .map_err(|error| wrong("has no list of tools").caused_by(error))?;
            let tools = message::elements(page.tools, TOOLS_MAX)
                .ok_or_else(|| wrong("lists no tools, or more than 2000"))?;
            for definition in tools {
                bytes += definition.get().len();
                let tool = self.tool(definition);
                listing
                    .tools
                    .extend(tool.filter(|tool| names.insert(tool.name.clone())));
            }
            if listing.tools.len() > TOOLS_MAX || bytes > DEFINITIONS_BYTES_MAX {
                return Err(wrong("has more tools than this server takes"));
            }
            let ttl = page.ttl_ms.and_then(|ttl| ttl.get().parse().ok());
            listing.ttl = ttl.map(Duration::from_millis).or(listing.ttl);
            let is_last = |next: &&RawValue| !next.get().starts_with('"') || next.get() == "\"\"";
            match page.next_cursor.filter(|next| !is_last(next)) {
                Some(next) => cursor = Some(next.to_owned()),
                None => return Ok(listing),
            }
        }
        Err(wrong("does not come to the end of its list of tools"))
    }

    /// The tool of that definition, which is kept and shown to others and so without what this connection was
    /// given; nothing where it is none.
    fn tool(&self, definition: &RawValue) -> Option<UpstreamTool> {
        let definition = self.scrubber.clean_definition(definition.to_owned())?;
        let Named { name } = serde_json::from_str(definition.get()).ok()?;
        let is_name = (1..=NAME_BYTES_MAX).contains(&name.len());
        is_name.then(|| UpstreamTool {
            name,
            definition: Arc::from(definition),
        })
    }

    async fn subscribe(&self) -> Option<Lasting<'_>> {
        let is_told = self.dialect().era == Era::Stateless;
        if !is_told || !self.tools.wants_word.load(Ordering::Relaxed) {
            return None;
        }
        let wanted = Object::new().member("notifications", r#"{"toolsListChanged":true}"#);
        let subscribed = self.lasting("subscriptions/listen", self.plain(wanted));
        timeout(SEND_TIME_MAX, subscribed).await.ok()?.ok()
    }
}

fn wrong(what: &str) -> Error {
    Error::new(ErrorKind::UpstreamError, format!("the server {what}"))
}
