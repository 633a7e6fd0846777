//! Bytes to framed JSON-RPC messages and back; transports differ only here.
