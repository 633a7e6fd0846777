//! Commands: one file each, parsed by clap.
