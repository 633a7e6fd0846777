//! Identities to contexts, by the environment and by tokens.

mod bearers;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{LazyLock, Mutex};

use futures::FutureExt;
use futures::future::BoxFuture;
use serde_json::{Value, json};

use super::*;
use crate::mesh::tenant::identity::Token;
use crate::mesh::tenant::key_set::{KeySet, KeysUnavailable, SignatureKey};
use crate::mesh::tenant::role::Permission;
use crate::mesh::tenant::test_key::{TestKey, key_set};
use crate::mesh::tenant::token::TOKEN_BYTES_MAX;

const NOW: i64 = 1_790_000_000;
const FIRST: &str = "https://id.acme.example";
const SECOND: &str = "https://second.acme.example";

static KEY: LazyLock<TestKey> = LazyLock::new(|| TestKey::new("EdDSA", "key-1"));

/// Tenants that a test may change while they are in use.
#[derive(Default)]
struct Tenants(Mutex<HashMap<TenantId, Arc<TenantRecord>>>);

impl Tenants {
    fn put(&self, id: &str, status: TenantStatus, issuers: &[&str]) {
        let id: TenantId = id.parse().unwrap();
        let record = TenantRecord {
            id: id.clone(),
            status,
            issuers: issuers.iter().map(|&issuer| issuer.to_owned()).collect(),
            event_shards: 1,
            limits: Arc::default(),
            workflows: Default::default(),
            alert_topics: Default::default(),
        };
        self.0.lock().unwrap().insert(id, Arc::new(record));
    }

    fn remove(&self, id: &str) {
        self.0
            .lock()
            .unwrap()
            .remove(&id.parse::<TenantId>().unwrap());
    }
}

impl TenantDirectory for Tenants {
    fn find(&self, tenant: &TenantId) -> Option<Arc<TenantRecord>> {
        self.0.lock().unwrap().get(tenant).cloned()
    }
}

/// Keys that count how often they are asked for.
#[derive(Default)]
struct Keys {
    set: Mutex<KeySet>,
    asked: AtomicUsize,
    down: AtomicBool,
}

impl KeySource for Keys {
    fn key<'a>(
        &'a self,
        kid: &'a str,
    ) -> BoxFuture<'a, Result<Option<Arc<SignatureKey>>, KeysUnavailable>> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let found = self.set.lock().unwrap().find(kid);
        let answer = if self.down.load(Ordering::SeqCst) {
            Err(KeysUnavailable)
        } else {
            Ok(found)
        };
        futures::future::ready(answer).boxed()
    }
}

struct World {
    tenants: Arc<Tenants>,
    keys: Arc<Keys>,
    resolver: Resolver,
}

fn by_token() -> World {
    let tenants = Arc::new(Tenants::default());
    tenants.put("acme", TenantStatus::Active, &[FIRST, SECOND]);
    tenants.put("other", TenantStatus::Active, &["https://id.other.example"]);
    let keys = Arc::new(Keys::default());
    *keys.set.lock().unwrap() = KeySet::parse(key_set(&[&KEY]).as_bytes()).unwrap();
    let settings = settings();
    World {
        resolver: Resolver::of_tokens(settings, keys.clone(), tenants.clone()),
        tenants,
        keys,
    }
}

fn settings() -> TokenSettings {
    let issuers = [FIRST, SECOND, "https://id.other.example"];
    TokenSettings::of_messages(issuers.map(str::to_owned).to_vec(), vec!["mesh".to_owned()])
}

fn by_environment(tenant: &str, role: Role) -> (Arc<Tenants>, Resolver) {
    let tenants = Arc::new(Tenants::default());
    let identity = EnvironmentIdentity {
        tenant: tenant.parse().unwrap(),
        user: "ada".parse().unwrap(),
        role,
    };
    let resolver = Resolver::of_environment(identity, Arc::default(), tenants.clone());
    (tenants, resolver)
}

fn claims() -> Value {
    json!({"iss": FIRST, "aud": "mesh", "iat": NOW, "exp": NOW + 300, "sub": "ada", "tenant_id": "acme", "role": "user"})
}

fn with(name: &str, value: Value) -> Value {
    let mut claims = claims();
    claims[name] = value;
    claims
}

fn presented(claims: &Value) -> Presented {
    Presented {
        token: Some(Token::new(KEY.token(claims))),
        foreign: false,
        ..Presented::default()
    }
}

impl World {
    fn at(&self, presented: &Presented, second: i64) -> Result<TenantContext, IdentityError> {
        self.at_ms(presented, (NOW + second) * 1000)
    }

    fn at_ms(&self, presented: &Presented, millis: i64) -> Result<TenantContext, IdentityError> {
        let now = Timestamp::from_millis(millis);
        self.resolver
            .resolve(presented, now)
            .now_or_never()
            .unwrap()
    }

    fn refusal(&self, claims: &Value) -> Option<IdentityError> {
        self.at(&presented(claims), 0).err()
    }

    fn asked(&self) -> usize {
        self.keys.asked.load(Ordering::SeqCst)
    }
}

fn now() -> Timestamp {
    Timestamp::from_seconds(NOW)
}

#[test]
fn the_environment_names_who_calls() {
    let (tenants, resolver) = by_environment("local", Role::Admin);
    let context = resolver
        .resolve_now(&Presented::default(), now())
        .unwrap()
        .unwrap();
    assert_eq!(context.tenant_id().as_str(), "local");
    assert_eq!(context.user_id().as_str(), "ada");
    assert_eq!(context.role(), Role::Admin);
    assert!(context.permissions().contains(Permission::RulesManage));
    assert_eq!(context.context_type(), &ContextType::Personal);
    assert_eq!(context.ends_at(), None);
    assert_eq!(**context.limits(), Limits::default());

    tenants.put("local", TenantStatus::Active, &[FIRST]);
    let context = resolver
        .resolve_now(&Presented::default(), now())
        .unwrap()
        .unwrap();
    assert_eq!(context.tenant().issuers, [FIRST]);

    tenants.put("local", TenantStatus::Suspended, &[]);
    let refused = resolver.resolve_now(&Presented::default(), now()).unwrap();
    assert_eq!(refused.err(), Some(IdentityError::Suspended));
}

#[test]
fn the_environment_refuses_any_other_identity() {
    let (_, resolver) = by_environment("acme", Role::User);
    let refusal = |presented: &Presented| {
        let at_once = resolver.resolve_now(presented, now()).unwrap().err();
        let later = resolver
            .resolve(presented, now())
            .now_or_never()
            .unwrap()
            .err();
        assert_eq!(at_once, later);
        at_once
    };
    let foreign = Presented {
        token: None,
        foreign: true,
        ..Presented::default()
    };
    assert_eq!(refusal(&foreign), Some(IdentityError::Foreign));
    assert_eq!(
        refusal(&presented(&claims())),
        Some(IdentityError::Unexpected)
    );
    assert_eq!(refusal(&Presented::default()), None);
}

#[test]
fn a_token_names_who_calls() {
    let world = by_token();
    let mut claims = with("org_id", json!("org-7"));
    claims["scope"] = "kv.read rules.manage".into();
    let context = world.at(&presented(&claims), 0).unwrap();
    assert_eq!(context.tenant_id().as_str(), "acme");
    assert_eq!(context.user_id().as_str(), "ada");
    assert_eq!(context.role(), Role::User);
    assert_eq!(
        context.permissions(),
        PermissionSet::of(&[Permission::KvRead])
    );
    let organization = ContextType::Organization {
        org_id: "org-7".into(),
    };
    assert_eq!(context.context_type(), &organization);
    assert_eq!(context.ends_at(), Some(Timestamp::from_seconds(NOW + 305)));
}

#[test]
fn a_request_without_a_token_has_no_tenant_whatever_else_it_names() {
    let world = by_token();
    for foreign in [false, true] {
        let presented = Presented {
            token: None,
            foreign,
            ..Presented::default()
        };
        assert_eq!(world.at(&presented, 0).err(), Some(IdentityError::Missing));
        let at_once = world.resolver.resolve_now(&presented, now()).unwrap();
        assert_eq!(at_once.err(), Some(IdentityError::Missing));
    }
}

#[test]
fn another_identity_beside_a_token_is_left_aside() {
    let world = by_token();
    let both = Presented {
        foreign: true,
        ..presented(&claims())
    };
    assert_eq!(world.at(&both, 0).unwrap().tenant_id().as_str(), "acme");
}

#[test]
fn a_tenants_issuers_alone_sign_in_to_it_and_an_unknown_tenant_looks_the_same() {
    let world = by_token();
    let refused = Some(IdentityError::Unauthenticated(Refusal::Tenant));
    assert_eq!(world.refusal(&with("tenant_id", json!("other"))), refused);
    assert_eq!(world.refusal(&with("tenant_id", json!("nobody"))), refused);
    assert_eq!(
        world.refusal(&with("iss", json!("https://id.other.example"))),
        refused
    );
    let untrusted = world.refusal(&with("iss", json!("https://evil.example")));
    assert_eq!(
        untrusted,
        Some(IdentityError::Unauthenticated(Refusal::Issuer))
    );
    // A tenant that signs nobody in by token does not tell whether it is suspended either.
    world.tenants.put("quiet", TenantStatus::Suspended, &[]);
    assert_eq!(world.refusal(&with("tenant_id", json!("quiet"))), refused);
}

#[test]
fn users_of_two_issuers_are_two_users() {
    let world = by_token();
    let user = |issuer: &str, subject: &str| {
        let mut claims = with("iss", json!(issuer));
        claims["sub"] = subject.into();
        world.at(&presented(&claims), 0).unwrap().user_id().clone()
    };
    assert_eq!(user(FIRST, "ada").as_str(), "ada");
    let second = user(SECOND, "ada");
    assert!(second.as_str().starts_with('~'));
    assert_ne!(user(FIRST, second.as_str()), second);
    assert_ne!(user(FIRST, "auth0|ada"), user(SECOND, "auth0|ada"));
}

#[test]
fn a_suspended_tenant_calls_nothing_from_that_moment_on() {
    let world = by_token();
    let token = presented(&claims());
    assert!(world.at(&token, 0).is_ok());
    world.tenants.put("acme", TenantStatus::Suspended, &[FIRST]);
    assert_eq!(world.at(&token, 1).err(), Some(IdentityError::Suspended));
    let unseen = presented(&with("sub", json!("grace")));
    assert_eq!(world.at(&unseen, 1).err(), Some(IdentityError::Suspended));
    world.tenants.put("acme", TenantStatus::Active, &[FIRST]);
    assert!(world.at(&token, 2).is_ok());
    world.tenants.remove("acme");
    let refused = Some(IdentityError::Unauthenticated(Refusal::Tenant));
    assert_eq!(world.at(&token, 3).err(), refused);
}

#[test]
fn an_issuer_that_a_tenant_drops_is_dropped_at_once() {
    let world = by_token();
    let token = presented(&claims());
    assert_eq!(world.at(&token, 0).unwrap().user_id().as_str(), "ada");
    world
        .tenants
        .put("acme", TenantStatus::Active, &[SECOND, FIRST]);
    let user = world.at(&token, 1).unwrap().user_id().clone();
    assert!(
        user.as_str().starts_with('~'),
        "it is no longer the first issuer"
    );
    world.tenants.put("acme", TenantStatus::Active, &[SECOND]);
    let refused = Some(IdentityError::Unauthenticated(Refusal::Tenant));
    assert_eq!(world.at(&token, 2).err(), refused);
}

#[test]
fn a_tenants_new_limits_hold_from_the_next_request_on() {
    let world = by_token();
    let token = presented(&claims());
    let before = Arc::clone(world.at(&token, 0).unwrap().tenant());
    world
        .tenants
        .put("acme", TenantStatus::Active, &[FIRST, SECOND]);
    let after = Arc::clone(world.at(&token, 1).unwrap().tenant());
    assert!(!Arc::ptr_eq(&before, &after));
    assert_eq!(world.asked(), 1, "the token is verified once all the same");
}

#[test]
fn a_verified_token_is_believed_for_a_minute() {
    let world = by_token();
    let token = presented(&claims());
    assert!(world.resolver.resolve_now(&token, now()).is_none());
    assert!(world.at(&token, 0).is_ok());
    for millis in [0, 1, 59_999] {
        assert!(world.at_ms(&token, NOW * 1000 + millis).is_ok());
        let now = Timestamp::from_millis(NOW * 1000 + millis);
        assert!(world.resolver.resolve_now(&token, now).unwrap().is_ok());
    }
    assert_eq!(world.asked(), 1);
    let minute_later = Timestamp::from_seconds(NOW + 60);
    assert!(world.resolver.resolve_now(&token, minute_later).is_none());
    assert!(world.at(&token, 60).is_ok());
    assert_eq!(world.asked(), 2);
}

#[test]
fn a_withdrawn_key_is_worth_nothing_after_a_minute() {
    let world = by_token();
    let token = presented(&claims());
    assert!(world.at(&token, 0).is_ok());
    *world.keys.set.lock().unwrap() = KeySet::default();
    assert!(world.at(&token, 59).is_ok());
    let refused = Some(IdentityError::Unauthenticated(Refusal::UnknownKey));
    assert_eq!(world.at(&token, 60).err(), refused);
    let unseen = presented(&with("sub", json!("grace")));
    assert_eq!(world.at(&unseen, 1).err(), refused);
}

#[test]
fn a_token_that_is_remembered_ends_when_it_says() {
    let world = by_token();
    let token = presented(&with("exp", json!(NOW + 10)));
    assert!(world.at(&token, 0).is_ok());
    assert!(world.at_ms(&token, (NOW + 15) * 1000 - 1).is_ok());
    let refused = Some(IdentityError::Unauthenticated(Refusal::Expired));
    assert_eq!(world.at(&token, 15).err(), refused);
}

#[test]
fn a_clock_that_is_set_back_makes_a_token_be_verified_again() {
    let world = by_token();
    let token = presented(&claims());
    assert!(world.at(&token, 30).is_ok());
    assert!(world.at(&token, 0).is_ok());
    assert_eq!(world.asked(), 2);
    let refused = Some(IdentityError::Unauthenticated(Refusal::NotYetValid));
    assert_eq!(world.at(&token, -6).err(), refused);
}

#[test]
fn what_was_refused_is_not_remembered() {
    let world = by_token();
    let token = presented(&claims());
    world.keys.down.store(true, Ordering::SeqCst);
    assert_eq!(
        world.at(&token, 0).err(),
        Some(IdentityError::KeysUnavailable)
    );
    world.keys.down.store(false, Ordering::SeqCst);
    assert!(world.at(&token, 0).is_ok());
    world.keys.down.store(true, Ordering::SeqCst);
    assert!(
        world.at(&token, 1).is_ok(),
        "a token that is remembered needs no key"
    );
}

#[test]
fn a_huge_token_is_refused_before_anything_is_done_with_it() {
    let world = by_token();
    let huge = Presented {
        token: Some(Token::new("a".repeat(TOKEN_BYTES_MAX + 1))),
        foreign: false,
        ..Presented::default()
    };
    let refused = Some(IdentityError::Unauthenticated(Refusal::TooLarge));
    assert_eq!(world.at(&huge, 0).err(), refused);
    assert_eq!(
        world.resolver.resolve_now(&huge, now()).unwrap().err(),
        refused
    );
    assert_eq!(world.asked(), 0);
}

/// Not a measurement (see benches), but a guard against a mistake of orders of magnitude.
#[test]
fn a_request_of_somebody_known_is_resolved_in_microseconds() {
    let world = by_token();
    let token = presented(&claims());
    assert!(world.at(&token, 0).is_ok());
    let start = std::time::Instant::now();
    for _ in 0..1000 {
        assert!(world.resolver.resolve_now(&token, now()).unwrap().is_ok());
    }
    let each = start.elapsed() / 1000;
    assert!(each < Duration::from_micros(200), "{each:?}");
}

/// What a run of ada's presents that might do `permissions` when it was started.
fn run_of(tenant: &str, permissions: PermissionSet) -> Presented {
    let run = crate::mesh::workflow::Run {
        run_id: ulid::Ulid(5),
        workflow: "refund".to_owned(),
        execution: "arn".to_owned(),
        state: crate::mesh::workflow::RunState::Starting,
        started_at: now(),
        stopped_at: None,
        user: "bob".parse().unwrap(),
        permissions,
        rule: None,
        cause: Some(ulid::Ulid(6)),
        depth: 3,
        error: None,
    };
    Presented {
        run: Some(Arc::new(RunIdentity::of(&tenant.parse().unwrap(), &run))),
        ..Presented::default()
    }
}

fn at_once(resolver: &Resolver, presented: &Presented) -> Result<TenantContext, IdentityError> {
    resolver.resolve_now(presented, now()).unwrap()
}

#[test]
fn a_run_is_its_user_with_what_that_user_might_do_then_and_the_process_may_do_now() {
    let held = PermissionSet::of(&[Permission::KvRead, Permission::KvWrite]);
    let (_, resolver) = by_environment("acme", Role::Viewer);
    let context = at_once(&resolver, &run_of("acme", held)).unwrap();
    assert_eq!(context.user_id().as_str(), "bob");
    let may: Vec<_> = context.permissions().iter().collect();
    assert_eq!(
        may,
        [Permission::KvRead],
        "a viewer's process writes nothing"
    );
    let origin = context.origin();
    assert_eq!(
        (origin.run, origin.cause, origin.depth),
        (Some(ulid::Ulid(5)), Some(ulid::Ulid(6)), 3)
    );
    let world = by_token();
    let context = at_once(&world.resolver, &run_of("acme", held)).unwrap();
    assert_eq!(context.permissions(), held);
    assert_eq!(context.ends_at(), None);
}

#[test]
fn a_run_of_another_tenant_a_suspended_or_an_unknown_one_calls_nothing() {
    let held = Role::User.permissions();
    let (_, resolver) = by_environment("acme", Role::Admin);
    let foreign = at_once(&resolver, &run_of("other", held)).err();
    assert_eq!(foreign, Some(Refusal::Tenant.into()));
    let world = by_token();
    let unknown = at_once(&world.resolver, &run_of("nobody", held)).err();
    assert_eq!(unknown, Some(Refusal::Tenant.into()));
    world.tenants.put("acme", TenantStatus::Suspended, &[FIRST]);
    let suspended = at_once(&world.resolver, &run_of("acme", held)).err();
    assert_eq!(suspended, Some(IdentityError::Suspended));
}
