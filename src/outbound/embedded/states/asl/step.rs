//! What a state makes of its input and of its result.

#[cfg(test)]
mod tests;

use std::time::Duration;

use serde_json::{Map as Members, Value};

use super::context::{Context, Scope};
use super::error::{NO_CHOICE_MATCHED, RUNTIME, StateError, StateResult};
use super::machine::{
    Catcher, Choice, Concurrency, Fail, Kind, Map, Retrier, Seconds, State, Task, Text, Then, Wait,
};
use super::meter::Meter;
use super::path::{Path, ReferencePath};
use super::template::Evaluation;
use super::{SECONDS_MAX, payload, time};
use crate::mesh::Timestamp;

/// How long a Wait state waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pause {
    /// So long.
    For(Duration),
    /// Until then.
    Until(Timestamp),
}

impl State {
    /// The part of the raw input that `InputPath` selects.
    ///
    /// # Errors
    /// `States.Runtime` where it leads to nothing.
    pub(crate) fn select(&self, raw: &Value, context: &Context) -> StateResult<Value> {
        selected(self.input_path.as_ref(), "InputPath", raw, context)
    }

    /// What `Parameters` makes of the selected input.
    ///
    /// # Errors
    /// What the template fails with; `States.DataLimitExceeded` where it is too much.
    pub(crate) fn arguments(&self, selected: Value, scope: &mut Scope<'_>) -> StateResult<Value> {
        let Some(template) = &self.parameters else {
            return Ok(selected);
        };
        let arguments = template.evaluate(&selected, scope)?;
        payload::fit(&arguments, "what 'Parameters' makes")?;
        Ok(arguments)
    }

    /// What the state works on: the raw input through `InputPath` and `Parameters`.
    ///
    /// # Errors
    /// As for the two.
    pub(crate) fn effective_input(&self, raw: &Value, scope: &mut Scope<'_>) -> StateResult<Value> {
        let selected = self.select(raw, scope.context)?;
        self.arguments(selected, scope)
    }

    /// What the state hands on: its result through `ResultSelector`, `ResultPath` and `OutputPath`.
    ///
    /// # Errors
    /// What the template fails with, `States.ResultPathMatchFailure`, `States.Runtime` where `OutputPath`
    /// leads to nothing, `States.DataLimitExceeded` where it is too much.
    pub(crate) fn effective_result(
        &self,
        raw: &Value,
        result: Value,
        scope: &mut Scope<'_>,
    ) -> StateResult<Value> {
        let result = match &self.result_selector {
            Some(template) => template.evaluate(&result, scope)?,
            None => result,
        };
        let output = combined(self.result_path.as_ref(), raw, result)?;
        self.output(output, scope.context)
    }

    /// What `OutputPath` leaves of `output`; all that Choice, Wait and Succeed do to what they selected.
    ///
    /// # Errors
    /// `States.Runtime` where it leads to nothing, `States.DataLimitExceeded` where it is too much.
    pub(crate) fn output(&self, output: Value, context: &Context) -> StateResult<Value> {
        let output = match &self.output_path {
            Some(path) if path.is_whole() => output,
            path => selected(path.as_ref(), "OutputPath", &output, context)?,
        };
        payload::fit(&output, "the output")?;
        Ok(output)
    }

    /// What comes next; nothing for Choice, Succeed and Fail.
    pub(crate) fn then(&self) -> Option<&Then> {
        match &self.kind {
            Kind::Pass { then, .. } | Kind::Wait { then, .. } => Some(then),
            Kind::Task(task) => Some(&task.then),
            Kind::Parallel(branches) => Some(&branches.then),
            Kind::Map(map) => Some(&map.then),
            Kind::Choice(_) | Kind::Succeed | Kind::Fail(_) => None,
        }
    }

    /// When it is tried again.
    pub(crate) fn retry(&self) -> &[Retrier] {
        match &self.kind {
            Kind::Task(task) => &task.retry,
            Kind::Parallel(branches) => &branches.retry,
            Kind::Map(map) => &map.retry,
            _ => &[],
        }
    }

    /// Where its errors lead.
    pub(crate) fn catch(&self) -> &[Catcher] {
        match &self.kind {
            Kind::Task(task) => &task.catch,
            Kind::Parallel(branches) => &branches.catch,
            Kind::Map(map) => &map.catch,
            _ => &[],
        }
    }
}

/// What a path that may be `null` leaves of a value.
fn selected(
    path: Option<&Path>,
    member: &str,
    value: &Value,
    context: &Context,
) -> StateResult<Value> {
    let Some(path) = path else {
        return Ok(Value::Object(Members::new()));
    };
    let selected = path.value(value, context, &mut Meter::new())?;
    selected.ok_or_else(|| path.leads_nowhere(RUNTIME, member))
}

/// The raw input with the result where `ResultPath` says.
pub(super) fn combined(
    path: Option<&ReferencePath>,
    raw: &Value,
    result: Value,
) -> StateResult<Value> {
    match path {
        None => Ok(raw.clone()),
        Some(path) if path.path().is_whole() => Ok(result),
        Some(path) => {
            let mut output = raw.clone();
            path.put(&mut output, result)?;
            Ok(output)
        }
    }
}

impl Task {
    /// How long it may take.
    ///
    /// # Errors
    /// `States.Runtime` where the input says nothing of use.
    pub(crate) fn timeout(
        &self,
        selected: &Value,
        context: &Context,
    ) -> StateResult<Option<Duration>> {
        limit(
            self.timeout.as_ref(),
            "TimeoutSecondsPath",
            selected,
            context,
        )
    }

    /// How long it may be silent.
    ///
    /// # Errors
    /// `States.Runtime` where the input says nothing of use.
    pub(crate) fn heartbeat(
        &self,
        selected: &Value,
        context: &Context,
    ) -> StateResult<Option<Duration>> {
        limit(
            self.heartbeat.as_ref(),
            "HeartbeatSecondsPath",
            selected,
            context,
        )
    }
}

fn limit(
    seconds: Option<&Seconds>,
    member: &str,
    selected: &Value,
    context: &Context,
) -> StateResult<Option<Duration>> {
    let Some(seconds) = seconds else {
        return Ok(None);
    };
    let seconds = seconds.resolve(1, member, selected, context)?;
    Ok(Some(Duration::from_secs(seconds)))
}

impl Seconds {
    fn resolve(
        &self,
        least: u64,
        member: &str,
        selected: &Value,
        context: &Context,
    ) -> StateResult<u64> {
        match self {
            Self::Fixed(seconds) => Ok(*seconds),
            Self::Path(path) => whole_number(path, member, least, SECONDS_MAX, selected, context),
        }
    }
}

/// The whole number that the input has at a path.
fn whole_number(
    path: &ReferencePath,
    member: &str,
    least: u64,
    most: u64,
    selected: &Value,
    context: &Context,
) -> StateResult<u64> {
    let found = there(path, member, selected, context)?;
    let number = match found {
        Value::Number(number) => super::json::integer(number),
        _ => None,
    };
    number
        .and_then(|number| u64::try_from(number).ok())
        .filter(|number| (least..=most).contains(number))
        .ok_or_else(|| {
            StateError::runtime(format!(
                "'{member}' needs a whole number from {least} to {most} at '{}'",
                path.path().text()
            ))
        })
}

fn there<'v>(
    path: &ReferencePath,
    member: &str,
    selected: &'v Value,
    context: &'v Context,
) -> StateResult<&'v Value> {
    let found = path.find(selected, context)?;
    found.ok_or_else(|| path.path().leads_nowhere(RUNTIME, member))
}

impl Choice {
    /// The state that the selected input leads to.
    ///
    /// # Errors
    /// `States.NoChoiceMatched`; `States.Runtime` where a path leads to nothing.
    pub(crate) fn choose(&self, selected: &Value, context: &Context) -> StateResult<&str> {
        let mut meter = Meter::new();
        for (rule, next) in &self.rules {
            if rule.holds(selected, context, &mut meter)? {
                return Ok(next);
            }
        }
        self.default.as_deref().ok_or_else(|| {
            StateError::new(
                NO_CHOICE_MATCHED,
                "no rule of the Choice applies to its input and it has no 'Default'",
            )
        })
    }
}

impl Wait {
    /// How long it waits.
    ///
    /// # Errors
    /// `States.Runtime` where the input says nothing of use.
    pub(crate) fn pause(&self, selected: &Value, context: &Context) -> StateResult<Pause> {
        match self {
            Self::For(seconds) => {
                let seconds = seconds.resolve(0, "SecondsPath", selected, context)?;
                Ok(Pause::For(Duration::from_secs(seconds)))
            }
            Self::Until(time) => Ok(Pause::Until(*time)),
            Self::UntilPath(path) => {
                let found = there(path, "TimestampPath", selected, context)?;
                let time = found.as_str().and_then(time::parse);
                let time = time.ok_or_else(|| {
                    StateError::runtime(format!(
                        "'TimestampPath' needs a time such as 2026-01-31T23:59:59Z at '{}'",
                        path.path().text()
                    ))
                })?;
                Ok(Pause::Until(Timestamp::from_millis(time.as_millisecond())))
            }
        }
    }
}

impl Fail {
    /// The error that it ends with.
    ///
    /// # Errors
    /// `States.Runtime` where what the input says is no text, `States.IntrinsicFailure`.
    pub(crate) fn failure(&self, raw: &Value, scope: &mut Scope<'_>) -> StateResult<StateError> {
        let error = text(self.error.as_ref(), "ErrorPath", raw, scope)?;
        let cause = text(self.cause.as_ref(), "CausePath", raw, scope)?;
        Ok(StateError { error, cause })
    }
}

fn text(
    text: Option<&Text>,
    member: &str,
    raw: &Value,
    scope: &mut Scope<'_>,
) -> StateResult<String> {
    let computed = match text {
        None => return Ok(String::new()),
        Some(Text::Fixed(text)) => return Ok(text.clone()),
        Some(Text::Computed(expression)) => expression,
    };
    match computed.evaluate(member, &mut Evaluation::new(raw, scope))? {
        Value::String(text) => Ok(text),
        _ => Err(StateError::runtime(format!(
            "'{member}' must lead to a text"
        ))),
    }
}

impl Map {
    /// The items of the selected input.
    ///
    /// # Errors
    /// `States.Runtime` where there is no array.
    pub(crate) fn items(&self, selected: &Value, context: &Context) -> StateResult<Vec<Value>> {
        match there(&self.items_path, "ItemsPath", selected, context)? {
            Value::Array(items) => Ok(items.clone()),
            _ => Err(StateError::runtime(format!(
                "'ItemsPath' needs an array at '{}'",
                self.items_path.path().text()
            ))),
        }
    }

    /// What one iteration begins with. The scope's context is that of the item.
    ///
    /// # Errors
    /// What the template fails with; `States.DataLimitExceeded` where it is too much.
    pub(crate) fn item_input(
        &self,
        selected: &Value,
        item: &Value,
        scope: &mut Scope<'_>,
    ) -> StateResult<Value> {
        let Some(template) = &self.item_selector else {
            return Ok(item.clone());
        };
        let input = template.evaluate(selected, scope)?;
        payload::fit(&input, "what 'ItemSelector' makes")?;
        Ok(input)
    }

    /// How many items may go through its states at once; 0 stands for any number.
    ///
    /// # Errors
    /// `States.Runtime` where the input says nothing of use.
    pub(crate) fn concurrency(&self, selected: &Value, context: &Context) -> StateResult<u32> {
        match &self.concurrency {
            Concurrency::Fixed(number) => Ok(*number),
            Concurrency::Path(path) => {
                let most = u64::from(u32::MAX);
                let number = whole_number(path, "MaxConcurrencyPath", 0, most, selected, context)?;
                Ok(u32::try_from(number).unwrap_or(u32::MAX))
            }
        }
    }
}
