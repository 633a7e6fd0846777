//! Keeping other processes of the same user from looking into this one.

use std::io;

/// Makes the process's memory, environment and descriptors unreadable for others of the same user, and
/// turns core dumps off. Does nothing where the system has no such switch.
#[cfg(target_os = "linux")]
pub fn not_dumpable() -> io::Result<()> {
    use rustix::process::{DumpableBehavior, set_dumpable_behavior};
    Ok(set_dumpable_behavior(DumpableBehavior::NotDumpable)?)
}

/// Does nothing: the system has no such switch.
#[cfg(not(target_os = "linux"))]
pub fn not_dumpable() -> io::Result<()> {
    Ok(())
}
