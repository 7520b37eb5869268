//! What must become of a frame, and whether it did.

use super::cut::Cut;
use crate::ids::DestId;
use crate::reason::Reason;
use crate::verdict::{Verdict, VerdictKind};
use sheave_frame::PortId;
use std::collections::VecDeque;
use std::fmt::Write as _;

/// What must become of a frame.
#[derive(Debug)]
pub(super) enum Outcome {
    /// Sent on, as this frame.
    Forward { service: usize, destination: DestId, port: PortId, frame: Bytes },
    /// Sent on in fragments.
    Cut { service: usize, destination: DestId, cut: Cut },
    /// Answered with this frame.
    Reply(Reason, PortId, Bytes),
    /// Any of these ends of a frame, which leaves nothing behind but what is passed.
    End(&'static [Reason]),
    /// Passed or dropped, for whatever reason.
    Ignored,
    /// Kept back for its next hop's address, or dropped because too many are.
    Waits,
    /// Something that the model has no opinion on.
    Anything,
}

/// A frame that must come out.
pub(super) struct Bytes(pub(super) Vec<u8>);

impl std::fmt::Debug for Bytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&hex(&self.0[..self.0.len().min(100)]))
    }
}

/// The frames that came out and have not been accounted for yet, in order.
#[derive(Debug, Default)]
pub struct Leaving {
    /// Sent.
    pub sent: VecDeque<(PortId, Vec<u8>)>,
    /// Left to the kernel.
    pub passed: VecDeque<Vec<u8>>,
}

impl Outcome {
    /// Checks a verdict and takes the frames that belong to it.
    pub(super) fn check(&self, frame: &[u8], verdict: &Verdict, leaving: &mut Leaving) -> Result<(), String> {
        let kind = verdict.kind();
        let agrees = match self {
            Outcome::Forward { service, destination, .. } | Outcome::Cut { service, destination, .. } => {
                kind == VerdictKind::Forward
                    && verdict.service.is_some_and(|id| id.index() == *service)
                    && verdict.destination == Some(*destination)
            }
            Outcome::Reply(reason, ..) => verdict.reason() == Some(*reason),
            Outcome::End(reasons) => verdict.reason().is_some_and(|reason| reasons.contains(&reason)),
            Outcome::Ignored => matches!(kind, VerdictKind::Pass | VerdictKind::Drop),
            Outcome::Waits => matches!(verdict.reason(), Some(Reason::Resolving | Reason::HoldFull)),
            Outcome::Anything => true,
        };
        if !agrees {
            return Err(format!("the verdict is {verdict:?}, expected {self:?}"));
        }
        match kind {
            VerdictKind::Forward | VerdictKind::Reply => {
                if let Outcome::Cut { cut, .. } = self {
                    return cut.check(leaving);
                }
                let sent = leaving.sent.pop_front().ok_or("nothing was sent")?;
                match self {
                    Outcome::Forward { port, frame, .. } | Outcome::Reply(_, port, frame) => {
                        same((*port, &frame.0), (sent.0, &sent.1))
                    }
                    _ => Ok(()),
                }
            }
            VerdictKind::Pass => match leaving.passed.pop_front() {
                Some(passed) if passed == frame => Ok(()),
                Some(_) => Err("what is passed is not what came".to_owned()),
                None => Err("nothing was passed".to_owned()),
            },
            VerdictKind::Drop | VerdictKind::Hold | VerdictKind::Punt => Ok(()),
        }
    }
}

impl Outcome {
    /// Takes the frames of a fragment that was held back until now. Gives the reason, if it is not sent on.
    pub(super) fn take(&self, frame: &[u8], leaving: &mut Leaving) -> Result<Option<Reason>, String> {
        match self {
            Outcome::Forward { port, frame, .. } => {
                let sent = leaving.sent.pop_front().ok_or("it was not sent")?;
                same((*port, &frame.0), (sent.0, &sent.1)).map(|()| None)
            }
            Outcome::Cut { cut, .. } => cut.check(leaving).map(|()| None),
            Outcome::End([reason]) => {
                let passed = Verdict::because(*reason).kind() == VerdictKind::Pass;
                let right = !passed || leaving.passed.pop_front().is_some_and(|passed| passed == frame);
                if right { Ok(Some(*reason)) } else { Err("it was not passed".to_owned()) }
            }
            Outcome::Waits => Ok(Some(Reason::Resolving)),
            other => Err(format!("nobody knows what becomes of it: {other:?}")),
        }
    }
}

fn same(expected: (PortId, &[u8]), sent: (PortId, &[u8])) -> Result<(), String> {
    if expected == sent {
        return Ok(());
    }
    let at = expected.1.iter().zip(sent.1).position(|(a, b)| a != b);
    Err(format!(
        "another frame was sent, by {:?} instead of {:?}, the first other byte is {at:?}:\n  expected {}\n  sent     {}",
        sent.0,
        expected.0,
        hex(expected.1),
        hex(sent.1)
    ))
}

/// Bytes as people paste them.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut all, byte| {
        // Writing to a string does not fail.
        let _infallible = write!(all, "{byte:02x}");
        all
    })
}
