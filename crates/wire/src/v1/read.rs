//! JSON into the values of a [`MessageType`], as Google's front end binds it: whatever does not fit
//! is told in its words, in body order, and reading goes on (`protocol/http-v1.md` §3, §3.1).

use std::borrow::Cow;
use std::fmt::Write as _;

use cresset_message::{FieldViolation, Rejection, Struct, last_wins};

use super::json::{Reader, Scalar, SyntaxError, Token};
use super::scalar::{self, Moment, Span};
use super::schema::{Field, Kind, MessageType};

/// Violations that are told; a request with more is wrong enough. Cresset's own bound.
const MAX_VIOLATIONS: usize = 100;

/// Common beginning of the texts about the body as a whole (`protocol/http-v1.md` §3.1).
const INVALID_PAYLOAD: &str = "Invalid JSON payload received. ";

/// What a field holds once read.
pub(super) enum Value<'a> {
    String(Cow<'a, str>),
    Bool(bool),
    Int32(i32),
    Float(f32),
    /// The number; it need not be a declared one.
    Enum(i32),
    Duration(Span),
    Timestamp(Moment),
    Struct(Struct),
    Map(Vec<(Cow<'a, str>, Cow<'a, str>)>),
    List(Vec<Self>),
    Record(Record<'a>),
}

/// A message's values, in the order of its type's fields.
pub(super) struct Record<'a> {
    kind: &'static MessageType,
    values: Vec<Option<Value<'a>>>,
}

impl<'a> Record<'a> {
    pub(super) fn empty(kind: &'static MessageType) -> Self {
        Self { kind, values: kind.fields.iter().map(|_| None).collect() }
    }

    /// Takes the value of a field out; `name` is its proto name.
    pub(super) fn take(&mut self, name: &str) -> Option<Value<'a>> {
        let index = self.kind.fields.iter().position(|field| field.name == name);
        debug_assert!(index.is_some(), "{} has no field {name}", self.kind.name);
        self.values[index?].take()
    }
}

/// Reads a body as a message of the given type.
pub(super) fn read<'a>(body: &'a [u8], kind: &'static MessageType) -> Result<Record<'a>, Rejection> {
    let mut violations = Vec::new();
    let record = Reader::new(body).and_then(|json| {
        let mut binder = Binder { json, path: Vec::new(), violations: &mut violations };
        binder.root(kind)
    });
    match record {
        // A text that is not JSON is the only thing told, whatever was found before (§3.1).
        Err(SyntaxError { reason, .. }) => Err(Rejection::Unparsable(vec![FieldViolation {
            field: String::new(),
            description: format!("{INVALID_PAYLOAD}{reason}"),
        }])),
        Ok(_) if !violations.is_empty() => Err(Rejection::Unparsable(violations)),
        Ok(record) => Ok(record),
    }
}

#[derive(Clone, Copy)]
enum Step {
    Field(&'static str),
    Index(usize),
}

type Read<T> = Result<T, SyntaxError>;

struct Binder<'a, 'v> {
    json: Reader<'a>,
    path: Vec<Step>,
    violations: &'v mut Vec<FieldViolation>,
}

impl<'a> Binder<'a, '_> {
    fn root(&mut self, kind: &'static MessageType) -> Read<Record<'a>> {
        let token = self.json.value("")?;
        let record = if matches!(token, Token::Object) {
            self.message(kind)?
        } else {
            self.unknown_name("", "Root element must be a message.");
            self.json.skip(&token)?;
            Record::empty(kind)
        };
        self.json.finish()?;
        Ok(record)
    }

    fn message(&mut self, kind: &'static MessageType) -> Read<Record<'a>> {
        let mut record = Record::empty(kind);
        let mut first = true;
        while let Some(key) = self.json.key(std::mem::take(&mut first))? {
            let token = self.json.value(&key)?;
            if self.has_told_enough() {
                self.json.skip(&token)?;
                continue;
            }
            let Some(index) = kind.find(&key) else {
                self.unknown_name(&key, "Cannot find field.");
                self.json.skip(&token)?;
                continue;
            };
            if matches!(token, Token::Scalar(Scalar::Null)) {
                continue;
            }
            if let Some(oneof) = taken_oneof(&record, index) {
                self.invalid("oneof", format!("oneof field '{oneof}' is already set. Cannot set '{key}'"));
                self.json.skip(&token)?;
                continue;
            }
            if let Some(value) = self.field(kind, &kind.fields[index], &key, token)? {
                record.values[index] = Some(value);
            } else if kind.fields[index].oneof.is_some() {
                // A member of the wrong type holds its place all the same.
                record.values[index] = Some(Value::Bool(false));
            }
        }
        Ok(record)
    }

    fn field(
        &mut self,
        owner: &'static MessageType,
        field: &'static Field,
        key: &str,
        token: Token<'a>,
    ) -> Read<Option<Value<'a>>> {
        match (token, field.kind) {
            (Token::List, Kind::Map) => {
                self.invalid("Map", format!("Cannot bind a list to map for field '{}'.", field.name));
                self.json.skip(&Token::List)?;
                Ok(None)
            }
            (Token::List, _) if field.repeated => {
                self.inside(Step::Field(field.name), |b| b.list(field, key))
            }
            (Token::List, _) => {
                self.unknown_name(key, "Proto field is not repeating, cannot start list.");
                self.json.skip(&Token::List)?;
                Ok(None)
            }
            (Token::Object, Kind::Message(kind)) => {
                let record = self.inside(Step::Field(field.name), |b| b.message(kind))?;
                Ok(Some(Value::Record(record)))
            }
            (Token::Object, Kind::Map) => self.inside(Step::Field(field.name), Self::map).map(Some),
            (Token::Object, Kind::Struct) => Ok(Some(Value::Struct(self.json.fields()?))),
            (Token::Object, _) => {
                self.invalid(field.name, "Starting an object on a scalar field");
                self.json.skip(&Token::Object)?;
                Ok(None)
            }
            (Token::Scalar(scalar), _) => Ok(self.scalar_field(owner, field, key, &scalar)),
        }
    }

    fn scalar_field(
        &mut self,
        owner: &MessageType,
        field: &'static Field,
        key: &str,
        scalar: &Scalar<'a>,
    ) -> Option<Value<'a>> {
        self.path.push(Step::Field(field.name));
        // One value where a list may stand is a list of one.
        self.path.extend(field.repeated.then_some(Step::Index(0)));
        let value = self.scalar(owner, field, key, scalar);
        self.path.truncate(self.path.len() - 1 - usize::from(field.repeated));
        if field.repeated { value.map(|one| Value::List(vec![one])) } else { value }
    }

    /// Elements of a repeated field; every one of today's is a scalar.
    fn list(&mut self, field: &'static Field, key: &str) -> Read<Option<Value<'a>>> {
        let mut values = Vec::new();
        let mut index = 0;
        while self.json.element(index == 0)? {
            let token = self.json.value("")?;
            self.path.push(Step::Index(index));
            match &token {
                _ if self.has_told_enough() => {}
                Token::Scalar(Scalar::Null) => {}
                Token::Scalar(scalar) => {
                    values.extend(self.scalar(&NO_OWNER, field, key, scalar));
                }
                Token::List => self.unknown_name("", "Proto field is not repeating, cannot start list."),
                Token::Object => self.invalid(field.name, "Starting an object on a scalar field"),
            }
            self.path.pop();
            self.json.skip(&token)?;
            index += 1;
        }
        Ok(Some(Value::List(values)))
    }

    /// Entries are numbered as they appear; of two with one key the last wins.
    fn map(&mut self) -> Read<Value<'a>> {
        let mut entries = Vec::new();
        while let Some(key) = self.json.key(entries.is_empty())? {
            let token = self.json.value(&key)?;
            let value = self.inside(Step::Index(entries.len()), |b| b.map_value(&key, token))?;
            entries.push((key, value));
        }
        Ok(Value::Map(last_wins(entries)))
    }

    fn map_value(&mut self, key: &str, token: Token<'a>) -> Read<Cow<'a, str>> {
        match token {
            Token::Scalar(Scalar::String(text)) => return Ok(text),
            Token::Scalar(Scalar::Null) => {}
            token if self.has_told_enough() => self.json.skip(&token)?,
            Token::Scalar(wrong) => {
                self.inside(Step::Field("value"), |b| b.invalid("TYPE_STRING", scalar::shown(&wrong)));
            }
            Token::Object => {
                self.invalid("value", "Starting an object on a scalar field");
                self.json.skip(&Token::Object)?;
            }
            Token::List => {
                let index = self.path.pop();
                self.invalid("Map", format!("Cannot have repeated items ('{key}') within a map."));
                self.path.extend(index);
                self.json.skip(&Token::List)?;
            }
        }
        Ok(Cow::Borrowed(""))
    }

    /// One scalar, not null, as the field's kind; otherwise says what is wrong with it.
    fn scalar(
        &mut self,
        owner: &MessageType,
        field: &'static Field,
        key: &str,
        given: &Scalar<'a>,
    ) -> Option<Value<'a>> {
        let wrong = || scalar::shown(given);
        let named = |reason: String| format!("Field '{key}', {reason}");
        let read = match field.kind {
            Kind::String => match given {
                Scalar::String(text) => Ok(Value::String(text.clone())),
                _ => Err(("TYPE_STRING".to_owned(), wrong())),
            },
            Kind::Bool => {
                scalar::boolean(given).map(Value::Bool).ok_or_else(|| ("TYPE_BOOL".into(), wrong()))
            }
            Kind::Int32 => {
                scalar::int32(given).map(Value::Int32).ok_or_else(|| ("TYPE_INT32".into(), wrong()))
            }
            Kind::Float => {
                scalar::float(given).map(Value::Float).ok_or_else(|| ("TYPE_FLOAT".into(), wrong()))
            }
            Kind::FloatValue => scalar::float(given)
                .map(Value::Float)
                .ok_or_else(|| (url("google.protobuf.FloatValue"), named(wrong()))),
            Kind::Enum(kind) => scalar::enumeration(given, kind.values)
                .map(Value::Enum)
                .ok_or_else(|| (url(kind.name), wrong())),
            Kind::Duration => scalar::duration(given)
                .map(Value::Duration)
                .map_err(|reason| (url("google.protobuf.Duration"), named(reason))),
            Kind::Timestamp => scalar::timestamp(given)
                .map(Value::Timestamp)
                .map_err(|reason| (url("google.protobuf.Timestamp"), named(reason))),
            Kind::Struct => Err((url("google.protobuf.Struct"), wrong())),
            Kind::Message(kind) => Err((url(kind.name), wrong())),
            Kind::Map => Err((map_entry_url(owner, field), wrong())),
        };
        read.map_err(|(kind, text)| self.invalid(&kind, text)).ok()
    }

    fn inside<T>(&mut self, step: Step, work: impl FnOnce(&mut Self) -> T) -> T {
        self.path.push(step);
        let result = work(self);
        self.path.pop();
        result
    }

    fn invalid(&mut self, kind: &str, text: impl AsRef<str>) {
        self.violation(|path| format!("Invalid value at '{path}' ({kind}), {}", text.as_ref()));
    }

    fn unknown_name(&mut self, name: &str, problem: &str) {
        self.violation(|path| {
            let at = if path.is_empty() { String::new() } else { format!(" at '{path}'") };
            format!("{INVALID_PAYLOAD}Unknown name \"{name}\"{at}: {problem}")
        });
    }

    /// What follows is only read for its syntax.
    fn has_told_enough(&self) -> bool {
        self.violations.len() >= MAX_VIOLATIONS
    }

    fn violation(&mut self, describe: impl FnOnce(&str) -> String) {
        if !self.has_told_enough() {
            let field = rendered(&self.path);
            let description = describe(&field);
            self.violations.push(FieldViolation { field, description });
        }
    }
}

/// Elements of a list are never maps, so the owner in whose name a map's entries are called is not needed.
static NO_OWNER: MessageType = MessageType { name: "", doc: "", fields: &[] };

/// The oneof of a field, when another member holds it. The same member again is a duplicate key.
fn taken_oneof(record: &Record<'_>, index: usize) -> Option<&'static str> {
    let oneof = record.kind.fields[index].oneof?;
    let mut others = record.kind.fields.iter().zip(&record.values).enumerate();
    others
        .any(|(i, (field, value))| i != index && field.oneof == Some(oneof) && value.is_some())
        .then_some(oneof)
}

fn url(name: &str) -> String {
    format!("type.googleapis.com/{name}")
}

/// protobuf calls the entries of `Message.data` a message `Message.DataEntry`.
fn map_entry_url(owner: &MessageType, field: &Field) -> String {
    let (head, tail) = field.name.split_at(1);
    url(&format!("{}.{}{tail}Entry", owner.name, head.to_ascii_uppercase()))
}

fn rendered(path: &[Step]) -> String {
    let mut text = String::new();
    for step in path {
        let dot = if text.is_empty() { "" } else { "." };
        let written = match step {
            Step::Field(name) => write!(text, "{dot}{name}"),
            Step::Index(index) => write!(text, "[{index}]"),
        };
        written.expect("a string has room");
    }
    text
}
