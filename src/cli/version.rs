//! What `--version` says: the version, the system it was built for, and the commit where the build knew it.

use std::env::consts::{ARCH, OS};
use std::sync::LazyLock;

/// Release builds set this variable to the commit that they are made of.
const COMMIT: Option<&str> = option_env!("AGENT_MESH_BUILD_COMMIT");

static TEXT: LazyLock<String> = LazyLock::new(|| {
    let version = env!("CARGO_PKG_VERSION");
    match COMMIT.filter(|commit| !commit.is_empty()) {
        Some(commit) => format!("{version} ({ARCH}-{OS}, {commit})"),
        None => format!("{version} ({ARCH}-{OS})"),
    }
});

/// Such as `0.1.0 (x86_64-linux, 1a2b3c4)`.
pub(super) fn text() -> &'static str {
    &TEXT
}
