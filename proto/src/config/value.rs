//! Values with a unit or a bound: durations, timeouts, weights, cores, owners.
//!
//! Every type here holds only values that are allowed, so that a [`Config`](super::Config) that exists has
//! passed these checks; what depends on more than one value is checked by [`validate`](super::validate).

use std::fmt;
use std::str::FromStr;

/// Why a text is not a value of its type, and what to write instead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ValueError {
    /// What is wrong, with the value.
    pub message: String,
    /// What to do.
    pub remedy: String,
}

impl ValueError {
    /// An error with its remedy.
    pub(crate) fn new(message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { message: message.into(), remedy: remedy.into() }
    }
}

impl fmt::Display for ValueError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.message, self.remedy)
    }
}

impl std::error::Error for ValueError {}

/// Serializes a type by its `Display` and reads it by its `FromStr`.
macro_rules! serde_as_string {
    ($name:ty) => {
        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = <String as serde::Deserialize>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}
pub(crate) use serde_as_string;

/// A text of the user, fit to stand in one line of an error: quoted, escaped, cut.
pub(crate) fn quote(text: &str) -> String {
    const LONGEST: usize = 80;
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{:?}...", &text[..end]),
        None => format!("{text:?}"),
    }
}

/// A name of the user, fit to stand in one line: cut, control characters shown as `?`.
pub(crate) fn bare(text: &str) -> String {
    const LONGEST: usize = 128;
    let end = text.char_indices().nth(LONGEST).map_or(text.len(), |(end, _)| end);
    text[..end].chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

/// A length of time as the configuration writes it, in whole milliseconds: `"250ms"`, `"300s"`, `"15m"`, `"12h"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Duration(u64);

impl Duration {
    /// No time at all.
    pub const ZERO: Duration = Duration(0);

    const UNITS: [(&'static str, u64); 4] = [("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];

    /// So many milliseconds.
    #[must_use]
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis)
    }

    /// So many seconds.
    #[must_use]
    pub const fn from_secs(secs: u32) -> Self {
        Self(secs as u64 * 1000)
    }

    /// The length in milliseconds.
    #[must_use]
    pub const fn as_millis(self) -> u64 {
        self.0
    }

    /// The length as the standard library's type.
    #[must_use]
    pub const fn as_std(self) -> std::time::Duration {
        std::time::Duration::from_millis(self.0)
    }
}

impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = |&&(_, size): &&(&str, u64)| self.0 != 0 && self.0.is_multiple_of(size);
        match Self::UNITS.iter().find(whole) {
            Some((unit, size)) => write!(f, "{}{unit}", self.0 / size),
            None => f.write_str("0s"),
        }
    }
}

impl FromStr for Duration {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let bad = || {
            ValueError::new(
                format!("{} is not a duration", quote(text)),
                "write a whole number and a unit, ms, s, m or h, as in \"300s\"",
            )
        };
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at(digits);
        let size = Self::UNITS.iter().find(|(name, _)| *name == unit).map(|(_, size)| *size);
        let number: u64 = number.parse().map_err(|_| bad())?;
        number.checked_mul(size.ok_or_else(bad)?).map(Self).ok_or_else(bad)
    }
}

serde_as_string!(Duration);

/// A duration as whole seconds between two bounds, rounded up.
pub(crate) fn whole_secs(duration: Duration, least: u32, most: u32, what: &str) -> Result<u32, ValueError> {
    let bounds = u64::from(least) * 1000..=u64::from(most) * 1000;
    match u32::try_from(duration.as_millis().div_ceil(1000)) {
        Ok(secs) if bounds.contains(&duration.as_millis()) => Ok(secs),
        _ => Err(ValueError::new(
            format!("a {what} of {duration} is out of bounds"),
            format!("write one from \"{}\" to \"{}\"", Duration::from_secs(least), Duration::from_secs(most)),
        )),
    }
}

/// A timeout of connection entries: 1 s to 12 h in whole seconds; what is written finer is rounded up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timeout(u32);

impl Timeout {
    /// The shortest, in seconds.
    pub const MIN_SECS: u32 = 1;
    /// The longest, in seconds.
    pub const MAX_SECS: u32 = 12 * 3600;

    /// A timeout that is known to be in bounds; compile-time use.
    pub(crate) const fn known(secs: u32) -> Self {
        assert!(secs >= Self::MIN_SECS && secs <= Self::MAX_SECS);
        Self(secs)
    }

    /// The timeout in whole seconds.
    #[must_use]
    pub const fn as_secs(self) -> u32 {
        self.0
    }
}

impl TryFrom<Duration> for Timeout {
    type Error = ValueError;

    fn try_from(duration: Duration) -> Result<Self, ValueError> {
        whole_secs(duration, Self::MIN_SECS, Self::MAX_SECS, "timeout").map(Self)
    }
}

impl fmt::Display for Timeout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Duration::from_secs(self.0).fmt(f)
    }
}

impl FromStr for Timeout {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        text.parse::<Duration>()?.try_into()
    }
}

serde_as_string!(Timeout);

/// The share of new connections that a destination gets; 0 is quiesced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "u32", into = "u32")]
pub struct Weight(u32);

impl Weight {
    /// The greatest weight, as in IPVS.
    pub const MAX: u32 = 2_147_483_647;
    /// The weight of a destination that names none.
    pub const ONE: Weight = Weight(1);
    /// No new connections.
    pub const QUIESCED: Weight = Weight(0);

    /// The number.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0
    }
}

impl Default for Weight {
    fn default() -> Self {
        Self::ONE
    }
}

impl From<Weight> for u32 {
    fn from(weight: Weight) -> u32 {
        weight.0
    }
}

impl TryFrom<u32> for Weight {
    type Error = ValueError;

    fn try_from(weight: u32) -> Result<Self, ValueError> {
        if weight <= Self::MAX {
            return Ok(Self(weight));
        }
        let remedy = format!("write one from 0 to {}", Self::MAX);
        Err(ValueError::new(format!("weight {weight} is out of bounds"), remedy))
    }
}

impl fmt::Display for Weight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Which cores the workers run on.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Cores {
    /// All but the first; on a machine with one core, that one.
    #[default]
    Auto,
    /// Exactly these, one worker each; not empty, no core twice.
    List(Vec<u16>),
}

impl serde::Serialize for Cores {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Cores::Auto => serializer.serialize_str("auto"),
            Cores::List(list) => list.serialize(serializer),
        }
    }
}

/// The user or group that owns the control socket.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(untagged)]
pub enum Owner {
    /// By number.
    Id(u32),
    /// By name, looked up when the socket is made.
    Name(String),
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Owner::Id(id) => id.fmt(f),
            Owner::Name(name) => name.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_take_a_unit_and_print_in_the_largest() {
        for (text, millis, shown) in [
            ("250ms", 250, "250ms"),
            ("300s", 300_000, "5m"),
            ("15m", 900_000, "15m"),
            ("12h", 43_200_000, "12h"),
            ("90s", 90_000, "90s"),
            ("0s", 0, "0s"),
            ("0ms", 0, "0s"),
            ("1500ms", 1500, "1500ms"),
        ] {
            let duration: Duration = text.parse().unwrap();
            assert_eq!(duration.as_millis(), millis, "{text}");
            assert_eq!(duration.to_string(), shown);
        }
        for text in [
            "",
            "5",
            "s",
            "5 s",
            "-5s",
            "1.5s",
            "5S",
            "5d",
            "1h30m",
            "99999999999999999999s",
            "9999999999999999h",
        ] {
            assert!(text.parse::<Duration>().is_err(), "{text:?} must be refused");
        }
    }

    #[test]
    fn timeouts_are_bounded_and_rounded_up() {
        let secs = |text: &str| text.parse::<Timeout>().map(Timeout::as_secs);
        assert_eq!(secs("1s"), Ok(1));
        assert_eq!(secs("1001ms"), Ok(2));
        assert_eq!(secs("12h"), Ok(43_200));
        assert!(secs("999ms").is_err());
        assert!(secs("0s").is_err());
        assert!(secs("43200001ms").is_err());
        assert_eq!(
            secs("13h").unwrap_err().to_string(),
            "a timeout of 13h is out of bounds: write one from \"1s\" to \"12h\""
        );
    }

    #[test]
    fn weights_end_where_those_of_ipvs_end() {
        assert_eq!(Weight::try_from(2_147_483_647).map(Weight::get), Ok(2_147_483_647));
        assert!(Weight::try_from(2_147_483_648).is_err());
        assert!(serde_json::from_str::<Weight>("4000000000").is_err());
    }

    #[test]
    fn quoted_text_stays_on_one_line() {
        assert_eq!(quote("a\nb"), "\"a\\nb\"");
        assert_eq!(quote(&"é".repeat(100)), format!("\"{}\"...", "é".repeat(80)));
    }
}
