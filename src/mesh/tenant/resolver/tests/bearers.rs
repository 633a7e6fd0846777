//! Callers over HTTP: signed tokens, static ones and none, alone and together, and what is left of them in the log.

use std::io;

use secrecy::ExposeSecret as _;
use ulid::Ulid;

use super::*;
use crate::mesh::tenant::identity::Anonymous;
use crate::mesh::tenant::key_set::SignatureAlgorithm;
use crate::mesh::tenant::static_token::{StaticToken, StaticTokenDirectory};

/// Static tokens that a test may change while they are in use.
#[derive(Default)]
struct Kept(Mutex<HashMap<Ulid, Arc<StaticToken>>>);

impl StaticTokenDirectory for Kept {
    fn find(&self, id: Ulid) -> Option<Arc<StaticToken>> {
        self.0.lock().unwrap().get(&id).cloned()
    }
}

impl Kept {
    /// A new token of `acme` that is then changed.
    fn add(&self, change: impl FnOnce(&mut StaticToken)) -> (Ulid, Presented) {
        let id = Ulid::generate();
        let (text, hash) = StaticToken::mint(id).unwrap();
        let mut token = StaticToken {
            id,
            hash,
            tenant: "acme".parse().unwrap(),
            user: "robot".parse().unwrap(),
            role: Role::User,
            scope: None,
            created: now(),
            expires: None,
        };
        change(&mut token);
        self.0.lock().unwrap().insert(id, Arc::new(token));
        (id, bearer(text.expose_secret()))
    }
}

fn bearer(text: &str) -> Presented {
    Presented {
        token: Some(Token::new(text)),
        ..Presented::default()
    }
}

struct Ways {
    tenants: Arc<Tenants>,
    keys: Arc<Keys>,
    kept: Arc<Kept>,
}

impl Ways {
    fn new() -> Self {
        let World { tenants, keys, .. } = by_token();
        tenants.put("local", TenantStatus::Active, &[]);
        Self {
            tenants,
            keys,
            kept: Arc::default(),
        }
    }

    fn signed(&self) -> Option<SignedTokens> {
        Some(SignedTokens {
            settings: settings(),
            keys: self.keys.clone(),
        })
    }

    fn of_kept(&self) -> Option<Arc<dyn StaticTokenDirectory>> {
        Some(self.kept.clone())
    }

    fn open(&self, bearers: Bearers) -> World {
        World {
            resolver: Resolver::of_bearers(bearers, self.tenants.clone()),
            tenants: self.tenants.clone(),
            keys: self.keys.clone(),
        }
    }

    /// Every way at once.
    fn all(&self) -> World {
        self.open(Bearers {
            jwt: self.signed(),
            tokens: self.of_kept(),
            anonymous: anyone(),
        })
    }
}

fn anyone() -> Option<Anonymous> {
    Some(Anonymous {
        tenant: "local".parse().unwrap(),
        role: Role::Viewer,
    })
}

fn caller(context: &TenantContext) -> (String, String, Role) {
    let (tenant, user) = (context.tenant_id(), context.user_id());
    (tenant.to_string(), user.to_string(), context.role())
}

fn of(tenant: &str, user: &str, role: Role) -> (String, String, Role) {
    (tenant.to_owned(), user.to_owned(), role)
}

#[test]
fn each_way_works_alone_and_beside_the_others() {
    let ways = Ways::new();
    let (_, by_static) = ways.kept.add(|_| {});
    let by_signed = presented(&claims());
    let nobody = Presented::default();
    let seen = |world: &World, presented| world.at(presented, 0).map(|context| caller(&context));
    let all = ways.all();
    let (ada, robot, anonymous) = (
        of("acme", "ada", Role::User),
        of("acme", "robot", Role::User),
        of("local", "anonymous", Role::Viewer),
    );
    assert_eq!(seen(&all, &by_signed), Ok(ada.clone()));
    assert_eq!(seen(&all, &by_static), Ok(robot.clone()));
    assert_eq!(seen(&all, &nobody), Ok(anonymous.clone()));

    let signed = ways.open(Bearers {
        jwt: ways.signed(),
        ..Bearers::default()
    });
    assert_eq!(seen(&signed, &by_signed), Ok(ada));
    assert_eq!(seen(&signed, &by_static), Err(Refusal::Malformed.into()));
    assert_eq!(seen(&signed, &nobody), Err(IdentityError::Missing));
    let kept = ways.open(Bearers {
        tokens: ways.of_kept(),
        ..Bearers::default()
    });
    assert_eq!(seen(&kept, &by_signed), Err(Refusal::Kind.into()));
    assert_eq!(seen(&kept, &by_static), Ok(robot));
    assert_eq!(seen(&kept, &nobody), Err(IdentityError::Missing));
    let open = ways.open(Bearers {
        anonymous: anyone(),
        ..Bearers::default()
    });
    assert_eq!(seen(&open, &by_signed), Err(Refusal::Kind.into()));
    assert_eq!(seen(&open, &by_static), Err(Refusal::Kind.into()));
    assert_eq!(seen(&open, &nobody), Ok(anonymous));
    let closed = ways.open(Bearers::default());
    for presented in [&by_signed, &by_static, &nobody] {
        assert!(closed.at(presented, 0).is_err());
    }
}

#[test]
fn a_request_with_a_token_that_is_not_accepted_is_never_anonymous() {
    let ways = Ways::new();
    let world = ways.all();
    let (id, good) = ways.kept.add(|_| {});
    ways.kept.0.lock().unwrap().remove(&id);
    for text in ["", " ", "x", "mesh_", "a.b.c", "anonymous"] {
        let refused = world.at(&bearer(text), 0).err();
        assert!(
            matches!(refused, Some(IdentityError::Unauthenticated(_))),
            "{text}: {refused:?}"
        );
    }
    assert_eq!(world.at(&good, 0).err(), Some(Refusal::Unknown.into()));
    assert_eq!(
        world.at(&presented(&with("aud", json!("other"))), 0).err(),
        Some(Refusal::Audience.into())
    );
    let named = Presented {
        foreign: true,
        ..Presented::default()
    };
    assert_eq!(
        world.at(&named, 0).err(),
        Some(IdentityError::Foreign),
        "who names somebody expects it to count"
    );
}

#[test]
fn a_static_token_counts_for_as_long_as_it_is_kept_and_says() {
    let ways = Ways::new();
    let world = ways.all();
    let (id, lasting) = ways.kept.add(|_| {});
    let (_, ending) = ways
        .kept
        .add(|token| token.expires = Some(now().plus(Duration::from_secs(10))));
    let context = at_once(&world.resolver, &ending).unwrap();
    assert_eq!(context.ends_at(), Some(Timestamp::from_seconds(NOW + 10)));
    assert!(world.at_ms(&ending, (NOW + 10) * 1000 - 1).is_ok());
    let expired = Some(IdentityError::Unauthenticated(Refusal::Expired));
    assert_eq!(world.at(&ending, 10).err(), expired);
    assert_eq!(world.at(&lasting, 1_000_000_000).unwrap().ends_at(), None);
    ways.kept.0.lock().unwrap().remove(&id);
    assert_eq!(
        world.at(&lasting, 0).err(),
        Some(Refusal::Unknown.into()),
        "nothing remembers it"
    );
    let (_, narrow) = ways.kept.add(|token| {
        let scope = [Permission::KvRead, Permission::RulesManage];
        token.scope = Some(PermissionSet::of(&scope));
    });
    let may = world.at(&narrow, 0).unwrap().permissions();
    assert_eq!(may, PermissionSet::of(&[Permission::KvRead]));
}

#[test]
fn a_static_tokens_tenant_must_be_known_and_active() {
    let ways = Ways::new();
    let world = ways.all();
    let (_, stray) = ways
        .kept
        .add(|token| token.tenant = "nobody".parse().unwrap());
    assert_eq!(world.at(&stray, 0).err(), Some(Refusal::Tenant.into()));
    let (_, good) = ways.kept.add(|_| {});
    ways.tenants.put("acme", TenantStatus::Suspended, &[FIRST]);
    assert_eq!(world.at(&good, 0).err(), Some(IdentityError::Suspended));
    ways.tenants.remove("local");
    let nobody = Presented::default();
    assert_eq!(world.at(&nobody, 0).err(), Some(Refusal::Tenant.into()));
}

#[test]
fn an_algorithm_that_the_operator_left_out_is_refused_without_asking_for_keys() {
    let ways = Ways::new();
    let mut settings = settings();
    settings.algorithms = vec![SignatureAlgorithm::Es256, SignatureAlgorithm::Rs256];
    let keys = ways.keys.clone() as Arc<dyn KeySource>;
    let world = ways.open(Bearers {
        jwt: Some(SignedTokens { settings, keys }),
        ..Bearers::default()
    });
    assert_eq!(world.refusal(&claims()), Some(Refusal::Algorithm.into()));
    assert_eq!(world.asked(), 0);
}

#[test]
fn what_the_scope_leaves_out_is_told_from_what_the_role_lacks() {
    let world = Ways::new().all();
    let context = world
        .at(&presented(&with("scope", json!("kv.read"))), 0)
        .unwrap();
    assert!(context.scope_lacks(Permission::KvWrite));
    assert!(!context.scope_lacks(Permission::KvRead), "it has it");
    assert!(
        !context.scope_lacks(Permission::RulesManage),
        "a user never has it"
    );
    let plain = world.at(&presented(&claims()), 0).unwrap();
    assert!(
        Permission::ALL
            .into_iter()
            .all(|permission| !plain.scope_lacks(permission))
    );
    let run = at_once(&world.resolver, &run_of("acme", PermissionSet::EMPTY)).unwrap();
    assert!(!run.scope_lacks(Permission::KvRead), "no token helps a run");
}

/// What is logged while a test runs.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn the_log_has_the_reason_of_each_refusal_and_nothing_of_a_token() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .finish();
    let ways = Ways::new();
    let world = ways.all();
    let (_, by_static) = ways.kept.add(|_| {});
    let (id, revoked) = ways.kept.add(|_| {});
    ways.kept.0.lock().unwrap().remove(&id);
    let foreign = TestKey::new("EdDSA", "key-1");
    let named = |header: Value| KEY.token_of(&header.to_string(), &claims().to_string());
    let refused = [
        ("signature", foreign.token(&claims())),
        (
            "unknown_key",
            named(json!({"alg": "EdDSA", "kid": "other"})),
        ),
        ("algorithm", named(json!({"alg": "none", "kid": "key-1"}))),
        ("algorithm", named(json!({"alg": "HS256", "kid": "key-1"}))),
        ("no_key_id", named(json!({"alg": "EdDSA"}))),
        ("expired", KEY.token(&with("sub", json!("late")))),
        ("not_yet_valid", KEY.token(&with("nbf", json!(NOW + 60)))),
        ("audience", KEY.token(&with("aud", json!("canary-aud")))),
        ("issuer", KEY.token(&with("iss", json!("https://canary")))),
        ("tenant", KEY.token(&with("tenant_id", json!("canary")))),
        ("wrong_claim", KEY.token(&with("role", json!("canary")))),
        ("malformed", "canary.canary.canary".to_owned()),
        ("unknown", format!("mesh_{id}_canary")),
    ];
    tracing::subscriber::with_default(subscriber, || {
        for (reason, token) in &refused {
            let second = if *reason == "expired" { 305 } else { 0 };
            let refusal = world.at(&bearer(token), second).unwrap_err();
            let told = format!("{refusal} {refusal:?} {}", refusal.fix());
            assert!(!told.contains("canary"), "{told}");
            let IdentityError::Unauthenticated(refusal) = refusal else {
                panic!("{reason}: {told}");
            };
            assert_eq!(refusal.reason(), *reason);
        }
        assert!(world.at(&revoked, 0).is_err());
        assert!(world.at(&by_static, 0).is_ok());
        assert!(world.at(&presented(&claims()), 0).is_ok());
    });
    let logged = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    for (reason, token) in &refused {
        assert!(
            logged.contains(&format!("reason=\"{reason}\"")),
            "{reason}: {logged}"
        );
        let longest = token.split(['.', '_']).max_by_key(|part| part.len());
        assert!(!logged.contains(longest.unwrap()), "{reason}: {logged}");
    }
    let shown = [&by_static, &revoked].map(|presented| presented.token.clone().unwrap());
    for token in &shown {
        let secret = token.expose().splitn(3, '_').nth(2).unwrap();
        assert!(!logged.contains(secret));
    }
    assert!(
        !logged.contains("canary") && !logged.contains("eyJ"),
        "{logged}"
    );
}
