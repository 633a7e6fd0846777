//! The listener, with a front of its own behind it.
