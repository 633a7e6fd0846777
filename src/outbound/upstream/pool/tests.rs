//! The pool against servers in memory: one connection for each key, and nothing left of any that ended.

mod beside;
mod fair;
mod foreign;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::future::join_all;
use serde_json::json;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout};

use super::settings::PoolSettings;
use super::{Inner, UpstreamPool};
use crate::mesh::upstream::{
    ConnectionPlan, ConnectionState, Era, Phase, Upstream, UpstreamFault, Upstreams,
};
use crate::mesh::{Error, ErrorKind, SystemClock};
use crate::outbound::upstream::link::Incoming;
use crate::outbound::upstream::trial::{PATIENCE, Trial, Wire, call, child_plan, plan, raw};

fn settings() -> PoolSettings {
    PoolSettings {
        backoff_first: Duration::from_millis(20),
        backoff_max: Duration::from_millis(40),
        close_time_max: Duration::from_secs(5),
        ..PoolSettings::default()
    }
}

fn pool(links: &Arc<Trial>, settings: PoolSettings) -> UpstreamPool {
    UpstreamPool::new(links.clone(), Arc::new(SystemClock::new()), settings)
}

async fn connect(pool: &UpstreamPool, plan: ConnectionPlan) -> Result<Arc<dyn Upstream>, Error> {
    timeout(PATIENCE, pool.connect(plan)).await.unwrap()
}

async fn echo(upstream: &Arc<dyn Upstream>) -> Result<String, UpstreamFault> {
    let arguments = raw(&json!({"x": 1}));
    let answer = upstream.call(call("echo", Some(&arguments)));
    let answer = timeout(PATIENCE, answer).await.unwrap()?;
    Ok(answer.get().to_owned())
}

/// Waits until the only connection's state is `wanted`.
async fn reached(pool: &UpstreamPool, wanted: impl Fn(Option<&ConnectionState>) -> bool) {
    let reached = async {
        while !wanted(pool.states(None).first()) {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    timeout(PATIENCE, reached).await.unwrap();
}

async fn phase(pool: &UpstreamPool, wanted: Phase) {
    reached(pool, |state| {
        state.is_some_and(|state| state.phase == wanted)
    })
    .await;
}

fn ordinary() -> Arc<Trial> {
    Trial::new(|wire| wire.echo(Era::Sessions))
}

/// Echoes, and ends when it is called with another tool.
async fn mortal(mut wire: Wire) {
    loop {
        let asked = wire.ordinary(Era::Sessions).await;
        match (asked.method(), asked.tool()) {
            ("tools/call", "echo") => {
                let arguments = asked.message["params"]["arguments"].clone();
                wire.answer(&asked, arguments).await;
            }
            ("tools/call", _) => return,
            _ => {}
        }
    }
}

async fn kill(upstream: &Arc<dyn Upstream>) {
    let killed = timeout(PATIENCE, upstream.call(call("die", None))).await;
    assert!(matches!(killed.unwrap(), Err(UpstreamFault::Lost(_))));
}

fn places(inner: &Arc<Inner>) -> usize {
    inner.census.connections()
}

#[tokio::test]
async fn all_who_come_at_once_get_the_same_connection_and_other_keys_their_own() {
    let links = ordinary();
    let pool = pool(&links, settings());
    let same = join_all((0..50).map(|_| connect(&pool, plan("ann", "1")))).await;
    assert!(same.iter().all(Result::is_ok));
    assert_eq!(links.opened(), 1);
    let own = connect(&pool, plan("bob", "1")).await.unwrap();
    assert_eq!(echo(&own).await.unwrap(), r#"{"x":1}"#);
    assert_eq!(links.opened(), 2);
    let open = pool.open(&plan("ann", "1").key, "1").unwrap();
    assert_eq!(echo(&open).await.unwrap(), r#"{"x":1}"#);
    assert!(pool.open(&plan("ann", "1").key, "2").is_none());
    let states = pool.states(Some(&"acme".parse().unwrap()));
    assert_eq!(states.len(), 2);
    assert!(
        states
            .iter()
            .all(|state| state.phase == Phase::Connected && state.process == Some(7))
    );
    assert!(pool.states(Some(&"other".parse().unwrap())).is_empty());
    pool.close(PATIENCE).await;
    links.left(0).await;
    assert!(connect(&pool, plan("ann", "1")).await.is_err());
}

#[tokio::test]
async fn a_revision_that_is_replaced_while_it_is_being_opened_is_refused_and_does_not_come_back() {
    let links = Trial::new(|wire| async move {
        if wire.number > 0 {
            wire.echo(Era::Sessions).await;
        } else {
            std::future::pending().await
        }
    });
    let pool = pool(&links, settings());
    let (first, second) = tokio::join!(connect(&pool, plan("ann", "1")), async {
        phase(&pool, Phase::Connecting).await;
        while links.opened() == 0 {
            tokio::task::yield_now().await;
        }
        connect(&pool, plan("ann", "2")).await
    });
    assert_eq!(first.err().unwrap().kind(), ErrorKind::UpstreamUnavailable);
    assert!(echo(&second.unwrap()).await.is_ok());
    assert_eq!((links.opened(), links.most()), (2, 1));
}

#[tokio::test]
async fn a_broken_connection_still_tells_its_tools_and_the_next_use_opens_another() {
    let links = Trial::new(mortal);
    let pool = pool(&links, settings());
    let first = connect(&pool, plan("ann", "1")).await.unwrap();
    assert!(echo(&first).await.is_ok());
    kill(&first).await;
    phase(&pool, Phase::Degraded).await;
    links.left(0).await;
    let broken = pool.open(&plan("ann", "1").key, "1").unwrap();
    assert_eq!(broken.tools().await.unwrap()[0].name, "echo");
    assert!(matches!(
        echo(&broken).await,
        Err(UpstreamFault::NotSent(_))
    ));
    let second = connect(&pool, plan("ann", "1")).await.unwrap();
    assert!(echo(&second).await.is_ok());
    assert!(matches!(echo(&first).await, Err(UpstreamFault::NotSent(_))));
    let state = pool.states(None).remove(0);
    assert_eq!((state.phase, state.restarts), (Phase::Connected, 1));
}

#[tokio::test]
async fn a_broken_connection_is_forgotten_when_its_grace_and_window_are_over() {
    let links = Trial::new(mortal);
    let brief = PoolSettings {
        grace: Duration::from_millis(30),
        failure_window: Duration::from_millis(30),
        ..settings()
    };
    let pool = pool(&links, brief);
    let first = connect(&pool, plan("ann", "1")).await.unwrap();
    kill(&first).await;
    reached(&pool, |state| state.is_none()).await;
    assert!(pool.open(&plan("ann", "1").key, "1").is_none());
    assert_eq!(
        first.tools().await.unwrap_err().kind(),
        ErrorKind::UpstreamUnavailable
    );
    assert_eq!(pool.inner.tasks.len(), 0);
}

#[tokio::test]
async fn failed_attempts_are_spaced_and_open_the_breaker_and_a_success_closes_it() {
    let is_well = Arc::new(AtomicUsize::new(0));
    let well = is_well.clone();
    let links = Trial::new(move |mut wire| {
        let well = well.clone();
        async move {
            if well.load(Ordering::SeqCst) == 0 {
                wire.next().await;
                let last = Error::new(ErrorKind::UpstreamUnavailable, "exit status 3");
                wire.tell(Incoming::Closed(last)).await;
            }
            wire.echo(Era::Sessions).await;
        }
    });
    let slow = PoolSettings {
        failures_max: 3,
        backoff_first: Duration::from_secs(3600),
        backoff_max: Duration::from_secs(3600),
        ..settings()
    };
    let strict = pool(&links, slow);
    let failed = connect(&strict, plan("ann", "1")).await.err().unwrap();
    assert_eq!(
        (failed.kind(), failed.message()),
        (ErrorKind::UpstreamUnavailable, "exit status 3")
    );
    let refused = connect(&strict, plan("ann", "1")).await.err().unwrap();
    assert!(
        refused.wait().unwrap() > Duration::from_secs(1000),
        "{refused:?}"
    );
    assert_eq!(links.opened(), 1);
    // Other credentials are another matter.
    connect(&strict, plan("ann", "2")).await.err().unwrap();
    assert_eq!(links.opened(), 2);

    let quick = pool(
        &links,
        PoolSettings {
            failures_max: 3,
            ..settings()
        },
    );
    while quick
        .states(None)
        .first()
        .is_none_or(|state| state.phase != Phase::Down)
    {
        connect(&quick, plan("ann", "1")).await.err().unwrap();
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(links.opened() >= 5);
    is_well.store(1, Ordering::SeqCst);
    let start = Instant::now();
    while connect(&quick, plan("ann", "1")).await.is_err() {
        assert!(start.elapsed() < PATIENCE);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(quick.states(None)[0].phase, Phase::Connected);
}

#[tokio::test]
async fn what_breaks_right_after_it_was_opened_is_spaced_like_what_could_not_be_opened() {
    let links = Trial::new(mortal);
    let slow = PoolSettings {
        failures_max: 2,
        backoff_first: Duration::from_secs(3600),
        backoff_max: Duration::from_secs(3600),
        ..settings()
    };
    let strict = pool(&links, slow.clone());
    let first = connect(&strict, plan("ann", "1")).await.unwrap();
    kill(&first).await;
    // Also for who comes before the end has been noted.
    let refused = connect(&strict, plan("ann", "1")).await.err().unwrap();
    assert!(
        refused.wait().unwrap() > Duration::from_secs(1000),
        "{refused:?}"
    );
    assert_eq!(links.opened(), 1);

    // One answer, or a while, and it is opened again at once.
    let answered = connect(&strict, plan("bob", "1")).await.unwrap();
    assert!(echo(&answered).await.is_ok());
    kill(&answered).await;
    connect(&strict, plan("bob", "1")).await.unwrap();
    let lasting = PoolSettings {
        settled_after: Duration::ZERO,
        ..slow
    };
    let lasting = pool(&links, lasting);
    kill(&connect(&lasting, plan("ann", "1")).await.unwrap()).await;
    connect(&lasting, plan("ann", "1")).await.unwrap();

    let quick = PoolSettings {
        failures_max: 3,
        grace: Duration::ZERO,
        ..settings()
    };
    let quick = pool(&links, quick);
    let start = Instant::now();
    let is_down = || {
        quick
            .states(None)
            .iter()
            .any(|state| state.phase == Phase::Down)
    };
    while !is_down() {
        assert!(start.elapsed() < PATIENCE);
        match connect(&quick, plan("ann", "1")).await {
            Ok(upstream) => kill(&upstream).await,
            Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
        }
    }
}

#[tokio::test]
async fn an_attempt_that_hangs_ends_in_time_keeps_nobody_else_and_leaves_nothing() {
    let links = Trial::new(|wire| async move {
        match wire.user.as_str() {
            "hung" => std::future::pending().await,
            _ => wire.echo(Era::Sessions).await,
        }
    });
    let brief = PoolSettings {
        connect_time_max: Duration::from_millis(300),
        ..settings()
    };
    let pool = pool(&links, brief);
    let (hung, ()) = tokio::join!(connect(&pool, plan("hung", "1")), async {
        for n in 0..20 {
            let other = connect(&pool, plan(&format!("u{n}"), "1")).await.unwrap();
            assert!(echo(&other).await.is_ok());
        }
    });
    assert_eq!(hung.err().unwrap().kind(), ErrorKind::UpstreamUnavailable);
    links.left(20).await;
    assert_eq!(places(&pool.inner), 20);
}

#[tokio::test]
async fn a_tenants_children_have_their_own_bound_and_one_that_ends_makes_room() {
    let links = ordinary();
    let pool = pool(&links, settings());
    for user in ["a", "b"] {
        connect(&pool, child_plan(user, "1")).await.unwrap();
    }
    let refused = connect(&pool, child_plan("c", "1")).await.err().unwrap();
    assert_eq!(refused.kind(), ErrorKind::QuotaExceeded);
    assert_eq!(pool.states(None).len(), 2);
    let mut other = child_plan("c", "1");
    other.key.tenant = "other".parse().unwrap();
    connect(&pool, other).await.unwrap();
    connect(&pool, plan("remote", "1")).await.unwrap();
    pool.disconnect(&child_plan("a", "1").key).await;
    connect(&pool, child_plan("c", "1")).await.unwrap();
    assert_eq!(links.most(), 4);
}

#[tokio::test]
async fn where_all_places_are_taken_the_one_unused_for_longest_gives_way_and_busy_ones_do_not() {
    let links = Trial::new(|mut wire| async move {
        loop {
            let asked = wire.ordinary(Era::Sessions).await;
            if asked.method() == "tools/call" && asked.tool() == "echo" {
                wire.answer(&asked, json!({"x": 1})).await;
            }
        }
    });
    let few = PoolSettings {
        connections_max: 2,
        ..settings()
    };
    let pool = pool(&links, few);
    let a = connect(&pool, plan("a", "1")).await.unwrap();
    connect(&pool, plan("b", "1")).await.unwrap();
    tokio::time::sleep(Duration::from_millis(5)).await;
    echo(&a).await.unwrap();
    let c = connect(&pool, plan("c", "1")).await.unwrap();
    let left: Vec<_> = pool
        .states(None)
        .iter()
        .map(|state| state.key.user.to_string())
        .collect();
    assert_eq!(left, ["a", "c"]);
    let busy = [a, c];
    let waiting = busy
        .each_ref()
        .map(|upstream| upstream.call(call("silent", None)));
    let both = join_all(waiting);
    tokio::pin!(both);
    let full = async {
        while pool.states(None).iter().any(|state| state.in_flight == 0) {
            tokio::task::yield_now().await;
        }
        connect(&pool, plan("d", "1")).await.err().unwrap()
    };
    tokio::select! {
        _ = &mut both => panic!("a busy connection was ended"),
        error = full => assert_eq!(error.kind(), ErrorKind::Overloaded),
    }
    assert!(links.most() <= 2);
}

#[tokio::test]
async fn what_nobody_uses_and_what_is_too_old_ends_but_not_under_a_call() {
    let go = Arc::new(Notify::new());
    let served = go.clone();
    let links = Trial::new(move |mut wire| {
        let served = served.clone();
        async move {
            loop {
                let asked = wire.ordinary(Era::Sessions).await;
                if asked.method() == "tools/call" {
                    served.notified().await;
                    wire.answer(&asked, json!({"x": 1})).await;
                }
            }
        }
    });
    for (idle_max, lifetime_max) in [(20, 3_600_000), (3_600_000, 20)] {
        let brief = PoolSettings {
            idle_max: Duration::from_millis(idle_max),
            lifetime_max: Duration::from_millis(lifetime_max),
            ..settings()
        };
        let pool = pool(&links, brief);
        let busy = connect(&pool, plan("a", "1")).await.unwrap();
        let (answer, ()) = tokio::join!(echo(&busy), async {
            // Long enough for both limits to have passed while the call is in flight.
            tokio::time::sleep(Duration::from_millis(100)).await;
            assert_eq!(pool.states(None)[0].in_flight, 1);
            go.notify_one();
        });
        assert!(answer.is_ok(), "{answer:?}");
        reached(&pool, |state| state.is_none()).await;
        links.left(0).await;
        assert!(matches!(echo(&busy).await, Err(UpstreamFault::NotSent(_))));
        let again = connect(&pool, plan("a", "1")).await.unwrap();
        assert_eq!(again.identity().name, "trial");
        assert_eq!(
            pool.states(None).first().map_or(0, |state| state.restarts),
            0
        );
        pool.close(PATIENCE).await;
    }
}

#[tokio::test]
async fn a_thousand_rounds_of_connect_break_and_reconnect_leave_nothing() {
    let links = Trial::new(mortal);
    let pool = pool(&links, settings());
    for _ in 0..1000 {
        let upstream = connect(&pool, plan("ann", "1")).await.unwrap();
        assert!(echo(&upstream).await.is_ok());
        kill(&upstream).await;
        assert!(pool.inner.tasks.len() <= 2 && places(&pool.inner) <= 1);
    }
    assert_eq!((links.opened(), links.most()), (1000, 1));
    links.left(0).await;
    pool.close(PATIENCE).await;
    assert_eq!((pool.inner.tasks.len(), places(&pool.inner)), (0, 0));
    assert_eq!(
        tokio::runtime::Handle::current()
            .metrics()
            .num_alive_tasks(),
        0
    );
}

#[tokio::test]
async fn closing_ends_all_within_its_time_even_where_an_attempt_hangs() {
    let links = Trial::new(|wire| async move {
        match wire.user.as_str() {
            "hung" => std::future::pending().await,
            _ => wire.echo(Era::Sessions).await,
        }
    });
    let pool = pool(&links, settings());
    connect(&pool, plan("ann", "1")).await.unwrap();
    let (hung, ()) = tokio::join!(connect(&pool, plan("hung", "1")), async {
        while links.opened() < 2 {
            tokio::task::yield_now().await;
        }
        timeout(PATIENCE, pool.close(Duration::from_millis(500)))
            .await
            .unwrap();
    });
    assert_eq!(hung.err().unwrap().kind(), ErrorKind::UpstreamUnavailable);
    links.left(0).await;
    assert!(pool.states(None).is_empty());
}

#[tokio::test]
async fn a_pool_that_is_dropped_ends_its_connections() {
    let links = ordinary();
    let pool = pool(&links, settings());
    let upstream = connect(&pool, plan("ann", "1")).await.unwrap();
    drop(pool);
    links.left(0).await;
    assert!(matches!(
        echo(&upstream).await,
        Err(UpstreamFault::NotSent(_))
    ));
}
