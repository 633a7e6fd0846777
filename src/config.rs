//! Settings: flags, environment and file into typed values, all mistakes at once.
