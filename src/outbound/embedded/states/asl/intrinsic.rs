//! Intrinsic functions: `States.Format('{}', $.name)` and its kin.

mod array;
mod evaluate;
mod parse;
#[cfg(test)]
mod tests;
mod text;

use serde_json::Value;

use super::path::Path;

/// How deep calls may lie in each other.
const DEPTH_MAX: usize = 10;

/// The most characters that `States.Hash` and the Base64 functions take.
const TEXT_CHARS_MAX: usize = 10_000;

/// The most items that `States.ArrayRange` makes.
const RANGE_ITEMS_MAX: u128 = 1000;

/// A call of an intrinsic function.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Call {
    function: Function,
    arguments: Vec<Argument>,
}

/// An argument of a call.
#[derive(Clone, Debug, PartialEq)]
enum Argument {
    /// A number, `true`, `false` or `null`.
    Fixed(Value),
    /// A quoted text, its backslashes still in it.
    Quoted(String),
    /// What a path leads to.
    Path(Path),
    /// What another call answers.
    Call(Call),
}

/// The functions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Function {
    Array,
    ArrayContains,
    ArrayGetItem,
    ArrayLength,
    ArrayPartition,
    ArrayRange,
    ArrayUnique,
    Base64Decode,
    Base64Encode,
    Format,
    Hash,
    JsonMerge,
    JsonToString,
    MathAdd,
    MathRandom,
    StringSplit,
    StringToJson,
    Uuid,
}

impl Function {
    /// Every function, with its name and the fewest and the most arguments that it takes.
    const TABLE: [(Self, &str, usize, usize); 18] = [
        (Self::Array, "States.Array", 0, usize::MAX),
        (Self::ArrayContains, "States.ArrayContains", 2, 2),
        (Self::ArrayGetItem, "States.ArrayGetItem", 2, 2),
        (Self::ArrayLength, "States.ArrayLength", 1, 1),
        (Self::ArrayPartition, "States.ArrayPartition", 2, 2),
        (Self::ArrayRange, "States.ArrayRange", 3, 3),
        (Self::ArrayUnique, "States.ArrayUnique", 1, 1),
        (Self::Base64Decode, "States.Base64Decode", 1, 1),
        (Self::Base64Encode, "States.Base64Encode", 1, 1),
        (Self::Format, "States.Format", 1, usize::MAX),
        (Self::Hash, "States.Hash", 2, 2),
        (Self::JsonMerge, "States.JsonMerge", 3, 3),
        (Self::JsonToString, "States.JsonToString", 1, 1),
        (Self::MathAdd, "States.MathAdd", 2, 2),
        (Self::MathRandom, "States.MathRandom", 2, 3),
        (Self::StringSplit, "States.StringSplit", 2, 2),
        (Self::StringToJson, "States.StringToJson", 1, 1),
        (Self::Uuid, "States.UUID", 0, 0),
    ];

    fn name(self) -> &'static str {
        let row = Self::TABLE.iter().find(|row| row.0 == self);
        row.map_or("States", |row| row.1)
    }
}
