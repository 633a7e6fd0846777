//! No two things have one key, and no root leads to what lies under another.

use proptest::prelude::*;

use super::*;

/// A row, by what it is of.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Thing {
    Value(Option<UserId>, String),
    Event(i64, u16, String),
    Shards(i64, u16),
    Counter(i64, String),
    Quota(String),
    Upload(String),
    Rule(String),
    Alert(String),
    Run(String),
    Running(String),
    Idempotency(&'static str, String),
}

const HOUR_S: i64 = 3600;

/// Tenants that lie inside each other's names.
fn tenant() -> impl Strategy<Value = TenantId> {
    "[ab]|[ab][ab-][ab]".prop_map(|text| text.parse().unwrap())
}

fn user() -> impl Strategy<Value = UserId> {
    "[UT.@a]{1,2}".prop_map(|text| text.parse().unwrap())
}

/// Keys of callers, made of what physical keys are made of.
fn key() -> impl Strategy<Value = String> {
    "[K#TU/a]{1,3}"
}

fn thing() -> impl Strategy<Value = Thing> {
    let hour = (0..50_i64).prop_map(|hour| hour * HOUR_S);
    let day = (0..3_i64).prop_map(|day| day * 24 * HOUR_S);
    let id = "[0-9A-Z]{2}";
    let tool = prop_oneof![Just("events_send"), Just("events")];
    prop_oneof![
        (prop::option::of(user()), key()).prop_map(|(user, key)| Thing::Value(user, key)),
        (day.clone(), 0..3_u16, id).prop_map(|(day, shard, id)| Thing::Event(day, shard, id)),
        (day, 1..65_u16).prop_map(|(day, shards)| Thing::Shards(day, shards)),
        (hour, id).prop_map(|(hour, writer)| Thing::Counter(hour, writer)),
        prop_oneof![id, "(UP)?(LOAD)?"].prop_map(Thing::Quota),
        key().prop_map(Thing::Upload),
        key().prop_map(Thing::Rule),
        key().prop_map(Thing::Alert),
        id.prop_map(Thing::Run),
        id.prop_map(Thing::Running),
        (tool, "[0-9a-f]{1,2}").prop_map(|(tool, hash)| Thing::Idempotency(tool, hash)),
    ]
}

fn row(tenant: &TenantId, thing: &Thing) -> RowKey {
    let keys = Keyspace::of(tenant);
    let at = |seconds: &i64| Timestamp::from_seconds(*seconds);
    let nobody: UserId = "nobody".parse().unwrap();
    match thing {
        Thing::Value(Some(user), key) => keys.value(Scope::User, user, key),
        Thing::Value(None, key) => keys.value(Scope::Tenant, &nobody, key),
        Thing::Event(day, shard, id) => keys.event(at(day), *shard, id),
        Thing::Shards(day, shards) => keys.event_shards(at(day), *shards),
        Thing::Counter(hour, writer) => keys.counter(at(hour), writer),
        Thing::Quota(name) => keys.quota(name),
        Thing::Upload(path) => keys.upload(path),
        Thing::Rule(name) => keys.rule(name),
        Thing::Alert(name) => keys.alert(name),
        Thing::Run(id) => keys.run(id),
        Thing::Running(id) => keys.running(id),
        Thing::Idempotency(tool, hash) => keys.idempotency(tool, hash),
    }
}

/// Where artifacts lie: a user's, or the tenant's.
fn root(tenant: &TenantId, user: Option<&UserId>) -> String {
    let nobody: UserId = "nobody".parse().unwrap();
    let scope = if user.is_some() {
        Scope::User
    } else {
        Scope::Tenant
    };
    let prefix = Keyspace::of(tenant).artifacts(scope, user.unwrap_or(&nobody), "");
    prefix.root().to_owned()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn rows_are_the_same_only_where_they_are_of_the_same_thing(
        one in (tenant(), thing()),
        other in (tenant(), thing()),
    ) {
        let keys = [row(&one.0, &one.1), row(&other.0, &other.1)];
        let [first, second] = keys.each_ref().map(|key| (key.partition(), key.sort()));
        prop_assert_eq!(first == second, one == other);
    }

    #[test]
    fn a_row_begins_with_its_own_tenant_alone(one in (tenant(), thing()), other in tenant()) {
        let key = row(&one.0, &one.1);
        prop_assert_eq!(key.tenant(), &one.0);
        let leading = format!("T#{other}#");
        prop_assert_eq!(key.partition().starts_with(&leading), one.0 == other);
    }

    #[test]
    fn no_root_of_artifacts_lies_under_another(
        one in (tenant(), prop::option::of(user())),
        other in (tenant(), prop::option::of(user())),
    ) {
        let (first, second) = (root(&one.0, one.1.as_ref()), root(&other.0, other.1.as_ref()));
        prop_assert_eq!(first.starts_with(&second), one == other);
        let body = Keyspace::of(&one.0).event_body("01ARZ3NDEKTSV4RRFFQ69G5FAV");
        prop_assert!(!body.key().starts_with(&second), "a body of an event is no artifact");
        let all = Keyspace::of(&other.0).all_objects();
        prop_assert_eq!(body.key().starts_with(all.root()), one.0 == other.0);
    }

    #[test]
    fn an_artifact_is_told_by_the_key_that_it_was_stored_under(
        tenant in tenant(),
        user in prop::option::of(user()),
        key in key(),
    ) {
        let scope = if user.is_some() { Scope::User } else { Scope::Tenant };
        let owner = user.clone().unwrap_or_else(|| "nobody".parse().unwrap());
        let object = Keyspace::of(&tenant).artifact(scope, &owner, &key);
        let root = root(&tenant, user.as_ref());
        prop_assert_eq!(object.key().strip_prefix(&root), Some(key.as_str()));
        let keys = Keyspace::of(&tenant);
        prop_assert_eq!(keys.at_path(keys.path_of(&object)), object);
    }
}
