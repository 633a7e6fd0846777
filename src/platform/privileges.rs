//! What a process that becomes another program gives up first: privileges, limits, a life without its parent.

use std::io;

/// The most descriptors that a child may have open.
const DESCRIPTORS_MAX: u64 = 4096;

/// The largest file that a child may write, in bytes.
const FILE_BYTES_MAX: u64 = 1 << 30;

/// How many processes and threads of the user may come to those that the machine has now, before a child can
/// start no more.
const TASKS_MORE_MAX: u64 = 2048;

/// Has this process killed when the thread that started it ends, keeps it from dumping its memory, bounds
/// what it may open, write and start, and takes every privilege from what it becomes, also from the system's
/// administrator.
///
/// # Errors
/// The system refused one of them.
#[cfg(target_os = "linux")]
pub fn give_up_privileges() -> io::Result<()> {
    use rustix::process::{
        Resource, Rlimit, Signal, getrlimit, set_parent_process_death_signal, setrlimit,
    };

    set_parent_process_death_signal(Some(Signal::KILL))?;
    let bound = |resource: Resource, most: u64| {
        let maximum = getrlimit(resource).maximum;
        let most = Some(maximum.map_or(most, |maximum| maximum.min(most)));
        setrlimit(
            resource,
            Rlimit {
                current: most,
                maximum: most,
            },
        )
    };
    bound(Resource::Core, 0)?;
    bound(Resource::Nofile, DESCRIPTORS_MAX)?;
    bound(Resource::Fsize, FILE_BYTES_MAX)?;
    if let Some(tasks) = tasks() {
        bound(Resource::Nproc, tasks.saturating_add(TASKS_MORE_MAX))?;
    }
    if rustix::process::geteuid().is_root() {
        drop_capabilities();
    }
    rustix::thread::set_no_new_privs(true)?;
    Ok(())
}

/// Does nothing: the system has no such switches.
#[cfg(not(target_os = "linux"))]
pub fn give_up_privileges() -> io::Result<()> {
    let _ = (DESCRIPTORS_MAX, FILE_BYTES_MAX, TASKS_MORE_MAX);
    Ok(())
}

/// How many processes and threads the machine has: the last field but one of `/proc/loadavg` is
/// `running/all`.
#[cfg(target_os = "linux")]
fn tasks() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/loadavg").ok()?;
    text.split_ascii_whitespace()
        .nth(3)?
        .split_once('/')?
        .1
        .parse()
        .ok()
}

/// The administrator's next program has none of the administrator's capabilities. In a container that has
/// few to begin with some of this is refused, which leaves those few.
#[cfg(target_os = "linux")]
fn drop_capabilities() {
    use rustix::thread::{
        CapabilitiesSecureBits, CapabilitySet, remove_capability_from_bounding_set,
        set_capabilities_secure_bits,
    };

    for capability in CapabilitySet::all().iter() {
        let _ = remove_capability_from_bounding_set(capability);
    }
    let _ = set_capabilities_secure_bits(
        CapabilitiesSecureBits::NO_ROOT | CapabilitiesSecureBits::NO_ROOT_LOCKED,
    );
}
