//! What a test needs besides this package, and what is said where it is missing.

use std::io::Write;

/// Says that a test cannot run here, or fails where that was not to happen.
///
/// # Panics
/// `AGENT_MESH_TEST_REQUIRE` names it.
pub(crate) fn left_out(name: &str, why: &str) {
    let required = std::env::var("AGENT_MESH_TEST_REQUIRE").unwrap_or_default();
    let is_required = required.split(',').any(|required| required.trim() == name);
    assert!(!is_required, "{name} is required and not there: {why}");
    // Written past the harness, which keeps what a passing test prints to itself.
    let line = format!("\nleft out: {name}: {why}\n");
    let mut stdout = std::io::stdout().lock();
    let _ = stdout.write_all(line.as_bytes());
    let _ = stdout.flush();
}
