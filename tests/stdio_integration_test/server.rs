//! The server as a child process: started in a clean environment, spoken to in lines, ended and measured.

use std::collections::BTreeMap;
use std::fs::{File, TryLockError};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{
    Child, ChildStderr, ChildStdin, ChildStdout, Command, ExitStatus, Output, Stdio,
};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// The program under test.
pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_use_aws_mcp");

/// How long anything is waited for. The contract's own times are measured on an idle machine by the load
/// program; here a machine that is busy with other tests must not fail any.
pub(crate) const WAIT_MAX: Duration = Duration::from_secs(20);

/// How long a server may take to end. The contract says 2 s, or 5 s where events must be published.
pub(crate) const END_MAX: Duration = Duration::from_secs(10);

/// How a server is started.
#[derive(Clone, Debug)]
pub(crate) struct Start {
    folder: PathBuf,
    variables: BTreeMap<String, String>,
    arguments: Vec<String>,
}

/// A server that runs, or has run. It is killed when it is dropped.
pub(crate) struct Server {
    child: Child,
    input: Option<ChildStdin>,
    lines: Receiver<Vec<u8>>,
    log: Log,
    /// Pipes that nobody reads, kept open.
    unread: (Option<ChildStdout>, Option<ChildStderr>),
}

/// Which of a server's pipes are read; the others fill up.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reads {
    pub(crate) output: bool,
    pub(crate) log: bool,
}

/// What has come over stderr so far.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Start {
    /// A server that keeps its data in `folder` and finds nothing else of this machine's settings.
    pub(crate) fn on(folder: &Path) -> Self {
        let start = Self {
            folder: folder.to_owned(),
            variables: BTreeMap::new(),
            arguments: Vec::new(),
        };
        let text = |path: PathBuf| path.to_str().expect("a path in UTF-8").to_owned();
        start
            .set("AGENT_MESH_DATA_DIR", &text(folder.join("data")))
            .set("HOME", &text(folder.join("home")))
            .set("USER", "tester")
    }

    /// With this variable, too.
    pub(crate) fn set(mut self, name: &str, value: &str) -> Self {
        self.variables.insert(name.to_owned(), value.to_owned());
        self
    }

    /// With limits that a test does not come near, however fast the machine.
    pub(crate) fn generous(self) -> Self {
        let names = [
            "requests_per_minute",
            "dynamodb_read",
            "dynamodb_write",
            "s3_get",
            "s3_put",
            "s3_list",
            "eventbridge",
            "sns",
            "states",
            "secrets",
            "upstream",
            "workflows_running",
            "alerts_per_day",
        ];
        let mut limits: String = names
            .iter()
            .map(|name| format!("{name} = 10000000\n"))
            .collect();
        // As many as a server takes in all.
        limits.push_str("calls_in_flight = 1024\n");
        let path = self.folder.join("generous.toml");
        std::fs::write(&path, format!("[defaults.limits]\n{limits}")).expect("a file of limits");
        self.set("AGENT_MESH_TENANTS_FILE", "generous.toml")
    }

    /// With these words on the command line.
    pub(crate) fn arguments(mut self, arguments: &[&str]) -> Self {
        self.arguments = arguments.iter().map(|word| (*word).to_owned()).collect();
        self
    }

    /// Where the data are.
    pub(crate) fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// The command, for tests that start it in ways of their own.
    pub(crate) fn command(&self) -> Command {
        self.command_by(PROGRAM)
    }

    /// Another program in the same environment.
    pub(crate) fn command_by(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        command
            .args(&self.arguments)
            .env_clear()
            .envs(&self.variables);
        command.current_dir(&self.folder);
        command
    }

    /// Starts the server.
    pub(crate) fn spawn(&self) -> Server {
        self.spawn_reading(Reads {
            output: true,
            log: true,
        })
    }

    /// Starts the server for a client that does not read everything.
    pub(crate) fn spawn_reading(&self, reads: Reads) -> Server {
        let mut command = self.command();
        Server::of(&mut command, reads)
    }

    /// Runs a command of the program to its end, with nothing on its standard input.
    pub(crate) fn run(&self) -> Output {
        let mut command = self.command();
        command.stdin(Stdio::null());
        run_to_end(&mut command, WAIT_MAX)
    }
}

/// Runs a program to its end, which must come within `time`.
pub(crate) fn run_to_end(command: &mut Command, time: Duration) -> Output {
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{command:?} does not start: {error}"));
    let all = |mut pipe: Box<dyn Read + Send>| {
        thread::spawn(move || {
            let mut bytes = Vec::new();
            let _ = pipe.read_to_end(&mut bytes);
            bytes
        })
    };
    let stdout = all(Box::new(child.stdout.take().expect("a pipe")));
    let stderr = all(Box::new(child.stderr.take().expect("a pipe")));
    let Some(status) = wait_for(&mut child, time) else {
        let _ = child.kill();
        let said = stderr.join().unwrap_or_default();
        panic!(
            "{command:?} runs for {time:?} and says {}",
            String::from_utf8_lossy(&said)
        );
    };
    Output {
        status,
        stdout: stdout.join().expect("its output"),
        stderr: stderr.join().expect("its log"),
    }
}

impl Server {
    /// Starts `command` with pipes.
    pub(crate) fn of(command: &mut Command, reads: Reads) -> Self {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the server starts");
        let log = Log::default();
        let mut errors = child.stderr.take();
        if reads.log {
            log.fill_from(errors.take().expect("a pipe"));
        }
        let (sender, lines) = channel();
        let mut output = child.stdout.take();
        if reads.output {
            let output = output.take().expect("a pipe");
            thread::spawn(move || {
                let mut output = BufReader::new(output);
                loop {
                    let mut line = Vec::new();
                    match output.read_until(b'\n', &mut line) {
                        Ok(1..) if sender.send(line).is_ok() => {}
                        _ => return,
                    }
                }
            });
        }
        Self {
            input: child.stdin.take(),
            child,
            lines,
            log,
            unread: (output, errors),
        }
    }

    /// Writes bytes to it as they are.
    ///
    /// # Errors
    /// The server has closed its input.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let input = self.input.as_mut().ok_or(io::ErrorKind::BrokenPipe)?;
        input.write_all(bytes)?;
        input.flush()
    }

    /// Its input, for a thread that writes while others do something else.
    pub(crate) fn take_input(&mut self) -> ChildStdin {
        self.input.take().expect("an open input")
    }

    /// Closes its input.
    pub(crate) fn end_input(&mut self) {
        self.input = None;
    }

    /// The next line of its output with its newline; `None` at the end.
    ///
    /// # Panics
    /// Where nothing comes for [`WAIT_MAX`].
    pub(crate) fn line(&mut self) -> Option<Vec<u8>> {
        match self.lines.recv_timeout(WAIT_MAX) {
            Ok(line) => Some(line),
            Err(RecvTimeoutError::Disconnected) => None,
            Err(RecvTimeoutError::Timeout) => {
                panic!("nothing comes for {WAIT_MAX:?}; the log:\n{}", self.log())
            }
        }
    }

    /// The next line if it comes within `time`.
    pub(crate) fn line_within(&mut self, time: Duration) -> Option<Vec<u8>> {
        self.lines.recv_timeout(time).ok()
    }

    /// Everything that it still writes.
    pub(crate) fn rest(&mut self) -> Vec<Vec<u8>> {
        std::iter::from_fn(|| self.line()).collect()
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        send_signal(self.pid(), signal);
    }

    /// Kills it, as `kill -9` does, and waits until it is gone.
    pub(crate) fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Its exit status.
    ///
    /// # Panics
    /// Where it does not end within [`END_MAX`].
    pub(crate) fn end(&mut self) -> ExitStatus {
        let ended = wait_for(&mut self.child, END_MAX);
        ended.unwrap_or_else(|| {
            panic!(
                "it does not end within {END_MAX:?}; its log:\n{}",
                self.log()
            )
        })
    }

    /// Closes its input and asserts that it then ends well.
    pub(crate) fn finish(&mut self) {
        self.end_input();
        let status = self.end();
        assert!(status.success(), "{status}; the log:\n{}", self.log());
    }

    /// What it has said on stderr so far.
    pub(crate) fn log(&self) -> String {
        self.log.text()
    }

    /// Bytes of memory of its own that it holds now, from /proc: without the pages of its binary, of which a
    /// debug build has some times as many as a release and a client cannot make more.
    pub(crate) fn memory(&self) -> u64 {
        let path = format!("/proc/{}/status", self.pid());
        let status = std::fs::read_to_string(path).expect("its status");
        let field = |name: &str| {
            let value = status
                .lines()
                .find_map(|line| line.strip_prefix(name))
                .expect("a field");
            let kibibytes = value.trim().trim_end_matches(" kB");
            kibibytes.parse::<u64>().expect("a number") * 1024
        };
        field("RssAnon:") + field("RssShmem:")
    }

    /// Pids of its children.
    pub(crate) fn children(&self) -> String {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.pid())).expect("its threads");
        tasks
            .filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("children")).ok())
            .collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
        drop((self.unread.0.take(), self.unread.1.take()));
    }
}

impl Log {
    fn fill_from(&self, mut errors: ChildStderr) {
        let log = self.clone();
        thread::spawn(move || {
            let mut chunk = vec![0; 64 << 10];
            while let Ok(count @ 1..) = errors.read(&mut chunk) {
                log.0
                    .lock()
                    .expect("the log")
                    .extend_from_slice(&chunk[..count]);
            }
        });
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().expect("the log")).into_owned()
    }
}

/// Sends a process a signal, if it is still there.
pub(crate) fn send_signal(pid: u32, signal: Signal) {
    let pid = Pid::from_raw(i32::try_from(pid).expect("a pid")).expect("a pid");
    let _ = kill_process(pid, signal);
}

/// Whether a process is there and has not ended.
pub(crate) fn lives(pid: u32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // After the name, which stands in brackets: a letter for its state.
    let state = status
        .rsplit(") ")
        .next()
        .and_then(|rest| rest.chars().next());
    state.is_some_and(|state| !matches!(state, 'Z' | 'X'))
}

/// Whether `happened` comes true within `time`.
pub(crate) fn within(time: Duration, mut happened: impl FnMut() -> bool) -> bool {
    let start = Instant::now();
    loop {
        if happened() {
            return true;
        }
        if start.elapsed() > time {
            return false;
        }
        thread::sleep(Duration::from_millis(5));
    }
}

/// Files below `folder` that somebody holds a lock on.
pub(crate) fn locked_files(folder: &Path) -> Vec<PathBuf> {
    let is_locked = |path: &PathBuf| {
        let file = File::open(path).map(|file| file.try_lock());
        matches!(file, Ok(Err(TryLockError::WouldBlock)))
    };
    files(folder).into_iter().filter(is_locked).collect()
}

/// All files below `folder`.
pub(crate) fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            match entry.path() {
                path if path.is_dir() => folders.push(path),
                path => found.push(path),
            }
        }
    }
    found
}

fn wait_for(child: &mut Child, time: Duration) -> Option<ExitStatus> {
    let mut status = None;
    within(time, || {
        status = child.try_wait().expect("its status");
        status.is_some()
    });
    status
}
