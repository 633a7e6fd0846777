//! When a process is ready, and what it says of itself.
