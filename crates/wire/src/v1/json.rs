//! JSON as Google's front end reads it, value by value: trailing commas, single quotes, bare keys
//! and `1.` are fine, and every failure has its own words (`protocol/http-v1.md` §3, §3.1).
//!
//! The reader hands out one token at a time and never looks back, so its work is linear in the
//! input whatever the input is; nesting is bounded by [`MAX_DEPTH`].

use std::borrow::Cow;

use cresset_message::{Struct, Value as StructValue};

/// Objects and lists inside each other (`protocol/http-v1.md` §3).
pub(crate) const MAX_DEPTH: usize = 100;

/// Bytes shown before and after the place of a failure (`protocol/http-v1.md` §3.1).
const CONTEXT: usize = 20;

/// What is wrong with the text.
#[derive(Debug)]
pub(crate) struct SyntaxError {
    /// In the front end's words, without their common prefix.
    pub(crate) reason: String,
    /// Where, in bytes of the body.
    pub(crate) at: usize,
}

type Result<T> = std::result::Result<T, SyntaxError>;

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Scalar<'a> {
    Null,
    Bool(bool),
    Unsigned(u64),
    /// Negative, or minus zero.
    Signed(i64),
    /// Written with a point or an exponent, or too large for the integers.
    Double(f64),
    String(Cow<'a, str>),
}

/// The beginning of a value; a scalar is the whole of it.
pub(crate) enum Token<'a> {
    Object,
    List,
    Scalar(Scalar<'a>),
}

pub(crate) struct Reader<'a> {
    text: &'a str,
    at: usize,
    /// Where the value begun last begins.
    begun: usize,
    depth: usize,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(body: &'a [u8]) -> Result<Self> {
        match std::str::from_utf8(body) {
            Ok(text) => Ok(Self { text, at: 0, begun: 0, depth: 0 }),
            Err(e) => Err(failure(body, e.valid_up_to(), "Encountered non UTF-8 code points.")),
        }
    }

    /// Begins a value. `key` is the name it stands under, for the words about depth.
    pub(crate) fn value(&mut self, key: &str) -> Result<Token<'a>> {
        let Some(first) = self.peek() else { return self.fail_expected("Expected a value.") };
        self.begun = self.at;
        let scalar = match first {
            b'{' => return self.descend(key, Token::Object),
            b'[' => return self.descend(key, Token::List),
            b'"' | b'\'' => Scalar::String(self.string(first)?),
            b'-' | b'0'..=b'9' => self.number()?,
            _ if self.word("true") => Scalar::Bool(true),
            _ if self.word("false") => Scalar::Bool(false),
            _ if self.word("null") => Scalar::Null,
            b'}' | b']' | b':' | b',' => return self.fail("Unexpected token."),
            _ if begins_name(first) => return self.fail("Unexpected token."),
            _ => return self.fail("Expected a value."),
        };
        Ok(Token::Scalar(scalar))
    }

    /// The scalar read last, as it is written.
    pub(crate) fn written(&self) -> &'a str {
        &self.text[self.begun..self.at]
    }

    /// The next key of the object begun last, up to and including its colon; `None` at its end.
    pub(crate) fn key(&mut self, first: bool) -> Result<Option<Cow<'a, str>>> {
        if !first && self.separator(b'}', "Expected , or } after key:value pair.")? {
            return Ok(None);
        }
        const EXPECTED: &str = "Expected an object key or }.";
        let key = match self.peek() {
            None => return self.fail_expected(EXPECTED),
            Some(b'}') => return Ok(self.ascend(None)),
            Some(quote @ (b'"' | b'\'')) => self.string(quote)?,
            Some(byte) if begins_name(byte) => Cow::Borrowed(self.bare_key(EXPECTED)?),
            Some(_) => return self.fail(EXPECTED),
        };
        self.colon()?;
        Ok(Some(key))
    }

    /// Whether the list begun last has another element.
    pub(crate) fn element(&mut self, first: bool) -> Result<bool> {
        if !first && self.separator(b']', "Expected , or ] after array value.")? {
            return Ok(false);
        }
        match self.peek() {
            None => self.fail_expected("Expected a value or ] within an array."),
            Some(b']') => Ok(self.ascend(false)),
            Some(b'}' | b':' | b',') => self.fail("Unexpected token."),
            Some(byte) if begins_value(byte) => Ok(true),
            Some(_) => self.fail("Expected a value or ] within an array."),
        }
    }

    /// Reads what is left of the object begun last, whatever stands in it.
    pub(crate) fn fields(&mut self) -> Result<Struct> {
        let mut fields = Vec::new();
        while let Some(key) = self.key(fields.is_empty())? {
            let token = self.value(&key)?;
            fields.push((key, self.whole(token)?));
        }
        Ok(fields.into_iter().collect())
    }

    /// Reads what is left of a value, whatever it is.
    fn whole(&mut self, token: Token<'a>) -> Result<StructValue> {
        Ok(match token {
            Token::Object => StructValue::Struct(self.fields()?),
            Token::List => {
                let mut values = Vec::new();
                while self.element(values.is_empty())? {
                    let inner = self.value("")?;
                    values.push(self.whole(inner)?);
                }
                StructValue::List(values)
            }
            Token::Scalar(Scalar::Null) => StructValue::Null,
            Token::Scalar(Scalar::Bool(value)) => StructValue::Bool(value),
            Token::Scalar(Scalar::Unsigned(value)) => StructValue::Number(value as f64),
            Token::Scalar(Scalar::Signed(value)) => StructValue::Number(value as f64),
            Token::Scalar(Scalar::Double(value)) => StructValue::Number(value),
            Token::Scalar(Scalar::String(text)) => StructValue::String(text.into_owned()),
        })
    }

    /// Reads what is left of a value that nobody wants.
    pub(crate) fn skip(&mut self, token: &Token<'a>) -> Result<()> {
        let mut first = true;
        match token {
            Token::Scalar(_) => {}
            Token::Object => {
                while let Some(key) = self.key(std::mem::take(&mut first))? {
                    let inner = self.value(&key)?;
                    self.skip(&inner)?;
                }
            }
            Token::List => {
                while self.element(std::mem::take(&mut first))? {
                    let inner = self.value("")?;
                    self.skip(&inner)?;
                }
            }
        }
        Ok(())
    }

    /// Nothing may follow the value.
    pub(crate) fn finish(&mut self) -> Result<()> {
        match self.peek() {
            None => Ok(()),
            Some(_) => self.fail("Parsing terminated before end of input."),
        }
    }

    fn descend(&mut self, key: &str, token: Token<'a>) -> Result<Token<'a>> {
        self.at += 1;
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            let reason = format!("Message too deep. Max recursion depth reached for key '{key}'");
            return Err(SyntaxError { reason, at: self.at - 1 });
        }
        Ok(token)
    }

    fn ascend<T>(&mut self, end: T) -> T {
        self.at += 1;
        self.depth -= 1;
        end
    }

    /// Takes a comma, or the closing bracket (`true`).
    fn separator(&mut self, close: u8, expected: &str) -> Result<bool> {
        match self.peek() {
            Some(b',') => {
                self.at += 1;
                Ok(false)
            }
            Some(byte) if byte == close => Ok(self.ascend(true)),
            Some(_) => self.fail(expected),
            None => self.fail_expected(expected),
        }
    }

    fn colon(&mut self) -> Result<()> {
        const EXPECTED: &str = "Expected : between key:value pair.";
        match self.peek() {
            Some(b':') => {
                self.at += 1;
                Ok(())
            }
            Some(_) => self.fail(EXPECTED),
            None => self.fail_expected(EXPECTED),
        }
    }

    fn bare_key(&mut self, expected: &str) -> Result<&'a str> {
        let rest = self.rest();
        let end = rest.bytes().position(|b| !begins_name(b) && !b.is_ascii_digit()).unwrap_or(rest.len());
        self.at += end;
        match &rest[..end] {
            "true" | "false" | "null" => self.fail(expected),
            key => Ok(key),
        }
    }

    /// The first byte after white space (C's `isspace`); `None` at the end of the input.
    fn peek(&mut self) -> Option<u8> {
        let rest = &self.text.as_bytes()[self.at..];
        let blank = rest.iter().position(|b| !matches!(b, b' ' | b'\t'..=b'\r')).unwrap_or(rest.len());
        self.at += blank;
        rest.get(blank).copied()
    }

    fn word(&mut self, word: &str) -> bool {
        let found = self.rest().starts_with(word);
        self.at += if found { word.len() } else { 0 };
        found
    }

    fn string(&mut self, quote: u8) -> Result<Cow<'a, str>> {
        self.at += 1;
        let plain = self.until_quote_or_escape(quote)?;
        if self.text.as_bytes()[self.at] == quote {
            self.at += 1;
            return Ok(Cow::Borrowed(plain));
        }
        let mut text = plain.to_owned();
        while self.text.as_bytes()[self.at] != quote {
            text.push(self.escape()?);
            text.push_str(self.until_quote_or_escape(quote)?);
        }
        self.at += 1;
        Ok(Cow::Owned(text))
    }

    fn until_quote_or_escape(&mut self, quote: u8) -> Result<&'a str> {
        let rest = self.rest();
        let Some(end) = memchr::memchr2(quote, b'\\', rest.as_bytes()) else {
            self.at = self.text.len();
            return self.fail("Closing quote expected in string.");
        };
        self.at += end;
        Ok(&rest[..end])
    }

    fn escape(&mut self) -> Result<char> {
        let escaped = match self.rest()[1..].chars().next() {
            None => return self.fail("Closing quote expected in string."),
            Some('u') => return self.unicode_escape(),
            Some(escaped) => escaped,
        };
        self.at += 1 + escaped.len_utf8();
        Ok(match escaped {
            'b' => '\u{8}',
            'f' => '\u{c}',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'v' => '\u{b}',
            other => other,
        })
    }

    fn unicode_escape(&mut self) -> Result<char> {
        let code = self.hex(0)?;
        if !(0xd800..0xdc00).contains(&code) {
            return match char::from_u32(code) {
                Some(c) => Ok(self.take(6, c)),
                None => self.fail("Invalid unicode code point."),
            };
        }
        if !self.rest()[6..].starts_with("\\u") {
            return self.fail("Missing low surrogate.");
        }
        let low = self.hex(6)?;
        if !(0xdc00..0xe000).contains(&low) {
            return self.fail("Invalid low surrogate.");
        }
        match char::from_u32(0x1_0000 + ((code & 0x3ff) << 10 | low & 0x3ff)) {
            Some(c) => Ok(self.take(12, c)),
            None => self.fail("Invalid unicode code point."),
        }
    }

    /// The value of the `\uXXXX` that stands `ahead` bytes further on.
    fn hex(&self, ahead: usize) -> Result<u32> {
        let Some(digits) = self.rest().as_bytes().get(ahead + 2..ahead + 6) else {
            return self.fail("Illegal hex string.");
        };
        let add = |code: u32, digit: &u8| Some(code << 4 | char::from(*digit).to_digit(16)?);
        match digits.iter().try_fold(0, add) {
            Some(code) => Ok(code),
            None => self.fail("Invalid escape sequence."),
        }
    }

    fn take(&mut self, bytes: usize, c: char) -> char {
        self.at += bytes;
        c
    }

    fn number(&mut self) -> Result<Scalar<'a>> {
        let rest = self.rest();
        let part_of_number =
            |b: u8| b.is_ascii_digit() || matches!(b, b'.' | b'e' | b'E' | b'+' | b'-' | b'x');
        let end = rest.bytes().position(|b| !part_of_number(b)).unwrap_or(rest.len());
        let number = &rest[..end];
        let integer = !number.bytes().any(|b| matches!(b, b'.' | b'e' | b'E'));
        let digits = number.strip_prefix('-').unwrap_or(number);
        if integer && digits.len() > 1 && digits.starts_with('0') {
            return self.fail("Octal/hex numbers are not valid JSON values.");
        }
        let scalar = match (integer, number.starts_with('-')) {
            (true, false) => number.parse().ok().map(Scalar::Unsigned),
            (true, true) => number.parse().ok().map(Scalar::Signed),
            (false, _) => None,
        };
        let scalar = match (scalar, number.parse::<f64>()) {
            (Some(scalar), _) => scalar,
            (None, Ok(double)) if double.is_finite() => Scalar::Double(double),
            (None, Ok(_)) => return self.fail("Number exceeds the range of double."),
            (None, Err(_)) => return self.fail("Unable to parse number."),
        };
        self.at += end;
        Ok(scalar)
    }

    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    /// Fails here; at the end of the input, with the words for that.
    fn fail_expected<T>(&self, expected: &str) -> Result<T> {
        self.fail(&format!("Unexpected end of string. {expected}"))
    }

    fn fail<T>(&self, reason: &str) -> Result<T> {
        Err(failure(self.text.as_bytes(), self.at, reason))
    }
}

/// The reason, the bytes around the place, and a caret below it. The cut may fall inside a
/// character; its rest is shown as U+FFFD.
fn failure(body: &[u8], at: usize, reason: &str) -> SyntaxError {
    let begin = at.saturating_sub(CONTEXT);
    let end = (at + CONTEXT).min(body.len());
    let context = String::from_utf8_lossy(&body[begin..end]);
    SyntaxError { reason: format!("{reason}\n{context}\n{:>width$}", '^', width = at - begin + 1), at }
}

/// Letters of a bare key: `[A-Za-z_$]` first, digits after (`protocol/http-v1.md` §3).
fn begins_name(byte: u8) -> bool {
    byte.is_ascii_alphabetic() || byte == b'_' || byte == b'$'
}

fn begins_value(byte: u8) -> bool {
    matches!(byte, b'{' | b'[' | b'"' | b'\'' | b'-' | b'0'..=b'9') || begins_name(byte)
}
