//! Parallel and Map states: branches side by side, of which the first that fails ends the others.

use std::future::Future;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use serde_json::Value;

use super::{Branch, Halt, Interpreter};
use crate::outbound::embedded::states::asl::{
    self, Branches, Context, Entropy, Map, PAYLOAD_BYTES_MAX, Scope, State, StateError,
};
use crate::outbound::embedded::states::event::Said;
use crate::outbound::embedded::states::frame::child_path;

/// The most children of one state that are under way at once, as AWS has it for a Map.
const WIDTH_MAX: usize = 40;

/// From so many branches of one execution on, children are begun one at a time.
const UNDER_WAY_MAX: usize = 400;

impl Interpreter {
    /// Goes through the branches of a Parallel state; the array of their outputs.
    pub(super) async fn parallel(
        &self,
        state: &State,
        branches: &Branches,
        branch: &mut Branch<'_>,
    ) -> Result<Value, Halt> {
        let input = self.evaluate(branch, |scope| {
            state.effective_input(&branch.frame.input, scope)
        })?;
        self.begin_children(Said::plain("ParallelStateStarted"), branch)?;
        let begin = |index: usize| {
            let flow = branches.branches.get(index).ok_or_else(nothing_there)?;
            let path = child_path(&branch.path, index);
            let (context, last) = (branch.context.clone(), branch.frame.last);
            Ok(self.branch(flow, path, input.clone(), context, last))
        };
        let done = self
            .side_by_side(branches.branches.len(), WIDTH_MAX, begin)
            .await;
        self.said_of_children(done, "Parallel", branch)
    }

    /// Goes through the items of a Map state; the array of their outputs.
    pub(super) async fn map(
        &self,
        state: &State,
        map: &Map,
        branch: &mut Branch<'_>,
    ) -> Result<Value, Halt> {
        let selected = self.select(state, branch)?;
        let context = branch.context_now();
        let items = map.items(&selected, &context)?;
        let width = match map.concurrency(&selected, &context)? {
            0 => WIDTH_MAX,
            width => usize::try_from(width).unwrap_or(WIDTH_MAX).min(WIDTH_MAX),
        };
        let started = Said::with("MapStateStarted", "mapStateStartedEventDetails")
            .member("length", items.len());
        self.begin_children(started, branch)?;
        let begin = |index: usize| {
            let item = items.get(index).ok_or_else(nothing_there)?;
            Ok(self.iteration(map, &selected, &context, (index, item), branch))
        };
        let done = self.side_by_side(items.len(), width, begin).await;
        self.said_of_children(done, "Map", branch)
    }

    /// Takes one item of a Map through its states.
    fn iteration<'a>(
        &'a self,
        map: &'a Map,
        selected: &Value,
        context: &Context,
        (index, item): (usize, &Value),
        branch: &Branch<'_>,
    ) -> impl Future<Output = Result<Value, Halt>> + use<'a> {
        let path = child_path(&branch.path, index);
        let last = branch.frame.last;
        let context_of_item = context.item(index, item.clone());
        let draws = format!("item {index}");
        let mut entropy: Entropy = self.entropy(&branch.path, branch.frame.entered, &draws);
        let mut scope = Scope::new(&context_of_item, &mut entropy);
        let input = map.item_input(selected, item, &mut scope);
        let name = branch.frame.state.clone();
        // It is under way from now on, not only from when it is first asked how far it is.
        let under_way = self.tracker.begin();
        async move {
            let _under_way = under_way;
            let said = |kind: &str| {
                Said::with(kind, "mapIterationStartedEventDetails")
                    .member("name", name.as_str())
                    .member("index", index)
            };
            let is_new = !self.knows(&path);
            let started = if is_new {
                self.journal.say(said("MapIterationStarted"), last)?
            } else {
                last
            };
            let flow = &map.processor;
            let done = {
                let branch = self.branch(flow, path, input?, context_of_item, started);
                let _delegating = self.tracker.delegate();
                branch.await
            };
            if is_new || done.is_err() {
                self.say_of_iteration(&name, index, done.is_ok(), started)?;
            }
            done
        }
    }

    fn say_of_iteration(
        &self,
        name: &str,
        index: usize,
        is_done: bool,
        previous: i64,
    ) -> Result<(), Halt> {
        let said = if is_done {
            Said::with("MapIterationSucceeded", "mapIterationSucceededEventDetails")
        } else {
            Said::with("MapIterationFailed", "mapIterationFailedEventDetails")
        };
        let said = said.member("name", name).member("index", index);
        self.journal.say(said, previous)?;
        Ok(())
    }

    /// Whether the branch at `path` was under way when the execution was taken up.
    fn knows(&self, path: &str) -> bool {
        self.resumed
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .contains_key(path)
    }

    /// Notes that the children of a state are begun, unless they were before.
    fn begin_children(&self, started: Said, branch: &mut Branch<'_>) -> Result<(), Halt> {
        if !branch.frame.begun {
            branch.frame.last = self.journal.say(started, branch.frame.last)?;
            branch.frame.begun = true;
            self.journal.put(&branch.path, &branch.frame);
        }
        Ok(())
    }

    /// Begins `count` children, at most `width` at once, and collects their outputs in order.
    async fn side_by_side<Child>(
        &self,
        count: usize,
        width: usize,
        begin: impl Fn(usize) -> Result<Child, Halt>,
    ) -> Result<Value, Halt>
    where
        Child: Future<Output = Result<Value, Halt>>,
    {
        let mut under_way = FuturesUnordered::new();
        let mut outputs = vec![Value::Null; count];
        let mut bytes = 0;
        let mut next = 0;
        loop {
            while next < count
                && under_way.len() < width
                && (under_way.is_empty() || self.tracker.under_way() < UNDER_WAY_MAX)
            {
                let (index, child) = (next, begin(next)?);
                under_way.push(async move { (index, child.await) });
                next += 1;
            }
            let done = {
                let _delegating = self.tracker.delegate();
                under_way.next().await
            };
            let Some((index, output)) = done else {
                return Ok(Value::Array(outputs));
            };
            let output = output?;
            bytes += output.to_string().len() + 1;
            if bytes > PAYLOAD_BYTES_MAX {
                return Err(too_large().into());
            }
            if let Some(place) = outputs.get_mut(index) {
                *place = output;
            }
            self.journal.relieve().await;
        }
    }

    fn said_of_children(
        &self,
        done: Result<Value, Halt>,
        kind: &str,
        branch: &mut Branch<'_>,
    ) -> Result<Value, Halt> {
        let said = match &done {
            Ok(_) => Said::plain(format!("{kind}StateSucceeded")),
            Err(Halt::Failed(error)) => Said::with(
                format!("{kind}StateFailed"),
                if kind == "Map" {
                    "mapStateFailedEventDetails"
                } else {
                    "parallelStateFailedEventDetails"
                },
            )
            .error(&error.error, &error.cause),
            Err(Halt::TooManyEvents) => return done,
        };
        branch.frame.last = self.journal.say(said, branch.frame.last)?;
        done
    }
}

fn nothing_there() -> Halt {
    StateError::new(asl::error::RUNTIME, "There is no such branch.").into()
}

fn too_large() -> StateError {
    StateError::new(
        asl::error::DATA_LIMIT_EXCEEDED,
        format!("The outputs of the branches are together larger than {PAYLOAD_BYTES_MAX} bytes."),
    )
}
