//! Values of single keys of a service: table sizes, draws, ramps, segment sizes, tiers.
//!
//! As in [`value`](super::value), each type holds only values that are allowed, and knows its default where
//! it has one.

use std::fmt;
use std::str::FromStr;

use super::value::{Duration, ValueError, quote, serde_as_string, whole_secs};

/// Declares an unsigned integer with bounds; `$key` is the key that holds it.
macro_rules! bounded {
    ($(#[$meta:meta])* $name:ident($inner:ty), $key:literal, $least:literal ..= $most:literal, default $default:literal) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
        #[serde(try_from = "u32", into = "u32")]
        pub struct $name($inner);

        impl $name {
            /// The least.
            pub const MIN: $inner = $least;
            /// The greatest.
            pub const MAX: $inner = $most;

            /// The number.
            #[must_use]
            pub const fn get(self) -> $inner {
                self.0
            }
        }

        impl Default for $name {
            fn default() -> Self {
                Self($default)
            }
        }

        impl From<$name> for u32 {
            fn from(value: $name) -> u32 {
                value.0.into()
            }
        }

        impl TryFrom<u32> for $name {
            type Error = ValueError;

            fn try_from(number: u32) -> Result<Self, ValueError> {
                let within = |number: &$inner| (Self::MIN..=Self::MAX).contains(number);
                <$inner>::try_from(number).ok().filter(within).map(Self).ok_or_else(|| {
                    let remedy = format!("write an integer from {} to {}", Self::MIN, Self::MAX);
                    ValueError::new(format!("{} {number} is out of bounds", $key), remedy)
                })
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

bounded! {
    /// How many destinations `random` draws; it takes the least loaded of them.
    Draws(u8), "draws", 1..=64, default 2
}

bounded! {
    /// Backup destinations are used while fewer than so many others are usable.
    BackupBelow(u16), "backup-below", 1..=65535, default 1
}

bounded! {
    /// The UDP port that GUE packets are sent to.
    TunnelPort(u16), "tunnel-port", 1..=65535, default 6080
}

/// The number of slots of a Maglev table: a prime out of a fixed list, so that a snapshot's memory and the
/// time to fill it are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "u32", into = "u32")]
pub struct MhTable(u32);

impl MhTable {
    /// The sizes that there are. 65537 and 655373 are none of IPVS's.
    pub const SIZES: [u32; 12] =
        [251, 509, 1021, 2039, 4093, 8191, 16381, 32749, 65521, 65537, 131_071, 655_373];

    /// The number of slots.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0
    }
}

impl Default for MhTable {
    fn default() -> Self {
        Self(65537)
    }
}

impl From<MhTable> for u32 {
    fn from(table: MhTable) -> u32 {
        table.0
    }
}

impl TryFrom<u32> for MhTable {
    type Error = ValueError;

    fn try_from(size: u32) -> Result<Self, ValueError> {
        if Self::SIZES.contains(&size) {
            return Ok(Self(size));
        }
        let list = Self::SIZES.map(|size| size.to_string()).join(", ");
        let message = format!("mh-table {size} is not a size of a Maglev table");
        Err(ValueError::new(message, format!("use one of {list}")))
    }
}

impl fmt::Display for MhTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// How long the weight of a new or recovered destination takes to grow to its full value: 1 s to 1 h in
/// whole seconds; what is written finer is rounded up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SlowStart(u32);

impl SlowStart {
    /// The shortest, in seconds.
    pub const MIN_SECS: u32 = 1;
    /// The longest, in seconds.
    pub const MAX_SECS: u32 = 3600;

    /// The length in whole seconds.
    #[must_use]
    pub const fn as_secs(self) -> u32 {
        self.0
    }
}

impl fmt::Display for SlowStart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Duration::from_secs(self.0).fmt(f)
    }
}

impl FromStr for SlowStart {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        whole_secs(text.parse()?, Self::MIN_SECS, Self::MAX_SECS, "slow-start").map(Self)
    }
}

serde_as_string!(SlowStart);

/// What becomes of the maximum segment size that a TCP SYN names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum MssClamp {
    /// Lowered to what fits through the way to the destination, where that is needed; the default.
    #[default]
    Auto,
    /// Left alone.
    Off,
    /// Lowered to so many bytes.
    At(u16),
}

impl MssClamp {
    /// The least that can be asked for, in bytes: what Linux takes.
    pub const LEAST: u16 = 88;
    /// The most, in bytes: what the largest IPv4 packet holds.
    pub const MOST: u16 = 65_495;
    /// What to write.
    pub(super) const REMEDY: &str = "write \"auto\", \"off\", or a number of bytes from 88 to 65495";

    /// The clamp at so many bytes.
    ///
    /// # Errors
    /// When no segment size is like that.
    pub fn at(bytes: u32) -> Result<Self, ValueError> {
        match u16::try_from(bytes) {
            Ok(bytes) if (Self::LEAST..=Self::MOST).contains(&bytes) => Ok(Self::At(bytes)),
            _ => Err(ValueError::new(format!("mss-clamp {bytes} is out of bounds"), Self::REMEDY)),
        }
    }
}

const _: () = assert!(MssClamp::LEAST == 88 && MssClamp::MOST == 65_495, "the remedy names the bounds");

impl fmt::Display for MssClamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            MssClamp::Auto => f.write_str("auto"),
            MssClamp::Off => f.write_str("off"),
            MssClamp::At(bytes) => bytes.fmt(f),
        }
    }
}

/// From a word, or from digits as on a command line.
impl FromStr for MssClamp {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        match text {
            "auto" => Ok(MssClamp::Auto),
            "off" => Ok(MssClamp::Off),
            _ => match text.parse() {
                Ok(bytes) => MssClamp::at(bytes),
                Err(_) => {
                    Err(ValueError::new(format!("mss-clamp {} is not known", quote(text)), Self::REMEDY))
                }
            },
        }
    }
}

impl serde::Serialize for MssClamp {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            MssClamp::At(bytes) => serializer.serialize_u16(*bytes),
            word => serializer.collect_str(word),
        }
    }
}

impl<'de> serde::Deserialize<'de> for MssClamp {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(serde::Deserialize)]
        #[serde(untagged)]
        enum Form {
            Bytes(u32),
            Word(String),
        }
        let read = match Form::deserialize(deserializer)? {
            Form::Bytes(bytes) => MssClamp::at(bytes),
            Form::Word(word) => word.parse(),
        };
        read.map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_end_at_their_bounds() {
        assert_eq!((Draws::default().get(), BackupBelow::default().get()), (2, 1));
        assert_eq!((TunnelPort::default().get(), MhTable::default().get()), (6080, 65537));
        for (number, good) in [(0, false), (1, true), (64, true), (65, false), (256, false), (257, false)] {
            assert_eq!(Draws::try_from(number).is_ok(), good, "{number}");
        }
        for (number, good) in [(0, false), (1, true), (65_535, true), (65_536, false), (65_537, false)] {
            assert_eq!(BackupBelow::try_from(number).is_ok(), good, "{number}");
        }
        let error = TunnelPort::try_from(0).unwrap_err().to_string();
        assert_eq!(error, "tunnel-port 0 is out of bounds: write an integer from 1 to 65535");
    }

    #[test]
    fn maglev_tables_have_the_sizes_of_the_list() {
        for size in MhTable::SIZES {
            assert_eq!(MhTable::try_from(size).map(MhTable::get), Ok(size));
            assert!((2..=size.isqrt()).all(|divisor| size % divisor != 0), "{size} is not prime");
        }
        let error = MhTable::try_from(65_536).unwrap_err().to_string();
        assert!(
            error.starts_with("mh-table 65536 is not a size of a Maglev table: use one of 251, 509"),
            "{error}"
        );
    }

    #[test]
    fn slow_starts_are_bounded_and_rounded_up() {
        let secs = |text: &str| text.parse::<SlowStart>().map(SlowStart::as_secs);
        assert_eq!((secs("1s"), secs("1001ms"), secs("1h")), (Ok(1), Ok(2), Ok(3600)));
        for text in ["0s", "999ms", "3600001ms", "2h", "5"] {
            assert!(text.parse::<SlowStart>().is_err(), "{text}");
        }
        assert_eq!(
            secs("2h").unwrap_err().to_string(),
            "a slow-start of 2h is out of bounds: write one from \"1s\" to \"1h\""
        );
    }

    #[test]
    fn a_clamp_is_a_word_or_a_number() {
        for (text, clamp, json) in [
            ("auto", MssClamp::Auto, "\"auto\""),
            ("off", MssClamp::Off, "\"off\""),
            ("1400", MssClamp::At(1400), "1400"),
        ] {
            assert_eq!((text.parse(), clamp.to_string().as_str()), (Ok(clamp), text));
            assert_eq!(serde_json::to_string(&clamp).unwrap(), json);
            assert_eq!(serde_json::from_str::<MssClamp>(json).unwrap(), clamp);
        }
        for text in ["", "on", "87", "65496", "-1", "70000"] {
            assert!(text.parse::<MssClamp>().is_err(), "{text}");
        }
    }
}
