//! Golden cases: what goes in is written here as code and kept beside what has to come out.

pub(crate) mod cases;
pub(crate) mod frames;

/// A replay: configuration, control requests and frames.
#[derive(Debug, Default)]
pub(crate) struct Case {
    /// The name of its directory.
    pub(crate) name: &'static str,
    /// What it shows, for the head of its configuration.
    pub(crate) about: &'static str,
    /// What follows the usual interfaces in its configuration, or all of it when it names interfaces itself.
    pub(crate) config: String,
    /// Seconds after the start, and the request.
    pub(crate) control: Vec<(u64, String)>,
    /// Microseconds after the start, interface, and bytes.
    pub(crate) frames: Vec<(u64, &'static str, Vec<u8>)>,
    /// Whether some of its frames have wrong checksums on purpose, so that what is sent has them too.
    pub(crate) bad_sums: bool,
}

/// When every case begins, in seconds since 1970.
pub(crate) const START: u64 = 1_700_000_000;

/// Two interfaces, three neighbours and a default route.
const USUAL: &str = r#"[[interface]]
name = "d0"
mac = "02:00:00:00:00:d0"
addresses = ["198.18.0.1/24"]

[[interface]]
name = "d1"
mac = "02:00:00:00:00:d1"
addresses = ["198.19.1.1/24"]

[[neighbour]]
address = "198.18.0.2"
mac = "02:00:00:00:00:02"
interface = "d0"

[[neighbour]]
address = "198.19.1.11"
mac = "02:00:00:00:01:0b"
interface = "d1"

[[neighbour]]
address = "198.19.1.12"
mac = "02:00:00:00:01:0c"
interface = "d1"

[[route]]
to = "0.0.0.0/0"
via = "198.18.0.2"
interface = "d0"
"#;

impl Case {
    pub(crate) fn new(name: &'static str, about: &'static str, config: &str) -> Case {
        Case { name, about, config: config.to_owned(), ..Case::default() }
    }

    /// The frame comes in a millisecond after the one before it.
    #[must_use]
    pub(crate) fn then(self, interface: &'static str, frame: Vec<u8>) -> Case {
        let time = self.frames.last().map_or(0, |(time, ..)| time + 1000);
        self.at(time, interface, frame)
    }

    /// From a client.
    #[must_use]
    pub(crate) fn d0(self, frame: Vec<u8>) -> Case {
        self.then("d0", frame)
    }

    /// From a real server.
    #[must_use]
    pub(crate) fn d1(self, frame: Vec<u8>) -> Case {
        self.then("d1", frame)
    }

    /// The frame comes in so many microseconds after the start.
    #[must_use]
    pub(crate) fn at(mut self, micros: u64, interface: &'static str, frame: Vec<u8>) -> Case {
        self.frames.push((micros, interface, frame));
        self
    }

    /// The request is sent so many seconds after the start.
    #[must_use]
    pub(crate) fn control(mut self, seconds: u64, op: &str, args: &str) -> Case {
        let id = self.control.len() + 1;
        self.control.push((seconds, format!(r#"{{"v":1,"id":{id},"op":"{op}","args":{args}}}"#)));
        self
    }

    /// The configuration file.
    pub(crate) fn config_text(&self) -> String {
        let usual = if self.config.contains("[[interface]]") { "" } else { USUAL };
        let about: String = self.about.lines().map(|line| format!("# {}\n", line.trim())).collect();
        format!("{about}\n{}{usual}", head(&self.config)) + "\n" + tail(&self.config)
    }

    /// The control file.
    pub(crate) fn control_text(&self) -> String {
        let line =
            |(at, request): &(u64, String)| format!("{{\"at\": {}, \"request\": {request}}}\n", START + at);
        self.control.iter().map(line).collect()
    }

    /// The interfaces that frames come in on, in order.
    pub(crate) fn inputs(&self) -> Vec<&'static str> {
        let mut names: Vec<_> = self.frames.iter().map(|(_, interface, _)| *interface).collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    /// The capture of an interface: pcap, little-endian, microseconds.
    pub(crate) fn capture(&self, interface: &str) -> Vec<u8> {
        let words = |words: [u32; 4]| words.map(u32::to_le_bytes).concat();
        let mut file = words([0xa1b2_c3d4, 0x0004_0002, 0, 0]);
        file.extend([262_144u32, 1].map(u32::to_le_bytes).concat());
        for (time, _, bytes) in self.frames.iter().filter(|(_, name, _)| *name == interface) {
            let time = START * 1_000_000 + time;
            let small = |value: u64| u32::try_from(value).expect("32 bits");
            let len = u32::try_from(bytes.len()).expect("short");
            file.extend(words([small(time / 1_000_000), small(time % 1_000_000), len, len]));
            file.extend(bytes);
        }
        file
    }
}

/// A `[director]` table stands in front of the interfaces.
fn head(config: &str) -> &str {
    config.split_at(split(config)).0
}

fn tail(config: &str) -> &str {
    config.split_at(split(config)).1
}

fn split(config: &str) -> usize {
    if config.trim_start().starts_with("[director]") { config.find("[[").unwrap_or(config.len()) } else { 0 }
}
