//! One execution, from where it stands to its end, or until it has nothing to do but wait for long.

use std::future::{Future, poll_fn};
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

use futures::FutureExt as _;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::asl::{self, Context, Execution, StateError};
use super::event::Said;
use super::interpreter::{Halt, Interpreter, sleep_until};
use super::journal::{Journal, Lost};
use super::name;
use super::runner::Runner;
use super::store::{Claimed, End};
use super::tracker::Tracker;
use crate::mesh::store::states::ExecutionStatus;
use crate::mesh::{Clock, Timestamp};

/// An execution that waits for longer than this is put aside: it costs a row and nothing else until then.
const PUT_ASIDE_AFTER: Duration = Duration::from_secs(2);

/// How a stretch of work on an execution ends.
enum Ended {
    Done(Value),
    Halted(Halt),
    /// Its time is up.
    TooLate,
    /// All of its branches wait, or have been told to take no more steps.
    Idle(Timestamp),
}

/// Takes the steps of an execution that this process has taken, until it ends, is put aside or is let go of.
/// Where it is `stopped`, the step under way is given up.
pub(super) async fn run(
    runner: &Arc<Runner>,
    claimed: Claimed,
    owner: String,
    stopped: CancellationToken,
) {
    let journal = Arc::new(Journal::new(
        Arc::clone(&runner.disk),
        Arc::clone(&runner.clock),
        claimed.id,
        owner,
        claimed.events,
    ));
    let steps = steps(runner, claimed, &journal);
    tokio::select! {
        () = steps => {}
        Lost = journal.commit() => {}
        () = stopped.cancelled() => {}
    }
}

async fn steps(runner: &Arc<Runner>, claimed: Claimed, journal: &Arc<Journal>) {
    let tracker = Arc::new(Tracker::default());
    let deadline = claimed.deadline;
    let work = work(runner, claimed, journal, &tracker);
    let stopping = runner.stopping();
    let ended = AssertUnwindSafe(stretch(work, &tracker, &runner.clock, deadline, stopping))
        .catch_unwind()
        .await;
    let ended = ended.unwrap_or_else(|_| {
        let cause = "The engine broke down; the server's log says more.";
        Ended::Halted(StateError::new(asl::error::RUNTIME, cause).into())
    });
    match ended {
        Ended::Done(output) => succeed(journal, &output).await,
        Ended::Halted(halt) => fail(journal, halt).await,
        Ended::TooLate => time_out(journal).await,
        Ended::Idle(due) => {
            let due = deadline.map_or(due, |deadline| due.min(deadline));
            journal.release(due).await;
        }
    }
}

/// Goes through the machine.
async fn work(
    runner: &Arc<Runner>,
    claimed: Claimed,
    journal: &Arc<Journal>,
    tracker: &Arc<Tracker>,
) -> Result<Value, Halt> {
    let broken = |cause: String| StateError::new(asl::error::RUNTIME, cause);
    let definition = runner
        .definitions
        .parse_hashed(claimed.definition, claimed.definition_text)
        .map_err(|missing| broken(format!("The definition cannot be read again: {missing}.")))?;
    let input = serde_json::from_str(&claimed.input)
        .map_err(|_| broken("The input cannot be read again.".to_owned()))?;
    let arn = name::execution_arn(&claimed.machine, &claimed.name);
    let context = Context::new(&Execution {
        id: arn.clone(),
        name: claimed.name.clone(),
        input,
        started_at: claimed.started_at,
        machine_id: name::machine_arn(&claimed.machine),
        role: name::role_arn(&claimed.machine),
        machine_name: claimed.machine,
    });
    let interpreter = Interpreter {
        machine: definition.machine,
        journal: Arc::clone(journal),
        tracker: Arc::clone(tracker),
        worker: Arc::clone(&runner.worker),
        clock: Arc::clone(&runner.clock),
        context,
        seed: claimed.seed,
        arn,
        name: claimed.name,
        stopping: runner.stopping().clone(),
        resumed: Mutex::new(claimed.frames),
    };
    interpreter.run().await
}

/// Works until the end, until time is up, or until there is nothing to do for long; once the process is
/// `stopping`, until there is nothing to do at all.
async fn stretch(
    work: impl Future<Output = Result<Value, Halt>>,
    tracker: &Tracker,
    clock: &Arc<dyn Clock>,
    deadline: Option<Timestamp>,
    stopping: &CancellationToken,
) -> Ended {
    let mut work = pin!(work);
    let mut late = pin!(async {
        match deadline {
            Some(deadline) => sleep_until(&**clock, deadline).await,
            None => std::future::pending().await,
        }
    });
    let mut told = pin!(stopping.cancelled().fuse());
    let mut is_stopping = false;
    poll_fn(|context| {
        is_stopping = is_stopping || told.as_mut().poll(context).is_ready();
        if late.as_mut().poll(context).is_ready() {
            return Poll::Ready(Ended::TooLate);
        }
        match work.as_mut().poll(context) {
            Poll::Ready(Ok(output)) => Poll::Ready(Ended::Done(output)),
            Poll::Ready(Err(halt)) => Poll::Ready(Ended::Halted(halt)),
            Poll::Pending => match tracker.idle_until() {
                Some(due) if is_stopping || due.since(clock.now()) > PUT_ASIDE_AFTER => {
                    Poll::Ready(Ended::Idle(due))
                }
                _ => Poll::Pending,
            },
        }
    })
    .await
}

async fn succeed(journal: &Journal, output: &Value) {
    let said = Said::with("ExecutionSucceeded", "executionSucceededEventDetails")
        .payload("output", output);
    let end = End {
        status: ExecutionStatus::Succeeded,
        output: Some(output.to_string()),
        error: None,
        cause: None,
    };
    journal.end(said, end).await;
}

async fn fail(journal: &Journal, halt: Halt) {
    let error = match halt {
        Halt::Failed(error) => error,
        Halt::TooManyEvents => StateError::new(
            asl::error::RUNTIME,
            format!(
                "The execution reached the maximum number of history events ({}).",
                super::event::EVENTS_MAX
            ),
        ),
    };
    let said = Said::with("ExecutionFailed", "executionFailedEventDetails")
        .error(&error.error, &error.cause);
    end_with(journal, said, ExecutionStatus::Failed, error).await;
}

async fn time_out(journal: &Journal) {
    let cause = "The execution took longer than the TimeoutSeconds of its machine.";
    let error = StateError::new(asl::error::TIMEOUT, cause);
    let said = Said::with("ExecutionTimedOut", "executionTimedOutEventDetails")
        .error(&error.error, &error.cause);
    end_with(journal, said, ExecutionStatus::TimedOut, error).await;
}

async fn end_with(journal: &Journal, said: Said, status: ExecutionStatus, error: StateError) {
    let end = End {
        status,
        output: None,
        error: Some(error.error).filter(|error| !error.is_empty()),
        cause: Some(error.cause).filter(|cause| !cause.is_empty()),
    };
    journal.end(said, end).await;
}
