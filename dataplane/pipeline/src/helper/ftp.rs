//! FTP (RFC 959; extended commands: RFC 2428).
//!
//! Each transfer has a data connection of its own, which one side opens to where the other side has said it
//! listens:
//!
//! ```text
//!   passive   real:    227 Entering Passive Mode (198,19,1,11,156,64).   rewritten: the VIP, and its port
//!             real:    229 Entering Extended Passive Mode (|||40000|)    rewritten if the VIP's port is another
//!             client:  opens any port -> vip:vport, which is NAT to real:rport
//!
//!   active    client:  PORT 192,0,2,1,195,80                             as it is: the client's own address
//!             client:  EPRT |2|2001:db8::1|50000|
//!             real:    opens rport-1 -> client:port, which the client sees coming from vip:vport-1
//! ```
//!
//! "One below the control connection's port" is port 20 for 21 (RFC 959 §3.2), on the real server's side and
//! on the VIP's. A real server that opens its data connections from other ports does not get through; it must
//! use passive mode.
//!
//! Of a 227 only the first six numbers in a row count, wherever they are in the line (RFC 1123 §4.1.2.6). It
//! may name the VIP instead of the real server's own address, as servers do that were told of it: then the
//! address stays. Codes and commands count in either case, lines of the client's end with CRLF or LF, the
//! server's with CRLF.
//!
//! Left as it is: a control channel under TLS, which nobody can read, and commands of RFC 1639.

use super::replies::{Replies, Standing};
use super::{Control, Expectation, MAX_FOUND, Note, Report, Segment, Stream};
use crate::seq::SeqAdjust;
use sheave_proto::wire::flow::Proto;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::Range;

/// Ports below this one are privileged: no real server opens them for data.
const FIRST_UNPRIVILEGED: u16 = 1024;

/// Bytes by which a rewritten line can grow, at most: from `1,1,1,1,4,0` to `255,255,255,255,255,255`.
pub(super) const MAX_GROWTH: usize = Text::CAPACITY - 11;

/// A command that says where the client listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Active {
    /// The address that it names.
    pub addr: IpAddr,
    /// The port.
    pub port: u16,
}

/// A reply that says where the server listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Passive {
    /// The address that it names, if it does (227).
    pub addr: Option<Ipv4Addr>,
    /// The port.
    pub port: u16,
    /// Where in the line all that stands.
    pub range: Range<usize>,
}

/// A line that should say where somebody listens, and does not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BadLine;

/// Reads a line of the client's, without its end. `None` for any but PORT and EPRT.
///
/// # Errors
/// [`BadLine`] when what follows the command is not an address and a port.
pub fn command(line: &[u8]) -> Option<Result<Active, BadLine>> {
    let (name, rest) = line.split_first_chunk::<4>()?;
    let (b' ', argument) = rest.split_first()? else { return None };
    let argument = argument.trim_ascii();
    let active = match name.to_ascii_uppercase().as_slice() {
        b"PORT" => port(argument),
        b"EPRT" => eprt(argument),
        _ => return None,
    };
    Some(active.ok_or(BadLine))
}

/// Reads a whole reply, without its end. `None` for any but 227 and 229.
///
/// # Errors
/// [`BadLine`] when there is no port in it.
pub fn reply(code: u16, line: &[u8]) -> Option<Result<Passive, BadLine>> {
    let passive = match code {
        227 => pasv(line),
        229 => epsv(line),
        _ => return None,
    };
    Some(passive.ok_or(BadLine))
}

/// `h1,h2,h3,h4,p1,p2` and nothing else.
fn port(argument: &[u8]) -> Option<Active> {
    let (numbers, len) = six(argument)?;
    let (addr, port) = host_port(numbers)?;
    (len == argument.len()).then_some(Active { addr: addr.into(), port })
}

/// `|1|192.0.2.1|50000|` or `|2|2001:db8::1|50000|`, with any other delimiter just as well.
fn eprt(argument: &[u8]) -> Option<Active> {
    let (delimiter, rest) = argument.split_first()?;
    let rest = rest.strip_suffix(std::slice::from_ref(delimiter))?;
    // RFC 2428 §2: one of ASCII 33 to 126. One that could be part of an address would say nothing.
    if !delimiter.is_ascii_punctuation() || matches!(delimiter, b'.' | b':') {
        return None;
    }
    let mut fields = rest.split(|byte| byte == delimiter);
    let (family, addr, port) = (fields.next()?, fields.next()?, fields.next()?);
    let addr = std::str::from_utf8(addr).ok()?;
    let addr: IpAddr = match family {
        b"1" => addr.parse::<Ipv4Addr>().ok()?.into(),
        b"2" => addr.parse::<Ipv6Addr>().ok()?.into(),
        _ => return None,
    };
    let (port, len) = number(port).filter(|&(_, len)| len == port.len())?;
    debug_assert!(len <= 5);
    (fields.next().is_none() && port != 0).then_some(Active { addr, port })
}

/// The first six numbers in a row behind the code.
fn pasv(line: &[u8]) -> Option<Passive> {
    (4..line.len()).filter(|&at| !line[at - 1].is_ascii_digit()).find_map(|at| {
        let (numbers, len) = six(&line[at..])?;
        let (addr, port) = host_port(numbers)?;
        Some(Passive { addr: Some(addr), port, range: at..at + len })
    })
}

/// The first `(|||40000|)`, with any other delimiter just as well.
fn epsv(line: &[u8]) -> Option<Passive> {
    const BEFORE: usize = 4;
    (4..line.len()).filter(|&at| line[at] == b'(').find_map(|at| {
        let (&[_, a, b, c], rest) = line[at..].split_first_chunk::<BEFORE>()?;
        let (port, len) = number(rest)?;
        let delimited = a.is_ascii_graphic() && !a.is_ascii_digit() && a == b && b == c;
        let closed = rest.get(len..len + 2) == Some(&[a, b')']);
        let range = at + BEFORE..at + BEFORE + len;
        (delimited && closed && port != 0).then_some(Passive { addr: None, port, range })
    })
}

/// Six numbers of a byte each with commas between them, perhaps followed by blanks; and how long all is.
fn six(text: &[u8]) -> Option<([u8; 6], usize)> {
    let mut numbers = [0; 6];
    let mut at = 0;
    for (i, value) in numbers.iter_mut().enumerate() {
        if i > 0 {
            at += text.get(at..)?.strip_prefix(b",").map(|_| 1)?;
            at += text.get(at..)?.iter().take_while(|byte| **byte == b' ').count();
        }
        let (number, len) = number(text.get(at..)?)?;
        *value = u8::try_from(number).ok()?;
        at += len;
    }
    Some((numbers, at))
}

fn host_port([a, b, c, d, high, low]: [u8; 6]) -> Option<(Ipv4Addr, u16)> {
    let port = u16::from_be_bytes([high, low]);
    (port != 0).then_some((Ipv4Addr::new(a, b, c, d), port))
}

/// The decimal number that a text begins with, and how many digits it has.
fn number(text: &[u8]) -> Option<(u16, usize)> {
    let len = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let digits = text.get(..len).filter(|digits| matches!(digits.len(), 1..=5))?;
    let value = digits.iter().fold(0, |value, digit| value * 10 + u32::from(digit - b'0'));
    Some((u16::try_from(value).ok()?, len))
}

/// A short text being put together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Text {
    bytes: [u8; Text::CAPACITY],
    len: usize,
}

impl Text {
    /// `255,255,255,255,255,255`.
    const CAPACITY: usize = 23;

    const EMPTY: Text = Text { bytes: [0; Text::CAPACITY], len: 0 };

    /// What a 227 says.
    fn host_port(addr: Ipv4Addr, port: u16) -> Text {
        let ([a, b, c, d], [high, low]) = (addr.octets(), port.to_be_bytes());
        [b, c, d, high, low].iter().fold(Text::EMPTY.number(a.into()), |text, byte| {
            let text = text.push(b',');
            text.number((*byte).into())
        })
    }

    /// What a 229 says.
    fn port(port: u16) -> Text {
        Text::EMPTY.number(port)
    }

    fn number(self, value: u16) -> Text {
        let [tens_of_thousands, thousands, hundreds, tens] = [10_000, 1000, 100, 10];
        [tens_of_thousands, thousands, hundreds, tens, 1]
            .into_iter()
            .filter(|&unit| value >= unit || unit == 1)
            .fold(self, |text, unit| text.push(b'0' + u8::try_from(value / unit % 10).unwrap_or_default()))
    }

    fn push(mut self, byte: u8) -> Text {
        if let Some(slot) = self.bytes.get_mut(self.len) {
            *slot = byte;
            self.len += 1;
        }
        self
    }

    fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }
}

/// The lines of a client's segment.
pub(super) fn from_client(
    control: &Control,
    segment: &mut Segment<'_>,
    mut expect: impl FnMut(Expectation) -> Option<u16>,
) -> Report {
    let mut report = Report::default();
    for line in segment.payload().split_inclusive(|byte| *byte == b'\n') {
        let Some(active) = command(line.trim_ascii_end()) else { continue };
        report.note(match active {
            _ if !line.ends_with(b"\n") => Note::Split,
            _ if report.count(Note::Followed) >= u16::from(MAX_FOUND) => Note::Full,
            Err(BadLine) => Note::Malformed,
            Ok(active) => match from_below(control, active) {
                Err(note) => note,
                Ok(expected) if expect(expected).is_some() => Note::Followed,
                Ok(_) => Note::Full,
            },
        });
    }
    report
}

/// The data connection that a client asks for.
fn from_below(control: &Control, Active { addr, port }: Active) -> Result<Expectation, Note> {
    let below = |of: SocketAddr| of.port().checked_sub(1).filter(|&port| port != 0).ok_or(Note::Forbidden);
    if addr != control.client.ip() {
        return Err(Note::Foreign);
    }
    Ok(Expectation {
        client: addr,
        client_port: Some(port),
        vip: control.vip.ip(),
        vport: below(control.vip)?,
        real: control.real.ip(),
        rport: below(control.real)?,
        proto: Proto::Tcp,
    })
}

/// The lines of a real server's segment.
pub(super) fn from_real(
    control: &Control,
    stream: &mut Stream,
    segment: &mut Segment<'_>,
    expect: impl FnMut(Expectation) -> Option<u16>,
) -> Report {
    let mut replies = Replies::from(stream.memory);
    let (seq, len) = (segment.seq(), segment.payload().len());
    let mut offers = Offers { control, segment, adjust: stream.adjust, expect, report: Report::default() };
    // What was resized must be again, however far back it is.
    let again = || stream.adjust.changes_at(seq).then(Standing::default);
    if let Some(before) = replies.at(seq).or_else(again).filter(|_| len > 0) {
        let now = offers.lines(before);
        replies.seen(seq, len, before, now);
        stream.memory = replies.into();
        // Each offer has seen to it that it fits.
        stream.adjust = stream.adjust.resized(seq, offers.report.change).unwrap_or(stream.adjust);
    }
    offers.report
}

const LINE_END: &[u8; 2] = b"\r\n";

/// The line that begins at `from`, without its end; `None` if it has none here.
fn next_line(payload: &[u8], from: usize) -> Option<Range<usize>> {
    let len = payload.get(from..)?.windows(LINE_END.len()).position(|two| two == LINE_END)?;
    Some(from..from + len)
}

/// What a real server offers in a segment.
struct Offers<'a, 'b, E> {
    control: &'a Control,
    segment: &'a mut Segment<'b>,
    /// As it was before the segment.
    adjust: SeqAdjust,
    expect: E,
    report: Report,
}

impl<E: FnMut(Expectation) -> Option<u16>> Offers<'_, '_, E> {
    /// Goes through the lines; `standing` is how the stream stands before them. How it does behind them.
    fn lines(&mut self, mut standing: Standing) -> Standing {
        let mut at = 0;
        while let Some(line) = next_line(self.segment.payload(), at) {
            at = line.end + LINE_END.len();
            if std::mem::replace(&mut standing.mid_line, false) {
                continue;
            }
            let text = self.segment.payload().get(line.clone()).unwrap_or_default();
            let Some(found) = standing.within.line(text).and_then(|code| reply(code, text)) else { continue };
            let followed = match found {
                _ if self.report.count(Note::Followed) >= u16::from(MAX_FOUND) => Err(Note::Full),
                Err(BadLine) => Err(Note::Malformed),
                Ok(passive) => self.follow(line.start, passive),
            };
            self.report.note(followed.err().unwrap_or(Note::Followed));
            let change = followed.unwrap_or(0);
            self.report.change += change;
            at = at.saturating_add_signed(change as isize);
        }
        let rest = self.segment.payload().get(at..).unwrap_or_default();
        if !rest.is_empty() {
            if !standing.mid_line && (rest.starts_with(b"227 ") || rest.starts_with(b"229 ")) {
                self.report.note(Note::Split);
            }
            standing.mid_line = true;
        }
        standing
    }

    /// Notes the data connection that is offered in the line at `start`, and has the client told of the VIP
    /// instead. By how many bytes the line has grown.
    fn follow(&mut self, start: usize, passive: Passive) -> Result<i32, Note> {
        let Passive { addr, port, range } = passive;
        let (client, real, vip) = (self.control.client.ip(), self.control.real.ip(), self.control.vip.ip());
        if addr.is_some_and(|addr| real != addr && vip != addr) {
            return Err(Note::Foreign);
        }
        if port < FIRST_UNPRIVILEGED {
            return Err(Note::Forbidden);
        }
        let expected =
            Expectation { client, client_port: None, vip, vport: port, real, rport: port, proto: Proto::Tcp };
        let vport = (self.expect)(expected).ok_or(Note::Full)?;
        let text = match (addr, vip) {
            _ if vport == port && addr.is_none_or(|addr| vip == addr) => return Ok(0),
            (Some(_), IpAddr::V4(vip)) => Text::host_port(vip, vport),
            (Some(_), IpAddr::V6(_)) => return Err(Note::Foreign),
            (None, _) => Text::port(vport),
        };
        self.replace(start + range.start..start + range.end, text.bytes()).ok_or(Note::NoRoom)
    }

    /// Replaces a range of the payload, unless the stream could then not be followed. By how many bytes it
    /// has grown.
    fn replace(&mut self, range: Range<usize>, text: &[u8]) -> Option<i32> {
        let change = i32::try_from(text.len()).ok()?.checked_sub(i32::try_from(range.len()).ok()?)?;
        self.adjust.resized(self.segment.seq(), self.report.change.checked_add(change)?).ok()?;
        self.segment.replace(range, text).ok()
    }
}
