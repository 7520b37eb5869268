//! The director's control socket, as far as it is measured.

use crate::bench::Family;
use serde_json::{Value, json};
use sheave_testbeds::{Error, Result};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// A connection to it.
#[derive(Debug)]
pub(crate) struct Control {
    stream: BufReader<UnixStream>,
}

impl Control {
    pub(crate) fn connect(socket: &Path) -> Result<Control> {
        let stream = UnixStream::connect(socket).map_err(Error::about(socket.display()))?;
        stream.set_read_timeout(Some(Duration::from_secs(2))).map_err(Error::about("control socket"))?;
        Ok(Control { stream: BufReader::new(stream) })
    }

    /// Gives the first real server a weight; returns the number of the configuration that is in force then.
    pub(crate) fn weigh(&mut self, family: Family, weight: usize) -> Result<u64> {
        let service = format!("{}/udp", family.vip());
        let args = json!({ "service": service, "address": family.real(1, 8080), "weight": weight });
        number(&self.ask("destination.set", &args)?, "/epoch")
    }

    /// The number of the configuration that the first worker has.
    pub(crate) fn worker_epoch(&mut self) -> Result<u64> {
        number(&self.ask("workers.show", &json!({}))?, "/workers/0/epoch")
    }

    fn ask(&mut self, operation: &str, args: &Value) -> Result<Value> {
        let about = |error: std::io::Error| Error::new(format!("control socket: {operation}: {error}"));
        let request = json!({ "v": 1, "op": operation, "args": args });
        self.stream.get_mut().write_all(format!("{request}\n").as_bytes()).map_err(about)?;
        let mut line = String::new();
        self.stream.read_line(&mut line).map_err(about)?;
        let answer: Value = serde_json::from_str(&line).map_err(Error::about(operation))?;
        match answer.get("ok") {
            Some(answer) => Ok(answer.clone()),
            None => Err(Error::new(format!("{operation}: {line}"))),
        }
    }
}

fn number(answer: &Value, pointer: &str) -> Result<u64> {
    let found = answer.pointer(pointer).and_then(Value::as_u64);
    found.ok_or_else(|| Error::new(format!("control socket: no {pointer} in {answer}")))
}
