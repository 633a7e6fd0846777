//! What differs between operating systems, one function each, with a portable fallback.
