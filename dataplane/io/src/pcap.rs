//! Captures as ports: frames are read from a pcap or pcapng file, and what is sent is written to a pcap file.
//!
//! [`Capture`] and [`Recording`] are the reading and the writing half; [`PcapPort`] puts them behind `Port`. A frame that
//! its capture cut short is what it is: a truncated frame. Anything but Ethernet, and a file that ends within a packet,
//! is an error, not an end.

use pcap_file::pcap::{PcapHeader, PcapPacket, PcapReader, PcapWriter};
use pcap_file::pcapng::blocks::interface_description::InterfaceDescriptionOption;
use pcap_file::pcapng::{Block, PcapNgReader};
use pcap_file::{DataLink, Endianness, TsResolution};
use sheave_frame::{BURST, Burst, Caps, Flushed, Frame, FramePool, Mode, Port, PortId, PortStats};
use std::io::{self, Read, Write};
use std::time::Duration;

/// One captured frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Captured {
    /// When, since 1970.
    pub time: Duration,
    /// The bytes that were captured.
    pub bytes: Vec<u8>,
}

/// A capture file being read: pcap in either byte order with micro- or nanoseconds, or pcapng.
pub struct Capture<R: Read> {
    format: Format<R>,
}

impl<R: Read> std::fmt::Debug for Capture<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let format = match self.format {
            Format::Pcap(_) => "pcap",
            Format::PcapNg(_) => "pcapng",
        };
        f.debug_struct("Capture").field("format", &format).finish_non_exhaustive()
    }
}

enum Format<R: Read> {
    Pcap(PcapReader<Start<R>>),
    PcapNg(PcapNgReader<Start<R>>),
}

/// A reader whose first bytes have been looked at.
type Start<R> = io::Chain<io::Cursor<[u8; 4]>, R>;

fn invalid(what: impl std::fmt::Display) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_string())
}

impl<R: Read> Capture<R> {
    /// Reads the file's header.
    ///
    /// # Errors
    /// When it is neither pcap nor pcapng, or not of Ethernet.
    pub fn new(mut reader: R) -> io::Result<Capture<R>> {
        let mut magic = [0; 4];
        reader.read_exact(&mut magic).map_err(|_| invalid("not a capture: shorter than a header"))?;
        let start = io::Cursor::new(magic).chain(reader);
        let format = if magic == [0x0a, 0x0d, 0x0d, 0x0a] {
            Format::PcapNg(PcapNgReader::new(start).map_err(invalid)?)
        } else {
            let reader = PcapReader::new(start).map_err(invalid)?;
            ethernet(reader.header().datalink)?;
            Format::Pcap(reader)
        };
        Ok(Capture { format })
    }

    /// The next frame, or `None` at the end.
    ///
    /// # Errors
    /// When the file ends within a packet or holds something else than Ethernet frames.
    pub fn next_frame(&mut self) -> io::Result<Option<Captured>> {
        match &mut self.format {
            Format::Pcap(reader) => next_of_pcap(reader),
            Format::PcapNg(reader) => next_of_pcapng(reader),
        }
    }
}

fn ethernet(link: DataLink) -> io::Result<()> {
    match link {
        DataLink::ETHERNET => Ok(()),
        other => Err(invalid(format_args!("link type {other:?}: only captures of Ethernet can be read"))),
    }
}

fn next_of_pcap<R: Read>(reader: &mut PcapReader<R>) -> io::Result<Option<Captured>> {
    let resolution = reader.header().ts_resolution;
    // The raw packet: the reader's own check refuses frames that are longer than the snap length, which cut ones are.
    let packet = match reader.next_raw_packet() {
        None => return Ok(None),
        Some(packet) => packet.map_err(invalid)?,
    };
    let unit = if resolution == TsResolution::NanoSecond { 1 } else { 1000 };
    let nanos = u64::from(packet.ts_frac) * unit;
    let time = Duration::from_secs(u64::from(packet.ts_sec)) + Duration::from_nanos(nanos);
    Ok(Some(Captured { time, bytes: packet.data.into_owned() }))
}

fn next_of_pcapng<R: Read>(reader: &mut PcapNgReader<R>) -> io::Result<Option<Captured>> {
    loop {
        let (interface, ticks, bytes) = match reader.next_block() {
            None => return Ok(None),
            Some(block) => match block.map_err(invalid)? {
                // The reader takes all timestamps for nanoseconds; what it has is the number of ticks.
                Block::EnhancedPacket(packet) => {
                    let ticks = u64::try_from(packet.timestamp.as_nanos()).map_err(invalid)?;
                    (packet.interface_id, ticks, packet.data.into_owned())
                }
                Block::SimplePacket(packet) => (0, 0, packet.data.into_owned()),
                _ => continue,
            },
        };
        let description = reader.interfaces().get(interface as usize).ok_or_else(|| {
            invalid(format_args!("packet of interface {interface}, which is not described"))
        })?;
        ethernet(description.linktype)?;
        let resolution = description.options.iter().find_map(|option| match option {
            InterfaceDescriptionOption::IfTsResol(resolution) => Some(*resolution),
            _ => None,
        });
        return Ok(Some(Captured { time: ticks_to_time(ticks, resolution.unwrap_or(6))?, bytes }));
    }
}

/// Ticks of 10^-n seconds, or of 2^-n where the highest bit of the resolution is set.
fn ticks_to_time(ticks: u64, resolution: u8) -> io::Result<Duration> {
    let exponent = u32::from(resolution & 0x7f);
    let base: u128 = if resolution & 0x80 == 0 { 10 } else { 2 };
    let per_second = base
        .checked_pow(exponent)
        .ok_or_else(|| invalid(format_args!("timestamp resolution {resolution:#x}")))?;
    let nanos = u128::from(ticks)
        .checked_mul(1_000_000_000)
        .and_then(|ticks| u64::try_from(ticks / per_second).ok())
        .ok_or_else(|| invalid(format_args!("timestamp {ticks} with resolution {resolution:#x}")))?;
    Ok(Duration::from_nanos(nanos))
}

/// A capture file being written: pcap, Ethernet, nanoseconds, in the byte order of x86 whatever the machine.
#[derive(Debug)]
pub struct Recording<W: Write> {
    writer: PcapWriter<W>,
}

impl<W: Write> Recording<W> {
    /// Writes the file's header.
    ///
    /// # Errors
    /// What the writer said.
    pub fn new(writer: W) -> io::Result<Recording<W>> {
        let header = PcapHeader {
            endianness: Endianness::Little,
            ts_resolution: TsResolution::NanoSecond,
            datalink: DataLink::ETHERNET,
            ..PcapHeader::default()
        };
        Ok(Recording { writer: PcapWriter::with_header(writer, header).map_err(invalid)? })
    }

    /// Writes one frame.
    ///
    /// # Errors
    /// What the writer said; a time beyond the year 2106.
    pub fn write(&mut self, time: Duration, bytes: &[u8]) -> io::Result<()> {
        let len = u32::try_from(bytes.len()).map_err(invalid)?;
        self.writer.write_packet(&PcapPacket::new(time, len, bytes)).map_err(invalid)?;
        Ok(())
    }

    /// The writer.
    pub fn into_writer(self) -> W {
        self.writer.into_writer()
    }
}

/// A port that receives the frames of a capture and records what is sent, stamped with the time of the last frame
/// received.
#[derive(Debug)]
pub struct PcapPort<R: Read, W: Write> {
    id: PortId,
    capture: Capture<R>,
    recording: Recording<W>,
    sent: Vec<Frame>,
    stats: PortStats,
    now: Duration,
    error: Option<io::Error>,
}

impl<R: Read, W: Write> PcapPort<R, W> {
    /// A port over both halves.
    pub fn new(id: PortId, capture: Capture<R>, recording: Recording<W>) -> PcapPort<R, W> {
        let (sent, stats, now) = (Vec::with_capacity(BURST), PortStats::default(), Duration::ZERO);
        PcapPort { id, capture, recording, sent, stats, now, error: None }
    }

    /// What went wrong, if anything: the port then receives nothing any more.
    pub fn error(&self) -> Option<&io::Error> {
        self.error.as_ref()
    }

    /// The recording half. The frames of the last send must have been flushed.
    pub fn into_writer(self) -> W {
        self.recording.into_writer()
    }
}

impl<R: Read + Send + std::fmt::Debug, W: Write + Send + std::fmt::Debug> Port for PcapPort<R, W> {
    fn recv(&mut self, burst: &mut Burst, pool: &mut FramePool) -> usize {
        let mut received = 0;
        while burst.room() > 0 && self.error.is_none() {
            let Some(mut frame) = pool.alloc() else { break };
            match self.capture.next_frame() {
                Ok(Some(captured)) if frame.fill(&captured.bytes).is_ok() => {
                    frame.set_ingress(self.id);
                    self.now = captured.time;
                    self.stats.rx_frames += 1;
                    self.stats.rx_bytes += frame.len() as u64;
                    received += 1;
                    if let Err(frame) = burst.push(frame) {
                        pool.release(frame);
                    }
                }
                Ok(Some(_)) => {
                    self.stats.rx_dropped += 1;
                    pool.release(frame);
                }
                end => {
                    pool.release(frame);
                    self.error = end.err();
                    break;
                }
            }
        }
        received
    }

    fn send(&mut self, burst: &mut Burst) -> usize {
        let mut taken = 0;
        while let Some(frame) = burst.pop() {
            if let Err(error) = self.recording.write(self.now, frame.bytes()) {
                self.error = Some(error);
            }
            self.stats.tx_frames += 1;
            self.stats.tx_bytes += frame.len() as u64;
            self.sent.push(frame);
            taken += 1;
        }
        taken
    }

    fn flush(&mut self, pool: &mut FramePool) -> Flushed {
        let completed = self.sent.len();
        for frame in self.sent.drain(..) {
            pool.release(frame);
        }
        Flushed { completed, in_flight: 0 }
    }

    fn caps(&self) -> Caps {
        Caps { port: self.id, queue: 0, mode: Mode::Memory }
    }

    fn stats(&self) -> PortStats {
        self.stats
    }

    fn held(&self) -> usize {
        self.sent.len()
    }

    fn close(mut self: Box<Self>, pool: &mut FramePool) {
        self.flush(pool);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mem::{mem_pool, retire};
    use sheave_frame::PoolId;

    /// One packet of four bytes, of six on the wire, at 1.5 s; big-endian, microseconds, snap length 4.
    const BIG_ENDIAN: &[u8] = &[
        0xa1, 0xb2, 0xc3, 0xd4, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 1, //
        0, 0, 0, 1, 0, 7, 0xa1, 0x20, 0, 0, 0, 4, 0, 0, 0, 6, 0xde, 0xad, 0xbe, 0xef,
    ];

    #[test]
    fn either_byte_order_and_cut_frames_are_read() {
        let mut capture = Capture::new(BIG_ENDIAN).expect("a capture");
        let frame = capture.next_frame().expect("whole").expect("one");
        assert_eq!(
            frame,
            Captured { time: Duration::from_millis(1500), bytes: vec![0xde, 0xad, 0xbe, 0xef] }
        );
        assert_eq!(capture.next_frame().expect("the end"), None);
    }

    #[test]
    fn what_is_written_is_read_again_to_the_nanosecond() {
        let mut recording = Recording::new(Vec::new()).expect("header");
        let time = Duration::new(1_700_000_000, 123_456_789);
        recording.write(time, &[7; 60]).expect("memory");
        recording.write(time, &[8; 61]).expect("memory");
        let file = recording.into_writer();
        assert_eq!(file[..4], [0x4d, 0x3c, 0xb2, 0xa1]);
        let mut capture = Capture::new(&file[..]).expect("a capture");
        assert_eq!(capture.next_frame().expect("whole"), Some(Captured { time, bytes: vec![7; 60] }));
        assert_eq!(capture.next_frame().expect("whole"), Some(Captured { time, bytes: vec![8; 61] }));
        assert_eq!(capture.next_frame().expect("the end"), None);
    }

    #[test]
    fn a_file_that_ends_within_a_packet_is_an_error() {
        for end in 25..BIG_ENDIAN.len() {
            let mut capture = Capture::new(&BIG_ENDIAN[..end]).expect("the header is whole");
            assert!(capture.next_frame().is_err(), "cut at {end}");
        }
        for end in 0..24 {
            assert!(Capture::new(&BIG_ENDIAN[..end]).is_err(), "cut at {end}");
        }
    }

    #[test]
    fn other_link_types_are_refused() {
        let mut file = BIG_ENDIAN.to_vec();
        file[23] = 101;
        assert!(Capture::new(&file[..]).unwrap_err().to_string().contains("only captures of Ethernet"));
    }

    fn block(kind: u32, body: &[u8]) -> Vec<u8> {
        let len = u32::try_from(12 + body.len()).expect("short").to_le_bytes();
        [&kind.to_le_bytes()[..], &len, body, &len].concat()
    }

    #[test]
    fn pcapng_has_a_clock_for_each_interface() {
        let section = [&0x1a2b_3c4d_u32.to_le_bytes()[..], &[1, 0, 0, 0], &[0xff; 8]].concat();
        // Ethernet, no snap length; the second one with if_tsresol 9 (nanoseconds).
        let micro = [1, 0, 0, 0, 0, 0, 0, 0];
        let nano = [1, 0, 0, 0, 0, 0, 0, 0, 9, 0, 1, 0, 9, 0, 0, 0, 0, 0, 0, 0];
        let packet = |interface: u8, ticks: u32| {
            let head = [interface, 0, 0, 0, 0, 0, 0, 0];
            [&head[..], &ticks.to_le_bytes(), &[4, 0, 0, 0, 4, 0, 0, 0, 1, 2, 3, 4]].concat()
        };
        let file = [
            block(0x0a0d_0d0a, &section),
            block(1, &micro),
            block(1, &nano),
            block(6, &packet(0, 1_500_000)),
            block(6, &packet(1, 1_500_000)),
        ]
        .concat();
        let mut capture = Capture::new(&file[..]).expect("a capture");
        let times: Vec<Duration> =
            std::iter::from_fn(|| capture.next_frame().expect("whole")).map(|frame| frame.time).collect();
        assert_eq!(times, [Duration::from_micros(1_500_000), Duration::from_nanos(1_500_000)]);
    }

    #[test]
    fn resolutions_are_powers_of_ten_or_of_two() {
        assert_eq!(ticks_to_time(1_500_000, 6).expect("micro"), Duration::from_millis(1500));
        assert_eq!(ticks_to_time(3, 0x81).expect("half seconds"), Duration::from_millis(1500));
        assert_eq!(ticks_to_time(3, 0).expect("seconds"), Duration::from_secs(3));
        assert!(ticks_to_time(u64::MAX, 0).is_err());
        assert!(ticks_to_time(1, 0x7f).is_err());
    }

    #[test]
    fn the_port_replays_and_records() {
        let capture = Capture::new(BIG_ENDIAN).expect("a capture");
        let mut port = PcapPort::new(PortId(1), capture, Recording::new(Vec::new()).expect("header"));
        let mut pool = mem_pool(PoolId(0), 4, 2048);
        let mut burst = Burst::with_capacity(4);
        assert_eq!(port.recv(&mut burst, &mut pool), 1);
        assert_eq!(port.send(&mut burst), 1);
        assert_eq!((port.held(), port.recv(&mut burst, &mut pool)), (1, 0));
        port.flush(&mut pool);
        assert_eq!(pool.free(), 4);
        retire(pool);
        assert!(port.error().is_none());
        let file = port.into_writer();
        let frame = Capture::new(&file[..]).expect("a capture").next_frame().expect("whole").expect("one");
        assert_eq!(frame.time, Duration::from_millis(1500));
    }
}
