//! Tests of the limiter: against an exact model, at its edges, under threads, and its memory.

use std::sync::Barrier;
use std::sync::atomic::AtomicBool;

use proptest::prelude::*;

use super::*;
use crate::mesh::ErrorKind;
use crate::mesh::limit::cost::thousandths;

const SECOND: Duration = Duration::from_secs(1);

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn tenant(name: &str) -> TenantId {
    name.parse().unwrap()
}

fn limits(change: impl FnOnce(&mut Limits)) -> Arc<Limits> {
    let mut limits = Limits::default();
    change(&mut limits);
    Arc::new(limits)
}

fn reads(units: f64) -> Cost {
    Cost::of(Direction::DynamodbRead, units)
}

/// Admits one call and ends it at once.
fn call(
    limiter: &Limiter,
    tenant: &TenantId,
    limits: &Arc<Limits>,
    cost: &Cost,
    now: Duration,
) -> Result<(), Refusal> {
    limiter.admit(tenant, limits, cost, now).map(drop)
}

mod model {
    //! What the limiter must do, written the other way round: levels instead of deficits, as signed
    //! 128-bit numbers in 60,000ths of a unit, found by stepping instead of by division.

    use super::*;

    /// Parts of a unit: a thousandth of a second's unit and a 60,000th of a request are whole numbers.
    const PARTS: i128 = 60_000;

    #[derive(Clone, Copy)]
    struct Level {
        parts: i128,
        full: i128,
        per_ms: i128,
        /// What a changed limit is rounded to: a thousandth of a unit, or a 60,000th of a request.
        grain: i128,
    }

    impl Level {
        fn new(per_window: u32, window_ms: i128) -> Self {
            let full = i128::from(per_window) * PARTS;
            Self {
                parts: full,
                full,
                per_ms: full / window_ms,
                grain: PARTS / window_ms,
            }
        }

        fn step(&mut self, millis: i128) {
            self.parts = self.full.min(self.parts + self.per_ms * millis);
        }

        fn admits(&self, cost: i128) -> bool {
            cost == 0
                || self.full > 0
                    && (self.parts >= cost || cost > self.full && self.parts == self.full)
        }

        fn change(&mut self, other: Self) {
            if self.full == other.full {
                return;
            }
            let missing = self.full - self.parts;
            let scaled = if self.full == 0 {
                0
            } else {
                // The same share, up to the next grain.
                let (numerator, denominator) = (missing * other.full, self.full * self.grain);
                (numerator + denominator - 1) / denominator * self.grain
            };
            *self = Self {
                parts: other.full - scaled,
                ..other
            };
        }

        fn take(&mut self, cost: i128) {
            if self.full > 0 {
                self.parts -= cost;
            }
        }
    }

    /// One tenant, as long as the limiter knows of it: what is left to it, and the latest moment that any
    /// call or settlement of it came with.
    struct Slot {
        levels: Vec<Level>,
        at: u64,
    }

    impl Slot {
        /// Time only goes on: who comes with an earlier moment finds it as it is.
        fn step_to(&mut self, now_ms: u64) {
            let millis = i128::from(now_ms.saturating_sub(self.at));
            self.levels.iter_mut().for_each(|level| level.step(millis));
            self.at = self.at.max(now_ms);
        }

        fn is_full(&self) -> bool {
            self.levels.iter().all(|level| level.parts == level.full)
        }
    }

    /// The limits of one tenant.
    #[derive(Default)]
    pub(super) struct Model {
        slot: Option<Slot>,
        /// The latest moment of all that the limiter has been told of. A tenant that it forgot is full
        /// from then on and not before, so that nothing is refilled twice.
        latest: u64,
        sweep_at: u64,
        in_flight: u32,
        calls_in_flight: u32,
    }

    fn levels(limits: &Limits) -> Vec<Level> {
        std::iter::once(Level::new(limits.requests_per_minute, 60_000))
            .chain(Direction::ALL.map(|direction| Level::new(direction.rate(limits), 1000)))
            .collect()
    }

    fn costs(cost: &Cost) -> impl Iterator<Item = i128> {
        let directions =
            Direction::ALL.map(|direction| i128::from(cost.thousandths(direction)) * 60);
        std::iter::once(PARTS).chain(directions)
    }

    impl Model {
        /// A call comes with this moment and these limits.
        pub(super) fn come(&mut self, now_ms: u64, limits: &Limits) {
            if now_ms >= self.sweep_at {
                self.sweep(now_ms);
            }
            self.latest = self.latest.max(now_ms);
            let at = self.latest;
            let slot = self.slot.get_or_insert_with(|| Slot {
                levels: levels(limits),
                at,
            });
            slot.step_to(now_ms);
            for (level, other) in slot.levels.iter_mut().zip(levels(limits)) {
                level.change(other);
            }
            self.calls_in_flight = limits.calls_in_flight;
        }

        pub(super) fn sweep(&mut self, now_ms: u64) {
            self.latest = self.latest.max(now_ms);
            self.sweep_at = now_ms + u64::try_from(SWEEP_INTERVAL.as_millis()).unwrap();
            if self.in_flight > 0 {
                return;
            }
            if let Some(slot) = &mut self.slot {
                slot.step_to(now_ms);
                if slot.is_full() {
                    self.latest = self.latest.max(slot.at);
                    self.slot = None;
                }
            }
        }

        fn levels(&self) -> &[Level] {
            &self.slot.as_ref().expect("a call has come").levels
        }

        fn slot(&mut self) -> &mut Slot {
            self.slot.as_mut().expect("a call has come")
        }

        pub(super) fn rate_admits(&self, cost: &Cost) -> bool {
            self.levels()
                .iter()
                .zip(costs(cost))
                .all(|(level, cost)| level.admits(cost))
        }

        pub(super) fn place_is_free(&self) -> bool {
            self.in_flight < self.calls_in_flight
        }

        /// Whether a limit of 0 stands in the way.
        pub(super) fn never(&self, cost: &Cost) -> bool {
            self.calls_in_flight == 0
                || self
                    .levels()
                    .iter()
                    .zip(costs(cost))
                    .any(|(level, cost)| cost > 0 && level.full == 0)
        }

        pub(super) fn take(&mut self, cost: &Cost) {
            for (level, cost) in self.slot().levels.iter_mut().zip(costs(cost)) {
                level.take(cost);
            }
            self.in_flight += 1;
        }

        pub(super) fn release(&mut self) {
            self.in_flight -= 1;
        }

        pub(super) fn settle(
            &mut self,
            direction: Direction,
            (charged, actual): (u32, u32),
            now_ms: u64,
        ) {
            let slot = self.slot();
            slot.step_to(now_ms);
            let level = &mut slot.levels[1 + direction as usize];
            let more = (i128::from(actual) - i128::from(charged)) * 60;
            level.take(more);
            level.parts = level.parts.min(level.full);
        }
    }
}

#[derive(Clone, Debug)]
enum Step {
    /// Time passes, in microseconds.
    Pass(u64),
    Admit(Vec<(Direction, f64)>),
    /// A thread that read the clock so many microseconds ago asks only now, or settles, or sweeps.
    Late(u64, Box<Step>),
    /// A thread asks that found out about the tenant before its limits were last changed.
    Stale(Vec<(Direction, f64)>),
    /// A call in flight ends; which, is taken modulo their number.
    End(usize),
    Settle(usize, Direction, f64),
    Reload(Vec<u32>),
    Sweep,
}

fn any_direction() -> impl Strategy<Value = Direction> {
    // Three are enough to meet each other often.
    prop_oneof![
        Just(Direction::DynamodbRead),
        Just(Direction::S3List),
        Just(Direction::Upstream),
    ]
}

fn any_units() -> impl Strategy<Value = f64> {
    prop_oneof![
        4 => (1_u32..40).prop_map(|halves| f64::from(halves) / 2.0),
        2 => (0_u32..30_000).prop_map(|thousandths| f64::from(thousandths) / 1000.0),
        1 => Just(0.0),
    ]
}

fn any_rates() -> impl Strategy<Value = Vec<u32>> {
    let rate = prop_oneof![1 => Just(0_u32), 6 => 1_u32..30, 2 => 30_u32..2000];
    let in_flight = prop_oneof![1 => Just(0_u32), 9 => 1_u32..8];
    let per_minute = prop_oneof![1 => Just(0_u32), 9 => 1_u32..3000];
    (per_minute, in_flight, prop::collection::vec(rate, 3))
        .prop_map(|(minute, flight, rates)| [vec![minute, flight], rates].concat())
}

fn limits_of(rates: &[u32]) -> Arc<Limits> {
    limits(|limits| {
        limits.requests_per_minute = rates[0];
        limits.calls_in_flight = rates[1];
        limits.dynamodb_read = rates[2];
        limits.s3_list = rates[3];
        limits.upstream = rates[4];
    })
}

fn any_step() -> impl Strategy<Value = Step> {
    let late = prop_oneof![0_u64..3000, 0_u64..100_000, 0_u64..15_000_000];
    prop_oneof![
        6 => any_step_in_time(),
        1 => (late, any_step_in_time()).prop_map(|(micros, step)| Step::Late(micros, Box::new(step))),
    ]
}

fn any_step_in_time() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => prop_oneof![0_u64..3000, 0_u64..400_000, 0_u64..5_000_000].prop_map(Step::Pass),
        10 => prop::collection::vec((any_direction(), any_units()), 0..3).prop_map(Step::Admit),
        4 => any::<usize>().prop_map(Step::End),
        3 => (any::<usize>(), any_direction(), any_units()).prop_map(|(i, d, u)| Step::Settle(i, d, u)),
        1 => any_rates().prop_map(Step::Reload),
        1 => prop::collection::vec((any_direction(), any_units()), 0..3).prop_map(Step::Stale),
        1 => Just(Step::Sweep),
    ]
}

/// The limiter and its model side by side.
struct Pair {
    limiter: Limiter,
    model: model::Model,
    limits: Arc<Limits>,
    /// The limits before they were last changed.
    stale: Arc<Limits>,
    now_us: u64,
    calls: Vec<Admission>,
}

fn cost_of(units: Vec<(Direction, f64)>) -> Cost {
    let add = |cost: Cost, (direction, units)| cost.and(direction, units);
    units.into_iter().fold(Cost::NONE, add)
}

impl Pair {
    /// One call asks both.
    fn admit(
        &mut self,
        limits: &Arc<Limits>,
        cost: &Cost,
        now: Duration,
    ) -> Result<Admission, Refusal> {
        self.model.come(millis(now), limits);
        self.limiter.admit(&tenant("acme"), limits, cost, now)
    }

    /// What both must agree on when a call asks at `now`.
    fn ask(&mut self, limits: &Arc<Limits>, cost: &Cost, now: Duration) {
        match self.admit(limits, cost, now) {
            Ok(call) => {
                assert!(self.model.rate_admits(cost) && self.model.place_is_free());
                self.model.take(cost);
                self.calls.push(call);
            }
            Err(refusal) if refusal.kind() == ErrorKind::Overloaded => {
                assert!(!self.model.place_is_free());
                assert!(self.model.rate_admits(cost) || self.model.never(cost));
                assert_eq!(refusal.retry_after, None);
            }
            Err(refusal) => {
                assert!(!self.model.rate_admits(cost), "{refusal:?}");
                match refusal.retry_after {
                    None => assert!(self.model.never(cost), "{refusal:?}"),
                    Some(wait) => self.check_wait(limits, cost, now, wait),
                }
            }
        }
    }

    /// After `wait` the call would be admitted, and a millisecond earlier it would not: by the model, and
    /// by the limiter itself, which is asked a millisecond too early and is the worse by nothing for it.
    fn check_wait(&mut self, limits: &Arc<Limits>, cost: &Cost, now: Duration, wait: Duration) {
        assert!(!self.model.never(cost));
        let early = now + wait - ms(1);
        let refusal = self.admit(limits, cost, early).unwrap_err();
        assert!(!self.model.rate_admits(cost));
        assert_eq!(refusal.kind(), ErrorKind::RateLimited);
        assert_eq!(refusal.retry_after, Some(ms(1)));
        let then = u64::try_from((now + wait).as_micros()).unwrap();
        self.now_us = self.now_us.max(then);
        match self.admit(limits, cost, now + wait) {
            Ok(call) => {
                assert!(self.model.rate_admits(cost) && self.model.place_is_free());
                self.model.take(cost);
                self.calls.push(call);
            }
            Err(refusal) => {
                assert!(self.model.rate_admits(cost) && !self.model.place_is_free());
                assert_eq!(refusal.limit, Limit::CallsInFlight);
            }
        }
    }

    fn run(&mut self, step: Step, late_us: u64) {
        let now = Duration::from_micros(self.now_us.saturating_sub(late_us));
        match step {
            Step::Pass(micros) => self.now_us += micros,
            Step::Late(micros, step) => self.run(*step, micros),
            Step::Admit(units) => self.ask(&Arc::clone(&self.limits), &cost_of(units), now),
            Step::Stale(units) => self.ask(&Arc::clone(&self.stale), &cost_of(units), now),
            Step::End(which) if !self.calls.is_empty() => {
                let which = which % self.calls.len();
                drop(self.calls.swap_remove(which));
                self.model.release();
            }
            Step::Settle(which, direction, units) if !self.calls.is_empty() => {
                let which = which % self.calls.len();
                let charged = self.calls[which].charged().thousandths(direction);
                let actual = thousandths(units);
                if charged != actual {
                    self.model.settle(direction, (charged, actual), millis(now));
                }
                self.calls[which].settle(direction, units, now);
            }
            Step::End(_) | Step::Settle(..) => {}
            Step::Reload(rates) => {
                // The limiter learns of them with the next call.
                self.stale = std::mem::replace(&mut self.limits, limits_of(&rates));
            }
            Step::Sweep => {
                self.model.sweep(millis(now));
                self.limiter.sweep(now);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn it_admits_what_the_model_admits_and_its_waits_are_exact(
        rates in any_rates(),
        steps in prop::collection::vec(any_step(), 1..120),
    ) {
        let limits = limits_of(&rates);
        let mut pair = Pair {
            limiter: Limiter::new(),
            model: model::Model::default(),
            stale: Arc::clone(&limits),
            limits,
            // Far enough on for whoever is late.
            now_us: 20_000_000,
            calls: Vec::new(),
        };
        for step in steps {
            pair.run(step, 0);
        }
        let open = u32::try_from(pair.calls.len()).unwrap();
        prop_assert_eq!(pair.limiter.in_flight(), open);
        pair.calls.clear();
        prop_assert_eq!(pair.limiter.in_flight(), 0);
    }

    #[test]
    fn sweeping_at_any_time_changes_no_answer(
        rates in any_rates(),
        calls in prop::collection::vec((0_u64..2_000_000, any_direction(), any_units(), 0_u8..4), 1..80),
    ) {
        let (swept, kept) = (Limiter::new(), Limiter::new());
        let limits = limits_of(&rates);
        let mut now = Duration::ZERO;
        for (micros, direction, units, who) in calls {
            now += Duration::from_micros(micros);
            swept.sweep(now);
            let (who, cost) = (tenant(&format!("t{who}")), Cost::of(direction, units));
            prop_assert_eq!(
                call(&swept, &who, &limits, &cost, now),
                call(&kept, &who, &limits, &cost, now)
            );
        }
        swept.sweep(now + Duration::from_secs(3600));
        prop_assert_eq!(swept.tenants(), 0);
    }

    #[test]
    fn places_are_never_overbooked_and_never_denied_to_one_who_has_none(
        total in 1_u32..40,
        own in 1_u32..12,
        turns in prop::collection::vec((0_u8..12, prop::bool::weighted(0.6)), 1..300),
    ) {
        let limiter = Limiter::with_places(total);
        let limits = limits(|limits| limits.calls_in_flight = own);
        let mut held: Vec<Vec<Admission>> = (0..12).map(|_| Vec::new()).collect();
        for (who, take) in turns {
            let taken: usize = held.iter().map(Vec::len).sum();
            let mine = &mut held[usize::from(who)];
            if !take {
                mine.pop();
                continue;
            }
            let name = tenant(&format!("t{who}"));
            let free = total as usize - taken;
            match limiter.admit(&name, &limits, &Cost::NONE, Duration::ZERO) {
                Ok(call) => {
                    prop_assert!(free >= 1 && mine.len() < own as usize);
                    prop_assert!(mine.is_empty() || free >= 2, "the last place is for who has none");
                    prop_assert!(mine.len() <= 3 * (free - 1));
                    mine.push(call);
                }
                Err(refusal) if refusal.limit == Limit::CallsInFlight => {
                    prop_assert_eq!(mine.len(), own as usize);
                }
                Err(refusal) => {
                    prop_assert_eq!(refusal.limit, Limit::ServerCallsInFlight);
                    prop_assert!(free == 0 || mine.len() > 3 * (free - 1) && !mine.is_empty());
                }
            }
        }
        let taken: usize = held.iter().map(Vec::len).sum();
        prop_assert_eq!(limiter.in_flight() as usize, taken);
    }
}

#[test]
fn a_bucket_holds_one_second_and_comes_back_at_its_rate() {
    let (limiter, acme) = (Limiter::new(), tenant("acme"));
    let limits = limits(|limits| limits.dynamodb_read = 10);
    for _ in 0..10 {
        call(&limiter, &acme, &limits, &reads(1.0), Duration::ZERO).unwrap();
    }
    let refusal = call(&limiter, &acme, &limits, &reads(1.0), Duration::ZERO).unwrap_err();
    assert_eq!(refusal.limit, Limit::Rate(Direction::DynamodbRead));
    assert_eq!(refusal.allowed, 10);
    assert_eq!(refusal.remaining, 0.0);
    assert_eq!(refusal.retry_after, Some(ms(100)));
    assert!(call(&limiter, &acme, &limits, &reads(1.0), ms(99)).is_err());
    call(&limiter, &acme, &limits, &reads(1.0), ms(100)).unwrap();
}

#[test]
fn the_longest_wait_is_told_whichever_limit_it_is() {
    let (limiter, acme) = (Limiter::new(), tenant("acme"));
    let limits = limits(|limits| {
        limits.requests_per_minute = 2;
        limits.dynamodb_read = 10;
        limits.s3_list = 1;
    });
    let cost = reads(10.0).and(Direction::S3List, 1.0);
    call(&limiter, &acme, &limits, &cost, Duration::ZERO).unwrap();
    // 1 s for the reads, 1 s for the listing: the first of the contract's order is named.
    let refusal = call(&limiter, &acme, &limits, &cost, Duration::ZERO).unwrap_err();
    assert_eq!(refusal.limit, Limit::Rate(Direction::DynamodbRead));
    assert_eq!(refusal.retry_after, Some(SECOND));
    call(&limiter, &acme, &limits, &Cost::NONE, Duration::ZERO).unwrap();
    let refusal = call(&limiter, &acme, &limits, &cost, Duration::ZERO).unwrap_err();
    assert_eq!(refusal.limit, Limit::RequestsPerMinute);
    assert_eq!(refusal.retry_after, Some(Duration::from_secs(30)));
}

#[test]
fn what_is_refused_costs_nothing_anywhere() {
    let (limiter, acme) = (Limiter::new(), tenant("acme"));
    let limits = limits(|limits| {
        limits.requests_per_minute = 2;
        limits.dynamodb_read = 10;
        limits.s3_list = 1;
        limits.calls_in_flight = 1;
    });
    let listing = Cost::of(Direction::S3List, 1.0);
    call(&limiter, &acme, &limits, &listing, Duration::ZERO).unwrap();
    for _ in 0..100 {
        let cost = listing.and(Direction::DynamodbRead, 10.0);
        call(&limiter, &acme, &limits, &cost, Duration::ZERO).unwrap_err();
    }
    // Neither the request nor the reads nor the one place went with them.
    let held = limiter
        .admit(&acme, &limits, &reads(10.0), Duration::ZERO)
        .unwrap();
    // Refused for its place, a call takes no request either.
    let later = Duration::from_secs(30);
    for _ in 0..100 {
        let refusal = limiter
            .admit(&acme, &limits, &reads(10.0), later)
            .unwrap_err();
        assert_eq!(refusal.limit, Limit::CallsInFlight);
    }
    drop(held);
    call(&limiter, &acme, &limits, &reads(10.0), later).unwrap();
}

#[test]
fn what_the_server_refuses_costs_the_tenant_nothing() {
    let (limiter, limits) = (
        Limiter::with_places(1),
        limits(|limits| limits.requests_per_minute = 1),
    );
    let held = limiter
        .admit(&tenant("a"), &limits, &Cost::NONE, Duration::ZERO)
        .unwrap();
    let refusal = limiter
        .admit(&tenant("b"), &limits, &Cost::NONE, Duration::ZERO)
        .unwrap_err();
    assert_eq!(refusal.limit, Limit::ServerCallsInFlight);
    assert_eq!(refusal.kind(), ErrorKind::Overloaded);
    drop(held);
    call(&limiter, &tenant("b"), &limits, &Cost::NONE, Duration::ZERO).unwrap();
}

#[test]
fn a_call_settles_up_and_down_and_into_debt() {
    let (limiter, acme) = (Limiter::new(), tenant("acme"));
    let limits = limits(|limits| limits.dynamodb_read = 10);
    let mut first = limiter
        .admit(&acme, &limits, &reads(5.0), Duration::ZERO)
        .unwrap();
    first.settle(Direction::DynamodbRead, 2.0, Duration::ZERO);
    first.settle(Direction::DynamodbRead, 2.0, Duration::ZERO);
    assert_eq!(first.charged().units(Direction::DynamodbRead), 2.0);
    let mut second = limiter
        .admit(&acme, &limits, &reads(8.0), Duration::ZERO)
        .unwrap();
    assert!(call(&limiter, &acme, &limits, &reads(0.001), Duration::ZERO).is_err());
    second.settle(Direction::DynamodbRead, 28.0, Duration::ZERO);
    // 20 units of debt, and 1 for the call: 2.1 s.
    let refusal = call(&limiter, &acme, &limits, &reads(1.0), Duration::ZERO).unwrap_err();
    assert_eq!(refusal.retry_after, Some(ms(2100)));
    assert_eq!(refusal.remaining, 0.0);
    // Debt of one direction does not hold up another, nor what costs nothing.
    call(
        &limiter,
        &acme,
        &limits,
        &Cost::of(Direction::Sns, 1.0),
        Duration::ZERO,
    )
    .unwrap();
    drop(second);
    assert!(
        call(&limiter, &acme, &limits, &reads(1.0), ms(2099)).is_err(),
        "debt outlives its call"
    );
    call(&limiter, &acme, &limits, &reads(1.0), ms(2100)).unwrap();
}

#[test]
fn a_refund_does_not_fill_a_bucket_above_full() {
    let (limiter, acme) = (Limiter::new(), tenant("acme"));
    let limits = limits(|limits| limits.dynamodb_read = 10);
    let mut slow = limiter
        .admit(&acme, &limits, &reads(10.0), Duration::ZERO)
        .unwrap();
    slow.settle(Direction::DynamodbRead, 0.0, SECOND);
    call(&limiter, &acme, &limits, &reads(10.0), SECOND).unwrap();
    assert!(call(&limiter, &acme, &limits, &reads(0.001), SECOND).is_err());
}

#[test]
fn a_cost_above_the_burst_passes_a_full_bucket_and_leaves_a_debt() {
    let (limiter, acme) = (Limiter::new(), tenant("acme"));
    let limits = limits(|limits| limits.dynamodb_read = 10);
    call(&limiter, &acme, &limits, &reads(25.0), Duration::ZERO).unwrap();
    let refusal = call(&limiter, &acme, &limits, &reads(25.0), Duration::ZERO).unwrap_err();
    assert_eq!(refusal.retry_after, Some(ms(2500)));
    assert!(call(&limiter, &acme, &limits, &reads(25.0), ms(2499)).is_err());
    call(&limiter, &acme, &limits, &reads(25.0), ms(2500)).unwrap();
}

#[test]
fn a_limit_of_zero_never_admits_and_promises_nothing() {
    let (limiter, acme) = (Limiter::new(), tenant("acme"));
    let none = limits(|limits| limits.requests_per_minute = 0);
    let refusal = call(&limiter, &acme, &none, &Cost::NONE, SECOND).unwrap_err();
    assert_eq!(
        (refusal.limit, refusal.retry_after),
        (Limit::RequestsPerMinute, None)
    );
    let none = limits(|limits| limits.calls_in_flight = 0);
    let refusal = call(&limiter, &acme, &none, &Cost::NONE, SECOND).unwrap_err();
    assert_eq!((refusal.limit, refusal.allowed), (Limit::CallsInFlight, 0));
    let none = limits(|limits| limits.sns = 0);
    let refusal = call(
        &limiter,
        &acme,
        &none,
        &Cost::of(Direction::Sns, 1.0),
        SECOND,
    )
    .unwrap_err();
    assert_eq!(
        (refusal.limit, refusal.retry_after),
        (Limit::Rate(Direction::Sns), None)
    );
    call(&limiter, &acme, &none, &reads(1.0), SECOND).unwrap();
    // What is settled under it leaves nothing behind that time could never bring back.
    let mut late = limiter.admit(&acme, &none, &Cost::NONE, SECOND).unwrap();
    late.settle(Direction::Sns, 1000.0, SECOND);
    drop(late);
    limiter.sweep(SECOND * 3600);
    assert_eq!(limiter.tenants(), 0);
}

#[test]
fn changed_limits_count_at_once_and_shut_nobody_out() {
    let (limiter, acme) = (Limiter::new(), tenant("acme"));
    let high = limits(|limits| limits.dynamodb_read = 1000);
    let low = limits(|limits| limits.dynamodb_read = 10);
    call(&limiter, &acme, &high, &reads(1000.0), Duration::ZERO).unwrap();
    let refusal = call(&limiter, &acme, &low, &reads(1.0), Duration::ZERO).unwrap_err();
    assert_eq!((refusal.allowed, refusal.retry_after), (10, Some(ms(100))));
    // Half of the low limit is half of the high one.
    let refusal = call(&limiter, &acme, &high, &reads(501.0), ms(500)).unwrap_err();
    assert_eq!(
        (refusal.remaining, refusal.retry_after),
        (500.0, Some(ms(1)))
    );
}

#[test]
fn a_thread_that_read_the_clock_earlier_is_told_the_wait_from_its_own_moment() {
    let (limiter, acme) = (Limiter::new(), tenant("acme"));
    let limits = limits(|limits| limits.dynamodb_read = 10);
    call(&limiter, &acme, &limits, &reads(10.0), ms(500)).unwrap();
    let refusal = call(&limiter, &acme, &limits, &reads(1.0), ms(450)).unwrap_err();
    assert_eq!(refusal.retry_after, Some(ms(150)));
    assert!(call(&limiter, &acme, &limits, &reads(1.0), ms(599)).is_err());
    call(&limiter, &acme, &limits, &reads(1.0), ms(600)).unwrap();
}

#[test]
fn tenants_do_not_share_buckets() {
    let limiter = Limiter::new();
    let limits = limits(|limits| limits.dynamodb_read = 1);
    for who in 0..1000 {
        let who = tenant(&format!("t{who}"));
        call(&limiter, &who, &limits, &reads(1.0), Duration::ZERO).unwrap();
        assert!(call(&limiter, &who, &limits, &reads(1.0), Duration::ZERO).is_err());
    }
}

#[test]
fn calls_sweep_what_is_idle_and_keep_what_is_not() {
    let (limiter, limits) = (
        Limiter::new(),
        limits(|limits| limits.requests_per_minute = 60),
    );
    for who in 0..1000 {
        call(
            &limiter,
            &tenant(&format!("t{who}")),
            &limits,
            &Cost::NONE,
            Duration::ZERO,
        )
        .unwrap();
    }
    let held = limiter
        .admit(&tenant("held"), &limits, &Cost::NONE, Duration::ZERO)
        .unwrap();
    assert_eq!(
        limiter.sweep(ms(999)),
        0,
        "their request is missing for a second"
    );
    assert_eq!(limiter.tenants(), 1001);
    // A thousand other tenants call later: the maps go through theirs before they grow.
    let later = Duration::from_secs(60);
    for who in 0..1000 {
        call(
            &limiter,
            &tenant(&format!("u{who}")),
            &limits,
            &Cost::NONE,
            later,
        )
        .unwrap();
    }
    assert_eq!(limiter.tenants(), 1001);
    assert_eq!(limiter.sweep(later * 2), 1000);
    assert_eq!(limiter.tenants(), 1, "what is in flight stays");
    drop(held);
    assert_eq!(limiter.sweep(later * 2), 1);
}

#[test]
fn threads_never_exceed_a_cap_and_leave_nothing_taken() {
    const OWN: u32 = 5;
    const TOTAL: u32 = 12;
    const TENANTS: usize = 6;
    let limiter = Limiter::with_places(TOTAL);
    let limits = limits(|limits| {
        limits.calls_in_flight = OWN;
        limits.requests_per_minute = u32::MAX;
    });
    let in_all = AtomicU32::new(0);
    let of_tenants: Vec<AtomicU32> = (0..TENANTS).map(|_| AtomicU32::new(0)).collect();
    let admitted = AtomicU32::new(0);
    let exceeded = AtomicBool::new(false);
    let start = Barrier::new(8);
    std::thread::scope(|scope| {
        for thread in 0..8_usize {
            let (limiter, limits, start) = (&limiter, &limits, &start);
            let (in_all, of_tenants) = (&in_all, &of_tenants);
            let (admitted, exceeded) = (&admitted, &exceeded);
            scope.spawn(move || {
                start.wait();
                let mut held = Vec::new();
                for turn in 0..5000_usize {
                    let who = (turn * 7 + thread) % TENANTS;
                    let name = tenant(&format!("t{who}"));
                    if let Ok(call) = limiter.admit(&name, limits, &Cost::NONE, Duration::ZERO) {
                        let own = of_tenants[who].fetch_add(1, Ordering::SeqCst) + 1;
                        let all = in_all.fetch_add(1, Ordering::SeqCst) + 1;
                        if own > OWN || all > TOTAL {
                            exceeded.store(true, Ordering::SeqCst);
                        }
                        admitted.fetch_add(1, Ordering::SeqCst);
                        held.push((who, call));
                    }
                    if turn % 3 == 0 && !held.is_empty() {
                        let (who, call) = held.remove(turn % held.len());
                        of_tenants[who].fetch_sub(1, Ordering::SeqCst);
                        in_all.fetch_sub(1, Ordering::SeqCst);
                        drop(call);
                    }
                }
                for (who, call) in held {
                    of_tenants[who].fetch_sub(1, Ordering::SeqCst);
                    in_all.fetch_sub(1, Ordering::SeqCst);
                    drop(call);
                }
            });
        }
    });
    assert!(!exceeded.load(Ordering::SeqCst));
    assert!(
        admitted.load(Ordering::SeqCst) > TOTAL,
        "the threads did get through"
    );
    assert_eq!(limiter.in_flight(), 0);
    limiter.sweep(SECOND);
    assert_eq!(limiter.tenants(), 0);
}

#[test]
fn threads_never_take_more_than_a_bucket_holds() {
    let limiter = Limiter::new();
    let limits = limits(|limits| limits.dynamodb_read = 1000);
    let admitted = AtomicU32::new(0);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..1000 {
                    if call(
                        &limiter,
                        &tenant("acme"),
                        &limits,
                        &reads(1.0),
                        Duration::ZERO,
                    )
                    .is_ok()
                    {
                        admitted.fetch_add(1, Ordering::SeqCst);
                    }
                }
            });
        }
    });
    assert_eq!(admitted.load(Ordering::SeqCst), 1000);
}

/// Bytes that an allocation of `size` takes from a common allocator: its size, a word of its own, and
/// what fills it up to 16.
fn allocated(size: usize) -> usize {
    (size + 8).next_multiple_of(16).max(32)
}

/// Bytes of everything that the limiter holds, at most: maps with their control bytes, slots, and the
/// text of the ids as if the directory of tenants did not share it.
fn bytes_of(limiter: &Limiter, id_bytes: usize) -> usize {
    let counts = 2 * size_of::<usize>();
    let shards = limiter.inner.shards.iter().map(|shard| {
        let slots = &lock(shard).slots;
        // A map has a power of two of places, of which seven in eight may be used.
        let places = (slots.capacity() * 8).div_ceil(7).next_power_of_two();
        let table = places * (size_of::<(TenantId, Arc<Slot>)>() + 1) + 16;
        let each = allocated(counts + size_of::<Slot>()) + allocated(counts + id_bytes);
        size_of::<Mutex<Shard>>() + allocated(table) + slots.len() * each
    });
    size_of::<Limiter>() + allocated(counts + size_of::<Inner>()) + shards.sum::<usize>()
}

#[test]
fn a_tenant_costs_at_most_300_bytes() {
    let limiter = Limiter::new();
    // The record's limits belong to the directory of tenants; here they are one for all.
    let limits = limits(|_| {});
    let mut worst = 0;
    for who in 0..10_000_usize {
        // The longest ids there are.
        let name = tenant(&format!("tenant-of-the-longest-name-{who:05}"));
        assert_eq!(name.as_str().len(), 32);
        call(&limiter, &name, &limits, &reads(1.0), Duration::ZERO).unwrap();
        // From a thousand on the maps have no smallest size to blame; they grow at different times.
        if who >= 1000 && who % 100 == 0 {
            worst = worst.max(bytes_of(&limiter, 32) / limiter.tenants());
        }
    }
    assert_eq!(limiter.tenants(), 10_000);
    let each = bytes_of(&limiter, 32) / 10_000;
    assert!(
        each <= 300 && worst <= 300,
        "{each} bytes each, {worst} at the worst"
    );
    println!("{each} bytes each, {worst} at the worst");
    limiter.sweep(SECOND * 60);
    assert_eq!(limiter.tenants(), 0);
    let left = bytes_of(&limiter, 32);
    assert!(left <= 64 * 1024, "{left} bytes for nobody");
}
