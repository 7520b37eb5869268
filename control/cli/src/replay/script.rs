//! The control file: requests of the control API, each with the time at which it is sent.
//!
//! A line that is no request at all makes the whole file unreadable; a request that the director would refuse is
//! answered as the director would answer it.

use super::read;
use crate::error::{Code, ExitError};
use serde::Deserialize;
use serde_json::value::RawValue;
use sheave_proto::api;
use std::collections::VecDeque;
use std::path::Path;

/// One line of the file.
#[derive(Debug)]
pub(super) struct Request {
    /// Nanoseconds since 1970.
    time: u64,
    /// The time as it was written.
    at: Box<RawValue>,
    /// What is asked for, or the answer to what cannot be.
    pub(super) request: Result<api::Request, api::Response>,
}

impl Request {
    /// Nanoseconds since 1970.
    pub(super) fn time(&self) -> u64 {
        self.time
    }

    pub(super) fn at(&self) -> &RawValue {
        &self.at
    }
}

/// All requests in order of time; of equal ones in the order of the file.
#[derive(Debug, Default)]
pub(super) struct Script {
    requests: VecDeque<Request>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    at: Box<RawValue>,
    request: Box<RawValue>,
}

impl Script {
    /// Reads a control file.
    pub(super) fn load(file: &Path) -> Result<Script, ExitError> {
        Script::parse(&read(file)?, &file.display().to_string())
    }

    fn parse(text: &[u8], file: &str) -> Result<Script, ExitError> {
        let mut requests = Vec::new();
        let mut lines = Vec::new();
        for (at, line) in text.split(|byte| *byte == b'\n').enumerate() {
            match parse_line(line) {
                _ if line.trim_ascii().is_empty() => {}
                Ok(request) => requests.push(request),
                Err(wrong) => lines.push(format!(
                    "error: {file}:{}: {wrong}: write {{\"at\": SECONDS, \"request\": {{...}}}}",
                    at + 1
                )),
            }
        }
        if !lines.is_empty() {
            return Err(ExitError { code: Code::Usage, lines });
        }
        requests.sort_by_key(|request| request.time);
        Ok(Script { requests: requests.into() })
    }

    /// The next request that is due at `now`.
    pub(super) fn due(&mut self, now: u64) -> Option<Request> {
        self.requests.pop_front_if(|request| request.time <= now)
    }
}

fn parse_line(line: &[u8]) -> Result<Request, String> {
    let Line { at, request } = serde_json::from_slice(line).map_err(|error| error.to_string())?;
    let time = nanoseconds(at.get()).ok_or_else(|| format!("at {} is not a time in seconds", at.get()))?;
    Ok(Request { time, at, request: api::parse_request(request.get().as_bytes()) })
}

/// A decimal number of seconds, exactly: a floating-point number cannot tell the nanoseconds of a recent time.
/// What is finer is rounded up, so that nothing is early.
fn nanoseconds(text: &str) -> Option<u64> {
    const DIGITS: usize = 9;
    let text = without_exponent(text)?;
    let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
    if !whole.bytes().chain(fraction.bytes()).all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let seconds: u64 = whole.parse().ok()?;
    let nanos: String = fraction.chars().chain(std::iter::repeat('0')).take(DIGITS).collect();
    let finer = fraction.bytes().skip(DIGITS).any(|digit| digit != b'0');
    seconds.checked_mul(1_000_000_000)?.checked_add(nanos.parse().ok()?)?.checked_add(u64::from(finer))
}

/// The same number with the point where its exponent moves it: writers of JSON choose that form for small ones.
/// `None` when it is far out of range.
fn without_exponent(text: &str) -> Option<String> {
    const MOST: usize = 64;
    let Some((number, exponent)) = text.split_once(['e', 'E']) else { return Some(text.to_owned()) };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let exponent: isize = exponent.parse().ok()?;
    let places = exponent.unsigned_abs();
    if places > MOST {
        return None;
    }
    let zeros = "0".repeat(places);
    Some(if exponent < 0 {
        let digits = format!("{zeros}{whole}");
        let (before, after) = digits.split_at_checked(digits.len().checked_sub(places)?)?;
        format!("{before}.{after}{fraction}")
    } else {
        let digits = format!("{fraction}{zeros}");
        let (moved, after) = digits.split_at_checked(places)?;
        format!("{whole}{moved}.{after}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_are_exact_to_the_nanosecond() {
        assert_eq!(nanoseconds("1700000000.123456789"), Some(1_700_000_000_123_456_789));
        assert_eq!(nanoseconds("1700000000"), Some(1_700_000_000_000_000_000));
        assert_eq!(nanoseconds("0.5"), Some(500_000_000));
        assert_eq!(nanoseconds("1.0000000001"), Some(1_000_000_001));
        for text in ["-1", "-1e3", "1e99", "1e-99", "\"1\"", "null", "99999999999999", "1.x", "true"] {
            assert_eq!(nanoseconds(text), None, "{text}");
        }
    }

    #[test]
    fn exponents_are_as_exact() {
        assert_eq!(nanoseconds("1e-05"), Some(10_000));
        assert_eq!(nanoseconds("1.25E-3"), Some(1_250_000));
        assert_eq!(nanoseconds("1.700000000123456789e9"), Some(1_700_000_000_123_456_789));
        assert_eq!(nanoseconds("1e+3"), Some(1_000_000_000_000));
        assert_eq!(nanoseconds("12.5e0"), Some(12_500_000_000));
        assert_eq!(nanoseconds("1e-10"), Some(1), "never early");
    }

    #[test]
    fn requests_come_in_order_of_time_then_of_the_file() {
        let text = br#"
            {"at": 2, "request": {"v":1,"id":"b","op":"service.remove","args":{"service":"b"}}}
            {"at": 1.5, "request": {"v":1,"id":"a","op":"service.remove","args":{"service":"a"}}}

            {"at": 2, "request": {"v":2,"id":"c","op":"nonsense"}}
        "#;
        let mut script = Script::parse(text, "c").expect("readable");
        assert!(script.due(1_499_999_999).is_none());
        let mut ids = Vec::new();
        while let Some(request) = script.due(2_000_000_000) {
            ids.push(match request.request {
                Ok(request) => request.id,
                Err(response) => response.id,
            });
        }
        assert_eq!(ids, ["a", "b", "c"].map(|id| api::Id::Text(id.to_owned())));
    }

    #[test]
    fn every_bad_line_is_reported() {
        let text =
            b"{\"at\": 1}\n{\"at\": -1, \"request\": {}}\nx\n{\"at\": 1, \"request\": {}, \"more\": 1}";
        let error = Script::parse(text, "c.jsonl").expect_err("unreadable");
        assert_eq!(error.code, Code::Usage);
        let starts = ["missing field", "at -1 is not a time", "expected value", "unknown field"];
        assert_eq!(error.lines.len(), starts.len());
        for (line, (number, start)) in error.lines.iter().zip((1..).zip(starts)) {
            assert!(line.starts_with(&format!("error: c.jsonl:{number}: {start}")), "{line}");
        }
    }
}
