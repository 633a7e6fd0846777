//! Connections: how many, how slow they may be, and how they end when the process does.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::response::Response;
use http::HeaderValue;
use http::header::{CONNECTION, UPGRADE};
use hyper::body::{Frame, Incoming, SizeHint};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

use super::figures::{Counted, Figures, TurnedAway};
use super::tls::Tls;

/// How long a connection may take to say the headers of a request, and how long it may be silent between requests.
/// Above the idle time of common load balancers, which are to close first: 60 s.
pub const SILENCE_MAX: Duration = Duration::from_secs(75);

/// How long a handshake of TLS may take.
const HANDSHAKE_TIME_MAX: Duration = Duration::from_secs(10);

/// How much of headers is read, in bytes.
const HEAD_BYTES_MAX: usize = 32 * 1024;

/// How many headers a request may have.
const HEADERS_MAX: usize = 64;

/// How long a new connection waits for one that gives way.
const ROOM_WAIT: Duration = Duration::from_millis(200);

/// How long nothing is accepted after the system has refused to.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// How a listener ends.
#[derive(Clone, Debug)]
pub struct Drain {
    /// Cancelled when the process is told to end.
    pub begin: CancellationToken,
    /// How long new connections are still taken after that, so that a load balancer can notice first.
    pub delay: Duration,
    /// How long requests may take to end after that.
    pub finish: Duration,
    /// Cancelled when there is no time left for either.
    pub cut: CancellationToken,
    /// Cancelled by the listener when streams are to end.
    pub ending: CancellationToken,
}

/// What a listener is made of.
#[derive(Debug)]
pub struct ListenerSettings {
    /// The address and port; port 0 is any that is free.
    pub bind: SocketAddr,
    /// The certificate; plain HTTP without.
    pub tls: Option<super::TlsFiles>,
    /// The most connections.
    pub connections_max: usize,
    /// How long a connection may take to say the headers of a request, and be silent between requests:
    /// [`SILENCE_MAX`] but in tests.
    pub silence_max: Duration,
    /// Where its connections are counted.
    pub figures: Arc<Figures>,
}

/// A socket that takes connections.
pub struct Listener {
    socket: TcpListener,
    tls: Option<Arc<Tls>>,
    connections_max: usize,
    silence_max: Duration,
    figures: Arc<Figures>,
}

impl Listener {
    /// Takes the address, and reads the certificate.
    ///
    /// # Errors
    /// The address is taken or is not ours, or the certificate cannot be used.
    pub async fn bind(settings: ListenerSettings) -> io::Result<Self> {
        let tls = settings.tls.map(Tls::open).transpose();
        Ok(Self {
            tls: tls.map_err(io::Error::other)?,
            socket: TcpListener::bind(settings.bind).await?,
            connections_max: settings.connections_max,
            silence_max: settings.silence_max,
            figures: settings.figures,
        })
    }

    /// Where it listens.
    ///
    /// # Errors
    /// What the system says.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Serves `router` until `drain` has begun and everything has ended, or its time is up.
    pub async fn serve(self, router: Router, drain: Drain) {
        let connections = Connections::new(&self, router, drain.clone());
        if let Some(tls) = &self.tls {
            let watching = Arc::clone(tls).watch(drain.begin.clone());
            connections.tasks.spawn(watching);
        }
        let begun = async {
            drain.begin.cancelled().await;
            tokio::time::sleep(drain.delay).await;
        };
        tokio::select! {
            () = begun => {}
            () = drain.cut.cancelled() => {}
            () = connections.accept(&self.socket, self.tls.as_ref()) => {}
        }
        drop(self.socket);
        drain.ending.cancel();
        connections.tasks.close();
        let ended = timeout(drain.finish, connections.tasks.wait());
        let has_ended = tokio::select! {
            ended = ended => ended.is_ok(),
            () = drain.cut.cancelled() => false,
        };
        if !has_ended {
            tracing::warn!(
                connections = connections.tasks.len(),
                "connections are cut off: their requests took too long to end"
            );
            drain.cut.cancel();
            connections.tasks.wait().await;
        }
    }
}

/// The connections of one listener.
struct Connections {
    silence_max: Duration,
    router: Router,
    drain: Drain,
    room: Arc<Semaphore>,
    open: Arc<Mutex<Vec<Arc<Activity>>>>,
    tasks: TaskTracker,
    start: Instant,
    figures: Arc<Figures>,
}

/// What one connection is at.
struct Activity {
    requests: AtomicU32,
    /// Milliseconds since the listener began.
    last: AtomicU64,
    start: Instant,
    close: CancellationToken,
    is_closed: AtomicBool,
}

/// A connection that goes on in another protocol: it counts as busy, is waited for where the listener ends, and is
/// cut off where that takes too long.
#[derive(Clone)]
pub(in crate::inbound) struct Lasting {
    tasks: TaskTracker,
    cut: CancellationToken,
    held: Arc<(Arc<Place>, Busy)>,
}

impl Lasting {
    /// Runs what goes on over the connection.
    pub(in crate::inbound) fn spawn(self, talk: impl Future<Output = ()> + Send + 'static) {
        let Self { tasks, cut, held } = self;
        tasks.spawn(async move {
            tokio::select! {
                () = cut.cancelled() => {}
                () = talk => {}
            }
            drop(held);
        });
    }
}

/// A connection's place; free again when this is dropped.
struct Place {
    activity: Arc<Activity>,
    open: Arc<Mutex<Vec<Arc<Activity>>>>,
    _permit: OwnedSemaphorePermit,
    _counted: Counted,
}

impl Connections {
    fn new(listener: &Listener, router: Router, drain: Drain) -> Arc<Self> {
        let most = listener.connections_max;
        Arc::new(Self {
            silence_max: listener.silence_max,
            router,
            drain,
            room: Arc::new(Semaphore::new(most)),
            open: Arc::default(),
            tasks: TaskTracker::new(),
            start: Instant::now(),
            figures: Arc::clone(&listener.figures),
        })
    }

    async fn accept(self: &Arc<Self>, socket: &TcpListener, tls: Option<&Arc<Tls>>) {
        loop {
            let (stream, peer) = match socket.accept().await {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(error = %error.kind(), "a connection cannot be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let Some(place) = self.place().await else {
                self.refuse();
                continue;
            };
            // Answers are small and late ones cost 40 ms.
            if stream.set_nodelay(true).is_err() {
                continue;
            }
            let connections = Arc::clone(self);
            let tls = tls.cloned();
            self.tasks.spawn(async move {
                let cut = connections.drain.cut.clone();
                tokio::select! {
                    () = cut.cancelled() => {}
                    () = connections.serve(stream, peer, tls, Arc::new(place)) => {}
                }
            });
        }
    }

    /// Room for a connection. Where there is none, the one that has been idle the longest gives way.
    async fn place(&self) -> Option<Place> {
        let room = || Arc::clone(&self.room).try_acquire_owned().ok();
        let permit = match room() {
            Some(permit) => permit,
            None => {
                self.close_idlest();
                let room = Arc::clone(&self.room).acquire_owned();
                timeout(ROOM_WAIT, room).await.ok()?.ok()?
            }
        };
        let activity = Arc::new(Activity {
            requests: AtomicU32::new(0),
            last: AtomicU64::new(millis(self.start)),
            start: self.start,
            close: CancellationToken::new(),
            is_closed: AtomicBool::new(false),
        });
        lock(&self.open).push(Arc::clone(&activity));
        Some(Place {
            activity,
            open: Arc::clone(&self.open),
            _permit: permit,
            _counted: self.figures.connection(),
        })
    }

    fn close_idlest(&self) {
        let open = lock(&self.open);
        let idle = open.iter().filter(|activity| activity.is_idle());
        if let Some(idlest) = idle.min_by_key(|activity| activity.last.load(Ordering::Relaxed)) {
            idlest.is_closed.store(true, Ordering::Relaxed);
            idlest.close.cancel();
        }
    }

    fn refuse(&self) {
        let count = self.figures.turn_away(TurnedAway::Connections);
        if count.is_power_of_two() {
            tracing::warn!(count, "connections are refused: there are too many at work");
        }
    }

    async fn serve(
        &self,
        stream: TcpStream,
        peer: SocketAddr,
        tls: Option<Arc<Tls>>,
        place: Arc<Place>,
    ) {
        // What says nothing takes no buffers yet.
        let says_something = timeout(self.silence_max, stream.readable());
        let is_ready = tokio::select! {
            ready = says_something => matches!(ready, Ok(Ok(()))),
            () = place.activity.close.cancelled() => false,
            () = self.drain.ending.cancelled() => false,
        };
        if is_ready {
            // What it then takes is no part of what it takes while it is silent.
            Box::pin(self.greet(stream, peer, tls, &place)).await;
        }
    }

    /// Serves a connection that has something to say.
    async fn greet(
        &self,
        stream: TcpStream,
        peer: SocketAddr,
        tls: Option<Arc<Tls>>,
        place: &Arc<Place>,
    ) {
        match tls {
            None => self.speak(stream, peer, place).await,
            Some(tls) => {
                let handshake = tls.acceptor().accept(stream);
                match timeout(HANDSHAKE_TIME_MAX, handshake).await {
                    Ok(Ok(stream)) => self.speak(stream, peer, place).await,
                    Ok(Err(error)) => {
                        tracing::debug!(error = %error.kind(), "a handshake of TLS has failed");
                    }
                    Err(_) => tracing::debug!("a handshake of TLS took too long"),
                }
            }
        }
    }

    fn lasting(&self, place: &Arc<Place>) -> Lasting {
        Lasting {
            tasks: self.tasks.clone(),
            cut: self.drain.cut.clone(),
            held: Arc::new((Arc::clone(place), Busy::begin(&place.activity))),
        }
    }

    async fn speak(
        &self,
        stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
        peer: SocketAddr,
        place: &Arc<Place>,
    ) {
        let activity = &place.activity;
        let service = hyper::service::service_fn(|request: http::Request<Incoming>| {
            let busy = Busy::begin(activity);
            let mut request = request.map(Body::new);
            request.extensions_mut().insert(ConnectInfo(peer));
            if request.headers().contains_key(UPGRADE) {
                request.extensions_mut().insert(self.lasting(place));
            }
            let router = self.router.clone();
            let is_draining = self.drain.begin.is_cancelled();
            async move {
                let Ok(response) = router.oneshot(request).await;
                let mut response: Response = response;
                if is_draining {
                    let close = HeaderValue::from_static("close");
                    response.headers_mut().entry(CONNECTION).or_insert(close);
                }
                Ok::<_, Infallible>(response.map(|body| BusyBody { body, _busy: busy }))
            }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.silence_max)
            .max_buf_size(HEAD_BYTES_MAX)
            .max_headers(HEADERS_MAX)
            .serve_connection(TokioIo::new(stream), service)
            .with_upgrades();
        let mut connection = pin!(connection);
        let result = tokio::select! {
            result = connection.as_mut() => result,
            () = activity.close.cancelled() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
            () = self.drain.ending.cancelled() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = result {
            tracing::debug!(%error, "a connection has broken");
        }
    }
}

impl Activity {
    fn is_idle(&self) -> bool {
        self.requests.load(Ordering::Relaxed) == 0 && !self.is_closed.load(Ordering::Relaxed)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = lock(&self.open);
        let at = open
            .iter()
            .position(|other| Arc::ptr_eq(other, &self.activity));
        if let Some(at) = at {
            open.swap_remove(at);
        }
    }
}

/// A request that is under way on a connection.
struct Busy(Arc<Activity>);

impl Busy {
    fn begin(activity: &Arc<Activity>) -> Self {
        activity.requests.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(activity))
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        let activity = &self.0;
        activity
            .last
            .store(millis(activity.start), Ordering::Relaxed);
        activity.requests.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The body of a response; its request is under way until it has been sent.
struct BusyBody {
    body: Body,
    _busy: Busy,
}

impl hyper::body::Body for BusyBody {
    type Data = axum::body::Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

fn millis(start: Instant) -> u64 {
    u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
