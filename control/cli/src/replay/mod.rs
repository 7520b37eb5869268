//! `sheave replay`: the director's own pipeline over captured frames.
//!
//! Owns: the order of everything (frames of all files by time, control requests as the clock passes them,
//! expiry before each frame) and the form of what is written. What happens to a frame is the pipeline's alone.
//!
//! Invariants: the same inputs give the same bytes. There is no clock but the frames' timestamps, no randomness
//! but the seed, no kernel and no privilege.
//!
//! ```text
//!   --in IFACE=PCAP ...  --> input  --+
//!   --control FILE       --> script --+--> engine (Desired, Compiler, Pipeline) --> IFACE.pcap for each interface
//!   --config FILE        -------------+                                             verdicts.jsonl
//!                                                                                   counters.json
//!                                                                                   responses.jsonl
//! ```
//!
//! `out` of a verdict names each interface once, in the order of the first frame sent there because of this one.
//! What only the passing of time sends (a repeated ARP request) counts for the frame that let it pass.
//!
//! Output captures have nanoseconds when any input has, microseconds otherwise; they are pcap in little-endian
//! byte order. `responses.jsonl` is written with `--control` only: what the socket would have answered.

mod capture;
mod engine;
mod input;
mod output;
mod report;
mod script;

use crate::error::{Code, ExitError};
use clap::Args;
use engine::Engine;
use input::Inputs;
use output::Outputs;
use script::Script;
use sheave_plan::Desired;
use sheave_proto::config;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// The arguments of `sheave replay`.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct ReplayArgs {
    /// The configuration; every interface needs its mac and addresses.
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,

    /// Frames that came in on an interface: a pcap or pcapng file. May be given several times; frames of all
    /// files are taken in the order of their timestamps.
    #[arg(long = "in", value_name = "IFACE=PCAP", required = true)]
    pub inputs: Vec<Input>,

    /// The directory to write to: IFACE.pcap for every interface, verdicts.jsonl, counters.json.
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,

    /// Control requests, one JSON object a line: {"at": SECONDS, "request": {...}}.
    #[arg(long, value_name = "FILE")]
    pub control: Option<PathBuf>,

    /// Where identifications and table hashes start. It changes no scheduler's choice.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seed: u64,
}

/// One `--in IFACE=PCAP`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Input {
    /// The interface.
    pub interface: String,
    /// The capture.
    pub file: PathBuf,
}

impl FromStr for Input {
    type Err = String;

    fn from_str(text: &str) -> Result<Input, String> {
        match text.split_once('=') {
            Some((interface, file)) if !interface.is_empty() && !file.is_empty() => {
                Ok(Input { interface: interface.to_owned(), file: PathBuf::from(file) })
            }
            _ => Err("write INTERFACE=FILE, as in d0=capture.pcap".to_owned()),
        }
    }
}

/// Replays captures. All input is read and checked before anything is written.
///
/// # Errors
/// [`Code::Usage`] for a configuration, capture or control file that is invalid or cannot be read,
/// [`Code::Failed`] when the output cannot be written.
pub fn run(args: &ReplayArgs) -> Result<(), ExitError> {
    let desired = configuration(&args.config)?;
    let inputs = Inputs::load(&args.inputs, &desired)?;
    let mut script = match &args.control {
        Some(file) => Script::load(file)?,
        None => Script::default(),
    };
    let mut engine = Engine::new(desired, args.seed, inputs.len())?;
    let mut outputs = Outputs::create(&args.out, inputs.nanoseconds(), args.control.is_some())?;
    outputs.follow(engine.interfaces())?;
    let start = inputs.start();
    for packet in inputs.iter() {
        let now = engine::since(start, packet.time);
        while let Some(request) = script.due(packet.time) {
            let response = match &request.request {
                Ok(op) => engine.request(engine::since(start, request.time()), op, request.time()),
                Err(response) => response.clone(),
            };
            outputs.response(&request, &response)?;
            outputs.follow(engine.interfaces())?;
        }
        let outcome = engine.frame(now, packet.interface, packet.bytes, |port, bytes| {
            outputs.frame(port, packet.time, bytes);
        })?;
        outputs.verdict(packet.interface, &outcome)?;
    }
    outputs.finish(&engine.report())
}

fn configuration(file: &Path) -> Result<Desired, ExitError> {
    let text = String::from_utf8(read(file)?).map_err(|_| {
        ExitError::new(Code::Usage, file.display(), "not UTF-8", "write the configuration as TOML")
    })?;
    let config = config::parse(&text, &file.display().to_string());
    config.and_then(Desired::new).map_err(|errors| ExitError::all(Code::Usage, errors))
}

/// Reads an input file as a whole.
fn read(file: &Path) -> Result<Vec<u8>, ExitError> {
    std::fs::read(file)
        .map_err(|error| ExitError::new(Code::Usage, file.display(), error, "name a file that can be read"))
}
