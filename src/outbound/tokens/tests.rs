//! The file of static tokens.
