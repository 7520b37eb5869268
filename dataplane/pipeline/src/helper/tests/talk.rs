//! Segments of a control channel.

use super::*;
use proptest::prelude::*;

fn passive(port: u16) -> Expectation {
    let Control { client, vip, real } = control();
    Expectation {
        client: client.ip(),
        client_port: None,
        vip: vip.ip(),
        vport: port,
        real: real.ip(),
        rport: port,
        proto: Proto::Tcp,
    }
}

fn active(port: u16) -> Expectation {
    Expectation { client_port: Some(port), vport: 20, rport: 2120, ..passive(0) }
}

const PASV: &[u8] = b"227 Entering Passive Mode (198,19,1,11,195,80).\r\n";
const PASV_OUT: &[u8] = b"227 Entering Passive Mode (198,18,0,100,195,80).\r\n";
const EPSV: &[u8] = b"229 Entering Extended Passive Mode (|||50000|)\r\n";

#[test]
fn pasv_is_answered_with_the_vip() {
    let mut channel = Channel::new(control());
    assert_eq!(channel.reply(PASV), (PASV_OUT.to_vec(), noted(1, &[Note::Followed])));
    assert_eq!(channel.expected, [passive(50000)]);
}

#[test]
fn pasv_is_answered_with_another_port_if_that_is_taken() {
    let mut channel = Channel::new(control());
    channel.shift = Some(9999);
    let (said, report) = channel.reply(PASV);
    assert_eq!(said, b"227 Entering Passive Mode (198,18,0,100,234,95).\r\n");
    assert_eq!(report, noted(1, &[Note::Followed]));
    channel.shift = Some(51);
    let (said, _) = channel.say(Side::Real, 1012 + 49, b"229 Ok (|||9949|)\r\n");
    assert_eq!(said, b"229 Ok (|||10000|)\r\n");
    assert_eq!(channel.expected, [passive(50000), passive(9949)]);
}

#[test]
fn a_reply_that_says_right_stays_as_it_is() {
    for line in [EPSV, PASV_OUT, b"227 (198, 18,0,100,195,80)\r\n"] {
        let mut channel = Channel::new(control());
        assert_eq!(channel.reply(line), (line.to_vec(), noted(0, &[Note::Followed])));
        assert_eq!(channel.expected, [passive(50000)]);
    }
    let mut channel = Channel::new(control_v6());
    assert_eq!(channel.reply(EPSV), (EPSV.to_vec(), noted(0, &[Note::Followed])));
    let [expected] = channel.expected[..] else { panic!("{:?}", channel.expected) };
    assert_eq!((expected.real, expected.vip), (control_v6().real.ip(), control_v6().vip.ip()));
}

#[test]
fn a_client_is_connected_to_where_it_listens() {
    for line in [b"PORT 192,0,2,1,195,80\r\n".as_slice(), b"eprt |1|192.0.2.1|50000|\n"] {
        let mut channel = Channel::new(control());
        assert_eq!(channel.command(line), (line.to_vec(), noted(0, &[Note::Followed])));
        assert_eq!(channel.expected, [active(50000)]);
    }
    let mut channel = Channel::new(control_v6());
    let (_, report) = channel.command(b"EPRT |2|2001:db8::1|50000|\r\n");
    assert_eq!(report, noted(0, &[Note::Followed]));
    let [expected] = channel.expected[..] else { panic!("{:?}", channel.expected) };
    assert_eq!((expected.client_port, expected.vport, expected.rport), (Some(50000), 20, 20));
}

#[test]
fn nobody_is_sent_to_a_third_party() {
    for line in [
        b"PORT 192,0,2,2,195,80\r\n".as_slice(),
        b"EPRT |1|198.18.0.100|50000|\r\n",
        b"EPRT |2|2001:db8::1|50000|\r\n",
    ] {
        let mut channel = Channel::new(control());
        assert_eq!(channel.command(line), (line.to_vec(), noted(0, &[Note::Foreign])));
        assert_eq!(channel.expected, []);
    }
    for line in [
        b"227 (198,19,1,12,195,80)\r\n".as_slice(),
        b"227 (192,0,2,1,195,80)\r\n",
        b"227 (0,0,0,0,195,80)\r\n",
    ] {
        let mut channel = Channel::new(control());
        assert_eq!(channel.reply(line), (line.to_vec(), noted(0, &[Note::Foreign])));
        assert_eq!(channel.expected, []);
    }
    let mut channel = Channel::new(control_v6());
    assert_eq!(channel.reply(PASV).1, noted(0, &[Note::Foreign]));
}

#[test]
fn no_privileged_port_is_opened() {
    for (line, note) in [
        (b"227 (198,19,1,11,0,22)\r\n".as_slice(), Note::Forbidden),
        (b"229 (|||1023|)\r\n", Note::Forbidden),
        (b"229 (|||1024|)\r\n", Note::Followed),
    ] {
        assert_eq!(Channel::new(control()).reply(line).1, noted(0, &[note]));
    }
    let port = |port| SocketAddr::new(VIP.into(), port);
    for control in [Control { vip: port(1), ..control() }, Control { real: port(1), ..control() }] {
        let (_, report) = Channel::new(control).command(b"PORT 192,0,2,1,195,80\r\n");
        assert_eq!(report, noted(0, &[Note::Forbidden]));
    }
}

#[test]
fn what_is_wrong_passes_and_is_noted() {
    for line in [b"227 (198,19,1,11,195)\r\n".as_slice(), b"229 Ok\r\n"] {
        assert_eq!(Channel::new(control()).reply(line), (line.to_vec(), noted(0, &[Note::Malformed])));
    }
    let (said, report) = Channel::new(control()).command(b"PORT 1,2,3\r\n");
    assert_eq!((said.as_slice(), report), (b"PORT 1,2,3\r\n".as_slice(), noted(0, &[Note::Malformed])));
}

#[test]
fn a_line_over_two_segments_passes_and_is_noted() {
    let mut channel = Channel::new(control());
    let (said, report) = channel.reply(&PASV[..30]);
    assert_eq!((said.as_slice(), report), (&PASV[..30], noted(0, &[Note::Split])));
    let (said, report) = channel.say(Side::Real, 1012 + 30, &PASV[30..]);
    assert_eq!((said.as_slice(), report), (&PASV[30..], noted(0, &[])));
    // The next line is one again.
    assert_eq!(channel.say(Side::Real, 1012 + 49, PASV).1, noted(1, &[Note::Followed]));
    assert_eq!(channel.command(b"NOOP\r\nPORT 192,0,2,").1, noted(0, &[Note::Split]));
    assert_eq!(channel.command(b"1,195,80\r\n").1, noted(0, &[]));
}

#[test]
fn every_line_of_a_segment_is_looked_at() {
    let mut channel = Channel::new(control());
    let (said, report) = channel.reply(&[b"200 Ok\r\n", PASV, b"125 x\r\n", PASV, EPSV].concat());
    assert_eq!(said, [b"200 Ok\r\n", PASV_OUT, b"125 x\r\n", PASV_OUT, EPSV].concat());
    assert_eq!(report, noted(2, &[Note::Followed; 3]));
}

#[test]
fn one_segment_announces_only_so_much() {
    let commands = b"PORT 192,0,2,1,195,80\r\n".repeat(7);
    let mut channel = Channel::new(control());
    let (_, report) = channel.command(&commands);
    assert_eq!((report.count(Note::Followed), report.count(Note::Full)), (4, 3));
    let (said, report) = channel.reply(&PASV.repeat(7));
    assert_eq!(said, [PASV_OUT.repeat(4), PASV.repeat(3)].concat());
    assert_eq!((report.count(Note::Followed), report.count(Note::Full), report.change), (4, 3, 4));
}

#[test]
fn without_a_place_nothing_is_rewritten() {
    let mut channel = Channel::new(control());
    channel.shift = None;
    assert_eq!(channel.reply(PASV), (PASV.to_vec(), noted(0, &[Note::Full])));
    assert_eq!(channel.command(b"PORT 192,0,2,1,195,80\r\n").1, noted(0, &[Note::Full]));
}

#[test]
fn without_room_nothing_is_rewritten() {
    let mut buf = segment(1012, PASV);
    let len = buf.len();
    let mut stream = Stream::default();
    let talk = (&control(), Side::Real);
    let mut greeting = segment(1000, b"220 Ready.\r\n");
    let mut view = Segment::new(&mut greeting, 36).unwrap();
    let _ = Helper::Ftp.inspect(talk, &mut stream, &mut view, |_| None);
    let mut view = Segment::new(&mut buf, len).unwrap();
    let report = Helper::Ftp.inspect(talk, &mut stream, &mut view, |wanted| Some(wanted.vport));
    assert_eq!(report, noted(0, &[Note::NoRoom]));
    assert_eq!(buf, segment(1012, PASV));
}

#[test]
fn a_stream_that_has_been_changed_too_much_is_left_alone() {
    let mut channel = Channel::new(control());
    channel.stream.adjust = SeqAdjust::from_word(0x001f_ffff << 10);
    assert_eq!(channel.stream.adjust.parts(), (0, 0x1f_ffff, 0x1f_ffff));
    assert_eq!(channel.reply(PASV), (PASV.to_vec(), noted(0, &[Note::NoRoom])));
    assert_eq!(channel.reply(EPSV).1, noted(0, &[Note::Followed]));
}

#[test]
fn a_segment_that_comes_again_is_rewritten_again() {
    let mut channel = Channel::new(control());
    let first = channel.reply(PASV);
    assert_eq!(channel.say(Side::Real, 1012, PASV), first);
    // Together with what follows it, too; and then what follows goes on from there.
    let (said, report) = channel.say(Side::Real, 1012, &[PASV, b"150 Here\r\n"].concat());
    assert_eq!((said, report), ([PASV_OUT, b"150 Here\r\n"].concat(), noted(1, &[Note::Followed])));
    assert_eq!(channel.say(Side::Real, 1012 + 59, PASV).1, noted(1, &[Note::Followed]));
    // From further back, only what was resized last.
    assert_eq!(channel.say(Side::Real, 1012, PASV), (PASV.to_vec(), noted(0, &[])));
    let _ = channel.say(Side::Real, 1120, b"150 Here\r\n");
    assert_eq!(channel.say(Side::Real, 1071, PASV), (PASV_OUT.to_vec(), noted(1, &[Note::Followed])));
    assert_eq!(channel.stream.adjust.parts(), (1071, 2, 1));
}

#[test]
fn what_begins_a_segment_need_not_begin_a_line() {
    // A server that repeats what it did not understand; the client's window cuts its reply.
    let mut channel = Channel::new(control());
    let _ = channel.reply(b"500 What is ");
    assert_eq!(channel.say(Side::Real, 1024, PASV), (PASV.to_vec(), noted(0, &[])));
    assert_eq!(channel.say(Side::Real, 1024, PASV).1, noted(0, &[]), "when it comes again");
    assert_eq!(channel.say(Side::Real, 1024 + 49, b"500 \n227 (198,19,1,11,195,80)\r\n").1, noted(0, &[]));
    // Nothing is known of a channel that is seen for the first time.
    let mut channel = Channel::new(control());
    assert_eq!(channel.say(Side::Real, 1024, PASV).1, noted(0, &[]));
    assert_eq!(channel.say(Side::Real, 1024 + 49, PASV).1, noted(1, &[Note::Followed]));
}

#[test]
fn the_middle_of_a_line_is_not_the_start_of_a_reply() {
    let mut channel = Channel::new(control());
    let _ = channel.reply(b"500 What is ");
    assert_eq!(channel.say(Side::Real, 1024, b"227 (198,19,").1, noted(0, &[]));
}

#[test]
fn a_very_long_segment_is_not_looked_at_again_unless_it_was_resized() {
    let long = [vec![b'x'; 4998 - PASV.len()], b"\r\n".to_vec(), PASV.to_vec()].concat();
    let mut channel = Channel::new(control());
    assert_eq!(channel.reply(&long).1, noted(1, &[Note::Followed]));
    assert_eq!(channel.say(Side::Real, 1012, &long).1, noted(1, &[Note::Followed]));
    channel.stream.adjust = SeqAdjust::NONE;
    assert_eq!(channel.say(Side::Real, 1012, &long).1, noted(0, &[]));
    // Nor is what begins as far back as is remembered of it.
    assert_eq!(channel.say(Side::Real, 1012 + 5000 - 4095, PASV).1, noted(0, &[]));
}

#[test]
fn a_line_of_a_longer_reply_is_no_reply() {
    let mut channel = Channel::new(control());
    let (_, report) = channel.reply(b"213-Status\r\n");
    assert_eq!(report, noted(0, &[]));
    // The listing: a line for a file each, over several segments, and they come again.
    let mut at = 1024;
    for part in [PASV, b"150 \r\n", PASV, EPSV, b"2130 \r\n", b"213-\r\n"] {
        assert_eq!(channel.say(Side::Real, at, part), (part.to_vec(), noted(0, &[])));
        assert_eq!(channel.say(Side::Real, at, part), (part.to_vec(), noted(0, &[])), "when it comes again");
        at += u32::try_from(part.len()).unwrap();
    }
    let (_, report) = channel.say(Side::Real, at, &[b"213 End\r\n", PASV].concat());
    assert_eq!(report, noted(1, &[Note::Followed]));
    // The last line of a longer reply counts.
    let (_, report) =
        channel.say(Side::Real, at + 58, &[b"227-Entering\r\n(198,19,1,11,4,0)\r\n", PASV].concat());
    assert_eq!(report, noted(1, &[Note::Followed]));
}

#[test]
fn after_a_gap_the_next_whole_line_counts() {
    let mut channel = Channel::new(control());
    let _ = channel.reply(b"200 Ok\r\n");
    let (said, report) = channel.say(Side::Real, 2000, &[PASV, PASV].concat());
    assert_eq!((said, report), ([PASV, PASV_OUT].concat(), noted(1, &[Note::Followed])));
}

#[test]
fn the_stream_of_replies_wraps_around() {
    let mut channel = Channel::new(control());
    let _ = channel.say(Side::Real, u32::MAX - 20, b"220 Ready.\r\n");
    assert_eq!(channel.say(Side::Real, u32::MAX - 8, PASV).1, noted(1, &[Note::Followed]));
    assert_eq!(channel.say(Side::Real, u32::MAX - 8, PASV).1, noted(1, &[Note::Followed]));
    assert_eq!(channel.say(Side::Real, 40, PASV).1, noted(1, &[Note::Followed]));
}

#[test]
fn the_most_that_a_segment_can_grow_is_its_room() {
    let vip = SocketAddr::new(Ipv4Addr::new(255, 255, 255, 255).into(), 21);
    let real = SocketAddr::new(Ipv4Addr::new(1, 1, 1, 1).into(), 21);
    let mut channel = Channel::new(Control { vip, real, ..control() });
    channel.shift = Some(0xffff - 0x400);
    let (_, report) = channel.reply(&b"227 1,1,1,1,4,0\r\n".repeat(4));
    assert_eq!(usize::try_from(report.change), Ok(ROOM));
    assert_eq!(report, noted(48, &[Note::Followed; 4]));
}

proptest! {
    /// Whatever is said, in whatever pieces: nothing panics, the checksum stays in step, nobody is sent to a
    /// third party, and nothing changes but for what was followed.
    #[test]
    fn no_talk_does_harm(
        word: u64,
        pieces in prop::collection::vec((any::<bool>(), 0u32..300, piece()), 0..12),
    ) {
        let mut channel = Channel::new(control());
        channel.stream.memory = Memory(word);
        for (from_real, seq, piece) in pieces {
            let side = if from_real { Side::Real } else { Side::Client };
            let (said, report) = channel.say(side, seq, &piece);
            if report.count(Note::Followed) == 0 {
                prop_assert_eq!(said, piece);
            }
        }
        let Control { client, vip, real } = control();
        for expected in channel.expected {
            prop_assert_eq!((expected.client, expected.vip, expected.real), (client.ip(), vip.ip(), real.ip()));
        }
    }
}

fn piece() -> impl Strategy<Value = Vec<u8>> {
    let bytes = prop::collection::vec(any::<u8>(), 0..40);
    let words = prop::collection::vec(
        prop::sample::select(vec![
            PASV,
            EPSV,
            b"PORT 192,0,2,1,195,80\r\n",
            b"PORT 192,0,2,9,195,80\r\n",
            b"EPRT |1|192.0.2.1|1|\r\n",
            b"227 ",
            b"229 (",
            b"227-",
            b"213-",
            b"213 ",
            b"\r",
            b"\n",
            b"\r\n",
            b"198,19,1,11,195,80",
            b"x",
        ]),
        0..6,
    );
    prop_oneof![bytes, words.prop_map(|words| words.concat())]
}
