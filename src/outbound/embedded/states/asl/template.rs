//! Payload templates: JSON in which members named `….$` are computed.

#[cfg(test)]
mod tests;

use serde_json::{Map, Value};

use super::context::{Context, Entropy, Scope};
use super::error::{PARAMETER_PATH_FAILURE, StateResult};
use super::flaw::{Flaws, below, quoted};
use super::intrinsic::Call;
use super::meter::Meter;
use super::path::Path;

/// What the name of a computed member ends with.
const COMPUTED: &str = ".$";

/// A payload template. What holds nothing computed is kept as the JSON that it is.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Template {
    /// As it stands.
    Fixed(Value),
    /// Computed.
    Computed {
        /// The member's name, as it was written.
        member: String,
        /// From what.
        expression: Expression,
    },
    /// An array.
    List(Vec<Template>),
    /// An object.
    Object(Vec<(String, Template)>),
}

/// A value that is computed.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Expression {
    /// What a path leads to.
    Path(Path),
    /// What an intrinsic function answers.
    Call(Call),
}

/// One evaluation: what it sees, and what it may still do.
#[derive(Debug)]
pub(super) struct Evaluation<'e> {
    /// What `$` stands for.
    pub(super) input: &'e Value,
    /// What `$$` stands for.
    pub(super) context: &'e Context,
    /// Where random numbers come from.
    pub(super) entropy: &'e mut Entropy,
    /// What is left.
    pub(super) meter: Meter,
}

impl<'e> Evaluation<'e> {
    /// An evaluation over `input`.
    pub(super) fn new(input: &'e Value, scope: &'e mut Scope<'_>) -> Self {
        Self {
            input,
            context: scope.context,
            entropy: &mut *scope.entropy,
            meter: Meter::new(),
        }
    }
}

impl Template {
    /// Reads a template, which must be an object.
    pub(super) fn parse(value: &Value, at: &str, flaws: &mut Flaws) -> Option<Self> {
        if !value.is_object() {
            flaws.add(at, "it must be an object: a payload template");
            return None;
        }
        Some(Self::part(value, at, flaws))
    }

    fn part(value: &Value, at: &str, flaws: &mut Flaws) -> Self {
        match value {
            Value::Array(items) => {
                let parts = items.iter().enumerate();
                let parts = parts.map(|(index, item)| Self::part(item, &below(at, index), flaws));
                Self::list(parts.collect())
            }
            Value::Object(members) => Self::object(Self::members(members, at, flaws)),
            scalar => Self::Fixed(scalar.clone()),
        }
    }

    fn list(parts: Vec<Self>) -> Self {
        if !parts.iter().all(Self::is_fixed) {
            return Self::List(parts);
        }
        Self::Fixed(parts.into_iter().filter_map(Self::into_fixed).collect())
    }

    fn object(parts: Vec<(String, Self)>) -> Self {
        if !parts.iter().all(|(_, part)| part.is_fixed()) {
            return Self::Object(parts);
        }
        let members = parts.into_iter();
        let members = members.filter_map(|(name, part)| Some((name, part.into_fixed()?)));
        Self::Fixed(Value::Object(members.collect()))
    }

    fn members(members: &Map<String, Value>, at: &str, flaws: &mut Flaws) -> Vec<(String, Self)> {
        let mut parts = Vec::new();
        for (name, value) in members {
            let at = below(at, name);
            let Some(plain) = name.strip_suffix(COMPUTED) else {
                parts.push((name.clone(), Self::part(value, &at, flaws)));
                continue;
            };
            if members.contains_key(plain) {
                flaws.add(
                    &at,
                    format!("'{plain}' is there as well: keep one of the two"),
                );
            }
            let Value::String(text) = value else {
                flaws.add(
                    &at,
                    "a member whose name ends with '.$' takes a path or an intrinsic function as a text",
                );
                continue;
            };
            match Expression::parse(text) {
                Ok(expression) => parts.push((
                    plain.to_owned(),
                    Self::Computed {
                        member: name.clone(),
                        expression,
                    },
                )),
                Err(message) => flaws.add(&at, message),
            }
        }
        parts
    }

    fn is_fixed(&self) -> bool {
        matches!(self, Self::Fixed(_))
    }

    fn into_fixed(self) -> Option<Value> {
        match self {
            Self::Fixed(value) => Some(value),
            _ => None,
        }
    }

    /// What it makes of `input`.
    ///
    /// # Errors
    /// `States.ParameterPathFailure`, `States.IntrinsicFailure`, and `States.DataLimitExceeded` or
    /// `States.Runtime` where it asks for too much.
    pub(super) fn evaluate(&self, input: &Value, scope: &mut Scope<'_>) -> StateResult<Value> {
        self.make(&mut Evaluation::new(input, scope))
    }

    fn make(&self, evaluation: &mut Evaluation<'_>) -> StateResult<Value> {
        match self {
            Self::Fixed(value) => evaluation.meter.copy(value),
            Self::Computed { member, expression } => expression.evaluate(member, evaluation),
            Self::List(items) => items.iter().map(|item| item.make(evaluation)).collect(),
            Self::Object(members) => {
                let mut made = Map::new();
                for (name, part) in members {
                    made.insert(name.clone(), part.make(evaluation)?);
                }
                Ok(Value::Object(made))
            }
        }
    }
}

impl Expression {
    /// Reads a path or an intrinsic function.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        if text.starts_with('$') {
            let path = Path::parse(text).map_err(|why| bad_path(text, &why))?;
            return refuse_token(&path).map(|()| Self::Path(path));
        }
        if !text.starts_with("States.") {
            return Err(format!(
                "{} is neither a path, which begins with '$', nor an intrinsic function, which begins with 'States.'; for a fixed text leave '.$' out of the member's name",
                quoted(text)
            ));
        }
        Call::parse(text).map(Self::Call).map_err(|why| {
            format!(
                "the intrinsic function {} is not right: {why}",
                quoted(text)
            )
        })
    }

    /// What it comes to; `member` is where it stands.
    pub(super) fn evaluate(
        &self,
        member: &str,
        evaluation: &mut Evaluation<'_>,
    ) -> StateResult<Value> {
        match self {
            Self::Path(path) => path
                .value(evaluation.input, evaluation.context, &mut evaluation.meter)?
                .ok_or_else(|| path.leads_nowhere(PARAMETER_PATH_FAILURE, member)),
            Self::Call(call) => call.evaluate(evaluation),
        }
    }
}

/// What is said of a path that cannot be read.
pub(super) fn bad_path(text: &str, why: &str) -> String {
    format!("the path {} is not right: {why}", quoted(text))
}

/// Refuses the token of a callback, which no Task here waits for.
pub(super) fn refuse_token(path: &Path) -> Result<(), String> {
    match path.context_names().as_deref() {
        Some(["Task", ..]) => Err(
            "there is no task token: tasks that wait for a callback ('.waitForTaskToken') are not supported"
                .to_owned(),
        ),
        _ => Ok(()),
    }
}
