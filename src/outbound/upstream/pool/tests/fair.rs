//! Tenants beside each other: who has much gives way, and nobody is pushed out by who has more.

use std::time::Duration;

use super::{connect, ordinary, pool, settings};
use crate::mesh::ErrorKind;
use crate::mesh::upstream::{ConnectionPlan, Upstreams};
use crate::outbound::upstream::UpstreamPool;
use crate::outbound::upstream::pool::settings::PoolSettings;
use crate::outbound::upstream::trial::{child_plan, plan};

fn of(tenant: &str, plan: ConnectionPlan) -> ConnectionPlan {
    let mut plan = plan;
    plan.key.tenant = tenant.parse().unwrap();
    plan
}

/// Which users' connections are there.
fn users(pool: &UpstreamPool) -> Vec<String> {
    let states = pool.states(None);
    let users = states.iter().map(|state| state.key.user.to_string());
    let mut users: Vec<_> = users.collect();
    users.sort_unstable();
    users
}

/// So that no two were used at the same millisecond.
async fn moment() {
    tokio::time::sleep(Duration::from_millis(3)).await;
}

#[tokio::test]
async fn who_holds_the_most_gives_way_however_lately_it_was_used() {
    let links = ordinary();
    let children = PoolSettings {
        children_max: 4,
        ..settings()
    };
    let all = PoolSettings {
        connections_max: 4,
        ..settings()
    };
    for (bounds, plan) in [
        (children, child_plan as fn(&str, &str) -> ConnectionPlan),
        (all, plan),
    ] {
        let pool = pool(&links, bounds);
        let wide = |plan| ConnectionPlan {
            children_max: 9,
            ..plan
        };
        let open = async |tenant: &str, user: &str| {
            let opened = connect(&pool, of(tenant, wide(plan(user, "1")))).await;
            moment().await;
            opened.map(drop)
        };
        open("small", "s1").await.unwrap();
        for user in ["l1", "l2", "l3"] {
            open("large", user).await.unwrap();
        }
        // The small one's was unused for longest.
        open("large", "l4").await.unwrap();
        assert_eq!(users(&pool), ["l2", "l3", "l4", "s1"]);
        open("small", "s2").await.unwrap();
        assert_eq!(users(&pool), ["l3", "l4", "s1", "s2"]);
        // Of those who hold the same, each gives way for itself.
        open("small", "s3").await.unwrap();
        assert_eq!(users(&pool), ["l3", "l4", "s2", "s3"]);
        open("third", "t1").await.unwrap();
        assert_eq!(users(&pool).len(), 4);
        assert!(users(&pool).contains(&"t1".to_owned()));
        pool.close(Duration::from_secs(5)).await;
    }
}

#[tokio::test]
async fn a_tenant_has_its_share_and_gives_way_for_itself_beyond_it() {
    let links = ordinary();
    let share = PoolSettings {
        tenant_connections_max: 2,
        ..settings()
    };
    let pool = pool(&links, share);
    for (tenant, user) in [("other", "o"), ("acme", "a"), ("acme", "b"), ("acme", "c")] {
        connect(&pool, of(tenant, plan(user, "1"))).await.unwrap();
        moment().await;
    }
    assert_eq!(users(&pool), ["b", "c", "o"]);
}

#[tokio::test]
async fn where_all_of_a_share_are_busy_nobody_elses_is_taken() {
    let links = crate::outbound::upstream::trial::Trial::new(|mut wire| async move {
        loop {
            wire.ordinary(crate::mesh::upstream::Era::Sessions).await;
        }
    });
    let few = PoolSettings {
        connections_max: 2,
        ..settings()
    };
    let pool = pool(&links, few);
    connect(&pool, of("other", plan("o", "1"))).await.unwrap();
    let busy = connect(&pool, of("acme", plan("a", "1"))).await.unwrap();
    let waiting = busy.call(crate::outbound::upstream::trial::call("silent", None));
    let refused = async {
        while pool.states(None).iter().all(|state| state.in_flight == 0) {
            tokio::task::yield_now().await;
        }
        connect(&pool, of("acme", plan("b", "1")))
            .await
            .err()
            .unwrap()
    };
    tokio::select! {
        _ = waiting => panic!("a busy connection was ended"),
        error = refused => assert_eq!(error.kind(), ErrorKind::Overloaded),
    }
    assert_eq!(users(&pool), ["a", "o"]);
}
