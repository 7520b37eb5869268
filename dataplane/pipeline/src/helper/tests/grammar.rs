//! What is a command and a reply, and what it says.

use super::super::ftp::{Active, BadLine, Passive, command, reply};
use proptest::prelude::*;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

const ADDR: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);

#[test]
fn commands_that_name_an_address_and_a_port() {
    let v4 = |port| Some(Ok(Active { addr: ADDR.into(), port }));
    let v6 = |port| Some(Ok(Active { addr: "2001:db8::1".parse().unwrap(), port }));
    for (line, expected) in [
        ("PORT 192,0,2,1,195,80", v4(50000)),
        ("port 192,0,2,1,0,1", v4(1)),
        ("PoRt   192,0,2,1,255,255  ", v4(65535)),
        ("EPRT |1|192.0.2.1|50000|", v4(50000)),
        ("eprt !1!192.0.2.1!50000!", v4(50000)),
        ("EPRT |2|2001:db8::1|50000|", v6(50000)),
        ("EPRT ~2~2001:0DB8:0:0:0:0:0:1~1~", v6(1)),
    ] {
        assert_eq!(command(line.as_bytes()), expected, "{line}");
    }
}

#[test]
fn commands_that_do_not_say_what_they_should() {
    for line in [
        "PORT ",
        "PORT x",
        "PORT 192,0,2,1,195",
        "PORT 192,0,2,1,195,80,1",
        "PORT 192,0,2,1,195,256",
        "PORT 192,0,2,1,0,0",
        "PORT 192,0,2,1,195,-1",
        "PORT 192,0,2,1,195,80x",
        "PORT 192.0.2.1,195,80",
        "PORT 192,,0,2,1,195",
        "EPRT |",
        "EPRT ||",
        "EPRT |1|192.0.2.1|50000",
        "EPRT |1|192.0.2.1|50000||",
        "EPRT |1|192.0.2.1|50000|x|",
        "EPRT |1|192.0.2.1|0|",
        "EPRT |1|192.0.2.1|65536|",
        "EPRT |1|192.0.2.1|+1|",
        "EPRT |1|192.0.2.01|50000|",
        "EPRT |1|2001:db8::1|50000|",
        "EPRT |2|192.0.2.1|50000|",
        "EPRT |2|2001:db8::1%1|50000|",
        "EPRT |3|192.0.2.1|50000|",
        "EPRT .1.192.0.2.1.50000.",
        "EPRT a1a192.0.2.1a50000a",
        "EPRT |1|192.0.2.1|50000!",
    ] {
        assert_eq!(command(line.as_bytes()), Some(Err(BadLine)), "{line}");
    }
}

#[test]
fn other_commands() {
    for line in [
        "",
        "PORT",
        "POR",
        "PORTX 1,2,3,4,5,6",
        "EPSV",
        "PASV",
        "RETR PORT 1,2,3,4,5,6",
        "\tPORT 1,2,3,4,5,6",
    ] {
        assert_eq!(command(line.as_bytes()), None, "{line}");
    }
}

#[test]
fn replies_to_pasv_in_all_their_forms() {
    for line in [
        "227 Entering Passive Mode (192,0,2,1,195,80)",
        "227 Entering Passive Mode (192,0,2,1,195,80).",
        "227 entering passive mode. 192,0,2,1,195,80",
        "227 =192,0,2,1,195,80",
        "227 192,0,2,1,195,80",
        "227 Passive mode OK (192,0,2,1,195,80) for 1 client",
        "227 Mode 2 (192, 0, 2, 1, 195, 80)",
        "227 At 12,30: (192,0,2,1,195,80)",
    ] {
        let passive = reply(227, line.as_bytes()).unwrap().unwrap();
        assert_eq!((passive.addr, passive.port), (Some(ADDR), 50000), "{line}");
        let text: String = line[passive.range].split_whitespace().collect();
        assert_eq!(text, "192,0,2,1,195,80", "{line}");
    }
}

#[test]
fn replies_to_epsv() {
    for (line, range) in [
        ("229 Entering Extended Passive Mode (|||50000|)", 39..44),
        ("229 Extended Passive Mode OK (|||50000|).", 33..38),
        ("229 (see below) (!!!50000!)", 20..25),
    ] {
        let expected = Passive { addr: None, port: 50000, range };
        assert_eq!(reply(229, line.as_bytes()), Some(Ok(expected)), "{line}");
    }
}

#[test]
fn replies_that_do_not_say_what_they_should() {
    for (code, line) in [
        (227, "227 Entering Passive Mode"),
        (227, "227 (192,0,2,1,195)"),
        (227, "227 (192,0,2,256,195,80)"),
        (227, "227 (192,0,2,1,0,0)"),
        (227, "227 (1192,0,2,1,195,80"),
        (229, "229 Entering Extended Passive Mode |||50000|"),
        (229, "229 (|1|192.0.2.1|50000|)"),
        (229, "229 (|||50000)"),
        (229, "229 (|||50000|"),
        (229, "229 (||!50000|)"),
        (229, "229 (|||0|)"),
        (229, "229 (|||65536|)"),
        (229, "229 (|||500000|)"),
        (229, "229 (1112345 1)"),
    ] {
        assert_eq!(reply(code, line.as_bytes()), Some(Err(BadLine)), "{line}");
    }
    assert_eq!(reply(226, b"226 (192,0,2,1,195,80)"), None);
    assert_eq!(reply(228, b"228 (192,0,2,1,195,80)"), None);
}

proptest! {
    #[test]
    fn what_is_written_is_read(bits: u32, wide: u128, port in 1u16.., delimiter in "[!-/;-@\\[-`{-~]") {
        let (addr, v6) = (Ipv4Addr::from_bits(bits), Ipv6Addr::from_bits(wide));
        let [a, b, c, d] = addr.octets();
        let active = |addr: IpAddr| Some(Ok(Active { addr, port }));
        let line = format!("PORT {a},{b},{c},{d},{},{}", port >> 8, port & 0xff);
        prop_assert_eq!(command(line.as_bytes()), active(addr.into()));
        // The one delimiter among these that may be part of an address.
        if delimiter != "." {
            let line = ["EPRT ", "1", &addr.to_string(), &port.to_string(), ""].join(&delimiter);
            prop_assert_eq!(command(line.as_bytes()), active(addr.into()));
            let line = ["EPRT ", "2", &v6.to_string(), &port.to_string(), ""].join(&delimiter);
            prop_assert_eq!(command(line.as_bytes()), active(v6.into()));
        }
    }

    #[test]
    fn no_bytes_panic(line: Vec<u8>, text in "(PORT |EPRT )?[0-9,.|:( ]{0,40}", code: u16) {
        let _ = (command(&line), reply(227, &line), reply(229, &line), reply(code, &line));
        let _ = (command(text.as_bytes()), reply(227, text.as_bytes()), reply(229, text.as_bytes()));
    }
}
