//! The key that seals the secrets of a folder: a file of its own that only its owner can read.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::Path;

use aws_lc_rs::aead::{AES_256_GCM, Aad, Nonce, RandomizedNonceKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use secrecy::zeroize::Zeroizing;
use sha2::{Digest as _, Sha256};

use super::Refusal;

/// What the file begins with.
const MARK: &str = "agent-mesh-secrets-key-v1 ";

/// The bytes of a key of AES-256.
const KEY_BYTES: usize = 32;

/// The largest key file that is looked at, in bytes.
const FILE_BYTES_MAX: u64 = 256;

/// Who may do what with the key file: its owner alone.
#[cfg(unix)]
const OWNER_ONLY: u32 = 0o600;

/// A key, ready for use.
pub(super) struct SealingKey {
    key: RandomizedNonceKey,
    /// Tells one key from another and nothing else of it.
    pub(super) id: String,
}

/// A text that only the key opens.
pub(super) struct SealedText {
    pub(super) nonce: Vec<u8>,
    pub(super) bytes: Vec<u8>,
}

impl SealingKey {
    /// The key in the file at `path`; none where there is no file.
    pub(super) fn read(path: &Path) -> Result<Option<Self>, Refusal> {
        let found = match fs::symlink_metadata(path) {
            Ok(found) => found,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        if !found.is_file() {
            return Err(refused("is no file of its own"));
        }
        keep_to_owner(path, &found)?;
        let mut text = Zeroizing::new(String::new());
        File::open(path)?
            .take(FILE_BYTES_MAX)
            .read_to_string(&mut text)
            .map_err(|error| match error.kind() {
                io::ErrorKind::InvalidData => refused(DAMAGED),
                _ => error.into(),
            })?;
        let encoded = text.trim_end().strip_prefix(MARK);
        let decoded = encoded.and_then(|text| STANDARD.decode(text).ok());
        let bytes = Zeroizing::new(decoded.unwrap_or_default());
        Self::of(&bytes).map(Some)
    }

    /// A new key in the file at `path`, where there must be none. It is there as a whole or not at all.
    pub(super) fn create(path: &Path) -> Result<Self, Refusal> {
        let mut bytes = Zeroizing::new([0_u8; KEY_BYTES]);
        aws_lc_rs::rand::fill(&mut *bytes).map_err(|_| refused("cannot be made"))?;
        let key = Self::of(bytes.as_slice())?;
        let encoded = Zeroizing::new(STANDARD.encode(bytes.as_slice()));
        let new = path.with_extension("key.new");
        write_private(&new, &[MARK.as_bytes(), encoded.as_bytes(), b"\n"])?;
        fs::rename(&new, path)?;
        Ok(key)
    }

    fn of(bytes: &[u8]) -> Result<Self, Refusal> {
        if bytes.len() != KEY_BYTES {
            return Err(refused(DAMAGED));
        }
        let key = RandomizedNonceKey::new(&AES_256_GCM, bytes).map_err(|_| refused(DAMAGED))?;
        let hash = Sha256::new()
            .chain_update("agent-mesh-secrets-key-id-v1")
            .chain_update(bytes)
            .finalize();
        let id = hash.iter().take(8).map(|byte| format!("{byte:02x}"));
        Ok(Self {
            key,
            id: id.collect(),
        })
    }

    /// Seals `text` so that it opens together with `bound` only.
    pub(super) fn seal(&self, bound: &[u8], text: &str) -> Result<SealedText, Refusal> {
        let mut bytes = text.as_bytes().to_vec();
        let sealed = self
            .key
            .seal_in_place_append_tag(Aad::from(bound), &mut bytes);
        let nonce = sealed.map_err(|_| refused("cannot seal anything"))?;
        Ok(SealedText {
            nonce: nonce.as_ref().to_vec(),
            bytes,
        })
    }

    /// What was sealed together with `bound`; none where anything of it was changed since.
    pub(super) fn open(&self, bound: &[u8], sealed: SealedText) -> Option<Zeroizing<Vec<u8>>> {
        let nonce = Nonce::try_assume_unique_for_key(&sealed.nonce).ok()?;
        let mut bytes = Zeroizing::new(sealed.bytes);
        let opened = self.key.open_in_place(nonce, Aad::from(bound), &mut bytes);
        let length = opened.ok()?.len();
        bytes.truncate(length);
        Some(bytes)
    }
}

const DAMAGED: &str = "is damaged, or none of ours";

/// The failure that the key file is or does something.
pub(super) fn refused(what: &str) -> Refusal {
    Refusal::Key(format!("the key file of the secret store {what}"))
}

/// Writes a file that only its owner can read, and waits for the disk.
pub(super) fn write_private(path: &Path, parts: &[&[u8]]) -> io::Result<()> {
    let mut options = File::options();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, OWNER_ONLY);
    let mut file = options.open(path)?;
    // One that was left behind by a process that was killed may be anyone's to read.
    #[cfg(unix)]
    file.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(OWNER_ONLY))?;
    for part in parts {
        file.write_all(part)?;
    }
    file.sync_all()
}

/// Refuses a key of another user, and takes from all others what they may do with ours.
#[cfg(unix)]
fn keep_to_owner(path: &Path, found: &fs::Metadata) -> Result<(), Refusal> {
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

    let user = rustix::process::geteuid();
    let owner = found.uid();
    if owner != user.as_raw() && owner != 0 && !user.is_root() {
        return Err(refused("belongs to another user of this machine"));
    }
    if found.mode() & 0o077 == 0 {
        return Ok(());
    }
    let repaired = fs::set_permissions(path, fs::Permissions::from_mode(OWNER_ONLY));
    repaired.map_err(|_| {
        refused("can be read by other users, and its permissions cannot be changed: `chmod 600` it")
    })?;
    tracing::warn!(
        "the key file of the secret store could be read by other users of this machine; now only its owner \
         can. If they are not to be trusted, set all secrets anew under a new key"
    );
    Ok(())
}

/// Elsewhere the folder of the user keeps others out.
#[cfg(not(unix))]
fn keep_to_owner(_: &Path, _: &fs::Metadata) -> Result<(), Refusal> {
    Ok(())
}
