//! Typing that nobody sees.

use std::io;

/// While this lives, the terminal does not show what is typed.
#[cfg(unix)]
pub struct HiddenTyping {
    terminal: std::fs::File,
    before: rustix::termios::Termios,
}

/// While this lives, the terminal does not show what is typed.
#[cfg(not(unix))]
pub struct HiddenTyping;

/// Has the terminal of this process stop showing what is typed, before anybody is asked to type: what is
/// typed ahead, or pasted, would be shown otherwise.
#[cfg(unix)]
pub fn hide_typing() -> io::Result<HiddenTyping> {
    use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};

    let terminal = std::fs::File::options()
        .read(true)
        .write(true)
        .open("/dev/tty")?;
    let before = tcgetattr(&terminal)?;
    let mut hidden = before.clone();
    hidden.local_modes.remove(LocalModes::ECHO);
    hidden.local_modes.insert(LocalModes::ECHONL);
    tcsetattr(&terminal, OptionalActions::Now, &hidden)?;
    Ok(HiddenTyping { terminal, before })
}

/// Does nothing: whoever reads what is typed hides it meanwhile.
#[cfg(not(unix))]
pub fn hide_typing() -> io::Result<HiddenTyping> {
    Ok(HiddenTyping)
}

#[cfg(unix)]
impl Drop for HiddenTyping {
    fn drop(&mut self) {
        use rustix::termios::{OptionalActions, tcsetattr};

        let _ = tcsetattr(&self.terminal, OptionalActions::Now, &self.before);
    }
}
