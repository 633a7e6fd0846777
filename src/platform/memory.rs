//! How much memory the process takes.

/// Memory that the process holds now, in bytes; `None` where the system does not say.
pub fn resident_memory_bytes() -> Option<u64> {
    field("VmRSS:")
}

/// The most memory that the process has held, in bytes; `None` where the system does not say.
pub fn peak_memory_bytes() -> Option<u64> {
    field("VmHWM:")
}

/// Only Linux has this file.
fn field(name: &str) -> Option<u64> {
    field_in(&std::fs::read_to_string("/proc/self/status").ok()?, name)
}

pub(super) fn field_in(status: &str, name: &str) -> Option<u64> {
    let value = status.lines().find_map(|line| line.strip_prefix(name))?;
    let kibibytes: u64 = value.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kibibytes.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_read_in_bytes() {
        let status = "Name:\tx\nVmHWM:\t    2048 kB\nVmRSS:\t     100 kB\n";
        assert_eq!(field_in(status, "VmHWM:"), Some(2_097_152));
        assert_eq!(field_in(status, "VmRSS:"), Some(102_400));
        assert_eq!(field_in(status, "VmSwap:"), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_peak_is_at_least_what_is_held_now() {
        let now = resident_memory_bytes().unwrap();
        assert!(now > 100_000 && peak_memory_bytes().unwrap() >= now);
    }
}
