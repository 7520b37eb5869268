//! The captures of all interfaces as one sequence of frames.

use super::capture::{self, Capture};
use super::engine::LONGEST;
use super::{Input, read};
use crate::error::{Code, ExitError};
use sheave_plan::Desired;

/// All captures, and the order in which their frames are taken.
#[derive(Debug)]
pub(super) struct Inputs {
    files: Vec<File>,
    /// (File, packet), in order of time; of equal ones in the order of the options, then of the file.
    order: Vec<(usize, usize)>,
}

#[derive(Debug)]
struct File {
    interface: String,
    bytes: Vec<u8>,
    capture: Capture,
}

/// One frame that came in.
#[derive(Debug, Clone, Copy)]
pub(super) struct Packet<'a> {
    /// Nanoseconds since 1970.
    pub(super) time: u64,
    pub(super) interface: &'a str,
    pub(super) bytes: &'a [u8],
}

impl Inputs {
    /// Reads the captures of declared interfaces. All that is wrong is reported together.
    pub(super) fn load(inputs: &[Input], desired: &Desired) -> Result<Inputs, ExitError> {
        let mut files = Vec::with_capacity(inputs.len());
        let mut lines = Vec::new();
        for input in inputs {
            match file(input, desired) {
                Ok(file) => files.push(file),
                Err(error) => lines.extend(error.lines),
            }
        }
        if !lines.is_empty() {
            return Err(ExitError { code: Code::Usage, lines });
        }
        let packets =
            |(index, file): (usize, &File)| (0..file.capture.packets.len()).map(move |p| (index, p));
        let mut order: Vec<_> = files.iter().enumerate().flat_map(packets).collect();
        // Stable: equal times stay in the order of the options and of the file.
        order.sort_by_key(|(index, packet)| files[*index].capture.packets[*packet].time);
        Ok(Inputs { files, order })
    }

    /// How many frames there are.
    pub(super) fn len(&self) -> usize {
        self.order.len()
    }

    /// Whether any capture is finer than microseconds.
    pub(super) fn nanoseconds(&self) -> bool {
        self.files.iter().any(|file| file.capture.nanoseconds)
    }

    /// The time of the first frame.
    pub(super) fn start(&self) -> u64 {
        self.iter().next().map_or(0, |packet| packet.time)
    }

    /// The frames in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = Packet<'_>> {
        self.order.iter().map(|(file, packet)| {
            let file = &self.files[*file];
            let packet = &file.capture.packets[*packet];
            Packet { time: packet.time, interface: &file.interface, bytes: &file.bytes[packet.bytes.clone()] }
        })
    }
}

fn file(input: &Input, desired: &Desired) -> Result<File, ExitError> {
    let usage = |wrong: &dyn std::fmt::Display, remedy: &str| {
        Err(ExitError::new(Code::Usage, input.file.display(), wrong, remedy))
    };
    if !desired.config().interfaces.iter().any(|interface| interface.name == input.interface) {
        let object = format!("interface {}", input.interface);
        return Err(ExitError::new(Code::Usage, object, "not declared", "add an [[interface]] of that name"));
    }
    let bytes = read(&input.file)?;
    let capture = match capture::read(&bytes) {
        Ok(capture) => capture,
        Err(unreadable) => return usage(&unreadable, "give a whole pcap or pcapng file of Ethernet"),
    };
    if let Some(at) = capture.packets.iter().position(|packet| packet.bytes.len() > LONGEST) {
        let (start, len) = (capture.packets[at].bytes.start, capture.packets[at].bytes.len());
        let wrong =
            format!("at byte {start}: packet {at} has {len} bytes, more than the {LONGEST} of a frame");
        return usage(&wrong, "capture with segmentation offload turned off");
    }
    Ok(File { interface: input.interface.clone(), bytes, capture })
}
