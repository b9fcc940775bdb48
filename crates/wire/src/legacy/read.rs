//! JSON into the values of an [`ObjectType`]. Types are strict, and the first misfit is told; the rest
//! is read all the same, for its syntax and for whom a nack goes to.

use std::borrow::Cow;

use cresset_message::{Struct, last_wins, limits::MAX_TTL};

use super::error::LegacyError;
use super::schema::{Field, Kind, ObjectType};
use crate::v1::json::{Reader, Scalar, SyntaxError, Token};

/// What a field holds once read.
pub(super) enum Value<'a> {
    String(Cow<'a, str>),
    Bool(bool),
    Number(u64),
    Strings(Vec<String>),
    Pairs(Vec<(String, String)>),
    Struct(Struct),
    Record(Record<'a>),
}

/// An object's values, in the order of its type's fields.
pub(super) struct Record<'a> {
    kind: &'static ObjectType,
    values: Vec<Option<Value<'a>>>,
}

impl<'a> Record<'a> {
    fn empty(kind: &'static ObjectType) -> Self {
        Self { kind, values: kind.fields.iter().map(|_| None).collect() }
    }

    pub(super) fn take(&mut self, name: &str) -> Option<Value<'a>> {
        let index = self.kind.fields.iter().position(|field| field.name == name);
        debug_assert!(index.is_some(), "no field {name}");
        self.values[index?].take()
    }

    /// Nothing was given that is known here.
    pub(super) fn is_empty(&self) -> bool {
        self.values.iter().all(Option::is_none)
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.kind.fields.iter().zip(&self.values).any(|(field, value)| field.name == name && value.is_some())
    }
}

/// What was read, and the first thing that is wrong with it.
pub(super) struct Outcome<'a> {
    pub(super) record: Record<'a>,
    pub(super) wrong: Option<LegacyError>,
}

/// Reads a body. A text that is not JSON is the only thing told of it.
pub(super) fn read<'a>(body: &'a [u8], kind: &'static ObjectType) -> Result<Outcome<'a>, LegacyError> {
    let record = Reader::new(body).and_then(|json| {
        let mut binder = Binder { json, wrong: None };
        let record = binder.root(kind)?;
        Ok((record, binder.wrong))
    });
    match record {
        Ok((Some(record), wrong)) => Ok(Outcome { record, wrong }),
        // What is JSON, but no object.
        Ok((None, _)) => Err(syntax(body, first_of(body))),
        Err(SyntaxError { at, .. }) => Err(syntax(body, at)),
    }
}

fn first_of(body: &[u8]) -> usize {
    body.iter().position(|byte| !byte.is_ascii_whitespace()).unwrap_or(body.len())
}

/// What stands at a place in the body, and where that is in characters.
fn syntax(body: &[u8], at: usize) -> LegacyError {
    let (before, from) = body.split_at(at.min(body.len()));
    let next = &from[..from.len().min(4)];
    let found = String::from_utf8_lossy(next).chars().next();
    LegacyError::Syntax { found, at: String::from_utf8_lossy(before).chars().count() }
}

type Read<T> = Result<T, SyntaxError>;

struct Binder<'a> {
    json: Reader<'a>,
    wrong: Option<LegacyError>,
}

impl<'a> Binder<'a> {
    /// `None`: it is no object.
    fn root(&mut self, kind: &'static ObjectType) -> Read<Option<Record<'a>>> {
        let token = self.json.value("")?;
        let record = match token {
            Token::Object => Some(self.object(kind)?),
            _ => {
                self.json.skip(&token)?;
                None
            }
        };
        self.json.finish()?;
        Ok(record)
    }

    fn object(&mut self, kind: &'static ObjectType) -> Read<Record<'a>> {
        let mut record = Record::empty(kind);
        let mut first = true;
        while let Some(key) = self.json.key(std::mem::take(&mut first))? {
            let token = self.json.value(&key)?;
            let Some(index) = kind.fields.iter().position(|field| field.name == key) else {
                self.json.skip(&token)?;
                continue;
            };
            // Null is as good as nothing (§4.2).
            if matches!(token, Token::Scalar(Scalar::Null)) {
                continue;
            }
            if let Some(value) = self.field(&kind.fields[index], token)? {
                record.values[index] = Some(value);
            }
        }
        Ok(record)
    }

    fn field(&mut self, field: &'static Field, token: Token<'a>) -> Read<Option<Value<'a>>> {
        match (token, field.kind) {
            (Token::Object, Kind::Object(kind)) => Ok(Some(Value::Record(self.object(kind)?))),
            (Token::Object, Kind::Data) => Ok(Some(Value::Pairs(self.data()?))),
            (Token::Object, Kind::Sound) => Ok(Some(Value::Struct(self.json.fields()?))),
            (Token::List, Kind::Recipients | Kind::Args) => self.strings(field),
            (Token::Scalar(scalar), kind) => Ok(self.scalar(field, kind, scalar)),
            (token, kind) => {
                let mut given = String::new();
                self.write(&token, &mut given)?;
                if !matches!(kind, Kind::OfXmpp) {
                    self.misfit(field, given);
                }
                Ok(None)
            }
        }
    }

    fn scalar(&mut self, field: &'static Field, kind: Kind, given: Scalar<'a>) -> Option<Value<'a>> {
        let written = self.json.written();
        match (kind, given) {
            (Kind::String | Kind::Sound | Kind::OfXmpp, Scalar::String(text)) => Some(Value::String(text)),
            (Kind::OfXmpp, _) => None,
            (Kind::Bool, Scalar::Bool(value)) => Some(Value::Bool(value)),
            (Kind::Seconds, Scalar::Unsigned(seconds)) if seconds <= MAX_TTL.as_secs() => {
                Some(Value::Number(seconds))
            }
            (Kind::Seconds, Scalar::Unsigned(_) | Scalar::Signed(_) | Scalar::Double(_)) => {
                self.tell(LegacyError::Ttl(super::error::cut(written).to_owned()))
            }
            (Kind::Priority, Scalar::String(text)) => match priority(&text) {
                Some(high) => Some(Value::Bool(high)),
                None => self.tell(LegacyError::Priority(super::error::cut(&text).to_owned())),
            },
            (Kind::Priority, Scalar::Unsigned(_) | Scalar::Signed(_) | Scalar::Double(_)) => {
                match priority(written) {
                    Some(high) => Some(Value::Bool(high)),
                    None => self.tell(LegacyError::Priority(super::error::cut(written).to_owned())),
                }
            }
            (Kind::Count, Scalar::Unsigned(count)) => Some(Value::Number(count)),
            (Kind::Count, Scalar::String(text)) if text.is_empty() => None,
            (Kind::Count, Scalar::String(text)) => match text.parse() {
                Ok(count) => Some(Value::Number(count)),
                Err(_) => self.misfit(field, shown(&text)),
            },
            (Kind::Args, Scalar::String(text)) if text.is_empty() => None,
            (Kind::Args, Scalar::String(text)) => match strings_in(&text) {
                Some(strings) => Some(Value::Strings(strings)),
                None => self.misfit(field, shown(&text)),
            },
            (_, Scalar::String(text)) => self.misfit(field, shown(&text)),
            (_, _) => self.misfit(field, written.to_owned()),
        }
    }

    /// Elements are strings; in the arguments of a text, other values become strings.
    fn strings(&mut self, field: &'static Field) -> Read<Option<Value<'a>>> {
        let mut strings = Vec::new();
        let mut first = true;
        while self.json.element(std::mem::take(&mut first))? {
            let token = self.json.value("")?;
            match (token, field.kind) {
                (Token::Scalar(Scalar::String(text)), _) => strings.push(text.into_owned()),
                (token, kind) => {
                    let mut text = String::new();
                    self.write(&token, &mut text)?;
                    if matches!(kind, Kind::Args) {
                        strings.push(text);
                    } else {
                        self.misfit_of(field.name, super::error::Expected::String, text);
                    }
                }
            }
        }
        Ok(Some(Value::Strings(strings)))
    }

    /// Of two entries with one key the last wins. A null is no entry (inferred: §4.2 has it so for
    /// fields).
    fn data(&mut self) -> Read<Vec<(String, String)>> {
        let mut entries = Vec::new();
        let mut first = true;
        while let Some(key) = self.json.key(std::mem::take(&mut first))? {
            let token = self.json.value(&key)?;
            let text = match token {
                Token::Scalar(Scalar::Null) => continue,
                Token::Scalar(Scalar::String(text)) => text.into_owned(),
                other => {
                    let mut text = String::new();
                    self.write(&other, &mut text)?;
                    text
                }
            };
            entries.push((key.into_owned(), text));
        }
        Ok(last_wins(entries))
    }

    /// A value as compact JSON text: numbers as they were written, names in their order (§4.3).
    fn write(&mut self, token: &Token<'a>, out: &mut String) -> Read<()> {
        let mut first = true;
        match token {
            Token::Scalar(Scalar::String(text)) => out.push_str(&shown(text)),
            Token::Scalar(_) => out.push_str(self.json.written()),
            Token::Object => {
                out.push('{');
                while let Some(key) = self.json.key(first)? {
                    out.push_str(if first { "" } else { "," });
                    first = false;
                    out.push_str(&shown(&key));
                    out.push(':');
                    let inner = self.json.value(&key)?;
                    self.write(&inner, out)?;
                }
                out.push('}');
            }
            Token::List => {
                out.push('[');
                while self.json.element(first)? {
                    out.push_str(if first { "" } else { "," });
                    first = false;
                    let inner = self.json.value("")?;
                    self.write(&inner, out)?;
                }
                out.push(']');
            }
        }
        Ok(())
    }

    fn misfit(&mut self, field: &'static Field, given: String) -> Option<Value<'a>> {
        match field.kind {
            Kind::Recipients => self.tell(LegacyError::RecipientsNotArray),
            kind => self.misfit_of(field.name, kind.expected(), given),
        }
    }

    fn misfit_of(
        &mut self,
        field: &'static str,
        expected: super::error::Expected,
        given: String,
    ) -> Option<Value<'a>> {
        self.tell(LegacyError::wrong_type(field, expected, given))
    }

    fn tell(&mut self, wrong: LegacyError) -> Option<Value<'a>> {
        self.wrong.get_or_insert(wrong);
        None
    }
}

/// Whether a priority is high; `None`: it is none.
pub(super) fn priority(text: &str) -> Option<bool> {
    match text {
        "10" => Some(true),
        "5" => Some(false),
        _ if text.eq_ignore_ascii_case("high") => Some(true),
        _ if text.eq_ignore_ascii_case("normal") => Some(false),
        _ => None,
    }
}

/// The list that a string holds as JSON.
fn strings_in(text: &str) -> Option<Vec<String>> {
    let values: Vec<serde_json::Value> = serde_json::from_str(text).ok()?;
    let told = |value| match value {
        serde_json::Value::String(text) => text,
        other => other.to_string(),
    };
    Some(values.into_iter().map(told).collect())
}

/// As a JSON string.
fn shown(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
