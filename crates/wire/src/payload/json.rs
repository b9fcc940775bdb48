//! A JSON writer that keeps the order of fields and writes whole numbers as such, which a map of
//! `serde_json` would not.

use cresset_message::{Struct, Value};

/// An object being written.
pub(super) struct Object(Vec<u8>);

impl Object {
    pub(super) fn new() -> Self {
        Self(vec![b'{'])
    }

    pub(super) fn text(&mut self, name: &str, value: &str) {
        self.field(name, |out| string(value, out));
    }

    pub(super) fn value(&mut self, name: &str, content: &Value) {
        self.field(name, |out| value(content, out));
    }

    pub(super) fn object(&mut self, name: &str, content: Object) {
        self.field(name, |out| out.extend_from_slice(&content.finish()));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.len() == 1
    }

    pub(super) fn finish(mut self) -> Vec<u8> {
        self.0.push(b'}');
        self.0
    }

    fn field(&mut self, name: &str, write: impl FnOnce(&mut Vec<u8>)) {
        if !self.is_empty() {
            self.0.push(b',');
        }
        string(name, &mut self.0);
        self.0.push(b':');
        write(&mut self.0);
    }
}

fn value(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Null => out.extend_from_slice(b"null"),
        Value::Bool(true) => out.extend_from_slice(b"true"),
        Value::Bool(false) => out.extend_from_slice(b"false"),
        Value::Number(number) => out.extend_from_slice(self::number(*number).to_string().as_bytes()),
        Value::String(text) => string(text, out),
        Value::List(values) => list(values, out),
        Value::Struct(fields) => out.extend_from_slice(&object(fields).finish()),
    }
}

pub(super) fn object(fields: &Struct) -> Object {
    let mut object = Object::new();
    fields.iter().for_each(|(name, content)| object.value(name, content));
    object
}

fn list(values: &[Value], out: &mut Vec<u8>) {
    out.push(b'[');
    for (i, item) in values.iter().enumerate() {
        if i > 0 {
            out.push(b',');
        }
        value(item, out);
    }
    out.push(b']');
}

/// The sender wrote `100`, the Struct holds a double, and JavaScript must not see `100.0`.
fn number(number: f64) -> serde_json::Value {
    /// Every whole number below is exact in a double.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    if number.fract() == 0.0 && number.abs() < EXACT {
        return (number as i64).into();
    }
    number.into()
}

fn string(text: &str, out: &mut Vec<u8>) {
    serde_json::to_writer(out, text).expect("writing to memory does not fail");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_written_as_javascript_reads_them() {
        let table = [
            (Value::Null, "null"),
            (Value::Bool(true), "true"),
            (Value::Number(100.0), "100"),
            (Value::Number(-0.0), "0"),
            (Value::Number(1.5), "1.5"),
            (Value::Number(1e300), "1e+300"),
            (Value::String("a\"\n\u{1}é".into()), "\"a\\\"\\n\\u0001é\""),
            (Value::List(vec![Value::Null, Value::Number(2.0)]), "[null,2]"),
            (
                Value::Struct([("z", Value::Null), ("a", Value::Null)].into_iter().collect()),
                "{\"z\":null,\"a\":null}",
            ),
            (Value::Struct(Struct::default()), "{}"),
        ];
        for (input, expected) in table {
            let mut out = Vec::new();
            value(&input, &mut out);
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
    }
}
