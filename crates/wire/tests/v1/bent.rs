//! Bodies bent as far as Google's front end bends (`protocol/http-v1.md` §3) mean the same; broken in
//! one place, they are refused in that place.

use cresset_message::strategy;
use proptest::prelude::*;
use serde_json::{Map, Value as Json};

use super::properties::sorted;
use super::{parsed, violations, writer};

proptest! {
    #[test]
    fn a_bent_body_means_what_the_straight_one_does(
        message in strategy::message(),
        camel: bool,
        choices in prop::collection::vec(any::<u8>(), 1..200),
    ) {
        let straight = writer::json(&message, camel);
        let mut bender = Bender { choices: choices.iter().cycle(), out: String::new() };
        bender.value(&straight, "", Place::Schema);
        prop_assert_eq!(sorted(parsed(&bender.out)), sorted(message), "{}", bender.out);
    }

    #[test]
    fn one_wrong_value_is_one_violation_at_its_path(message in strategy::message(), at: prop::sample::Index) {
        let mut body = writer::json(&message, false);
        let mut leaves = Vec::new();
        collect(&body, "", &mut leaves);
        let (pointer, path) = &leaves[at.index(leaves.len())];
        let leaf = body.pointer_mut(pointer).unwrap();
        *leaf = match leaf {
            Json::String(_) => Json::from(false),
            _ => Json::from("neither true nor a number"),
        };
        let found = violations(&body.to_string());
        prop_assert_eq!(found.len(), 1, "{:?}", found);
        prop_assert!(found[0].starts_with(&format!("{path} | Invalid value at '{path}' (")), "{:?}", found);
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Place {
    /// Fields that have a type.
    Schema,
    /// A map of texts, or free JSON: names and values are the sender's own.
    Free,
}

fn place_of(name: &str, parent: &str) -> Place {
    match (name, parent) {
        ("data" | "headers" | "payload", _) | ("notification", "webpush") => Place::Free,
        _ => Place::Schema,
    }
}

/// Writes JSON with every liberty there is, as its choices say.
struct Bender<'a, I: Iterator<Item = &'a u8>> {
    choices: I,
    out: String,
}

impl<'a, I: Iterator<Item = &'a u8>> Bender<'a, I> {
    fn choose(&mut self, among: u8) -> u8 {
        self.choices.next().map_or(0, |choice| choice % among)
    }

    fn value(&mut self, value: &Json, name: &str, place: Place) {
        self.blank();
        match value {
            Json::Object(fields) => self.object(fields, name, place),
            Json::Array(values) => self.list(values, name, place),
            Json::String(text) if place == Place::Schema && is_enumeration(name) => self.enumeration(text),
            Json::String(text) => self.string(text),
            Json::Bool(value) if place == Place::Schema => self.boolean(*value),
            Json::Number(number) if place == Place::Schema && self.choose(3) == 0 => {
                self.out += &format!("\"{number}\"");
            }
            other => self.out += &other.to_string(),
        }
        self.blank();
    }

    fn object(&mut self, fields: &Map<String, Json>, name: &str, place: Place) {
        self.out.push('{');
        let last = fields.len().saturating_sub(1);
        for (index, (key, value)) in fields.iter().enumerate() {
            // A null leaves its field as it is, and of two with one name the last counts.
            if place == Place::Schema && self.choose(8) == 0 {
                self.key(key);
                self.out += "null,";
            }
            self.key(key);
            let inner = if place == Place::Free { Place::Free } else { place_of(key, name) };
            self.value(value, key, inner);
            if index < last || self.choose(3) == 0 {
                self.out.push(',');
            }
        }
        self.blank();
        self.out.push('}');
    }

    fn key(&mut self, key: &str) {
        self.blank();
        let begins = |c: char| c.is_ascii_alphabetic() || c == '_' || c == '$';
        let bare = key.starts_with(begins)
            && key.chars().all(|c| begins(c) || c.is_ascii_digit())
            && !matches!(key, "true" | "false" | "null");
        if bare && self.choose(3) == 0 {
            self.out += key
        } else {
            self.string(key)
        }
        self.blank();
        self.out.push(':');
    }

    fn list(&mut self, values: &[Json], name: &str, place: Place) {
        if let ([one], Place::Schema, 0) = (values, place, self.choose(2)) {
            return self.value(one, name, place);
        }
        self.out.push('[');
        for (index, value) in values.iter().enumerate() {
            self.value(value, name, place);
            if index + 1 < values.len() || self.choose(3) == 0 {
                self.out.push(',');
            }
        }
        self.blank();
        self.out.push(']');
    }

    fn string(&mut self, text: &str) {
        let quote = if self.choose(3) == 0 { '\'' } else { '"' };
        self.out.push(quote);
        for c in text.chars() {
            let mut units = [0; 2];
            match c {
                _ if self.choose(6) == 0 => {
                    for unit in c.encode_utf16(&mut units) {
                        self.out += &format!("\\u{unit:04x}");
                    }
                }
                '\\' | '"' | '\'' => self.out.extend(['\\', c]),
                c => self.out.push(c),
            }
        }
        self.out.push(quote);
    }

    fn boolean(&mut self, value: bool) {
        let spellings = if value {
            ["true", "1", "\"true\"", "'YES'", "\"t\"", "\"1\""]
        } else {
            ["false", "0", "\"false\"", "'No'", "\"F\"", "\"0\""]
        };
        let choice = self.choose(6);
        self.out += spellings[usize::from(choice)];
    }

    fn enumeration(&mut self, name: &str) {
        let bent = match self.choose(3) {
            0 => name.to_owned(),
            1 => name.to_lowercase(),
            _ => name.to_lowercase().replace('_', "-"),
        };
        self.string(&bent);
    }

    fn blank(&mut self) {
        let choice = self.choose(8);
        self.out += ["", "", "", "", " ", "\n", "\t ", "\r\n"][usize::from(choice)];
    }
}

fn is_enumeration(name: &str) -> bool {
    ["priority", "notification_priority", "notificationPriority", "visibility", "proxy"].contains(&name)
}

/// JSON pointers of the typed scalars of a body, each with its path as violations name it.
fn collect(value: &Json, path: &str, leaves: &mut Vec<(String, String)>) {
    fn walk(value: &Json, pointer: &str, path: &str, name: &str, leaves: &mut Vec<(String, String)>) {
        match value {
            Json::Object(fields) => {
                for (key, inner) in fields {
                    if place_of(key, name) == Place::Schema {
                        let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                        walk(inner, &format!("{pointer}/{key}"), &path, key, leaves);
                    }
                }
            }
            Json::Array(values) => {
                for (index, inner) in values.iter().enumerate() {
                    walk(inner, &format!("{pointer}/{index}"), &format!("{path}[{index}]"), name, leaves);
                }
            }
            _ => leaves.push((pointer.to_owned(), path.to_owned())),
        }
    }
    walk(value, "", path, "", leaves);
}
