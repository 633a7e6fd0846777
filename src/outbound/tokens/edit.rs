//! Changes of a file of static tokens: one process at a time, each change whole or not at all.

use std::path::{Path, PathBuf};

use secrecy::SecretString;
use ulid::Ulid;

use super::{TOKENS_MAX, TokensFault, file};
use crate::mesh::Timestamp;
use crate::mesh::tenant::{PermissionSet, Role, StaticToken, TenantId, UserId};
use crate::outbound::embedded::folder::create_private;
use crate::outbound::embedded::lock::{ProcessLock, WAIT_MAX};

/// What a new token is to say.
#[derive(Clone, Debug)]
pub struct NewToken {
    /// The tenant.
    pub tenant: TenantId,
    /// The user.
    pub user: UserId,
    /// What the user is to the tenant.
    pub role: Role,
    /// What the role is narrowed to, where it is.
    pub scope: Option<PermissionSet>,
    /// From when on it is no longer accepted.
    pub expires: Option<Timestamp>,
}

/// Makes a token, and keeps its hash in the file at `path`, which is made where there is none. The token
/// itself is in the answer and nowhere else. Blocks until other processes have made their changes.
///
/// # Errors
/// The file is wrong or full, or cannot be written; it is then as it was.
pub fn create(
    path: &Path,
    new: NewToken,
    now: Timestamp,
) -> Result<(SecretString, StaticToken), TokensFault> {
    let id = Ulid::generate();
    let (text, hash) = StaticToken::mint(id).map_err(TokensFault::Random)?;
    let token = StaticToken {
        id,
        hash,
        tenant: new.tenant,
        user: new.user,
        role: new.role,
        scope: new.scope,
        created: now,
        expires: new.expires,
    };
    change(path, |tokens| {
        if tokens.len() >= TOKENS_MAX {
            return Err(TokensFault::TooMany);
        }
        tokens.push(token.clone());
        Ok(true)
    })?;
    Ok((text, token))
}

/// Takes the token of that id out of the file at `path`; says whether there was one. Blocks until other
/// processes have made their changes.
///
/// # Errors
/// The file is wrong, or cannot be written; it is then as it was.
pub fn revoke(path: &Path, id: Ulid) -> Result<bool, TokensFault> {
    if !path.exists() {
        return Ok(false);
    }
    change(path, |tokens| {
        let before = tokens.len();
        tokens.retain(|token| token.id != id);
        Ok(tokens.len() < before)
    })
}

/// Lets `edit` change the tokens, and writes them if it says that it did.
fn change(
    path: &Path,
    edit: impl FnOnce(&mut Vec<StaticToken>) -> Result<bool, TokensFault>,
) -> Result<bool, TokensFault> {
    if let Some(folder) = path.parent().filter(|folder| !folder.exists()) {
        create_private(folder).map_err(TokensFault::Unwritable)?;
    }
    // Beside the file and not the file itself, which is another one after each change.
    let lock = ProcessLock::at(&lock_path(path)).map_err(TokensFault::Unwritable)?;
    let held = lock.hold(WAIT_MAX).map_err(|error| match error.kind() {
        std::io::ErrorKind::TimedOut => TokensFault::Busy,
        _ => TokensFault::Unwritable(error),
    })?;
    let mut tokens = file::read(path)?;
    let is_changed = edit(&mut tokens)?;
    if is_changed {
        file::write(path, &tokens)?;
    }
    drop(held);
    Ok(is_changed)
}

fn lock_path(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".lock");
    path.with_file_name(name)
}
