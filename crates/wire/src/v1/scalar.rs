//! JSON scalars as proto scalars: how far the front end bends (`protocol/http-v1.md` §3).

use std::time::Duration;

use cresset_message::Timestamp;
use time::OffsetDateTime;

use super::json::Scalar;
use super::schema::Choice;

/// Seconds of the longest `google.protobuf.Duration`, either way (`protocol/http-v1.md` §3).
const MAX_DURATION: u64 = 315_576_000_000;

/// A `google.protobuf.Duration`: signed, which [`Duration`] is not.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Span {
    pub(super) negative: bool,
    pub(super) length: Duration,
}

/// A `google.protobuf.Timestamp`, whole microseconds; one before 1970 becomes 1970, as Cresset's
/// own timestamps begin there.
pub(super) type Moment = Timestamp;

/// A value as texts about it show it: a string in quotes, unescaped.
pub(super) fn shown(given: &Scalar<'_>) -> String {
    match given {
        Scalar::Null => "null".to_owned(),
        Scalar::Bool(value) => value.to_string(),
        Scalar::Unsigned(value) => value.to_string(),
        Scalar::Signed(value) => value.to_string(),
        Scalar::Double(value) => shown_double(*value),
        Scalar::String(text) => format!("\"{text}\""),
    }
}

/// As C's `%g` writes it with the digits it needs: an exponent below 1e-4 and from 1e15 on.
fn shown_double(value: f64) -> String {
    let magnitude = value.abs();
    if magnitude == 0.0 || (1e-4..1e15).contains(&magnitude) {
        return value.to_string();
    }
    let text = format!("{value:e}");
    match text.split_once('e') {
        Some((digits, exponent)) => match exponent.strip_prefix('-') {
            Some(exponent) => format!("{digits}e-{exponent:0>2}"),
            None => format!("{digits}e+{exponent:0>2}"),
        },
        None => text,
    }
}

pub(super) fn boolean(given: &Scalar<'_>) -> Option<bool> {
    const TRUE: [&str; 5] = ["true", "t", "yes", "y", "1"];
    const FALSE: [&str; 5] = ["false", "f", "no", "n", "0"];
    match given {
        Scalar::Bool(value) => Some(*value),
        Scalar::Unsigned(value @ (0 | 1)) => Some(*value == 1),
        Scalar::String(text) if TRUE.iter().any(|word| text.eq_ignore_ascii_case(word)) => Some(true),
        Scalar::String(text) if FALSE.iter().any(|word| text.eq_ignore_ascii_case(word)) => Some(false),
        _ => None,
    }
}

pub(super) fn int32(given: &Scalar<'_>) -> Option<i32> {
    match given {
        Scalar::Unsigned(value) => i32::try_from(*value).ok(),
        Scalar::Signed(value) => i32::try_from(*value).ok(),
        Scalar::Double(value) => {
            let whole = *value as i32;
            (f64::from(whole) == *value).then_some(whole)
        }
        Scalar::String(text) => text.parse().ok(),
        Scalar::Null | Scalar::Bool(_) => None,
    }
}

pub(super) fn float(given: &Scalar<'_>) -> Option<f32> {
    let value = match given {
        Scalar::Unsigned(value) => *value as f64,
        Scalar::Signed(value) => *value as f64,
        Scalar::Double(value) => *value,
        Scalar::String(text) => return float_of_text(text),
        Scalar::Null | Scalar::Bool(_) => return None,
    };
    (value.abs() <= f64::from(f32::MAX)).then_some(value as f32)
}

fn float_of_text(text: &str) -> Option<f32> {
    match text {
        "NaN" => Some(f32::NAN),
        "Infinity" => Some(f32::INFINITY),
        "-Infinity" => Some(f32::NEG_INFINITY),
        _ => text.parse().ok().filter(|value: &f32| value.is_finite()),
    }
}

/// An exact name, a declared number as a string, the name in another case or with hyphens; or any
/// number that is one.
pub(super) fn enumeration(given: &Scalar<'_>, values: &[Choice]) -> Option<i32> {
    let Scalar::String(text) = given else { return int32(given) };
    let number = |index: usize| i32::try_from(index).ok();
    if let Some(index) = values.iter().position(|choice| choice.name == text) {
        return number(index);
    }
    if let Some(index) = text.parse().ok().filter(|index| *index < values.len()) {
        return number(index);
    }
    let same = |name: &str| name.len() == text.len() && name.bytes().eq(text.bytes().map(normalised));
    values.iter().position(|choice| same(choice.name)).and_then(number)
}

fn normalised(byte: u8) -> u8 {
    if byte == b'-' { b'_' } else { byte.to_ascii_uppercase() }
}

/// The reason why not is told after the field's name.
pub(super) fn duration(given: &Scalar<'_>) -> Result<Span, String> {
    let Scalar::String(text) = given else {
        return Err(format!("Invalid data type for duration, value is {}", shown(given)));
    };
    let Some(number) = text.strip_suffix('s') else {
        return Err("Illegal duration format; duration must end with 's'".to_owned());
    };
    let (negative, number) = match number.strip_prefix('-') {
        Some(number) => (true, number),
        None => (false, number),
    };
    let (seconds, nanos) = match number.split_once('.') {
        Some((seconds, fraction)) => (seconds, nanos(fraction)),
        None => (number, Some(0)),
    };
    let digits = seconds.bytes().all(|b| b.is_ascii_digit());
    let seconds: u64 = match seconds.parse() {
        Ok(seconds) if digits => seconds,
        _ => return Err("Invalid duration format, failed to parse seconds".to_owned()),
    };
    let Some(nanos) = nanos else {
        return Err("Invalid duration format, failed to parse nano seconds".to_owned());
    };
    if seconds > MAX_DURATION || (seconds == MAX_DURATION && nanos > 0) {
        return Err("Duration value exceeds limits".to_owned());
    }
    Ok(Span { negative, length: Duration::new(seconds, nanos) })
}

/// One to nine digits after the point, as nanoseconds.
fn nanos(fraction: &str) -> Option<u32> {
    let well_formed = (1..=9).contains(&fraction.len()) && fraction.bytes().all(|b| b.is_ascii_digit());
    let digits = u32::try_from(fraction.len()).ok().filter(|_| well_formed)?;
    Some(fraction.parse::<u32>().ok()? * 10u32.pow(9 - digits))
}

pub(super) fn timestamp(given: &Scalar<'_>) -> Result<Moment, String> {
    let Scalar::String(text) = given else {
        return Err(format!("Invalid data type for timestamp, value is {}", shown(given)));
    };
    match rfc3339_micros(text) {
        Some(micros) => Ok(Timestamp::from_micros(u64::try_from(micros).unwrap_or(0))),
        None => Err(format!("Invalid time format: {text}")),
    }
}

/// Microseconds since 1970 of `YYYY-MM-DDTHH:MM:SS[.fraction](Z|±HH:MM)` (RFC 3339 §5.6), years 1
/// to 9999 as `google.protobuf.Timestamp` has them, no leap second.
fn rfc3339_micros(text: &str) -> Option<i64> {
    let number = |range: std::ops::Range<usize>, max: i64| {
        let digits = text.get(range).filter(|t| t.bytes().all(|b| b.is_ascii_digit()))?;
        digits.parse::<i64>().ok().filter(|value| *value <= max)
    };
    let punctuation = [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':')];
    if !punctuation.iter().all(|(at, mark)| text.as_bytes().get(*at) == Some(mark)) {
        return None;
    }
    let (year, month, day) = (number(0..4, 9999)?, number(5..7, 12)?, number(8..10, 31)?);
    let (hour, minute, second) = (number(11..13, 23)?, number(14..16, 59)?, number(17..19, 59)?);
    if year == 0 || !(1..=days_of_month(year, month)?).contains(&day) {
        return None;
    }
    let (nanos, zone) = split_fraction(text.get(19..)?)?;
    let seconds = days_since_1970(year, month, day) * 86_400 + hour * 3_600 + minute * 60 + second;
    Some((seconds - zone_seconds(zone)?) * 1_000_000 + i64::from(nanos / 1_000))
}

/// A moment as `google.protobuf.Timestamp` is written: in UTC, to the millisecond.
pub fn rfc3339(time: Timestamp) -> String {
    let millis = time.as_millis() % 1_000;
    let time = i64::try_from(time.as_secs()).ok().and_then(|s| OffsetDateTime::from_unix_timestamp(s).ok());
    let time = time.unwrap_or(OffsetDateTime::UNIX_EPOCH);
    format!(
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{millis:03}Z",
        time.year(),
        u8::from(time.month()),
        time.day(),
        time.hour(),
        time.minute(),
        time.second()
    )
}

fn split_fraction(rest: &str) -> Option<(u32, &str)> {
    let Some(fraction) = rest.strip_prefix('.') else { return Some((0, rest)) };
    let end = fraction.bytes().position(|b| !b.is_ascii_digit())?;
    Some((nanos(&fraction[..end])?, &fraction[end..]))
}

fn zone_seconds(zone: &str) -> Option<i64> {
    let (sign, rest) = match zone.as_bytes() {
        [b'Z'] => return Some(0),
        [b'+', rest @ ..] => (1, rest),
        [b'-', rest @ ..] => (-1, rest),
        _ => return None,
    };
    let [h1 @ b'0'..=b'9', h2 @ b'0'..=b'9', b':', m1 @ b'0'..=b'9', m2 @ b'0'..=b'9'] = rest else {
        return None;
    };
    let two = |tens: &u8, ones: &u8| i64::from(tens - b'0') * 10 + i64::from(ones - b'0');
    let (hours, minutes) = (two(h1, h2), two(m1, m2));
    (hours < 24 && minutes < 60).then_some(sign * (hours * 3_600 + minutes * 60))
}

fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

fn days_of_month(year: i64, month: i64) -> Option<i64> {
    Some(match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        4 | 6 | 9 | 11 => 30,
        2 => 28 + i64::from(is_leap(year)),
        _ => return None,
    })
}

/// Days of the proleptic Gregorian calendar, for a day that exists.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let before = year - 1;
    let days_before_year = before * 365 + before / 4 - before / 100 + before / 400;
    let days_before_month: i64 = (1..month).filter_map(|m| days_of_month(year, m)).sum();
    /// Days from 0001-01-01 to 1970-01-01.
    const EPOCH: i64 = 719_162;
    days_before_year + days_before_month + day - 1 - EPOCH
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_told_in_rfc_3339() {
        let rows = [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (1_709_251_199_999, "2024-02-29T23:59:59.999Z"),
            (1_709_251_200_000, "2024-03-01T00:00:00.000Z"),
            (1_767_225_599_001, "2025-12-31T23:59:59.001Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
        ];
        for (millis, text) in rows {
            assert_eq!(rfc3339(Timestamp::from_millis(millis)), text);
        }
    }

    #[test]
    fn doubles_are_shown_as_c_shows_them() {
        for (value, text) in [
            (1.5, "1.5"),
            (1e20, "1e+20"),
            (1.5e-7, "1.5e-07"),
            (100.0, "100"),
            (-2.5, "-2.5"),
            (1e300, "1e+300"),
        ] {
            assert_eq!(shown_double(value), text);
        }
    }

    #[test]
    fn rfc_3339_times_are_counted_from_1970() {
        for (text, micros) in [
            ("1970-01-01T00:00:00Z", Some(0)),
            ("2000-02-29T12:00:00.25Z", Some(951_825_600_250_000)),
            ("2026-10-23T01:02:03.123456789+02:00", Some(1_792_710_123_123_456)),
            ("0001-01-01T00:00:00Z", Some(-62_135_596_800_000_000)),
            ("9999-12-31T23:59:59Z", Some(253_402_300_799_000_000)),
            ("2100-02-29T00:00:00Z", None),
            ("2026-13-01T00:00:00Z", None),
            ("2026-00-01T00:00:00Z", None),
            ("2026-01-01 00:00:00Z", None),
            ("2026-01-01T24:00:00Z", None),
            ("2026-01-01T00:00:00", None),
            ("2026-01-01T00:00:00.Z", None),
            ("2026-01-01T00:00:00+2:00", None),
            ("2026-01-01T00:00:00ZZ", None),
            ("2026-01-01T00:00:00é", None),
            ("tomorrow", None),
        ] {
            assert_eq!(rfc3339_micros(text), micros, "{text}");
        }
    }
}
