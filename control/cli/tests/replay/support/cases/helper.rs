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
    vec![passive(), active(), full()]
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

fn full() -> Case {
    let about = "A connection whose helper finds no room for what it must remember is refused.";
    let config = format!("[director]\nmax-connections = 1\n{FTP}");
    let case = Case::new("ftp-no-room", about, &config);
    case.d0(to_vip(CLIENT, 21, "S").build())
        .d0(to_vip((CLIENT.0, 40_001), 21, "S").build())
        .d0(to_vip(CLIENT, 21, "S").build())
}
