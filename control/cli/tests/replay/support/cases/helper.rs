//! Services with a helper.

use crate::support::Case;
use crate::support::frames::{CLIENT, Place, Tcp, from_real, to_vip};

const FTP: &str = r#"
[[service]]
listen = "198.18.0.100:21/tcp"
name = "ftp"
scheduler = "rr"
helper = "ftp"

[[service.destination]]
address = "198.19.1.11"

[[service.destination]]
address = "198.19.1.12"
"#;

pub(crate) fn cases() -> Vec<Case> {
    vec![passive(), active(), full(), ignored(), kept_together()]
}

/// A client is greeted.
fn greeted(case: Case, client: Place, last: u8) -> Case {
    case.d0(to_vip(client, 21, "S").build())
        .d1(from_real(last, 21, client, "SA").build())
        .d0(Tcp { seq: 1001, ..to_vip(client, 21, "A") }.build())
        .d1(Tcp { seq: 5001, payload: b"220 Ready.\r\n", ..from_real(last, 21, client, "PA") }.build())
        .d0(Tcp { seq: 1001, ack: 5013, ..to_vip(client, 21, "A") }.build())
}

fn passive() -> Case {
    let about = "FTP in passive mode: the address in a 227 becomes the VIP, all numbers behind it are translated, and \
                 the client's data connection reaches the port that was named. A second 227, which makes the stream \
                 longer once more, and an extended 229. What nobody expects is left to the kernel.";
    let said = |seq, payload| Tcp { seq, payload, ..from_real(11, 21, CLIENT, "PA") };
    let acks = |ack| Tcp { seq: 1001, ack, ..to_vip(CLIENT, 21, "A") };
    let data = |n: u16| (CLIENT.0, 50_000 + n);
    greeted(Case::new("ftp-passive", about, FTP), CLIENT, 11)
        .d1(said(5013, b"227 Entering Passive Mode (198,19,1,11,156,64).\r\n").build())
        // As the client counts: a byte more.
        .d0(acks(5063).build())
        .d0(to_vip(data(1), 39_999, "S").build())
        .d0(to_vip(data(1), 40_000, "S").build())
        .d1(from_real(11, 40_000, data(1), "SA").build())
        .d0(to_vip(data(1), 40_000, "A").build())
        .d1(Tcp { payload: b"a listing\r\n", ..from_real(11, 40_000, data(1), "PA") }.build())
        .d0(to_vip(data(2), 40_000, "S").build())
        .d1(said(5062, b"226 Transfer complete.\r\n").build())
        .d0(acks(5087).build())
        .d1(said(5086, b"227 Entering Passive Mode (198,19,1,11,156,65).\r\n").build())
        .d0(acks(5137).build())
        .d0(to_vip(data(3), 40_001, "S").build())
        .d1(said(5135, b"229 Entering Extended Passive Mode (|||40002|)\r\n").build())
        .d0(to_vip(data(4), 40_002, "S").build())
        // An address of somebody else's stays, and nothing is expected there.
        .d1(said(5183, b"227 Entering Passive Mode (198,19,1,99,156,70).\r\n").build())
        .d0(to_vip(data(5), 40_006, "S").build())
}

fn active() -> Case {
    let about = "FTP in active mode: the real server's data connection from port 20 comes from the VIP's. Another \
                 address than the client's own is not followed.";
    let says = |seq, payload| Tcp { seq, ack: 5013, payload, ..to_vip(CLIENT, 21, "PA") };
    let data = (CLIENT.0, 50_001);
    greeted(Case::new("ftp-active", about, FTP), CLIENT, 11)
        .d0(says(1001, b"PORT 203,0,113,7,195,81\r\n").build())
        .d1(Tcp { seq: 7000, ..from_real(11, 20, data, "S") }.build())
        .d0(Tcp { seq: 8000, ack: 7001, ..to_vip(data, 20, "SA") }.build())
        .d1(Tcp { seq: 7001, ack: 8001, payload: b"a listing\r\n", ..from_real(11, 20, data, "PA") }.build())
        .d0(says(1026, b"PORT 203,0,113,9,195,82\r\n").build())
        .d1(Tcp { seq: 7000, ..from_real(11, 20, ([203, 0, 113, 9], 50_002), "S") }.build())
        .d1(Tcp { seq: 7000, ..from_real(11, 20, (CLIENT.0, 50_003), "S") }.build())
}

fn ignored() -> Case {
    let about = "What a helper does not follow is counted, and passes as it is: a number that is none, a command in two \
                 segments, replies that name another address or a port that may not be opened. A client's own port may be \
                 any.";
    let says = |seq, payload| Tcp { seq, ack: 5013, payload, ..to_vip(CLIENT, 21, "PA") };
    let said = |seq, payload| Tcp { seq, payload, ..from_real(11, 21, CLIENT, "PA") };
    greeted(Case::new("ftp-ignored", about, FTP), CLIENT, 11)
        .d0(says(1001, b"PORT 203,0,113,7,0,22\r\n").build())
        .d0(says(1024, b"PORT 203,0,113,7,256,1\r\n").build())
        .d0(says(1048, b"PORT 203,0,113,7,").build())
        .d0(says(1065, b"195,81\r\n").build())
        .d1(said(5013, b"227 Entering Passive Mode (198,19,1,11,0,22).\r\n").build())
        .d1(said(5060, b"227 Entering Passive Mode (198,19,1,12,156,64).\r\n").build())
        .d0(to_vip((CLIENT.0, 50_001), 40_000, "S").build())
}

fn kept_together() -> Case {
    let about = "FTP without NAT, as LVS does it: persistence brings data connections to the server of their control \
                 connection, in passive mode the client's SYN, in active mode its SYN+ACK to what the server has sent \
                 past the director. Without a template it is the next in turn.";
    let lvs = r#"
[[service]]
listen = ["198.18.0.100:21/tcp", "198.18.0.100:20/tcp", "198.18.0.100:1024-65535/tcp"]
name = "ftp"
scheduler = "rr"
forward = "dr"
persistence = { timeout = "6m" }
sloppy = true

[[service.destination]]
address = "198.19.1.11"

[[service.destination]]
address = "198.19.1.12"
"#;
    let other: Place = ([203, 0, 114, 7], 40_000);
    let on = |client: Place, port| (client.0, port);
    Case::new("ftp-kept-together", about, lvs)
        .d0(to_vip(CLIENT, 21, "S").build())
        .d0(to_vip(CLIENT, 21, "A").build())
        .d0(to_vip(other, 21, "S").build())
        .d0(to_vip(on(CLIENT, 50_001), 40_001, "S").build())
        .d0(to_vip(on(other, 50_001), 40_001, "S").build())
        .d0(Tcp { seq: 8000, ack: 7001, ..to_vip(on(CLIENT, 50_002), 20, "SA") }.build())
        .d0(Tcp { seq: 8001, ack: 7101, ..to_vip(on(CLIENT, 50_002), 20, "A") }.build())
        .d0(Tcp { seq: 8000, ack: 7001, ..to_vip(on(other, 50_002), 20, "SA") }.build())
        .d0(to_vip(on(CLIENT, 50_003), 80, "S").build())
        .control(1, "sticky.list", "{}")
        .at(2_000_000, "d0", to_vip(on(CLIENT, 50_004), 40_004, "S").build())
}

fn full() -> Case {
    let about = "A connection whose helper finds no room for what it must remember is refused.";
    let config = format!("[director]\nmax-connections = 1\n{FTP}");
    let case = Case::new("ftp-no-room", about, &config);
    case.d0(to_vip(CLIENT, 21, "S").build())
        .d0(to_vip((CLIENT.0, 40_001), 21, "S").build())
        .d0(to_vip(CLIENT, 21, "S").build())
}
