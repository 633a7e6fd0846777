//! What a test needs besides this package, and what is said where it is missing.

use std::collections::BTreeSet;
use std::io::Write;
use std::sync::Mutex;

/// What has been said, so that it is said once however many tests need it.
static SAID: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

/// Says that a test cannot run here, or fails where that was not to happen.
///
/// # Panics
/// `AGENT_MESH_TEST_REQUIRE` names it.
pub(crate) fn left_out(name: &str, why: &str) {
    let required = std::env::var("AGENT_MESH_TEST_REQUIRE").unwrap_or_default();
    let is_required = required.split(',').any(|required| required.trim() == name);
    assert!(!is_required, "{name} is required and not there: {why}");
    let is_new = SAID.lock().expect("a set").insert(name.to_owned());
    if !is_new {
        return;
    }
    // Written past the harness, which keeps what a passing test prints to itself.
    let line = format!("\nleft out: {name}: {why}\n");
    let mut stdout = std::io::stdout().lock();
    let _ = stdout.write_all(line.as_bytes());
    let _ = stdout.flush();
}
