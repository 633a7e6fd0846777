//! What calls of intrinsic functions come to.

use serde_json::{Map, Value};

use super::super::context::Entropy;
use super::super::error::{INTRINSIC_FAILURE, StateError, StateResult};
use super::super::json;
use super::super::template::Evaluation;
use super::{Argument, Call, Function, array, text};

/// Arguments, evaluated.
#[derive(Debug)]
pub(super) struct Arguments {
    function: Function,
    values: Vec<Value>,
}

impl Arguments {
    /// The failure of this call.
    pub(super) fn fail(&self, why: impl std::fmt::Display) -> StateError {
        StateError::new(
            INTRINSIC_FAILURE,
            format!("{}: {why}", self.function.name()),
        )
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.values.len()
    }

    /// The argument at that place, from 0.
    pub(super) fn get(&self, index: usize) -> &Value {
        self.values.get(index).unwrap_or(&Value::Null)
    }

    /// The text at that place.
    pub(super) fn text(&self, index: usize) -> StateResult<&str> {
        match self.get(index) {
            Value::String(text) => Ok(text),
            other => Err(self.wrong(index, "a text", other)),
        }
    }

    /// The array at that place.
    pub(super) fn array(&self, index: usize) -> StateResult<&Vec<Value>> {
        match self.get(index) {
            Value::Array(items) => Ok(items),
            other => Err(self.wrong(index, "an array", other)),
        }
    }

    /// The whole number at that place; a fraction is rounded, as Step Functions does.
    pub(super) fn integer(&self, index: usize) -> StateResult<i64> {
        match self.get(index) {
            Value::Number(number) => json::rounded(number).ok_or_else(|| {
                self.fail(format!("argument {} does not fit into 64 bits", index + 1))
            }),
            other => Err(self.wrong(index, "a number", other)),
        }
    }

    fn object(&self, index: usize) -> StateResult<&Map<String, Value>> {
        match self.get(index) {
            Value::Object(members) => Ok(members),
            other => Err(self.wrong(index, "an object", other)),
        }
    }

    fn wrong(&self, index: usize, expected: &str, found: &Value) -> StateError {
        let found = match found {
            Value::Null => "null",
            Value::Bool(_) => "true or false",
            Value::Number(_) => "a number",
            Value::String(_) => "a text",
            Value::Array(_) => "an array",
            Value::Object(_) => "an object",
        };
        self.fail(format!(
            "argument {} must be {expected}, and is {found}",
            index + 1
        ))
    }
}

impl Call {
    /// What it comes to.
    ///
    /// # Errors
    /// `States.IntrinsicFailure`, and what the evaluation is not allowed.
    pub(in super::super) fn evaluate(&self, evaluation: &mut Evaluation<'_>) -> StateResult<Value> {
        let mut values = Vec::with_capacity(self.arguments.len());
        for (index, argument) in self.arguments.iter().enumerate() {
            let keeps_escapes = self.function == Function::Format && index == 0;
            values.push(self.argument(argument, keeps_escapes, evaluation)?);
        }
        let arguments = Arguments {
            function: self.function,
            values,
        };
        apply(self.function, &arguments, evaluation)
    }

    fn argument(
        &self,
        argument: &Argument,
        keeps_escapes: bool,
        evaluation: &mut Evaluation<'_>,
    ) -> StateResult<Value> {
        match argument {
            Argument::Fixed(value) => Ok(value.clone()),
            Argument::Quoted(raw) => {
                evaluation.meter.make(raw.len())?;
                Ok(Value::String(if keeps_escapes {
                    raw.clone()
                } else {
                    text::unescaped(raw)
                }))
            }
            Argument::Path(path) => path
                .value(evaluation.input, evaluation.context, &mut evaluation.meter)?
                .ok_or_else(|| path.leads_nowhere(INTRINSIC_FAILURE, self.function.name())),
            Argument::Call(call) => call.evaluate(evaluation),
        }
    }
}

fn apply(
    function: Function,
    arguments: &Arguments,
    evaluation: &mut Evaluation<'_>,
) -> StateResult<Value> {
    let meter = &mut evaluation.meter;
    match function {
        Function::Array => Ok(Value::Array(arguments.values.clone())),
        Function::ArrayContains => array::contains(arguments, meter),
        Function::ArrayGetItem => array::item(arguments),
        Function::ArrayLength => Ok(arguments.array(0)?.len().into()),
        Function::ArrayPartition => array::partition(arguments, meter),
        Function::ArrayRange => array::range(arguments),
        Function::ArrayUnique => array::unique(arguments, meter),
        Function::Base64Decode => text::base64_decode(arguments),
        Function::Base64Encode => text::base64_encode(arguments),
        Function::Format => text::format(arguments, meter),
        Function::Hash => text::hash(arguments),
        Function::JsonMerge => merge(arguments),
        Function::JsonToString => text::of_json(arguments, meter),
        Function::MathAdd => {
            let sum = arguments.integer(0)?.checked_add(arguments.integer(1)?);
            sum.map(Value::from)
                .ok_or_else(|| arguments.fail("the sum does not fit into 64 bits"))
        }
        Function::MathRandom => random(arguments, evaluation.entropy),
        Function::StringSplit => text::split(arguments, meter),
        Function::StringToJson => text::to_json(arguments),
        Function::Uuid => {
            let uuid = uuid::Builder::from_random_bytes(evaluation.entropy.bytes());
            Ok(uuid.into_uuid().to_string().into())
        }
    }
}

fn merge(arguments: &Arguments) -> StateResult<Value> {
    let (first, second) = (arguments.object(0)?, arguments.object(1)?);
    if arguments.get(2) != &Value::Bool(false) {
        return Err(arguments.fail("the third argument must be false: only the top is merged"));
    }
    let mut merged = first.clone();
    merged.extend(second.clone());
    Ok(Value::Object(merged))
}

/// A whole number from the first to before the second; the first where they are the same.
fn random(arguments: &Arguments, entropy: &mut Entropy) -> StateResult<Value> {
    let (from, to) = (arguments.integer(0)?, arguments.integer(1)?);
    let width = u128::try_from(i128::from(to) - i128::from(from))
        .map_err(|_| arguments.fail("the first argument must not be more than the second"))?;
    let drawn = if arguments.count() == 3 {
        let seed = arguments.integer(2)?;
        Entropy::new(&seed.to_be_bytes()).below(width)
    } else {
        entropy.below(width)
    };
    let number = i128::try_from(drawn).map_or(i128::from(from), |drawn| i128::from(from) + drawn);
    Ok(i64::try_from(number).unwrap_or(from).into())
}
