//! Walks through a state machine: each state's input, work and output, and where its errors lead.
//!
//! What is not written yet when the process dies is done again from the last state that is: states without
//! effects may be, and a task only where its answer had not been written. What a state computes comes out the
//! same, because its context, its input and its seed are the same.

mod children;
mod task;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::future::BoxFuture;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use tokio_util::sync::CancellationToken;

use super::asl::{
    self, Context, Entropy, Flow, Kind, Machine, Pause, Scope, State, StateError, StateResult,
    Then, find_catcher, find_retrier,
};
use super::event::Said;
use super::frame::{Frame, ROOT, below};
use super::journal::{Journal, TooManyEvents};
use super::store::Seed;
use super::tracker::Tracker;
use super::work::Worker;
use crate::mesh::{Clock, Timestamp};

/// How long a wait trusts the clock before it looks again: the wall clock may jump.
const LOOK_AGAIN: Duration = Duration::from_millis(250);

/// Why a branch ends before its end.
#[derive(Debug)]
pub(super) enum Halt {
    /// A state failed, and nothing caught it.
    Failed(StateError),
    /// The execution has as many events as one may have; nothing catches that.
    TooManyEvents,
}

impl From<StateError> for Halt {
    fn from(error: StateError) -> Self {
        Self::Failed(error)
    }
}

impl From<TooManyEvents> for Halt {
    fn from(_: TooManyEvents) -> Self {
        Self::TooManyEvents
    }
}

/// One execution and all that it needs to go on.
pub(super) struct Interpreter {
    pub(super) machine: Arc<Machine>,
    pub(super) journal: Arc<Journal>,
    pub(super) tracker: Arc<Tracker>,
    pub(super) worker: Arc<dyn Worker>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) context: Context,
    pub(super) seed: Seed,
    /// The execution's ARN.
    pub(super) arn: String,
    /// The execution's name.
    pub(super) name: String,
    /// Cancelled when no more steps are to be begun.
    pub(super) stopping: CancellationToken,
    /// Where the branches stood when the execution was taken up, as far as they have not been taken up yet.
    pub(super) resumed: Mutex<BTreeMap<String, Frame>>,
}

/// Where a flow goes after a state, and with what.
struct Onward {
    then: Then,
    output: Value,
}

/// A branch at work: the states that it goes through, and where it stands.
struct Branch<'a> {
    flow: &'a Flow,
    path: String,
    context: Context,
    frame: Frame,
}

impl Branch<'_> {
    /// The context object in the state that the branch is in.
    fn context_now(&self) -> Context {
        let retries = self.frame.retries.iter().copied().map(u64::from).sum();
        let entered = Timestamp::from_millis(self.frame.entered_ms);
        self.context.enter(&self.frame.state, entered, retries)
    }
}

impl Interpreter {
    /// Goes through the machine from where it stands to its end; the output.
    pub(super) async fn run(&self) -> Result<Value, Halt> {
        let (machine, context) = (Arc::clone(&self.machine), self.context.clone());
        // The root stands in its first state since the execution was begun.
        self.branch(&machine.flow, ROOT.to_owned(), Value::Null, context, 0)
            .await
    }

    /// Goes through `flow` from where the branch at `path` stands, or from its start with `input`, after the
    /// event `previous`.
    fn branch<'a>(
        &'a self,
        flow: &'a Flow,
        path: String,
        input: Value,
        context: Context,
        previous: i64,
    ) -> BoxFuture<'a, Result<Value, Halt>> {
        let under_way = self.tracker.begin();
        Box::pin(async move {
            let _under_way = under_way;
            let resumed = self.resumed(&path);
            let frame = match resumed {
                Some(frame) => frame,
                None => self.enter(flow, &path, &flow.start_at, input, previous)?,
            };
            let mut branch = Branch {
                flow,
                path,
                context,
                frame,
            };
            self.walk(&mut branch).await
        })
    }

    fn resumed(&self, path: &str) -> Option<Frame> {
        self.resumed
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(path)
    }

    /// Forgets the children of the branch at `path`.
    fn forget_children(&self, path: &str) {
        let (from, to) = below(path);
        self.resumed
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .retain(|path, _| *path < from || *path >= to);
        self.journal.empty(path);
    }

    async fn walk(&self, branch: &mut Branch<'_>) -> Result<Value, Halt> {
        if let Some(output) = branch.frame.output.take() {
            return Ok(output);
        }
        loop {
            self.rest_if_stopping().await;
            let state = find(branch.flow, &branch.frame.state)?;
            let onward = self.state(state, branch).await?;
            let exited = Said::with(
                format!("{}StateExited", kind_name(&state.kind)),
                "stateExitedEventDetails",
            )
            .member("name", state.name.as_str())
            .payload("output", &onward.output);
            let last = self.journal.say(exited, branch.frame.last)?;
            match onward.then {
                Then::End => {
                    branch.frame.last = last;
                    if branch.path != ROOT {
                        branch.frame.output = Some(onward.output.clone());
                        self.journal.put(&branch.path, &branch.frame);
                        self.write_after(state).await;
                    }
                    return Ok(onward.output);
                }
                Then::Next(next) => {
                    let (flow, path) = (branch.flow, &branch.path);
                    branch.frame = self.enter(flow, path, &next, onward.output, last)?;
                    self.write_after(state).await;
                }
            }
        }
    }

    /// Writes what a task answered before anything else happens; what has no effect may be done again.
    async fn write_after(&self, state: &State) {
        match state.kind {
            Kind::Task(_) => self.journal.flush().await,
            _ => self.journal.relieve().await,
        }
    }

    fn enter(
        &self,
        flow: &Flow,
        path: &str,
        name: &str,
        input: Value,
        previous: i64,
    ) -> Result<Frame, Halt> {
        let state = find(flow, name)?;
        let entered_ms = self.clock.now().as_millis();
        let entered = self.journal.say(entered_event(state, &input), previous)?;
        let frame = Frame {
            state: name.to_owned(),
            input,
            entered_ms,
            entered,
            last: entered,
            begun: false,
            retries: Vec::new(),
            due_ms: None,
            output: None,
        };
        self.journal.put(path, &frame);
        Ok(frame)
    }

    async fn state(&self, state: &State, branch: &mut Branch<'_>) -> Result<Onward, Halt> {
        let then = state.then().cloned().unwrap_or(Then::End);
        match &state.kind {
            Kind::Task(_) | Kind::Parallel(_) | Kind::Map(_) => self.persist(state, branch).await,
            Kind::Wait { wait, .. } => {
                let selected = self.select(state, branch)?;
                let due = match branch.frame.due_ms {
                    Some(due_ms) => Timestamp::from_millis(due_ms),
                    None => match wait.pause(&selected, &branch.context_now())? {
                        Pause::For(pause) => self.clock.now().plus(pause),
                        Pause::Until(time) => time,
                    },
                };
                self.wait_until(due, branch).await;
                let output = state.output(selected, &branch.context_now())?;
                Ok(Onward { then, output })
            }
            Kind::Choice(choice) => {
                let selected = self.select(state, branch)?;
                let next = choice.choose(&selected, &branch.context_now())?.to_owned();
                let output = state.output(selected, &branch.context_now())?;
                Ok(Onward {
                    then: Then::Next(next),
                    output,
                })
            }
            Kind::Pass { result, .. } => {
                let raw = &branch.frame.input;
                let output = self.evaluate(branch, |scope| {
                    let given = state.effective_input(raw, scope)?;
                    let result = result.clone().unwrap_or(given);
                    state.effective_result(raw, result, scope)
                })?;
                Ok(Onward { then, output })
            }
            Kind::Succeed => {
                let selected = self.select(state, branch)?;
                let output = state.output(selected, &branch.context_now())?;
                Ok(Onward { then, output })
            }
            Kind::Fail(fail) => {
                let raw = &branch.frame.input;
                let error = self.evaluate(branch, |scope| fail.failure(raw, scope))?;
                Err(error.into())
            }
        }
    }

    /// Tries the work of a state until it succeeds, or its errors lead elsewhere.
    async fn persist(&self, state: &State, branch: &mut Branch<'_>) -> Result<Onward, Halt> {
        loop {
            if let Some(due_ms) = branch.frame.due_ms {
                self.wait_until(Timestamp::from_millis(due_ms), branch)
                    .await;
                branch.frame.due_ms = None;
                self.rest_if_stopping().await;
            }
            let error = match self.attempt(state, branch).await {
                Ok(output) => {
                    self.clear(branch);
                    let then = state.then().cloned().unwrap_or(Then::End);
                    return Ok(Onward { then, output });
                }
                Err(Halt::Failed(error)) => error,
                Err(halt) => return Err(halt),
            };
            self.clear(branch);
            if let Some(due) = self.next_attempt(state, branch, &error) {
                branch.frame.begun = false;
                branch.frame.due_ms = Some(due.as_millis());
                self.journal.put(&branch.path, &branch.frame);
                // An answer has been given, if a bad one, and is not asked for again.
                self.journal.flush().await;
                continue;
            }
            let Some(catcher) = find_catcher(state.catch(), &error) else {
                return Err(error.into());
            };
            let output = catcher.output(&branch.frame.input, &error)?;
            let then = Then::Next(catcher.next.clone());
            return Ok(Onward { then, output });
        }
    }

    /// Leaves nothing of the children of a state that has ended.
    fn clear(&self, branch: &Branch<'_>) {
        if branch.frame.begun {
            self.forget_children(&branch.path);
        }
    }

    /// When the state is tried again after `error`, if it is.
    fn next_attempt(
        &self,
        state: &State,
        branch: &mut Branch<'_>,
        error: &StateError,
    ) -> Option<Timestamp> {
        let (index, retrier) = find_retrier(state.retry(), error)?;
        let retries = &mut branch.frame.retries;
        if retries.len() <= index {
            retries.resize(index + 1, 0);
        }
        let used = retries.get_mut(index)?;
        let draws = format!("retry {index} {used}");
        let mut entropy = self.entropy(&branch.path, branch.frame.entered, &draws);
        let delay = retrier.delay(u64::from(*used), &mut entropy)?;
        *used += 1;
        Some(self.clock.now().plus(delay))
    }

    async fn attempt(&self, state: &State, branch: &mut Branch<'_>) -> Result<Value, Halt> {
        let result = match &state.kind {
            Kind::Task(task) => self.task(state, task, branch).await?,
            Kind::Parallel(branches) => self.parallel(state, branches, branch).await?,
            Kind::Map(map) => self.map(state, map, branch).await?,
            _ => return Err(StateError::new(asl::error::RUNTIME, "no work").into()),
        };
        let raw = &branch.frame.input;
        Ok(self.evaluate(branch, |scope| state.effective_result(raw, result, scope))?)
    }

    fn select(&self, state: &State, branch: &Branch<'_>) -> StateResult<Value> {
        state.select(&branch.frame.input, &branch.context_now())
    }

    /// Evaluates something of the state that the branch is in. It draws the same numbers each time.
    fn evaluate<T>(
        &self,
        branch: &Branch<'_>,
        evaluate: impl FnOnce(&mut Scope<'_>) -> StateResult<T>,
    ) -> StateResult<T> {
        let context = branch.context_now();
        let mut entropy = self.entropy(&branch.path, branch.frame.entered, "state");
        evaluate(&mut Scope::new(&context, &mut entropy))
    }

    fn entropy(&self, path: &str, entered: i64, what: &str) -> Entropy {
        let mut seed = self.seed.to_vec();
        seed.extend_from_slice(format!("{path}#{entered}#{what}").as_bytes());
        Entropy::new(&seed)
    }

    /// What stands for the step that the branch takes, with these arguments: a step that is tried again with
    /// others is another one.
    fn step(&self, branch: &Branch<'_>, arguments: &Value) -> String {
        let mut hash = Sha256::new();
        for part in [&self.arn, &branch.path, &arguments.to_string()] {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        hash.update(self.seed);
        hash.update(branch.frame.entered.to_be_bytes());
        let digest = hash.finalize();
        format!("step-{}", hex(digest.get(..16).unwrap_or_default()))
    }

    /// Goes no further where no more steps are to be begun. Where the branch stands has been noted, and the
    /// execution is let go of as soon as none of its branches does anything else.
    async fn rest_if_stopping(&self) {
        if self.stopping.is_cancelled() {
            let _waiting = self.tracker.wait(self.clock.now());
            std::future::pending::<()>().await;
        }
    }

    /// Waits until `due`. That it waits is on the disk before, so that the execution may be put aside.
    async fn wait_until(&self, due: Timestamp, branch: &mut Branch<'_>) {
        if self.clock.now() >= due {
            return;
        }
        branch.frame.due_ms = Some(due.as_millis());
        self.journal.put(&branch.path, &branch.frame);
        self.journal.flush().await;
        let _waiting = self.tracker.wait(due);
        sleep_until(&*self.clock, due).await;
    }
}

/// Waits until the clock shows `due`, also where it jumps.
pub(super) async fn sleep_until(clock: &dyn Clock, due: Timestamp) {
    loop {
        let left = due.since(clock.now());
        if left.is_zero() {
            return;
        }
        tokio::time::sleep(left.min(LOOK_AGAIN)).await;
    }
}

/// The event with which a state is entered.
pub(super) fn entered_event(state: &State, input: &Value) -> Said {
    Said::with(
        format!("{}StateEntered", kind_name(&state.kind)),
        "stateEnteredEventDetails",
    )
    .member("name", state.name.as_str())
    .payload("input", input)
}

fn find<'a>(flow: &'a Flow, name: &str) -> StateResult<&'a State> {
    flow.states.get(name).ok_or_else(|| {
        let cause = format!("The machine has no state \"{name}\" here.");
        StateError::new(asl::error::RUNTIME, cause)
    })
}

/// The type of a state, as events have it.
fn kind_name(kind: &Kind) -> &'static str {
    match kind {
        Kind::Pass { .. } => "Pass",
        Kind::Task(_) => "Task",
        Kind::Choice(_) => "Choice",
        Kind::Wait { .. } => "Wait",
        Kind::Succeed => "Succeed",
        Kind::Fail(_) => "Fail",
        Kind::Parallel(_) => "Parallel",
        Kind::Map(_) => "Map",
    }
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
