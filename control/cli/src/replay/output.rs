//! The files that a replay writes.

use super::capture::Writer;
use super::engine::Outcome;
use super::report::Report;
use super::script::Request;
use crate::error::{Code, ExitError};
use serde::Serialize;
use sheave_frame::PortId;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

/// A line of verdicts.jsonl; the order of the keys is part of the contract.
#[derive(Debug, Serialize)]
struct Line<'a> {
    n: u64,
    r#in: &'a str,
    verdict: &'static str,
    reason: Option<&'static str>,
    service: Option<&'a str>,
    destination: Option<&'a str>,
    out: Vec<&'a str>,
}

/// The open files.
#[derive(Debug)]
pub(super) struct Outputs {
    directory: PathBuf,
    nanoseconds: bool,
    /// By interface number, with its name.
    captures: BTreeMap<PortId, (String, Writer<BufWriter<File>>)>,
    verdicts: BufWriter<File>,
    responses: Option<BufWriter<File>>,
    n: u64,
    /// What went wrong while frames were written.
    failed: Option<ExitError>,
}

impl Outputs {
    /// Makes the directory and the files that are there in any case.
    pub(super) fn create(directory: &Path, nanoseconds: bool, responses: bool) -> Result<Outputs, ExitError> {
        let failed = |error| failed(directory, error);
        std::fs::create_dir_all(directory).map_err(failed)?;
        let open = |name: &str| {
            let path = directory.join(name);
            File::create(&path).map(BufWriter::new).map_err(|error| self::failed(&path, error))
        };
        Ok(Outputs {
            directory: directory.to_owned(),
            nanoseconds,
            captures: BTreeMap::new(),
            verdicts: open("verdicts.jsonl")?,
            responses: if responses { Some(open("responses.jsonl")?) } else { None },
            n: 0,
            failed: None,
        })
    }

    /// Opens a capture for every interface that has none yet.
    pub(super) fn follow<'a>(
        &mut self,
        interfaces: impl Iterator<Item = (PortId, &'a str)>,
    ) -> Result<(), ExitError> {
        for (port, name) in interfaces {
            if !self.captures.contains_key(&port) {
                let path = self.directory.join(format!("{name}.pcap"));
                let open = || Writer::new(BufWriter::new(File::create(&path)?), self.nanoseconds);
                let writer = open().map_err(|error| failed(&path, error))?;
                self.captures.insert(port, (name.to_owned(), writer));
            }
        }
        Ok(())
    }

    /// Writes a frame that was sent. What goes wrong is reported with the verdict that follows.
    pub(super) fn frame(&mut self, port: PortId, time: u64, bytes: &[u8]) {
        let Some((_, writer)) = self.captures.get_mut(&port) else { return };
        if let Err(error) = writer.write(time, bytes) {
            self.failed.get_or_insert_with(|| failed(&self.directory, error));
        }
    }

    /// Writes the verdict of the frame that came in on `interface`.
    pub(super) fn verdict(&mut self, interface: &str, outcome: &Outcome) -> Result<(), ExitError> {
        if let Some(failed) = self.failed.take() {
            return Err(failed);
        }
        let name = |port: &PortId| self.captures.get(port).map(|(name, _)| name.as_str());
        let line = Line {
            n: self.n,
            r#in: interface,
            verdict: outcome.verdict.kind().name(),
            reason: outcome.verdict.reason().map(|reason| reason.name()),
            service: outcome.service.as_deref(),
            destination: outcome.destination.as_deref(),
            out: outcome.out.iter().filter_map(name).collect(),
        };
        self.n += 1;
        json_line(&mut self.verdicts, &line)
            .map_err(|error| failed(&self.directory.join("verdicts.jsonl"), error))
    }

    /// Writes what the socket would have answered.
    pub(super) fn response(&mut self, request: &Request, response: &impl Serialize) -> Result<(), ExitError> {
        #[derive(Serialize)]
        struct Answered<'a, R> {
            at: &'a serde_json::value::RawValue,
            response: &'a R,
        }
        let Some(file) = &mut self.responses else { return Ok(()) };
        json_line(file, &Answered { at: request.at(), response })
            .map_err(|error| failed(&self.directory.join("responses.jsonl"), error))
    }

    /// Writes the counters and everything that is still buffered.
    pub(super) fn finish(mut self, report: &Report) -> Result<(), ExitError> {
        let path = self.directory.join("counters.json");
        let counters = || -> io::Result<()> {
            let mut file = BufWriter::new(File::create(&path)?);
            serde_json::to_writer_pretty(&mut file, report)?;
            file.write_all(b"\n")?;
            file.flush()
        };
        counters().map_err(|error| failed(&path, error))?;
        let mut rest = || -> io::Result<()> {
            self.verdicts.flush()?;
            self.responses.as_mut().map_or(Ok(()), Write::flush)
        };
        rest().map_err(|error| failed(&self.directory, error))?;
        for (name, writer) in self.captures.into_values() {
            writer.finish().map_err(|error| failed(&self.directory.join(name), error))?;
        }
        Ok(())
    }
}

fn json_line(file: &mut impl Write, line: &impl Serialize) -> io::Result<()> {
    serde_json::to_writer(&mut *file, line)?;
    file.write_all(b"\n")
}

fn failed(path: &Path, error: io::Error) -> ExitError {
    ExitError::new(Code::Failed, path.display(), error, "name a directory that can be written to")
}
