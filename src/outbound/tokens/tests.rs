//! Files of static tokens: what is read, when a change holds, what a wrong change does, many hands at once.

use std::fs;

use secrecy::ExposeSecret as _;

use super::*;
use crate::mesh::Timestamp;
use crate::mesh::tenant::{Permission, PermissionSet, Role, TokenHash};

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("tokens.toml")
    }

    fn open(&self) -> TokensFile {
        TokensFile::open(&self.path()).unwrap()
    }

    fn create(&self, user: &str) -> Ulid {
        let now = Timestamp::from_millis(1_790_000_000_123);
        create(&self.path(), new(user), now).unwrap().1.id
    }

    fn reload(&self, file: &TokensFile) -> Look {
        assert!(matches!(file.look(), Look::Changing));
        file.look()
    }
}

fn new(user: &str) -> NewToken {
    NewToken {
        tenant: "acme".parse().unwrap(),
        user: user.parse().unwrap(),
        role: Role::User,
        scope: None,
        expires: None,
    }
}

/// A file of so many tokens that say all that a token can.
fn many(count: usize) -> String {
    let scopes: Vec<String> = Permission::ALL
        .iter()
        .map(|permission| format!("{:?}", permission.name()))
        .collect();
    let (user, scopes) = ("u".repeat(64), scopes.join(", "));
    let row = |_| {
        format!(
            "[[tokens]]\nid = \"{}\"\nsha256 = \"{}\"\ntenant = \"{}\"\nuser = \"{user}\"\nrole = \"viewer\"\n\
             scopes = [{scopes}]\ncreated = \"2026-01-31T23:59:59.000Z\"\nexpires = \"2026-01-31T23:59:59.000Z\"\n",
            Ulid::generate(),
            "ab".repeat(32),
            "t".repeat(32),
        )
    };
    (0..count).map(row).collect()
}

#[test]
fn what_is_kept_reads_back_and_is_no_token() {
    let folder = Folder::new();
    assert!(folder.open().tokens().is_empty(), "there is no file yet");
    let now = Timestamp::from_millis(1_790_000_000_123);
    let narrow = NewToken {
        scope: Some(PermissionSet::of(&[Permission::KvRead])),
        expires: Some(now.plus(Duration::from_secs(60))),
        ..new("ada")
    };
    let (text, kept) = create(&folder.path(), narrow, now).unwrap();
    let (_, plain) = create(
        &folder.path(),
        new("bob"),
        now.plus(Duration::from_millis(1)),
    )
    .unwrap();
    let file = folder.open();
    let tokens: Vec<StaticToken> = file
        .tokens()
        .iter()
        .map(|token| (**token).clone())
        .collect();
    assert_eq!(tokens, [kept.clone(), plain]);
    assert_eq!(*file.find(kept.id).unwrap(), kept);
    assert!(file.find(Ulid::generate()).is_none());
    let secret = text.expose_secret().splitn(3, '_').nth(2).unwrap();
    assert!(!fs::read_to_string(folder.path()).unwrap().contains(secret));
    assert!(!format!("{file:?}").contains(secret));
}

#[test]
fn a_change_holds_after_two_looks_and_a_wrong_one_never() {
    let folder = Folder::new();
    let file = folder.open();
    let ada = folder.create("ada");
    assert!(file.find(ada).is_none());
    assert!(matches!(folder.reload(&file), Look::Reloaded { tokens: 1 }));
    assert!(file.find(ada).is_some());
    assert!(matches!(file.look(), Look::Unchanged));
    fs::write(folder.path(), "[[tokens]]\nid = \"half").unwrap();
    assert!(matches!(
        folder.reload(&file),
        Look::Kept(TokensFault::Wrong { line: 2, .. })
    ));
    assert!(file.find(ada).is_some(), "the last good one stays in force");
    assert!(matches!(file.look(), Look::Unchanged), "it is told once");
    fs::remove_file(folder.path()).unwrap();
    assert!(matches!(folder.reload(&file), Look::Reloaded { tokens: 0 }));
    assert!(file.find(ada).is_none(), "a file that is gone holds none");
}

#[test]
fn a_revoked_token_is_gone_and_the_others_stay() {
    let folder = Folder::new();
    let (ada, bob) = (folder.create("ada"), folder.create("bob"));
    let file = folder.open();
    assert!(revoke(&folder.path(), ada).unwrap());
    assert!(!revoke(&folder.path(), ada).unwrap());
    assert!(matches!(folder.reload(&file), Look::Reloaded { tokens: 1 }));
    assert!(file.find(ada).is_none() && file.find(bob).is_some());
    let nowhere = folder.0.path().join("none/tokens.toml");
    assert!(!revoke(&nowhere, ada).unwrap());
    assert!(!nowhere.parent().unwrap().exists());
}

#[tokio::test]
async fn a_watched_file_is_read_again_and_the_watch_ends_with_its_last_user() {
    let folder = Folder::new();
    let file = Arc::new(folder.open());
    let watch = tokio::spawn(file.watch(Duration::from_millis(5)));
    let ada = folder.create("ada");
    while file.find(ada).is_none() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    drop(file);
    watch.await.unwrap();
}

#[test]
fn many_hands_lose_nothing() {
    let folder = Folder::new();
    let ids: Vec<Ulid> = std::thread::scope(|scope| {
        let hands: Vec<_> = (0..8)
            .map(|hand| {
                let folder = &folder;
                scope.spawn(move || [0; 3].map(|_| folder.create(&format!("user{hand}"))))
            })
            .collect();
        let made = hands.into_iter().map(|hand| hand.join().unwrap());
        made.flatten().collect()
    });
    let file = folder.open();
    assert_eq!(file.tokens().len(), 24);
    assert!(ids.iter().all(|id| file.find(*id).is_some()));
}

#[test]
fn a_file_is_read_up_to_its_limits() {
    let folder = Folder::new();
    let full = many(TOKENS_MAX);
    assert!((full.len() as u64) < FILE_BYTES_MAX, "{}", full.len());
    fs::write(folder.path(), &full).unwrap();
    assert_eq!(folder.open().tokens().len(), TOKENS_MAX);
    let refused = create(&folder.path(), new("ada"), Timestamp::from_seconds(0));
    assert!(matches!(refused, Err(TokensFault::TooMany)));
    fs::write(folder.path(), full + &many(1)).unwrap();
    let refused = TokensFile::open(&folder.path());
    assert!(matches!(refused, Err(TokensFault::TooMany)));
    let comment = format!("#{}", " ".repeat(FILE_BYTES_MAX as usize - 1));
    fs::write(folder.path(), &comment).unwrap();
    assert!(folder.open().tokens().is_empty());
    fs::write(folder.path(), comment + " ").unwrap();
    let refused = TokensFile::open(&folder.path());
    assert!(matches!(refused, Err(TokensFault::TooLarge)));
}

#[test]
fn what_is_not_as_it_is_written_is_refused() {
    let folder = Folder::new();
    folder.create("ada");
    let good = fs::read_to_string(folder.path()).unwrap();
    let hash = good
        .lines()
        .find(|line| line.starts_with("sha256"))
        .unwrap();
    for (from, to) in [
        (hash, "sha256 = \"ab\""),
        (
            hash,
            &hash.replace(
                |letter: char| letter.is_ascii_hexdigit() && letter.is_ascii_lowercase(),
                "g",
            ),
        ),
        (hash, ""),
        ("role = \"user\"", "role = \"root\""),
        ("role = \"user\"", "role = \"user\"\nscopes = [\"kv.all\"]"),
        ("role = \"user\"", "role = \"user\"\nscope = [\"kv.read\"]"),
        ("role = \"user\"", "role = \"user\"\nexpires = \"soon\""),
        ("tenant = \"acme\"", "tenant = \"ACME\""),
        ("[[tokens]]", "[[token]]"),
    ] {
        assert!(good.contains(from), "{from}: {good}");
        fs::write(folder.path(), good.replace(from, to)).unwrap();
        let refused = TokensFile::open(&folder.path());
        assert!(
            matches!(refused, Err(TokensFault::Wrong { .. })),
            "{to}: {refused:?}"
        );
    }
    let twice = format!("{good}\n{}", good.split_once("\n\n").unwrap().1);
    fs::write(folder.path(), twice).unwrap();
    let refused = TokensFile::open(&folder.path());
    assert!(
        matches!(refused, Err(TokensFault::Duplicate(_))),
        "{refused:?}"
    );
    fs::write(folder.path(), [0xff]).unwrap();
    assert!(matches!(
        TokensFile::open(&folder.path()),
        Err(TokensFault::Wrong { .. })
    ));
    let folder_in_place = TokensFile::open(folder.0.path());
    assert!(matches!(folder_in_place, Err(TokensFault::Unreadable(_))));
}

#[test]
fn a_hash_is_kept_as_sha256sum_writes_it() {
    let folder = Folder::new();
    let (text, kept) = create(&folder.path(), new("ada"), Timestamp::from_seconds(0)).unwrap();
    let hash: TokenHash = <sha2::Sha256 as sha2::Digest>::digest(text.expose_secret()).into();
    assert_eq!(kept.hash, hash);
    let written: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    assert!(
        fs::read_to_string(folder.path())
            .unwrap()
            .contains(&written)
    );
}
