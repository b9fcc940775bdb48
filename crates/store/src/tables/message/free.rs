//! The free JSON inside a message (`webpush.notification`, `apns.payload`), as it is kept.

use cresset_message::{Struct, Value};

use super::damaged;
use crate::StoreError;

/// Free JSON, flat: a list of steps in the order of the text. A tree of records would be bounded by
/// protobuf's nesting limit of 100, which a tree of values and fields reaches at half the depth
/// that a request may have.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct StructRecord {
    #[prost(message, repeated, tag = "1")]
    steps: Vec<StepRecord>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct StepRecord {
    /// The name of a struct's field; elements of a list have none.
    #[prost(string, optional, tag = "1")]
    name: Option<String>,
    #[prost(oneof = "ValueRecord", tags = "2, 3, 4, 5, 6")]
    value: Option<ValueRecord>,
}

/// A value, or the head of one: how many of the values after it belong to it. None is null.
#[derive(Clone, PartialEq, prost::Oneof)]
enum ValueRecord {
    #[prost(bool, tag = "2")]
    Bool(bool),
    #[prost(double, tag = "3")]
    Number(f64),
    #[prost(string, tag = "4")]
    String(String),
    #[prost(uint32, tag = "5")]
    List(u32),
    #[prost(uint32, tag = "6")]
    Struct(u32),
}

impl From<&Struct> for StructRecord {
    fn from(fields: &Struct) -> Self {
        let mut steps = Vec::new();
        fields.iter().for_each(|(name, value)| flatten(Some(name), value, &mut steps));
        Self { steps }
    }
}

impl StructRecord {
    pub(super) fn into_struct(self) -> Result<Struct, StoreError> {
        let mut steps = self.steps.into_iter();
        let mut fields = Vec::new();
        while let Some(field) = unflatten(&mut steps, MAX_DEPTH)? {
            fields.push(field);
        }
        Ok(fields.into_iter().collect())
    }
}

/// Deeper than any request may be (100, `protocol/http-v1.md` §3); keeps a damaged row from
/// exhausting the stack.
const MAX_DEPTH: usize = 128;

fn flatten(name: Option<&str>, value: &Value, steps: &mut Vec<StepRecord>) {
    let count = |len: usize| u32::try_from(len).unwrap_or(u32::MAX);
    let record = match value {
        Value::Null => None,
        Value::Bool(value) => Some(ValueRecord::Bool(*value)),
        Value::Number(value) => Some(ValueRecord::Number(*value)),
        Value::String(text) => Some(ValueRecord::String(text.clone())),
        Value::List(values) => Some(ValueRecord::List(count(values.len()))),
        Value::Struct(fields) => Some(ValueRecord::Struct(count(fields.len()))),
    };
    steps.push(StepRecord { name: name.map(str::to_owned), value: record });
    match value {
        Value::List(values) => values.iter().for_each(|value| flatten(None, value, steps)),
        Value::Struct(fields) => fields.iter().for_each(|(name, value)| flatten(Some(name), value, steps)),
        _ => {}
    }
}

fn unflatten(
    steps: &mut std::vec::IntoIter<StepRecord>,
    depth: usize,
) -> Result<Option<(String, Value)>, StoreError> {
    let Some(step) = steps.next() else { return Ok(None) };
    let depth = depth.checked_sub(1).ok_or_else(|| damaged("is nested too deeply"))?;
    let mut next = || unflatten(steps, depth)?.ok_or_else(|| damaged("ends within a value"));
    let value = match step.value {
        None => Value::Null,
        Some(ValueRecord::Bool(value)) => Value::Bool(value),
        Some(ValueRecord::Number(value)) => Value::Number(value),
        Some(ValueRecord::String(text)) => Value::String(text),
        Some(ValueRecord::List(len)) => {
            Value::List((0..len).map(|_| next().map(|(_, value)| value)).collect::<Result<_, _>>()?)
        }
        Some(ValueRecord::Struct(len)) => {
            let fields: Vec<_> = (0..len).map(|_| next()).collect::<Result<_, _>>()?;
            Value::Struct(fields.into_iter().collect())
        }
    };
    Ok(Some((step.name.unwrap_or_default(), value)))
}
