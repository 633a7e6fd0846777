//! What commands print: the one place besides the transport that writes to stdout.

use std::fmt::Display;
use std::io::{self, IsTerminal, Write};
use std::sync::{Arc, Mutex, PoisonError};

use anstream::{AutoStream, ColorChoice};
use anstyle::{AnsiColor, Style};
use serde::Serialize;

use super::ExitStatus;

/// Where a command prints. Styles are stripped where nobody would see them.
pub struct Output {
    stdout: Box<dyn Write + Send>,
    stderr: Box<dyn Write + Send>,
    is_terminal: bool,
    failure: Option<io::Error>,
}

/// What was printed to an [`Output::captured`], without styles.
#[derive(Clone, Debug, Default)]
pub struct Captured {
    stdout: Arc<Mutex<Vec<u8>>>,
    stderr: Arc<Mutex<Vec<u8>>>,
}

/// How a piece of text is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Paint {
    /// A heading or a name.
    Strong,
    /// It went well.
    Good,
    /// It went wrong.
    Bad,
    /// Somebody should look at it.
    Warning,
    /// Of less interest.
    Faint,
}

impl Output {
    /// The process's own streams. `allows_colour` is what the environment says; a stream that is no
    /// terminal gets no colour in any case.
    pub fn of_process(allows_colour: bool) -> Self {
        let choice = |is_terminal: bool| {
            if allows_colour && is_terminal {
                ColorChoice::Always
            } else {
                ColorChoice::Never
            }
        };
        let (stdout, stderr) = (io::stdout(), io::stderr());
        let is_terminal = stdout.is_terminal();
        Self {
            stderr: Box::new(AutoStream::new(stderr, choice(io::stderr().is_terminal()))),
            stdout: Box::new(AutoStream::new(stdout, choice(is_terminal))),
            is_terminal,
            failure: None,
        }
    }

    /// An output whose text can be read back, for tests.
    pub fn captured() -> (Self, Captured) {
        let captured = Captured::default();
        let stream = |bytes: &Arc<Mutex<Vec<u8>>>| -> Box<dyn Write + Send> {
            let target: Box<dyn Write + Send> = Box::new(Shared(Arc::clone(bytes)));
            Box::new(AutoStream::new(target, ColorChoice::Never))
        };
        let output = Self {
            stdout: stream(&captured.stdout),
            stderr: stream(&captured.stderr),
            is_terminal: false,
            failure: None,
        };
        (output, captured)
    }

    /// Whether a person sees what is printed: the condition of progress bars.
    pub fn is_terminal(&self) -> bool {
        self.is_terminal
    }

    /// Prints one line, or several, with a line break at the end.
    pub fn line(&mut self, line: impl Display) {
        let printed = writeln!(self.stdout, "{line}").and_then(|()| self.stdout.flush());
        self.keep(printed);
    }

    /// Prints text as it is.
    pub fn text(&mut self, text: &str) {
        let printed = self
            .stdout
            .write_all(text.as_bytes())
            .and_then(|()| self.stdout.flush());
        self.keep(printed);
    }

    /// Prints a value as JSON, indented, for programs and for people who read after them.
    pub fn json(&mut self, value: &impl Serialize) {
        match serde_json::to_string_pretty(value) {
            Ok(text) => self.line(text),
            Err(error) => self.keep(Err(error.into())),
        }
    }

    /// Prints to stderr: what is wrong, or what is none of a command's result.
    pub fn error(&mut self, message: &str) {
        // Whoever closed stderr does not want to know.
        let _ = writeln!(self.stderr, "{}", message.trim_end());
        let _ = self.stderr.flush();
    }

    /// The command's status, unless its output could not be written: a reader that has had enough, such
    /// as `head`, is no failure, a full disk is.
    pub fn finish(&mut self, status: ExitStatus) -> ExitStatus {
        match self.failure.take() {
            Some(error) if error.kind() != io::ErrorKind::BrokenPipe => {
                self.error(&format!("the output could not be written: {error}"));
                ExitStatus::Failure
            }
            _ => status,
        }
    }

    /// Whether something could not be written: nobody reads any more, or the disk is full.
    pub fn has_failed(&self) -> bool {
        self.failure.is_some()
    }

    fn keep(&mut self, printed: io::Result<()>) {
        if let Err(error) = printed {
            self.failure.get_or_insert(error);
        }
    }
}

impl Captured {
    /// What went to stdout.
    pub fn stdout(&self) -> String {
        text_of(&self.stdout)
    }

    /// What went to stderr.
    pub fn stderr(&self) -> String {
        text_of(&self.stderr)
    }
}

impl Paint {
    /// `text` in this style; [`Output`] strips it where it would not be seen.
    pub fn on(self, text: impl Display) -> String {
        let style = match self {
            Self::Strong => Style::new().bold(),
            Self::Good => AnsiColor::Green.on_default(),
            Self::Bad => AnsiColor::Red.on_default().bold(),
            Self::Warning => AnsiColor::Yellow.on_default(),
            Self::Faint => Style::new().dimmed(),
        };
        format!("{style}{text}{style:#}")
    }
}

/// A buffer that its reader shares.
struct Shared(Arc<Mutex<Vec<u8>>>);

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut buffer = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        buffer.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn text_of(bytes: &Mutex<Vec<u8>>) -> String {
    let bytes = bytes.lock().unwrap_or_else(PoisonError::into_inner);
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Refusing(io::ErrorKind);

    impl Write for Refusing {
        fn write(&mut self, _bytes: &[u8]) -> io::Result<usize> {
            Err(self.0.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn styles_are_stripped_where_there_is_no_terminal() {
        let (mut output, captured) = Output::captured();
        output.line(Paint::Good.on("fine"));
        output.error(&Paint::Bad.on("broken"));
        assert_eq!(captured.stdout(), "fine\n");
        assert_eq!(captured.stderr(), "broken\n");
    }

    #[test]
    fn a_reader_that_has_had_enough_is_no_failure_and_a_full_disk_is() {
        for (kind, expected) in [
            (io::ErrorKind::BrokenPipe, ExitStatus::Success),
            (io::ErrorKind::StorageFull, ExitStatus::Failure),
        ] {
            let (mut output, _) = Output::captured();
            output.stdout = Box::new(Refusing(kind));
            output.line("x");
            output.line("y");
            assert_eq!(output.finish(ExitStatus::Success), expected);
        }
    }
}
