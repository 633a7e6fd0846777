//! How many files and connections this process may have open.

/// Lets this process open as many files as the system lets it ask for, and tells how many those are; nothing where
/// the system does not say.
#[cfg(unix)]
pub fn raise_descriptors() -> Option<u64> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: maximum,
        maximum,
    };
    match setrlimit(Resource::Nofile, raised) {
        Ok(()) => maximum,
        Err(_) => current,
    }
}

/// The system does not say.
#[cfg(not(unix))]
pub fn raise_descriptors() -> Option<u64> {
    None
}
