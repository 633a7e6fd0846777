//! Joins configuration, backends, services and transports; the only file that knows them all.
