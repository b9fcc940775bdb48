//! One element with all that is in it, its namespaces resolved.

use quick_xml::XmlVersion;
use quick_xml::events::{BytesRef, BytesStart, Event};
use quick_xml::reader::Reader;

use super::StreamError;
use super::reader::MAX_ATTRIBUTES;

/// An element of a stanza. Text between its children is joined: no stanza of this protocol has both.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Element {
    pub namespace: String,
    /// Without prefix.
    pub name: String,
    /// As they were written, prefix and all; without those that declare namespaces.
    pub attributes: Vec<(String, String)>,
    pub text: String,
    pub children: Vec<Element>,
}

impl Element {
    pub fn is(&self, name: &str, namespace: &str) -> bool {
        self.name == name && self.namespace == namespace
    }

    pub fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub fn child(&self, name: &str, namespace: &str) -> Option<&Element> {
        self.children.iter().find(|child| child.is(name, namespace))
    }
}

/// Prefixes and what they stand for; an empty prefix is the default namespace. The last one counts.
pub(super) type Prefixes = Vec<(String, String)>;

/// Reads a whole element.
pub(super) fn parse(text: &str, stream: &Prefixes) -> Result<Element, StreamError> {
    let mut prefixes = stream.clone();
    let mut open: Vec<(Element, usize)> = Vec::new();
    let mut reader = checked(text);
    loop {
        let ended = match reader.read_event().map_err(invalid)? {
            Event::Start(tag) => {
                let known = prefixes.len();
                open.push((begin(&tag, &mut prefixes)?, known));
                continue;
            }
            Event::Empty(tag) => {
                let known = prefixes.len();
                let element = begin(&tag, &mut prefixes)?;
                prefixes.truncate(known);
                element
            }
            Event::End(_) => {
                let (element, known) = open.pop().ok_or(StreamError::InvalidXml)?;
                prefixes.truncate(known);
                element
            }
            Event::Text(text) => {
                innermost(&mut open)?.text.push_str(&text.xml10_content());
                continue;
            }
            Event::CData(text) => {
                innermost(&mut open)?.text.push_str(&text.xml10_content());
                continue;
            }
            Event::GeneralRef(reference) => {
                innermost(&mut open)?.text.push(character(&reference)?);
                continue;
            }
            Event::Comment(_) | Event::PI(_) | Event::DocType(_) | Event::Decl(_) => {
                return Err(StreamError::RestrictedXml);
            }
            Event::Eof => return Err(StreamError::InvalidXml),
        };
        match open.last_mut() {
            Some((parent, _)) => parent.children.push(ended),
            None => return Ok(ended),
        }
    }
}

/// Reads the tag that opens a stream, and what it declares for all stanzas.
pub(super) fn parse_header(text: &str) -> Result<(Element, Prefixes), StreamError> {
    let mut prefixes = vec![("xml".to_owned(), "http://www.w3.org/XML/1998/namespace".to_owned())];
    match checked(text).read_event().map_err(invalid)? {
        Event::Start(tag) | Event::Empty(tag) => {
            let element = begin(&tag, &mut prefixes)?;
            Ok((element, prefixes))
        }
        _ => Err(StreamError::InvalidXml),
    }
}

/// Looks at an XML declaration: only UTF-8 is read (RFC 6120 §11.6).
pub(super) fn check_declaration(text: &str) -> Result<(), StreamError> {
    let Event::Decl(declaration) = checked(text).read_event().map_err(invalid)? else {
        return Err(StreamError::RestrictedXml);
    };
    match declaration.encoding() {
        None => Ok(()),
        Some(Ok(name)) if name.eq_ignore_ascii_case("utf-8") => Ok(()),
        Some(Ok(_)) => Err(StreamError::UnsupportedEncoding),
        Some(Err(_)) => Err(StreamError::InvalidXml),
    }
}

/// Whether XML may hold all of it (XML 1.0 §2.2).
pub(super) fn is_characters(text: &str) -> bool {
    text.chars().all(is_character)
}

pub(super) fn is_character(c: char) -> bool {
    !matches!(c, '\0'..='\x08' | '\x0b' | '\x0c' | '\x0e'..='\x1f' | '\u{fffe}' | '\u{ffff}')
}

fn checked(text: &str) -> Reader<&[u8]> {
    let mut reader = Reader::from_str(text);
    reader.config_mut().enable_all_checks(true);
    reader
}

fn innermost(open: &mut [(Element, usize)]) -> Result<&mut Element, StreamError> {
    open.last_mut().map(|(element, _)| element).ok_or(StreamError::InvalidXml)
}

/// Takes a tag apart, and adds what it declares.
fn begin(tag: &BytesStart<'_>, prefixes: &mut Prefixes) -> Result<Element, StreamError> {
    let mut attributes = Vec::new();
    for (count, attribute) in tag.attributes().enumerate() {
        if count == MAX_ATTRIBUTES {
            return Err(StreamError::PolicyViolation);
        }
        let attribute = attribute.map_err(|_| StreamError::InvalidXml)?;
        let value = attribute.normalized_value(XmlVersion::Implicit1_0).map_err(invalid)?;
        if !is_characters(&value) {
            return Err(StreamError::InvalidXml);
        }
        let name: &str = attribute.key.as_ref();
        match name.split_once(':') {
            Some(("xmlns", prefix)) => prefixes.push((prefix.to_owned(), value.into_owned())),
            None if name == "xmlns" => prefixes.push((String::new(), value.into_owned())),
            _ => attributes.push((name.to_owned(), value.into_owned())),
        }
    }
    let name = tag.name();
    let name: &str = name.as_ref();
    let (prefix, local) = name.split_once(':').unwrap_or(("", name));
    if !is_name(local) || !(prefix.is_empty() || is_name(prefix)) {
        return Err(StreamError::InvalidXml);
    }
    let namespace = prefixes.iter().rev().find(|(known, _)| known == prefix).map(|(_, namespace)| namespace);
    let namespace = match namespace {
        Some(namespace) => namespace.clone(),
        None if prefix.is_empty() => String::new(),
        None => return Err(StreamError::BadNamespacePrefix),
    };
    Ok(Element { namespace, name: local.to_owned(), attributes, ..Element::default() })
}

/// Near enough to XML's own rule: nothing that would be markup, and no digit first.
fn is_name(name: &str) -> bool {
    let starts = |c: char| c.is_alphabetic() || c == '_';
    name.starts_with(starts) && !name.contains(['<', '>', '&', '"', '\'', '=', ':', '/', '!', '?'])
}

/// What a reference in text stands for. Nobody can declare entities, so there are XML's five.
fn character(reference: &BytesRef<'_>) -> Result<char, StreamError> {
    if let Some(c) = reference.resolve_char_ref().map_err(invalid)? {
        return if is_character(c) { Ok(c) } else { Err(StreamError::InvalidXml) };
    }
    match &*reference.xml10_content() {
        "lt" => Ok('<'),
        "gt" => Ok('>'),
        "amp" => Ok('&'),
        "quot" => Ok('"'),
        "apos" => Ok('\''),
        _ => Err(StreamError::RestrictedXml),
    }
}

fn invalid(_: quick_xml::Error) -> StreamError {
    StreamError::InvalidXml
}
