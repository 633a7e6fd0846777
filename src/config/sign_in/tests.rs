//! Which ways to sign in the settings open, and which of them a server refuses to listen with.
