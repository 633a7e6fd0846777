//! What admitting a call costs: one tenant, ten thousand tenants, a settled call, a refused call, two threads.
#![expect(clippy::unwrap_used, reason = "a bench stops where it goes wrong")]

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use agent_mesh::mesh::limit::{Cost, Direction, Limiter};
use agent_mesh::mesh::tenant::{Limits, TenantId};
use criterion::{Criterion, criterion_group, criterion_main};

/// So much that no call is refused.
fn ample() -> Arc<Limits> {
    Arc::new(Limits {
        requests_per_minute: u32::MAX,
        calls_in_flight: 64,
        dynamodb_read: u32::MAX,
        ..Limits::default()
    })
}

fn tenants(count: usize) -> Vec<TenantId> {
    (0..count)
        .map(|number| format!("tenant-{number}").parse().unwrap())
        .collect()
}

fn admit(criterion: &mut Criterion) {
    let limits = ample();
    let cost = Cost::of(Direction::DynamodbRead, 1.0);
    for count in [1, 10_000] {
        let (limiter, tenants) = (Limiter::new(), tenants(count));
        let mut calls = 0_usize;
        criterion.bench_function(&format!("admit and drop, {count} tenants"), |bencher| {
            bencher.iter(|| {
                calls += 1;
                // A call a microsecond; an odd step, so that the tenants come in no order.
                let now = Duration::from_micros(calls as u64);
                let tenant = &tenants[calls.wrapping_mul(7919) % count];
                drop(black_box(
                    limiter.admit(tenant, &limits, &cost, now).unwrap(),
                ));
            });
        });
    }
}

fn settle(criterion: &mut Criterion) {
    let (limiter, limits, tenants) = (Limiter::new(), ample(), tenants(1));
    let cost = Cost::of(Direction::DynamodbRead, 1.0);
    criterion.bench_function("admit, settle and drop", |bencher| {
        bencher.iter(|| {
            let mut call = limiter
                .admit(&tenants[0], &limits, &cost, Duration::ZERO)
                .unwrap();
            call.settle(Direction::DynamodbRead, black_box(0.5), Duration::ZERO);
        });
    });
}

fn refuse(criterion: &mut Criterion) {
    let (limiter, tenants) = (Limiter::new(), tenants(1));
    let limits = Arc::new(Limits {
        dynamodb_read: 1,
        ..Limits::default()
    });
    let cost = Cost::of(Direction::DynamodbRead, 1.0);
    drop(limiter.admit(&tenants[0], &limits, &cost, Duration::ZERO));
    criterion.bench_function("refuse", |bencher| {
        bencher.iter(|| {
            black_box(limiter.admit(&tenants[0], &limits, &cost, Duration::ZERO)).unwrap_err()
        });
    });
}

fn contend(criterion: &mut Criterion) {
    let (limiter, limits, tenants) = (Limiter::new(), ample(), tenants(1));
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                drop(limiter.admit(&tenants[0], &limits, &Cost::NONE, Duration::ZERO));
            }
        });
        criterion.bench_function("admit and drop, two threads of one tenant", |bencher| {
            bencher.iter(|| limiter.admit(&tenants[0], &limits, &Cost::NONE, Duration::ZERO));
        });
        stop.store(true, Ordering::Relaxed);
    });
}

criterion_group!(limits, admit, settle, refuse, contend);
criterion_main!(limits);
