//! The pool against servers in memory: one connection for each key, and nothing left of any that ended.
