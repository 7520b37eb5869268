//! Tables against what ipvsadm 1.31 printed for the same services, real servers and numbers (golden.txt).

use super::*;
use crate::ipvsadm::command::{Command, Format, Listing};
use crate::ipvsadm::names::Names;
use crate::ipvsadm::print::{self, Speech};
use crate::ipvsadm::{connections, rules};
use serde_json::json;
use sheave_proto::api::{Connection, Rates, ServiceList, ServiceStatus, Stats, StickyEntry, Totals};
use sheave_proto::config::{Service, Timeouts};

/// The rules that were given to ipvsadm, in this order.
pub(super) const RULES: &str = "\
-A -t 198.18.0.100:80 -s wrr
-a -t 198.18.0.100:80 -r 198.19.1.12:8080 -m -w 3
-a -t 198.18.0.100:80 -r 198.19.1.11:80 -m -w 1 -x 100 -y 50
-a -t 198.18.0.100:80 -r 198.19.1.13:80 -g -w 0
-a -t 198.18.0.100:80 -r 198.19.1.14:80 -i -w 2147483647
-A -t 198.18.0.100:443 -s wlc -p 360 -M 255.255.255.0
-a -t 198.18.0.100:443 -r 198.19.1.11:443 -g -w 1
-A -u 198.18.0.100:53 -s rr -o
-a -u 198.18.0.100:53 -r 198.19.1.11:53 -m -w 1
-A -t 198.18.0.101:21 -s sh -b sh-fallback,sh-port
-A -t 198.18.0.9:0 -s mh -p 360 -b mh-port
-a -t 198.18.0.9:0 -r 198.19.1.19:0 -m -w 1
-A -f 7 -s lblcr -p 60 -M 255.255.128.0
-a -f 7 -r 198.19.1.11:0 -g -w 1
-a -f 7 -r 198.19.1.12:8080 -m -w 1
-A -u 255.255.255.254:65535 -s lblcr -p 43200 -M 255.255.255.128 -o
-a -u 255.255.255.254:65535 -r 255.255.255.250:65535 -m -w 1
";

/// A service named as a mark, with two listens.
fn bundle(name: &str, listens: [&str; 2]) -> Service {
    let listens = listens.map(|listen| listen.parse().expect("a listen"));
    Service { name: name.to_owned(), listens: listens.to_vec(), ..Service::new(listens[0]) }
}

/// The configuration of [`RULES`].
pub(super) fn config() -> Config {
    let mut config = Config::default();
    config.director.max_connections = 4096;
    for line in RULES.lines() {
        if line.starts_with("-A -f 7") {
            config.services.push(bundle("fwm-7", ["198.18.0.200:80/tcp", "198.18.0.200:443/tcp"]));
        }
        run(&mut config, line).unwrap_or_else(|refusal| panic!("{line}: {}", refusal.text));
    }
    config
}

/// The numbers that the table which ipvsadm read had.
fn stats(k: u64) -> Stats {
    let totals = Totals {
        conns: k,
        in_packets: k * 10,
        out_packets: k * 7,
        in_bytes: k * 1000 * 1000,
        out_bytes: k * 3000 * 999,
    };
    // A rate was 32 bits wide there.
    let wide = |number: u64| number & u64::from(u32::MAX);
    let rates =
        Rates { cps: k % 9, inpps: k % 11, outpps: k % 13, inbps: wide(k * 1234), outbps: wide(k * 99) };
    Stats { totals, rates, since_mark: None }
}

/// What the director says of each service.
pub(super) fn numbers(config: &Config) -> ServiceList {
    let services = config.services.iter().map(|service| {
        let destinations = service.destinations.iter().enumerate().map(|(at, destination)| {
            let mut address = destination.address;
            address.port = address.port.or(service.port());
            json!({
                "service": service.name,
                "address": address,
                "weight": destination.weight,
                "forward": service.forward_of(destination),
                "state": if destination.weight.get() == 0 { "quiesced" } else { "up" },
                "active": 12 + at,
                "inactive": 3456 + at,
                "stats": stats(if at == 0 { 98_765 } else { 123_456_789 }),
            })
        });
        let status = json!({
            "name": service.name,
            "listen": service.listens,
            "scheduler": service.scheduler,
            "forward": service.forward,
            "timeouts": Timeouts::default(),
            "on-removal": service.on_removal,
            "active": 0,
            "inactive": 0,
            "stats": stats(12_345),
            "destinations": destinations.collect::<Vec<_>>(),
        });
        serde_json::from_value::<ServiceStatus>(status).expect("the status of a service")
    });
    ServiceList { as_of: sheave_proto::api::UnixTime(1.0), services: services.collect() }
}

/// Clients that are kept: two of them by one real server of a mark.
fn kept() -> Vec<StickyEntry> {
    let entry = |service: &str, client: &str, destination: &str| {
        let value = json!({
            "service": service, "client": client, "destination": destination, "connections": 1, "expires-in": 299.9,
        });
        serde_json::from_value(value).expect("a template")
    };
    vec![
        entry("fwm-7", "192.0.2.0/17", "198.19.1.12:8080"),
        entry("198.18.0.100:443/tcp", "192.0.2.0/24", "198.19.1.11:443"),
        entry("198.18.0.9:*/tcp", "192.0.2.7/32", "198.19.1.19"),
        entry("fwm-7", "203.0.113.0/17", "198.19.1.12:8080"),
        entry("gone", "203.0.113.0/17", "198.19.1.12:8080"),
    ]
}

/// What a command line prints.
pub(super) fn printed(config: &Config, line: &str, names: &dyn Names) -> String {
    let words: Vec<&str> = line.split_whitespace().collect();
    match parse::parse(&words, "ipvsadm", names).expect("a good command line") {
        Command::List(Listing::Timeouts, _) => print::timeouts(&config.director.timeouts),
        Command::List(listing, format) => {
            let speech = Speech { format, names };
            crate::ipvsadm::table(config, &numbers(config), &kept(), listing, speech)
                .expect("a known service")
        }
        Command::Save(format) => rules::save(config, format.numeric, names).rules,
        other => panic!("{other:?} prints nothing"),
    }
}

/// The names of the machine that ipvsadm ran on.
fn ports() -> FileNames {
    FileNames::new("", "ftp 21/tcp\ndomain 53/udp\nhttp 80/tcp\nhttps 443/tcp\nhttp-alt 8080/tcp\n")
}

#[test]
fn tables_are_ipvsadms_to_the_byte() {
    let config = config();
    let mut seen = 0;
    for section in include_str!("golden.txt").split("$ ipvsadm ").filter(|section| !section.is_empty()) {
        let (line, wanted) = section.split_once('\n').expect("a command line and what it prints");
        let wanted = wanted.strip_suffix('\n').expect("an empty line behind");
        let ours = printed(&config, line, &ports());
        if line.starts_with("-S") {
            // Ours has thresholds and another order.
            let sorted = |text: &str| {
                let mut lines: Vec<String> =
                    text.lines().map(|line| line.replace(" -x 100 -y 50", "")).collect();
                lines.sort();
                lines
            };
            assert_eq!(sorted(&ours), sorted(wanted), "ipvsadm {line}");
        } else {
            assert_eq!(ours, wanted, "ipvsadm {line}");
        }
        seen += 1;
    }
    assert_eq!(seen, 15);
}

#[test]
fn ipv6_and_tunnels_print_in_ipvsadms_form() {
    let mut config = Config::default();
    config.services.push(bundle("fwm-9", ["[2001:db8::9]:80/tcp", "[2001:db8::9]:443/tcp"]));
    for line in [
        "-A -t [2001:db8::100]:80 -s rr -p 300 -M 64",
        "-a -t [2001:db8::100]:80 -r [2001:db8:0:1::11]:8080 -m",
        "-a -t [2001:db8::100]:80 -r 198.19.1.12 -i --tun-type gre --tun-csum",
        "-a -t [2001:db8::100]:80 -r [2001:db8:0:1::13]:80 -i --tun-type gue --tun-port 6081 --tun-nocsum",
        "-A -f 9 -6 -s wlc",
        "-a -f 9 -6 -r 2001:db8:0:1::11 -g",
    ] {
        run(&mut config, line).unwrap_or_else(|refusal| panic!("{line}: {}", refusal.text));
    }
    let listed = "\
Prot LocalAddress:Port Scheduler Flags
  -> RemoteAddress:Port           Forward TunnelInfo    Weight ActiveConn InActConn
TCP  [2001:db8::100]:80 rr persistent 300 mask 64
  -> 198.19.1.12:80               Tunnel  gre:+c        1      13         3457      
  -> [2001:db8:0:1::11]:8080      Masq    n/a           1      12         3456      
  -> [2001:db8:0:1::13]:80        Tunnel  gue:6081:-c   1      14         3458      
FWM  9 IPv6 wlc
  -> [2001:db8:0:1::11]:0         Route   n/a           1      12         3456      
";
    let banner = "IP Virtual Server version 1.2.1 (size=1000000)\n";
    assert_eq!(printed(&config, "-Ln --tun-info", &names()), format!("{banner}{listed}"));
    let saved = "\
-A -f 9 -6 -s wlc
-a -f 9 -6 -r [2001:db8:0:1::11]:0 -g -w 1
-A -t [2001:db8::100]:80 -s rr -p 300 -M 64
-a -t [2001:db8::100]:80 -r [2001:db8:0:1::11]:8080 -m -w 1
-a -t [2001:db8::100]:80 -r 198.19.1.12:80 -i -w 1 --tun-type gre --tun-csum
-a -t [2001:db8::100]:80 -r [2001:db8:0:1::13]:80 -i -w 1 --tun-type gue --tun-port 6081 --tun-nocsum
";
    assert_eq!(printed(&config, "-Sn", &names()), saved);
    let named = printed(&config, "-L", &names());
    assert!(named.contains("TCP  [web6]:http rr persistent 300 mask 64\n"), "{named}");
}

#[test]
fn bundles_and_ranges_show_as_far_as_there_are_words() {
    let mut config = Config::default();
    config.services.push(bundle("web", ["198.18.0.100:80/tcp", "198.18.0.100:5000-5100/udp"]));
    run(&mut config, "-a -t 198.18.0.100:80 -r 198.19.1.11 -m").expect("one of its listens is meant");
    let listed = printed(&config, "-Ln", &names());
    let services: Vec<&str> = listed.lines().filter(|line| !line.starts_with("  ->")).skip(2).collect();
    assert_eq!(services, ["TCP  198.18.0.100:80 wlc", "UDP  198.18.0.100:5000-5100 wlc"]);
    let one = printed(&config, "-Ln -t 198.18.0.100:80", &names());
    assert_eq!(one.lines().count(), 4, "{one}");
    let saved = rules::save(&config, true, &names());
    let why = "service web: rules cannot say several listens, unless the service is named fwm-MARK";
    assert_eq!((saved.rules.as_str(), saved.left_out), ("", vec![why.to_owned()]));
}

#[test]
fn long_names_are_cut_where_ipvsadm_cuts_them() {
    let names = FileNames::new(
        "198.18.0.100 a-very-long-name.of-a-service.example.org\n198.19.1.11 another-long-name.example.org\n",
        "",
    );
    let config = made("-A -t 198.18.0.100:80\n-a -t 198.18.0.100:80 -r 198.19.1.11 -m\n");
    let listed = printed(&config, "-L", &names);
    assert!(listed.contains("\nTCP  a-very-long-name.of-a-servic wlc\n"), "{listed}");
    assert!(listed.contains("\n  -> another-long-name.example.or Masq    1 "), "{listed}");
}

#[test]
fn large_numbers_are_cut_where_ipvsadm_cuts_them() {
    for (number, short) in [
        (0, "        0"),
        (99_999_999, " 99999999"),
        (100_000_000, "  100000K"),
        (999_999_999, "  999999K"),
        (1_000_000_000, "    1000M"),
        (99_999_999_999, "   99999M"),
        (100_000_000_000, "     100G"),
        (99_999_999_999_999, "   99999G"),
        (100_000_000_000_000, "     100T"),
        (u64::MAX, "18446744T"),
    ] {
        assert_eq!(print::large(number, false), short, "{number}");
        let whole = number.to_string();
        assert_eq!(print::large(number, true).trim_start(), whole);
        assert_eq!(print::large(number, true).len(), whole.len().max(8) + 1);
    }
}

fn connection(proto: &str, places: [&str; 3], state: &str, expires_in: f64) -> Connection {
    let [client, vip, real] = places;
    let value = json!({
        "proto": proto, "client": client, "vip": vip, "real": real, "service": "web", "forward": "nat",
        "state": state, "expires-in": expires_in,
    });
    serde_json::from_value(value).expect("a connection")
}

#[test]
fn connections_print_in_ipvsadms_form() {
    let connections = [
        connection("tcp", ["192.0.2.7:40001", "198.18.0.100:80", "198.19.1.11:8080"], "established", 899.4),
        connection("udp", ["192.0.2.7:53", "198.18.0.100:53", "198.19.1.11:53"], "udp", 61.0),
        connection(
            "tcp",
            ["[2001:db8::7]:40001", "[2001:db8::100]:80", "[2001:db8::11]:80"],
            "fin-wait",
            5.9,
        ),
    ];
    let numeric = Format { numeric: true, ..Format::default() };
    let names = names();
    let speech = Speech { format: numeric, names: &names };
    let wanted = "\
IPVS connection entries
pro expire state       source             virtual            destination
TCP 14:59  ESTABLISHED 192.0.2.7:40001    198.18.0.100:80    198.19.1.11:8080
UDP 01:01  UDP         192.0.2.7:53       198.18.0.100:53    198.19.1.11:53
TCP 00:05  FIN_WAIT    [2001:db8::7]:40001 [2001:db8::100]:80 [2001:db8::11]:80
";
    assert_eq!(connections::listing(&connections, &[], speech), wanted);
    let speech = Speech { format: Format { engines: true, ..Format::default() }, names: &names };
    let listed = connections::listing(&connections[..1], &[], speech);
    let wanted = "\
IPVS connection entries
pro expire state       source             virtual            destination        pe name          pe_data
TCP 14:59  ESTABLISHED 192.0.2.7:40001    web.example.org:http real1:http-alt
";
    assert_eq!(listed, wanted);
}

#[test]
fn templates_print_as_the_kernel_shows_its_own() {
    let templates = connections::templates(&config(), &kept());
    let numeric = Format { numeric: true, ..Format::default() };
    let wanted = "\
IPVS connection entries
pro expire state       source             virtual            destination
IP  04:59  NONE        192.0.2.0:0        0.0.0.7:0          198.19.1.12:0
TCP 04:59  NONE        192.0.2.0:0        198.18.0.100:443   198.19.1.11:443
TCP 04:59  NONE        192.0.2.7:0        198.18.0.9:0       198.19.1.19:0
IP  04:59  NONE        203.0.113.0:0      0.0.0.7:0          198.19.1.12:0
";
    let speech = Speech { format: numeric, names: &names() };
    assert_eq!(connections::listing(&[], &templates, speech), wanted);
}

#[test]
fn statistics_are_those_since_they_were_set_to_zero() {
    let config = config();
    let mut numbers = numbers(&config);
    let since = Totals { conns: 3, in_packets: 30, out_packets: 21, in_bytes: 3000, out_bytes: 900 };
    numbers.services[0].stats.since_mark = Some(since);
    numbers.services[0].destinations[0].stats.since_mark = Some(since);
    let names = names();
    let Command::List(listing, format) =
        parse::parse(&["-Ln", "--stats", "-t", "198.18.0.100:80"], "ipvsadm", &names)
            .expect("a good command line")
    else {
        panic!("it lists")
    };
    let text = crate::ipvsadm::table(&config, &numbers, &[], listing, Speech { format, names: &names })
        .expect("a known service");
    assert!(
        text.contains("TCP  198.18.0.100:80                     3       30       21     3000      900\n"),
        "{text}"
    );
    assert!(
        text.contains("  -> 198.19.1.12:8080                    3       30       21     3000      900\n"),
        "{text}"
    );
    assert!(text.contains("  -> 198.19.1.11:80                123456K"), "{text}");
}
