//! What differs between operating systems, one function each, with a portable fallback.

mod account;
mod descriptor;
mod folder;
mod memory;
mod parent;
mod privileges;
mod process;
mod protection;
mod sandbox;
mod signal;
mod stamp;
mod terminal;

pub use account::login_name;
pub use descriptor::raise_descriptors;
pub use folder::{free_space_bytes, may_write};
pub use memory::{peak_memory_bytes, resident_memory_bytes};
pub use parent::parent_death;
pub use privileges::give_up_privileges;
pub use process::{ProcessEntry, descendants, own_program, process, process_memory_bytes};
pub use protection::not_dumpable;
pub use sandbox::{Sandbox, SandboxRules, sandbox, sandbox_support};
pub use signal::shutdown_signal;
pub use stamp::{FileStamp, is_open_to_others};
pub use terminal::{HiddenTyping, hide_typing};
