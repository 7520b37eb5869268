//! A whole control channel: what the client puts together is what the server has said, but for the addresses.

use super::*;
use crate::seq::{Numbers, Offsets, SeqAdjust};
use proptest::prelude::*;
use sheave_proto::wire::tcp::{HeaderMut, parse};

/// The channel on its way through: helper, sequence adjustment, and the offset of a SYN proxy.
struct Way {
    channel: Channel,
    numbers: Numbers,
}

impl Way {
    fn new(offset: u32) -> Way {
        let offsets = Offsets { seq: offset, ..Offsets::default() };
        Way { channel: Channel::new(control()), numbers: Numbers { offsets, ..Numbers::default() } }
    }

    /// A segment of the real server's as the client gets it: where it begins, and what is in it.
    fn reply(&mut self, seq: u32, text: &str) -> (u32, String) {
        let (said, _) = self.channel.say(Side::Real, seq, text.as_bytes());
        self.numbers.real = SeqAdjust::from_word(self.channel.stream.adjust.word());
        let mut bytes = segment(seq, &said);
        let delta = self.numbers.to_client(&mut bytes);
        HeaderMut::new(&mut bytes).unwrap().update_checksum(delta);
        assert_eq!(residue(&bytes), 0);
        (parse(&bytes).unwrap().seq, String::from_utf8(said).unwrap())
    }

    /// The client's acknowledgement as the real server gets it.
    fn acknowledge(&self, ack: u32) -> u32 {
        let mut bytes = segment(77, b"");
        let _ = HeaderMut::new(&mut bytes).unwrap().rewrite_ack(ack);
        let _ = self.numbers.to_real(&mut bytes);
        parse(&bytes).unwrap().ack
    }
}

fn line() -> impl Strategy<Value = String> {
    prop_oneof![
        "[2-5][0-9][013] [a-z ]{0,60}\r\n",
        (1024u16.., "(\\(|=|)").prop_map(|(port, open)| {
            format!("227 Here: {open}198,19,1,11,{},{}\r\n", port >> 8, port & 0xff)
        }),
        (1024u16..).prop_map(|port| format!("229 Here: (|||{port}|)\r\n")),
    ]
}

proptest! {
    #[test]
    fn the_client_reads_what_was_said_but_for_the_addresses(
        isn in prop_oneof![any::<u32>(), (u32::MAX - 600)..=u32::MAX], offset: u32,
        lines in prop::collection::vec((line(), 0..3), 1..30),
    ) {
        let mut way = Way::new(offset);
        let (mut seq, mut next) = (isn, isn.wrapping_add(offset));
        let lines = [("220 Ready.\r\n".to_owned(), 0)].into_iter().chain(lines);
        for (line, repeats) in lines {
            let expected = line.replace("198,19,1,11", "198,18,0,100");
            for _ in 0..=repeats {
                prop_assert_eq!(way.reply(seq, &line), (next, expected.clone()));
            }
            prop_assert_eq!(way.acknowledge(next), seq);
            seq = seq.wrapping_add(u32::try_from(line.len()).unwrap());
            next = next.wrapping_add(u32::try_from(expected.len()).unwrap());
            prop_assert_eq!(way.acknowledge(next), seq);
        }
    }
}
