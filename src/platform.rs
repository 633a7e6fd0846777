//! What differs between operating systems, one function each, with a portable fallback.

mod account;
mod folder;
mod memory;
mod parent;
mod protection;
mod signal;

pub use account::login_name;
pub use folder::{free_space_bytes, may_write};
pub use memory::{peak_memory_bytes, resident_memory_bytes};
pub use parent::parent_death;
pub use protection::not_dumpable;
pub use signal::shutdown_signal;
