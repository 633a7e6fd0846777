//! What a process can be kept from: files, networks, signals, sockets.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// What a process may do; everything else is refused, as far as the system can.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SandboxRules {
    /// Files and folders that it may read and run programs from.
    pub readable: Vec<PathBuf>,
    /// Files and folders that it may also write.
    pub writable: Vec<PathBuf>,
    /// TCP ports that it may connect to; it may listen on none.
    pub ports: Vec<u16>,
}

/// Which rules the system holds a process to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sandbox {
    /// The version of Landlock, 0 where there is none.
    pub landlock_abi: u8,
    /// Files, and other processes' memory and environment.
    pub files: bool,
    /// TCP ports, and that there is no transport but TCP and UDP.
    pub network: bool,
    /// Signals to processes outside, and sockets without a file.
    pub signals: bool,
    /// Sockets in the file system, such as those of a desktop's bus or of a container engine.
    pub sockets: bool,
}

impl Sandbox {
    /// Whether nothing is left open that a hostile process needs to reach another one.
    pub const fn is_whole(&self) -> bool {
        self.files && self.network && self.signals && self.sockets
    }

    /// What is not enforced, in words; nothing where all is.
    pub fn gaps(&self) -> Option<String> {
        let parts = [
            (self.files, "which files it reads"),
            (self.network, "which ports it connects to"),
            (self.signals, "whom it sends signals to"),
            (self.sockets, "which local sockets it opens"),
        ];
        let open: Vec<&str> = parts
            .into_iter()
            .filter_map(|(held, what)| (!held).then_some(what))
            .collect();
        (!open.is_empty()).then(|| open.join(", "))
    }
}

#[cfg(target_os = "linux")]
pub use linux::{sandbox, sandbox_support};

/// Refuses nothing, since the system cannot.
#[cfg(not(target_os = "linux"))]
pub fn sandbox(_rules: &SandboxRules) -> std::io::Result<Sandbox> {
    Ok(Sandbox::default())
}

/// Nothing: only Linux has these rules.
#[cfg(not(target_os = "linux"))]
pub fn sandbox_support() -> Sandbox {
    Sandbox::default()
}

#[cfg(target_os = "linux")]
mod linux;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_open_is_named() {
        let mut sandbox = Sandbox {
            landlock_abi: 6,
            files: true,
            network: true,
            signals: true,
            sockets: true,
        };
        assert!(sandbox.is_whole() && sandbox.gaps().is_none());
        sandbox.network = false;
        assert!(!sandbox.is_whole());
        assert_eq!(
            sandbox.gaps().as_deref(),
            Some("which ports it connects to")
        );
    }
}
