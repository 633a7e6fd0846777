//! What matching an event with its tenant's rules costs: 1,000 tenants with 10 rules each, an event after the other.
//!
//! 5,000 events a second, each looked at once and held against 10 rules, take half a percent of a core for each
//! microsecond of "view and match with 10 rules". On the machine where this was written it takes 10.8 µs of
//! processor time: 5.4 % of a core. 2.9 µs of that are the view, which all rules of a tenant share.
//!
//! The worst that one pattern and one event of 200 kB came to, on that machine busy with other work: 18 to 43 ms for
//! long lists of texts and numbers, 0.7 s for names with dots in many branches; up to 5 ns for each byte and comparison.
//! That is why `Pattern::fits` takes such work aside.
#![expect(clippy::unwrap_used, reason = "a bench stops where it goes wrong")]

use std::hint::black_box;

use agent_mesh::mesh::Timestamp;
use agent_mesh::mesh::event::pattern::{Pattern, view};
use agent_mesh::mesh::event::{Event, Outcome, Priority};
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use serde_json::Value;
use serde_json::value::RawValue;
use ulid::Ulid;

const TENANTS: usize = 1000;

/// The rules of a tenant: each operator, at the top and below, what fits often and what hardly ever does.
fn rules(tenant: usize) -> Vec<Pattern> {
    let texts = [
        format!(r#"{{"detail-type":["Order.Failed","Order.Late"],"detail":{{"shop":["shop-{tenant}"]}}}}"#),
        r#"{"outcome":[{"anything-but":"ok"}]}"#.to_owned(),
        r#"{"detail":{"total":[{"numeric":[">=",100,"<",10000]}],"currency":["EUR"]}}"#.to_owned(),
        r#"{"detail":{"customer":{"mail":[{"suffix":"@example.com"}],"ip":[{"cidr":"10.0.0.0/8"}]}}}"#.to_owned(),
        format!(r#"{{"detail":{{"items":{{"sku":[{{"prefix":"sku-{tenant}-"}}],"count":[{{"numeric":[">",2]}}]}}}}}}"#),
        r#"{"detail":{"path":[{"wildcard":"/api/*/orders/*"}]}}"#.to_owned(),
        r#"{"$or":[{"priority":["critical"]},{"detail":{"retry":[{"exists":true}]}}],"tool":["events_send"]}"#.to_owned(),
        r#"{"detail":{"state":[{"equals-ignore-case":"FAILED"}],"note":[{"exists":false}]}}"#.to_owned(),
        r#"{"tags":{"team":["a","b","c"]},"user_id":[{"prefix":"robot-"}]}"#.to_owned(),
        r#"{"detail":{"items":{"sku":[{"anything-but":{"prefix":["x-","y-"]}}],"gift":[true]}}}"#.to_owned(),
    ];
    texts
        .iter()
        .map(|text| Pattern::parse_callers(text).unwrap())
        .collect()
}

fn event(tenant: usize) -> Event {
    let data = format!(
        r#"{{"shop":"shop-{tenant}","order":"o-{tenant}-4711","state":"failed","total":129.9,"currency":"EUR",
        "path":"/api/v2/orders/4711","customer":{{"id":"c-17","mail":"ada@example.com","ip":"192.168.4.20"}},
        "items":[{{"sku":"sku-{tenant}-1","count":1,"gift":false}},{{"sku":"sku-{tenant}-2","count":5,"gift":false}},
        {{"sku":"x-9","count":1,"gift":true}}],"attempts":[1,2,3],"reason":"the card was refused by its bank"}}"#
    );
    Event {
        event_id: Ulid::from_parts(1, tenant as u128),
        time: Timestamp::from_seconds(1_800_000_000),
        detail_type: "Order.Failed".into(),
        tenant_id: format!("tenant-{tenant}").parse().unwrap(),
        user_id: "ada".parse().unwrap(),
        org_id: None,
        tool: "events_send".into(),
        outcome: Outcome::Ok,
        error_code: None,
        count: None,
        request_id: Ulid::from_parts(1, 2),
        trace_id: None,
        duration_ms: 1.5,
        bytes: None,
        source: Some("till".to_owned()),
        priority: Priority::Medium,
        tags: None,
        cause: None,
        depth: 0,
        data: RawValue::from_string(data).unwrap(),
    }
}

/// The tenant whose turn it is: an odd step, so that they come in no order.
fn next(turn: &mut usize) -> usize {
    *turn += 1;
    turn.wrapping_mul(7919) % TENANTS
}

fn matching(criterion: &mut Criterion) {
    let rules: Vec<_> = (0..TENANTS).map(rules).collect();
    let events: Vec<_> = (0..TENANTS).map(event).collect();
    let views: Vec<Value> = events.iter().map(|event| view(event).unwrap()).collect();
    let fitting = |tenant: usize, view: &Value| {
        let fitting = rules[tenant].iter().filter(|rule| rule.matches(view));
        fitting.count()
    };
    // Neither all of them nor none.
    assert_eq!(fitting(7, &views[7]), 5);

    let mut group = criterion.benchmark_group("patterns");
    group.throughput(Throughput::Elements(1));
    let mut turn = 0;
    group.bench_function("view and match with 10 rules", |bencher| {
        bencher.iter(|| {
            let tenant = next(&mut turn);
            let view = view(&events[tenant]).unwrap();
            black_box(fitting(tenant, &view))
        });
    });
    group.bench_function("match with 10 rules", |bencher| {
        bencher.iter(|| {
            let tenant = next(&mut turn);
            black_box(fitting(tenant, &views[tenant]))
        });
    });
    group.bench_function("view", |bencher| {
        bencher.iter_batched(
            || next(&mut turn),
            |tenant| view(&events[tenant]).unwrap(),
            BatchSize::SmallInput,
        );
    });
    group.finish();
}

fn parsing(criterion: &mut Criterion) {
    criterion.bench_function("parse 10 patterns", |bencher| {
        bencher.iter(|| black_box(rules(black_box(7))));
    });
}

/// Events of 200 kB, each with a pattern of the longest that makes the most of it: the name says of what.
fn hostile() -> Vec<(&'static str, Pattern, Value)> {
    /// Bytes of the events' data.
    const BYTES: usize = 200_000;
    /// Characters that are left for the list of a pattern.
    const ROOM: usize = 1_940;
    let listed = |item: &dyn Fn(usize) -> String| {
        let mut list = String::new();
        for number in 0.. {
            let item = item(number);
            if list.len() + item.len() >= ROOM {
                break;
            }
            list.push_str(if list.is_empty() { "" } else { "," });
            list.push_str(&item);
        }
        list
    };
    let repeated = |item: &str| {
        let items = vec![item; BYTES / (item.len() + 1)];
        format!(r#"{{"a":[{}]}}"#, items.join(","))
    };
    // Two letters tell 676 texts apart.
    let text = |number: usize| {
        let letter = |number: usize| char::from(b'a' + (number % 26) as u8);
        format!("{}{}", letter(number / 26), letter(number))
    };
    let quoted = |number: usize| format!(r#""{}""#, text(number));
    let within = |list: &str| format!(r#"{{"detail":{{"a":[{list}]}}}}"#);
    let excluded = listed(&|number| quoted(number));
    let last = excluded.rsplit(',').next().unwrap().to_owned();
    let excluded = within(&format!(r#"{{"anything-but":{{"suffix":[{excluded}]}}}}"#));
    let prefixes = within(&listed(&|number| {
        format!(r#"{{"prefix":{}}}"#, quoted(number))
    }));
    let folded = within(&listed(&|number| {
        format!(r#"{{"equals-ignore-case":{}}}"#, quoted(number))
    }));
    let numbers = within(&listed(&|number| {
        format!(r#"{{"numeric":[">",{}]}}"#, number + 10)
    }));
    let networks = within(&listed(&|number| {
        format!(r#"{{"cidr":"10.0.{number}.0/24"}}"#)
    }));
    let branches = listed(&|number| format!(r#"{{"a":[{}]}}"#, quoted(number)));
    let branches = format!(r#"{{"detail":{{"$or":[{branches}]}}}}"#);
    let dotted = listed(&|number| format!(r#"{{"a.b.c.d.e.f.g.h.{}":[1]}}"#, text(number)));
    let dotted = format!(r#"{{"detail":{{"$or":[{dotted}]}}}}"#);
    let stars = format!(r#"{{"wildcard":"*{}b*"}}"#, "a".repeat(1_900));
    let long = format!(r#"{{"a":"{}"}}"#, "a".repeat(BYTES));
    let cases = [
        ("anything-but many suffixes", excluded, repeated(&last)),
        ("many prefixes", prefixes, repeated(r#""""#)),
        ("many texts in any case", folded, repeated(r#""z""#)),
        ("many ranges of numbers", numbers, repeated("1")),
        ("many networks", networks, repeated(r#""9.9.9.9""#)),
        ("many branches", branches, repeated(r#""""#)),
        ("many names with dots", dotted, repeated("{}")),
        ("a long wildcard", within(&stars), long),
    ];
    let case = |(name, pattern, data): (&'static str, String, String)| {
        let pattern = Pattern::parse_callers(&pattern).unwrap();
        let mut event = event(0);
        event.data = RawValue::from_string(data).unwrap();
        (name, pattern, view(&event).unwrap())
    };
    cases.into_iter().map(case).collect()
}

fn worst(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("one pattern and an event of 200 kB");
    group.sample_size(10);
    for (name, pattern, view) in hostile() {
        group.bench_function(name, |bencher| {
            bencher.iter(|| black_box(pattern.matches(black_box(&view))));
        });
    }
    group.finish();
}

criterion_group!(benches, matching, worst, parsing);
criterion_main!(benches);
