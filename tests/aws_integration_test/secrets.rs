//! What secrets do, on every backend.

use agent_mesh::mesh::ErrorKind;
use agent_mesh::mesh::store::SecretStore;
use agent_mesh::mesh::store::key::{self, Scope, SecretKey, SecretPrefix};
use agent_mesh::mesh::store::secrets::SECRET_BYTES_MAX;
use agent_mesh::mesh::tenant::UserId;
use secrecy::{ExposeSecret as _, SecretString};

use crate::backend::{Stage, tenant};

crate::cases![
    a_secret_is_kept_replaced_and_removed,
    a_secret_of_every_size_is_kept_to_the_byte,
    names_are_listed_within_their_prefix_page_by_page,
    what_is_anothers_is_not_seen,
    a_secret_that_is_scheduled_for_deletion_is_absent_and_comes_back_by_a_new_value,
    lost_answers_change_nothing,
    one_that_was_just_removed_can_be_set_again,
];

fn user(name: &str) -> UserId {
    name.parse().unwrap()
}

impl Stage {
    fn secret(&self, name: &str) -> SecretKey {
        key::trial::secret(&self.tenant, Scope::User, &user("ada"), name)
    }

    fn secrets_of(&self, scope: Scope, name: &str) -> SecretPrefix {
        key::trial::secrets(&self.tenant, scope, &user(name))
    }

    async fn keep(&self, key: &SecretKey, text: &str) {
        let text = SecretString::from(text);
        self.secrets.put(key, &text).await.unwrap();
    }

    async fn kept(&self, key: &SecretKey) -> Option<String> {
        let found = self.secrets.get(key).await.unwrap();
        found.map(|text| text.expose_secret().to_owned())
    }

    async fn secret_names(&self, prefix: &SecretPrefix) -> Vec<String> {
        let (mut names, mut after) = (Vec::new(), None);
        loop {
            let page = self.secrets.list(prefix, after.as_deref()).await.unwrap();
            names.extend(page.names);
            match page.next {
                Some(next) => after = Some(next),
                None => break,
            }
        }
        names.sort();
        names
    }
}

async fn a_secret_is_kept_replaced_and_removed(stage: Stage) {
    let key = stage.secret("GITHUB_TOKEN");
    assert_eq!(stage.kept(&key).await, None);
    assert!(!stage.secrets.delete(&key).await.unwrap());
    for text in ["first", "second", "second"] {
        stage.keep(&key, text).await;
        assert_eq!(stage.kept(&key).await.unwrap(), text);
    }
    assert!(stage.secrets.delete(&key).await.unwrap());
    assert_eq!(stage.kept(&key).await, None);
    assert!(!stage.secrets.delete(&key).await.unwrap());
}

async fn a_secret_of_every_size_is_kept_to_the_byte(stage: Stage) {
    let key = stage.secret("sized");
    let odd = "\u{1}\n\"\\\u{2028}\u{1f511}\u{0}end";
    for text in ["x", odd, &"\"".repeat(SECRET_BYTES_MAX)] {
        stage.keep(&key, text).await;
        assert_eq!(stage.kept(&key).await.unwrap(), text);
    }
    let carried = stage.wire.carried();
    for (text, kind) in [
        (String::new(), ErrorKind::InvalidParameter),
        ("x".repeat(SECRET_BYTES_MAX + 1), ErrorKind::TooLarge),
    ] {
        let refused = stage.secrets.put(&key, &SecretString::from(text)).await;
        assert_eq!(refused.unwrap_err().kind(), kind);
    }
    assert_eq!(stage.wire.carried(), carried);
}

async fn names_are_listed_within_their_prefix_page_by_page(stage: Stage) {
    let own = stage.secrets_of(Scope::User, "ada");
    assert_eq!(stage.secret_names(&own).await, [""; 0]);
    let mut expected: Vec<String> = (0..23).map(|number| format!("s{number:02}")).collect();
    for name in &expected {
        stage.keep(&stage.secret(name), name).await;
    }
    stage.keep(&stage.secret("S.up_per-1"), "x").await;
    expected.insert(0, "S.up_per-1".to_owned());
    assert_eq!(stage.secret_names(&own).await, expected);
}

async fn what_is_anothers_is_not_seen(stage: Stage) {
    let other = tenant();
    let ada = stage.secret("name");
    stage.keep(&ada, "ada's").await;
    let keys = [
        key::trial::secret(&stage.tenant, Scope::User, &user("ad"), "name"),
        key::trial::secret(&stage.tenant, Scope::User, &user("ada2"), "name"),
        key::trial::secret(&stage.tenant, Scope::User, &user("Ada"), "name"),
        key::trial::secret(&stage.tenant, Scope::Tenant, &user("ada"), "name"),
        key::trial::secret(&other, Scope::User, &user("ada"), "name"),
    ];
    for (number, key) in keys.iter().enumerate() {
        assert_eq!(stage.kept(key).await, None, "{}", key.key());
        stage.keep(key, &number.to_string()).await;
    }
    for (number, key) in keys.iter().enumerate() {
        assert_eq!(stage.kept(key).await.unwrap(), number.to_string());
    }
    assert_eq!(stage.kept(&ada).await.unwrap(), "ada's");
    for (scope, name) in [
        (Scope::User, "ada"),
        (Scope::User, "ad"),
        (Scope::User, "Ada"),
        (Scope::Tenant, "ada"),
    ] {
        assert_eq!(
            stage.secret_names(&stage.secrets_of(scope, name)).await,
            ["name"]
        );
    }
    // A token's subject that does not fit has a name that the store would not take.
    let hashed = UserId::of_subject("https://id.example", "not a user id", false);
    let key = key::trial::secret(&stage.tenant, Scope::User, &hashed, "name");
    stage.keep(&key, "hashed").await;
    assert_eq!(stage.kept(&key).await.unwrap(), "hashed");
}

async fn a_secret_that_is_scheduled_for_deletion_is_absent_and_comes_back_by_a_new_value(
    stage: Stage,
) {
    let client = aws_sdk_secretsmanager::Client::new(&stage.sdk);
    let key = stage.secret("scheduled");
    stage.keep(&key, "old").await;
    let schedule = || client.delete_secret().secret_id(key.key()).send();
    schedule().await.unwrap();
    assert_eq!(stage.kept(&key).await, None);
    let own = stage.secrets_of(Scope::User, "ada");
    assert_eq!(stage.secret_names(&own).await, [""; 0]);
    stage.keep(&key, "new").await;
    assert_eq!(stage.kept(&key).await.unwrap(), "new");
    schedule().await.unwrap();
    assert!(!stage.secrets.delete(&key).await.unwrap());
    assert_eq!(stage.kept(&key).await, None);
}

async fn lost_answers_change_nothing(stage: Stage) {
    let key = stage.secret("lost");
    stage.wire.lose(&["CreateSecret"], 1);
    stage.keep(&key, "one").await;
    assert_eq!(stage.kept(&key).await.unwrap(), "one");
    stage.wire.lose(&["PutSecretValue"], 1);
    stage.keep(&key, "two").await;
    stage.wire.lose(&["GetSecretValue"], 1);
    assert_eq!(stage.kept(&key).await.unwrap(), "two");
    stage.wire.lose(&["DeleteSecret"], 1);
    assert!(stage.secrets.delete(&key).await.unwrap());
    assert_eq!(stage.kept(&key).await, None);
    assert_eq!(stage.wire.left(), 0);
}

async fn one_that_was_just_removed_can_be_set_again(stage: Stage) {
    let key = stage.secret("again");
    for text in ["one", "two", "three"] {
        stage.keep(&key, text).await;
        assert_eq!(stage.kept(&key).await.unwrap(), text);
        assert!(stage.secrets.delete(&key).await.unwrap());
    }
}
