//! What a file of static tokens says: one table for each, with hashes in place of tokens.

use std::io::{self, Read, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};
use ulid::Ulid;

use super::{FILE_BYTES_MAX, TOKENS_MAX, TokensFault};
use crate::mesh::Timestamp;
use crate::mesh::tenant::{Permission, PermissionSet, StaticToken, TenantId, TokenHash, UserId};

/// What stands above the tokens.
const HEADING: &str = "\
# Static tokens of agent-mesh, as `use_aws_mcp tokens` writes them. Only hashes of the tokens are here.
# Taking a table out revokes its token within seconds.

";

/// The file.
#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    #[serde(default)]
    tokens: Vec<Row>,
}

/// One token.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    id: Ulid,
    sha256: Hexadecimal,
    tenant: TenantId,
    user: UserId,
    role: RoleName,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    scopes: Option<Vec<ScopeName>>,
    created: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    expires: Option<Timestamp>,
}

/// A hash as 64 hexadecimal digits.
#[derive(Clone, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
struct Hexadecimal(TokenHash);

/// A role by its name.
#[derive(Clone, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
struct RoleName(crate::mesh::tenant::Role);

/// A permission by its name.
#[derive(Clone, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
struct ScopeName(Permission);

/// The tokens of the file at `path`, as they stand there; none where there is no file.
pub(super) fn read(path: &Path) -> Result<Vec<StaticToken>, TokensFault> {
    let mut bytes = Vec::new();
    let opened = std::fs::File::open(path);
    match opened.and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(TokensFault::Unreadable(error)),
        Ok(_) if bytes.len() as u64 > FILE_BYTES_MAX => return Err(TokensFault::TooLarge),
        Ok(_) => {}
    }
    let text = String::from_utf8(bytes).map_err(|_| TokensFault::Wrong {
        line: 1,
        message: "the file is no UTF-8".to_owned(),
    })?;
    parse(&text)
}

fn parse(text: &str) -> Result<Vec<StaticToken>, TokensFault> {
    let document: Document = toml::from_str(text).map_err(|error| TokensFault::Wrong {
        line: line_of(text, error.span().map_or(0, |span| span.start)),
        message: error.message().to_owned(),
    })?;
    if document.tokens.len() > TOKENS_MAX {
        return Err(TokensFault::TooMany);
    }
    Ok(document.tokens.into_iter().map(StaticToken::from).collect())
}

/// Puts `tokens` in place of the file at `path` at once: whoever reads it meanwhile sees the old one or the
/// new one. Nobody but its owner may read it.
pub(super) fn write(path: &Path, tokens: &[StaticToken]) -> Result<(), TokensFault> {
    let document = Document {
        tokens: tokens.iter().map(Row::from).collect(),
    };
    let body = toml::to_string(&document)
        .map_err(|error| TokensFault::Unwritable(io::Error::other(error)))?;
    replace(path, &format!("{HEADING}{body}")).map_err(TokensFault::Unwritable)
}

fn replace(path: &Path, text: &str) -> io::Result<()> {
    // Where the path is a link, as mounted files are, what it leads to is replaced.
    let target = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let folder = target.parent().unwrap_or(Path::new("."));
    // It is made with mode 0600.
    let mut file = tempfile::Builder::new()
        .prefix(".tokens-")
        .tempfile_in(folder)?;
    file.write_all(text.as_bytes())?;
    file.as_file().sync_all()?;
    file.persist(&target)?;
    Ok(())
}

/// The line that byte `offset` of a text stands in, counted from 1.
fn line_of(text: &str, offset: usize) -> usize {
    let before = text.as_bytes().get(..offset).unwrap_or_default();
    memchr::memchr_iter(b'\n', before).count() + 1
}

impl From<Row> for StaticToken {
    fn from(row: Row) -> Self {
        let set = |scopes: Vec<ScopeName>| {
            let permissions: Vec<Permission> = scopes.into_iter().map(|scope| scope.0).collect();
            PermissionSet::of(&permissions)
        };
        Self {
            id: row.id,
            hash: row.sha256.0,
            tenant: row.tenant,
            user: row.user,
            role: row.role.0,
            scope: row.scopes.map(set),
            created: row.created,
            expires: row.expires,
        }
    }
}

impl From<&StaticToken> for Row {
    fn from(token: &StaticToken) -> Self {
        let scope = token.scope;
        Self {
            id: token.id,
            sha256: Hexadecimal(token.hash),
            tenant: token.tenant.clone(),
            user: token.user.clone(),
            role: RoleName(token.role),
            scopes: scope.map(|scope| scope.iter().map(ScopeName).collect()),
            created: token.created,
            expires: token.expires,
        }
    }
}

impl TryFrom<String> for Hexadecimal {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        const FAULT: &str = "a SHA-256 is 64 hexadecimal digits";
        let mut hash = TokenHash::default();
        let digits = text.as_bytes();
        if digits.len() != hash.len() * 2 {
            return Err(FAULT);
        }
        for (byte, pair) in hash.iter_mut().zip(digits.chunks_exact(2)) {
            let [high, low] = [pair[0], pair[1]].map(|digit| char::from(digit).to_digit(16));
            let (high, low) = high.zip(low).ok_or(FAULT)?;
            *byte = u8::try_from(high << 4 | low).map_err(|_| FAULT)?;
        }
        Ok(Self(hash))
    }
}

impl From<Hexadecimal> for String {
    fn from(hash: Hexadecimal) -> Self {
        hash.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

impl TryFrom<String> for RoleName {
    type Error = crate::mesh::tenant::role::InvalidRole;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse().map(Self)
    }
}

impl From<RoleName> for String {
    fn from(role: RoleName) -> Self {
        role.0.name().to_owned()
    }
}

impl TryFrom<String> for ScopeName {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Permission::named(&text)
            .map(Self)
            .ok_or("a scope is the name of a permission, such as kv.read")
    }
}

impl From<ScopeName> for String {
    fn from(scope: ScopeName) -> Self {
        scope.0.name().to_owned()
    }
}
