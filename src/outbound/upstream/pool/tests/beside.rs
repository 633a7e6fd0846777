//! A connection that takes the place of another: nobody who uses the first notices, whatever becomes of the second.

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use serde_json::json;
use tokio::sync::Notify;
use tokio::time::timeout;

use super::{connect, echo, ordinary, pool, reached, settings};
use crate::mesh::upstream::{ConnectionPlan, Era, Phase, Upstream, UpstreamFault, Upstreams};
use crate::mesh::{Error, ErrorKind};
use crate::outbound::upstream::UpstreamPool;
use crate::outbound::upstream::link::Incoming;
use crate::outbound::upstream::pool::settings::PoolSettings;
use crate::outbound::upstream::trial::{PATIENCE, Trial, call, child_plan, plan};

async fn try_out(pool: &UpstreamPool, plan: ConnectionPlan) -> Result<Arc<dyn Upstream>, Error> {
    timeout(PATIENCE, pool.try_out(plan)).await.unwrap()
}

/// Servers that answer `wait` when they are told to, and of which the second cannot be used where `fails`.
fn patient(go: &Arc<Notify>, fails: bool) -> Arc<Trial> {
    let go = go.clone();
    Trial::new(move |mut wire| {
        let go = go.clone();
        async move {
            if wire.number > 0 && fails {
                wire.next().await;
                let last = Error::new(ErrorKind::UpstreamUnavailable, "exit status 3");
                wire.tell(Incoming::Closed(last)).await;
            }
            loop {
                let asked = wire.ordinary(Era::Sessions).await;
                if asked.tool() == "wait" {
                    go.notified().await;
                }
                if asked.method() == "tools/call" {
                    wire.answer(&asked, json!({"x": 1})).await;
                }
            }
        }
    })
}

async fn in_flight(pool: &UpstreamPool) {
    reached(pool, |state| {
        state.is_some_and(|state| state.in_flight == 1)
    })
    .await;
}

#[tokio::test]
async fn calls_in_flight_end_in_peace_when_another_takes_over() {
    for by_connect in [false, true] {
        let go = Arc::new(Notify::new());
        let links = patient(&go, false);
        let pool = pool(&links, settings());
        let first = connect(&pool, plan("ann", "1")).await.unwrap();
        let (answer, second) = tokio::join!(first.call(call("wait", None)), async {
            in_flight(&pool).await;
            let second = match by_connect {
                true => connect(&pool, plan("ann", "2")).await.unwrap(),
                false => {
                    let second = try_out(&pool, plan("ann", "2")).await.unwrap();
                    let key = plan("ann", "2").key;
                    assert!(pool.open(&key, "2").is_none(), "nobody gets it yet");
                    assert!(pool.open(&key, "1").is_some());
                    pool.take_over(&key, "2");
                    second
                }
            };
            assert!(pool.open(&plan("ann", "1").key, "1").is_none());
            assert!(echo(&second).await.is_ok());
            links.left(2).await;
            go.notify_one();
            second
        });
        assert!(answer.is_ok(), "{answer:?}");
        links.left(1).await;
        assert!(matches!(echo(&first).await, Err(UpstreamFault::NotSent(_))));
        let same = connect(&pool, plan("ann", "2")).await.unwrap();
        assert!(Arc::ptr_eq(&same, &second));
        assert_eq!(links.opened(), 2);
        pool.close(PATIENCE).await;
        assert!(pool.inner.lock().beside.is_empty());
    }
}

#[tokio::test]
async fn one_that_fails_leaves_the_first_and_its_calls_as_they_were() {
    let go = Arc::new(Notify::new());
    let links = patient(&go, true);
    let pool = pool(&links, settings());
    let first = connect(&pool, plan("ann", "1")).await.unwrap();
    let (answer, ()) = tokio::join!(first.call(call("wait", None)), async {
        in_flight(&pool).await;
        let failed = try_out(&pool, plan("ann", "2")).await.err().unwrap();
        assert_eq!(failed.message(), "exit status 3");
        let key = plan("ann", "2").key;
        pool.take_over(&key, "2");
        pool.retire(&key, "2").await;
        go.notify_one();
    });
    assert!(answer.is_ok(), "{answer:?}");
    assert!(echo(&first).await.is_ok());
    let state = pool.states(None).remove(0);
    assert_eq!(
        (state.phase, state.revision.as_str()),
        (Phase::Connected, "1")
    );
    links.left(1).await;
    assert!(pool.inner.lock().beside.is_empty());
}

#[tokio::test]
async fn only_what_is_named_is_retired_and_everything_is_disconnected() {
    let links = ordinary();
    let pool = pool(&links, settings());
    let key = plan("ann", "1").key;
    let first = connect(&pool, plan("ann", "1")).await.unwrap();
    let second = try_out(&pool, plan("ann", "2")).await.unwrap();
    pool.retire(&key, "3").await;
    assert!(echo(&first).await.is_ok() && echo(&second).await.is_ok());
    pool.retire(&key, "2").await;
    links.left(1).await;
    assert!(echo(&first).await.is_ok());
    // What is asked for by its revision is what was tried out as that.
    let third = try_out(&pool, plan("ann", "3")).await.unwrap();
    let same = connect(&pool, plan("ann", "3")).await.unwrap();
    assert!(Arc::ptr_eq(&third, &same));
    links.left(1).await;
    try_out(&pool, plan("ann", "4")).await.unwrap();
    pool.disconnect(&key).await;
    links.left(0).await;
    connect(&pool, plan("ann", "4")).await.unwrap();
    try_out(&pool, plan("bob", "1")).await.unwrap();
    pool.forget(&key.tenant, &"other".parse().unwrap()).await;
    links.left(2).await;
    pool.forget(&key.tenant, &key.service).await;
    links.left(0).await;
    assert!(pool.states(None).is_empty());
}

#[tokio::test]
async fn what_is_being_opened_is_retired_at_once() {
    let links = Trial::new(|_| std::future::pending());
    let pool = pool(&links, settings());
    let key = plan("ann", "1").key;
    for is_tried in [false, true] {
        let opened = links.opened();
        let opening = async {
            match is_tried {
                true => try_out(&pool, plan("ann", "1")).await,
                false => connect(&pool, plan("ann", "1")).await,
            }
        };
        let (refused, ()) = tokio::join!(opening, async {
            while links.opened() == opened {
                tokio::task::yield_now().await;
            }
            pool.retire(&key, "1").await;
        });
        let refused = refused.err().unwrap();
        assert_eq!(refused.kind(), ErrorKind::UpstreamUnavailable);
        links.left(0).await;
        assert!(pool.states(None).is_empty());
    }
}

#[tokio::test]
async fn one_that_is_replaced_and_stays_busy_ends_all_the_same() {
    let go = Arc::new(Notify::new());
    let links = patient(&go, false);
    let brief = PoolSettings {
        overtime_max: Duration::from_millis(20),
        ..settings()
    };
    let pool = pool(&links, brief);
    let first = connect(&pool, plan("ann", "1")).await.unwrap();
    let (lost, _second) = tokio::join!(first.call(call("wait", None)), async {
        in_flight(&pool).await;
        connect(&pool, plan("ann", "2")).await.unwrap()
    });
    assert!(matches!(lost, Err(UpstreamFault::Lost(_))), "{lost:?}");
    links.left(1).await;
}

#[tokio::test]
async fn a_tenant_whose_children_are_all_there_can_replace_one_and_add_none() {
    let links = ordinary();
    let pool = pool(&links, settings());
    for user in ["a", "b"] {
        connect(&pool, child_plan(user, "1")).await.unwrap();
    }
    let tried = try_out(&pool, child_plan("a", "2")).await.unwrap();
    let others = [child_plan("b", "2"), child_plan("c", "1")];
    for refused in join_all(others.map(|plan| try_out(&pool, plan))).await {
        assert_eq!(refused.err().unwrap().kind(), ErrorKind::QuotaExceeded);
    }
    pool.take_over(&child_plan("a", "2").key, "2");
    assert!(echo(&tried).await.is_ok());
    links.left(2).await;
    assert_eq!(links.most(), 3);
}
