//! Tables as ipvsadm prints them, column by column: programs read them.

use super::command::{Columns, Flag, Format, Protocol};
use super::names::Names;
use super::table::{Id, Real, Row};
use sheave_proto::api::{Rates, Stats};
use sheave_proto::config::{Forward, Ports, Timeouts, Tunnel};
use sheave_proto::wire::flow::Proto;
use std::fmt::Write;
use std::net::IpAddr;

/// The version of IPVS that is spoken of.
pub(super) const IPVS: &str = "1.2.1";

/// How much of the name of an IPv4 service or real server is shown.
const SERVICE_WIDTH: usize = 33;
const REAL_WIDTH: usize = 28;

/// How things are called.
#[derive(Clone, Copy)]
pub(crate) struct Speech<'a> {
    pub(crate) format: Format,
    pub(crate) names: &'a dyn Names,
}

impl Speech<'_> {
    /// An address with a port, by name or number.
    pub(super) fn place(&self, addr: IpAddr, port: u16, protocol: Protocol) -> String {
        let service = self.names.service(port, protocol).filter(|_| !self.format.numeric);
        self.written(addr, &service.map_or_else(|| port.to_string(), str::to_owned))
    }

    fn written(&self, addr: IpAddr, port: &str) -> String {
        let name = self.names.host(addr).filter(|_| !self.format.numeric);
        let name = name.map_or_else(|| addr.to_string(), str::to_owned);
        if addr.is_ipv6() { format!("[{name}]:{port}") } else { format!("{name}:{port}") }
    }

    /// A virtual address with its ports.
    pub(super) fn listen(&self, addr: IpAddr, ports: Ports, proto: Proto) -> String {
        match ports {
            Ports::Any => self.written(addr, "0"),
            Ports::One(port) => self.place(addr, port, protocol(proto)),
            Ports::Range(..) => self.written(addr, &ports.to_string()),
        }
    }
}

/// A protocol of ours in the words of the grammar.
pub(super) fn protocol(proto: Proto) -> Protocol {
    match proto {
        Proto::Tcp => Protocol::Tcp,
        Proto::Udp => Protocol::Udp,
    }
}

/// Puts rows and the real servers of each into the order in which ipvsadm lists them.
pub(crate) fn sort(rows: &mut [Row]) {
    rows.sort_by_key(|row| row.id);
    for row in rows {
        row.reals.sort_by_key(|real| (real.addr, real.port));
    }
}

/// The first line of a list of everything; `size` is that of the table of connections.
pub(crate) fn banner(size: u32) -> String {
    format!("IP Virtual Server version {IPVS} (size={size})\n")
}

/// Column titles, then a line for each virtual service and one for each of its real servers.
pub(crate) fn listing(rows: &[Row], speech: Speech<'_>) -> String {
    let mut text = title(speech.format.columns);
    for row in rows {
        service(&mut text, row, speech);
        let proto = match row.id {
            Id::Address { proto, .. } => protocol(proto),
            Id::Mark { .. } => Protocol::Tcp,
        };
        for real in &row.reals {
            self::real(&mut text, real, proto, speech);
        }
    }
    text
}

fn title(columns: Columns) -> String {
    let head = "Prot LocalAddress:Port";
    let remote = "  -> RemoteAddress:Port";
    let five = |names: [&str; 5]| {
        let names = names.map(|name| format!(" {name:>8}")).concat();
        format!("{head:<33}{names}\n{remote}\n")
    };
    match columns {
        Columns::Stats => five(["Conns", "InPkts", "OutPkts", "InBytes", "OutBytes"]),
        Columns::Rate => five(["CPS", "InPPS", "OutPPS", "InBPS", "OutBPS"]),
        Columns::Thresholds => {
            format!(
                "{head:<33} {:<10} {:<10} {:<10} {:<10}\n{remote}\n",
                "Uthreshold", "Lthreshold", "ActiveConn", "InActConn"
            )
        }
        Columns::PersistentConn => {
            format!(
                "{head:<33} {:<9} {:<11} {:<10} {:<10}\n{remote}\n",
                "Weight", "PersistConn", "ActiveConn", "InActConn"
            )
        }
        Columns::TunInfo => {
            format!(
                "{head} Scheduler Flags\n{remote}           Forward TunnelInfo    Weight ActiveConn InActConn\n"
            )
        }
        Columns::Plain => {
            format!("{head} Scheduler Flags\n{remote}           Forward Weight ActiveConn InActConn\n")
        }
    }
}

/// A number of at least nine places: in full, or in thousands, millions, ...
pub(super) fn large(number: u64, exact: bool) -> String {
    if exact {
        return format!(" {number:>8}");
    }
    let (number, unit) = match number {
        0..100_000_000 => return format!("{number:>9}"),
        100_000_000..1_000_000_000 => (number / 1_000, 'K'),
        1_000_000_000..100_000_000_000 => (number / 1_000_000, 'M'),
        100_000_000_000..100_000_000_000_000 => (number / 1_000_000_000, 'G'),
        _ => (number / 1_000_000_000_000, 'T'),
    };
    format!("{number:>8}{unit}")
}

/// What was counted since `-Z`.
fn totals(stats: &Stats) -> [u64; 5] {
    let totals = stats.since_mark.unwrap_or(stats.totals);
    [totals.conns, totals.in_packets, totals.out_packets, totals.in_bytes, totals.out_bytes]
}

fn rates(rates: &Rates) -> [u64; 5] {
    [rates.cps, rates.inpps, rates.outpps, rates.inbps, rates.outbps]
}

/// At most so many characters of an IPv4 name; those of IPv6 are shown whole.
fn cut(text: String, width: usize, ipv6: bool) -> String {
    if ipv6 { text } else { text.chars().take(width).collect() }
}

fn service(text: &mut String, row: &Row, speech: Speech<'_>) {
    let name = match row.id {
        Id::Mark { mark, ipv6: true } => format!("FWM  {mark} IPv6"),
        Id::Mark { mark, ipv6: false } => format!("FWM  {mark}"),
        Id::Address { proto, addr, ports, ipv6 } => {
            let word = protocol(proto).name().to_uppercase();
            cut(format!("{word:<4} {}", speech.listen(addr, ports, proto)), SERVICE_WIDTH, ipv6)
        }
    };
    let exact = speech.format.exact;
    let numbers = match speech.format.columns {
        Columns::Stats => Some(totals(&row.stats)),
        Columns::Rate => Some(rates(&row.stats.rates)),
        _ => None,
    };
    // Writing to a String cannot fail.
    let _ = match numbers {
        Some(numbers) => {
            writeln!(text, "{name:<33}{}", numbers.map(|number| large(number, exact)).concat())
        }
        None => writeln!(text, "{name} {}{}", row.scheduler, settings(row)),
    };
}

/// What follows the scheduler of a virtual service.
fn settings(row: &Row) -> String {
    let mut text = String::new();
    if !row.flags.is_empty() {
        let _ = write!(text, " ({})", flags(&row.flags));
    }
    if let Some((timeout, mask)) = row.persistence {
        let _ = write!(text, " persistent {timeout}");
        if let Some(mask) = mask.and_then(|bits| mask_of(bits, row.id.is_ipv6())) {
            let _ = write!(text, " mask {mask}");
        }
    }
    if row.one_packet {
        text.push_str(" ops");
    }
    text
}

/// Flags with commas between them, in ipvsadm's order.
pub(super) fn flags(flags: &[Flag]) -> String {
    let named = Flag::NAMED.iter().filter(|(_, flag)| flags.contains(flag)).map(|(name, _)| *name);
    named.collect::<Vec<_>>().join(",")
}

/// A mask as it is written; none when all of the address counts.
pub(super) fn mask_of(bits: u8, ipv6: bool) -> Option<String> {
    match (ipv6, bits) {
        (true, 128) | (false, 32) => None,
        (true, bits) => Some(bits.to_string()),
        (false, bits) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(bits.min(32))).unwrap_or(0);
            Some(std::net::Ipv4Addr::from_bits(mask).to_string())
        }
    }
}

fn real(text: &mut String, real: &Real, protocol: Protocol, speech: Speech<'_>) {
    let ipv6 = real.addr.is_ipv6();
    let name = cut(speech.place(real.addr, real.port, protocol), REAL_WIDTH, ipv6);
    let (exact, method) = (speech.format.exact, method(real.forward));
    let Real { weight, upper, lower, persistent, active, inactive, .. } = real;
    let all = |numbers: [u64; 5]| numbers.map(|number| large(number, exact)).concat();
    let _ = match speech.format.columns {
        Columns::Stats => writeln!(text, "  -> {name:<28}{}", all(totals(&real.stats))),
        Columns::Rate => {
            let [cps, inpps, outpps, inbps, outbps] = rates(&real.stats.rates);
            let bytes = [inbps, outbps].map(|number| large(number, exact)).concat();
            writeln!(text, "  -> {name:<28} {cps:>8} {inpps:>8} {outpps:>8}{bytes}")
        }
        Columns::Thresholds => {
            writeln!(text, "  -> {name:<28} {upper:<10} {lower:<10} {active:<10} {inactive:<10}")
        }
        Columns::PersistentConn => {
            writeln!(text, "  -> {name:<28} {weight:<9} {persistent:<11} {active:<10} {inactive:<10}")
        }
        Columns::TunInfo => {
            let tunnel = tunnel_info(real);
            writeln!(text, "  -> {name:<28} {method:<7} {tunnel:<13} {weight:<6} {active:<10} {inactive:<10}")
        }
        Columns::Plain => {
            writeln!(text, "  -> {name:<28} {method:<7} {weight:<6} {active:<10} {inactive:<10}")
        }
    };
}

fn method(forward: Forward) -> &'static str {
    match forward {
        Forward::Nat => "Masq",
        Forward::Dr => "Route",
        Forward::Tun => "Tunnel",
        Forward::Local => "Local",
    }
}

fn tunnel_info(real: &Real) -> String {
    let sign = |checksum| if checksum { "+c" } else { "-c" };
    match real.tunnel {
        _ if real.forward != Forward::Tun => "n/a".to_owned(),
        Tunnel::Ipip => "ipip".to_owned(),
        Tunnel::Gre { checksum } => format!("gre:{}", sign(checksum)),
        Tunnel::Gue { port, checksum } => format!("gue:{port}:{}", sign(checksum)),
    }
}

/// The answer to `-L --timeout`.
pub(crate) fn timeouts(timeouts: &Timeouts) -> String {
    let Timeouts { tcp, tcp_fin, udp } = timeouts;
    let (tcp, tcp_fin, udp) = (tcp.as_secs(), tcp_fin.as_secs(), udp.as_secs());
    format!("Timeout (tcp tcpfin udp): {tcp} {tcp_fin} {udp}\n")
}
