//! The services: one file a family.
