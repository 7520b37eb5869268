//! `sheave replay` as a program: its arguments, what it refuses, and what takes too many frames for a golden case.

use crate::support::Case;
use crate::support::frames::{CLIENT, IP, Ip, Tcp, Udp, to_vip, udp_to_vip};
use sheave_cli::replay::{self, Input, ReplayArgs};
use sheave_cli::{Code, ExitError};
use std::path::{Path, PathBuf};
use std::process::Command;

const WEB: &str =
    "[[service]]\nlisten = \"198.18.0.100:80/tcp\"\n[[service.destination]]\naddress = \"198.19.1.11\"\n";

/// A directory of its own for each test.
struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Place {
        let place = Path::new(env!("CARGO_TARGET_TMPDIR")).join("replay").join(name);
        let _absent = std::fs::remove_dir_all(&place);
        std::fs::create_dir_all(&place).expect("writable");
        Place(place)
    }

    fn file(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, bytes).expect("writable");
        path
    }

    fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.0.join("out").join(name)).expect("written")
    }

    /// Replays a configuration and captures.
    fn run(&self, config: &str, inputs: &[(&str, &[u8])]) -> Result<(), ExitError> {
        let input = |(at, (interface, bytes)): (usize, &(&str, &[u8]))| Input {
            interface: (*interface).to_owned(),
            file: self.file(&format!("{at}.pcap"), bytes),
        };
        replay::run(&ReplayArgs {
            config: self.file("config.toml", config),
            inputs: inputs.iter().enumerate().map(input).collect(),
            out: self.0.join("out"),
            control: None,
            seed: 0,
        })
    }

    /// The error of a replay that is refused, without the name of this directory.
    fn refused(&self, config: &str, inputs: &[(&str, &[u8])]) -> Vec<String> {
        let error = self.run(config, inputs).expect_err("refused");
        assert_eq!(error.code, Code::Usage);
        let here = format!("{}/", self.0.display());
        error.lines.iter().map(|line| line.replace(&here, "")).collect()
    }
}

fn usual() -> Case {
    Case::new("", "", WEB).d0(to_vip(CLIENT, 80, "S").build())
}

#[test]
fn every_configured_interface_has_a_capture_though_nothing_was_sent_there() {
    let place = Place::new("empty");
    let case = usual();
    place.run(&case.config_text(), &[("d0", &case.capture("d0"))]).expect("done");
    assert_eq!(place.read("d0.pcap").len(), 24, "a header and no packet");
    assert_eq!(place.read("d1.pcap").len(), 24 + 16 + 54);
    assert_eq!(
        String::from_utf8(place.read("verdicts.jsonl")).expect("text"),
        "{\"n\":0,\"in\":\"d0\",\"verdict\":\"forward\",\"reason\":null,\"service\":\"198.18.0.100:80/tcp\",\
         \"destination\":\"198.19.1.11:80\",\"out\":[\"d1\"]}\n"
    );
    let counters: serde_json::Value = serde_json::from_slice(&place.read("counters.json")).expect("JSON");
    let reasons = counters["reasons"].as_object().expect("all of them");
    assert_eq!(reasons.len(), sheave_pipeline::Reason::ALL.len(), "those that are zero too");
    assert!(!place.0.join("out/responses.jsonl").exists(), "no control file, no responses");
}

#[test]
fn captures_without_packets_are_fine() {
    let place = Place::new("none");
    let none = Case::new("", "", WEB);
    place.run(&none.config_text(), &[("d0", &none.capture("d0"))]).expect("done");
    assert_eq!(place.read("verdicts.jsonl"), b"");
}

#[test]
fn a_capture_with_nanoseconds_makes_captures_with_nanoseconds() {
    let place = Place::new("nano");
    let case = usual();
    let mut nano = case.capture("d0");
    nano[..4].copy_from_slice(&0xa1b2_3c4du32.to_le_bytes());
    nano[28..32].copy_from_slice(&123_456_789u32.to_le_bytes());
    place.run(&case.config_text(), &[("d0", &nano), ("d1", &case.capture("d1"))]).expect("done");
    let out = place.read("d1.pcap");
    assert_eq!((&out[..4], &out[28..32]), (&nano[..4], &nano[28..32]));
}

#[test]
fn what_is_wrong_with_inputs_is_reported_together_and_before_anything_is_written() {
    let place = Place::new("wrong");
    let case = usual();
    let good = case.capture("d0");
    let lines = place.refused(
        &case.config_text(),
        &[("d0", &good), ("d9", &good), ("d0", &good[..good.len() - 1]), ("d1", b"not a capture")],
    );
    assert_eq!(
        lines,
        [
            "error: interface d9: not declared: add an [[interface]] of that name",
            "error: 2.pcap: at byte 40: packet 0 needs 54 bytes, 53 are left: give a whole pcap or pcapng file of Ethernet",
            "error: 3.pcap: at byte 0: neither pcap nor pcapng: it starts with 0x20746f6e: give a whole pcap or pcapng \
         file of Ethernet",
        ]
    );
    assert!(!place.0.join("out").exists());
    let mut long = good.clone();
    long[32..36].copy_from_slice(&65_280u32.to_le_bytes());
    long.resize(40 + 65_280, 0);
    let lines = place.refused(&case.config_text(), &[("d0", &long)]);
    assert!(lines[0].starts_with("error: 0.pcap: at byte 40: packet 0 has 65280 bytes"), "{lines:?}");
}

#[test]
fn an_invalid_configuration_is_refused_with_all_its_errors() {
    let place = Place::new("config");
    let bad = "[[interface]]\nname = \"d0\"\nspeed = 1\n\n[[service]]\nlisten = \"x\"\n";
    let lines = place.refused(bad, &[]);
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(lines[0].starts_with("error: config.toml:3: interface d0: key \"speed\""), "{lines:?}");
    let bare = place.refused("[[interface]]\nname = \"d0\"\n", &[]);
    assert_eq!(bare.len(), 2, "no mac, no addresses: {bare:?}");
}

#[test]
fn icmp_errors_are_limited_in_number_and_what_is_beyond_is_dropped() {
    let config = format!(
        "[[interface]]\nname = \"d0\"\nmac = \"02:00:00:00:00:d0\"\naddresses = [\"198.18.0.1/24\"]\nmtu = 68\n\
         [[neighbour]]\naddress = \"198.18.0.2\"\nmac = \"02:00:00:00:00:02\"\ninterface = \"d0\"\n\
         [[route]]\nto = \"0.0.0.0/0\"\nvia = \"198.18.0.2\"\ninterface = \"d0\"\n\
         [[service]]\nlisten = \"198.18.0.100:81/tcp\"\n{WEB}\
         [[service]]\nlisten = \"198.18.0.100:53/udp\"\n[[service.destination]]\naddress = \"198.18.0.2\"\n"
    );
    let short = Ip { ttl: 1, ..IP };
    let mut case = Case::new("", "", &config);
    for _ in 0..1000 {
        case = case.at(0, "d0", to_vip(CLIENT, 81, "S").build());
    }
    let case = case
        .at(0, "d0", to_vip(CLIENT, 81, "S").build())
        .at(0, "d0", Tcp { ip: short, ..to_vip(CLIENT, 80, "S") }.build())
        .at(0, "d0", Udp { payload: &[0; 100], ..udp_to_vip(CLIENT, 53, b"") }.build())
        // A millisecond earns one error.
        .at(1000, "d0", to_vip(CLIENT, 81, "S").build())
        .at(1000, "d0", to_vip(CLIENT, 81, "S").build());
    let place = Place::new("flood");
    place.run(&case.config_text(), &[("d0", &case.capture("d0"))]).expect("done");
    let counters: serde_json::Value = serde_json::from_slice(&place.read("counters.json")).expect("JSON");
    let reason = |name: &str| counters["reasons"][name].as_u64();
    assert_eq!(reason("no-destination"), Some(1001));
    assert_eq!(reason("no-destination-quiet"), Some(2));
    assert_eq!(reason("ttl-exceeded-quiet"), Some(1));
    assert_eq!(reason("frag-needed-quiet"), Some(1));
}

#[test]
fn the_program_ends_with_the_code_of_what_happened() {
    let place = Place::new("program");
    let case = usual();
    let config = place.file("config.toml", case.config_text());
    let capture = place.file("d0.in.pcap", case.capture("d0"));
    let sheave = |input: String, control: Option<&Path>| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sheave"));
        command.args(["replay", "--config"]).arg(&config).arg("--in").arg(input);
        command.arg("--out").arg(place.0.join("out")).args(["--seed", "7"]);
        if let Some(control) = control {
            command.arg("--control").arg(control);
        }
        let output = command.output().expect("runs");
        (output.status.code(), String::from_utf8(output.stderr).expect("text"))
    };
    let input = format!("d0={}", capture.display());
    assert_eq!(sheave(input.clone(), None), (Some(0), String::new()));
    let (code, said) = sheave("d0=/nowhere".to_owned(), None);
    assert_eq!(
        (code, said.as_str()),
        (Some(2), "error: /nowhere: No such file or directory (os error 2): name a file that can be read\n")
    );
    assert_eq!(sheave("d0".to_owned(), None).0, Some(2), "not IFACE=PCAP");
    let control = place.file("control.jsonl", "{\"at\": 1, \"request\": 7}\n{\"at\": \"x\"}\n");
    let (code, said) = sheave(input.clone(), Some(&control));
    assert_eq!((code, said.lines().count()), (Some(2), 1), "{said}");
    let control = place.file(
        "control.jsonl",
        "{\"at\": 1, \"request\": {\"v\":1,\"op\":\"service.remove\",\"args\":{\"service\":\"x\"}}}\n",
    );
    assert_eq!(sheave(input, Some(&control)).0, Some(0), "refused requests are answered, as on the socket");
    assert!(String::from_utf8(place.read("responses.jsonl")).expect("text").contains("not-found"));
}
