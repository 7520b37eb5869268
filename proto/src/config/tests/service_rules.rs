//! The rules of one service, each with what is refused and what is accepted beside it.

use super::rules::with;
use super::*;

/// The listen, what differs, `ACCEPTED|REFUSED`, and the one error.
#[test]
fn each_rule_of_a_service_refuses_with_one_error() {
    const DNS: &str = "listen = \"198.18.0.100:53/udp\"\n";
    const WEB: &str = "listen = \"198.18.0.100:80/tcp\"\n";
    const BOTH: &str = "listen = [\"198.18.0.100:80/tcp\", \"198.18.0.100:53/udp\"]\n";
    const V6: &str = "listen = \"[2001:db8::100]:80/tcp\"\n";
    const RANGE: &str = "listen = \"198.18.0.100:10-20/tcp\"\n";
    let web = "service 198.18.0.100:80/tcp";
    let of_web = |address: &str| format!("destination {address} of {web}");
    let table: &[(&str, &str, &str, String)] = &[
        (
            WEB,
            "persistence = { netmask = % }",
            "32|33",
            format!("{web}: netmask 33 is beyond IPv4: write a prefix length from 0 to 32"),
        ),
        (
            V6,
            "persistence = { netmask = % }",
            "128|129",
            "netmask 129 is beyond IPv6: write a prefix length from 0 to 128".into(),
        ),
        (
            WEB,
            "persistence = { timeout = \"%\" }",
            "12h|13h",
            format!("{web}: in persistence.timeout, a timeout of 13h is out of bounds"),
        ),
        (
            WEB,
            "persistence = %",
            "{}|\"5m\"",
            format!("{web}: persistence is a string: write a table, {{ key = value }}"),
        ),
        (
            WEB,
            "scheduler = \"sh\"\nscheduler-flags = [\"%-port\"]",
            "sh|mh",
            format!(
                "{web}: scheduler flag mh-port does not fit scheduler sh: remove it, or use scheduler = \"mh\""
            ),
        ),
        (
            WEB,
            "scheduler = \"%\"\nscheduler-flags = [\"sh-fallback\"]",
            "sh|source",
            format!("{web}: scheduler flag sh-fallback does not fit scheduler source"),
        ),
        (
            WEB,
            "scheduler = \"mh\"\nscheduler-flags = [\"mh-port\", \"%\"]",
            "mh-fallback|mh-port",
            format!("{web}: scheduler flag mh-port is listed twice in scheduler-flags: list it once"),
        ),
        (
            WEB,
            "scheduler = \"mh\"\nscheduler-flags = [\"%\"]",
            "mh-port|flag-1",
            format!(
                "{web}: in scheduler-flags, scheduler flag \"flag-1\" is not known: use one of sh-port, sh-fallback"
            ),
        ),
        (
            WEB,
            "scheduler = \"mh\"\nmh-table = %",
            "4093|4096",
            format!("{web}: mh-table 4096 is not a size of a Maglev table: use one of 251, 509, 1021"),
        ),
        (
            WEB,
            "scheduler = \"%\"\nmh-table = 251",
            "mh|sh",
            format!("{web}: mh-table 251 does not fit scheduler sh: remove it, or use scheduler = \"mh\""),
        ),
        (
            WEB,
            "scheduler = \"random\"\ndraws = %",
            "1|0",
            format!("{web}: draws 0 is out of bounds: write an integer from 1 to 64"),
        ),
        (
            WEB,
            "scheduler = \"%\"\ndraws = 3",
            "random|twos",
            format!("{web}: draws 3 does not fit scheduler twos: remove it, or use scheduler = \"random\""),
        ),
        (
            WEB,
            "slow-start = \"%\"",
            "1h|61m",
            format!("{web}: a slow-start of 61m is out of bounds: write one from \"1s\" to \"1h\""),
        ),
        (
            WEB,
            "scheduler = \"%\"\nslow-start = \"30s\"",
            "wrr|rr",
            format!("{web}: slow-start 30s does not fit scheduler rr, which has no weights"),
        ),
        (
            DNS,
            "one-packet = %",
            "true|1",
            "service 198.18.0.100:53/udp: one-packet is an integer: write true or false".into(),
        ),
        (
            "",
            "listen = \"198.18.0.100:53/%\"\none-packet = true",
            "udp|tcp",
            "one-packet is for udp, and the service has no udp port: remove it, or listen on a udp port"
                .into(),
        ),
        (
            "",
            "listen = \"198.18.0.100:80/%\"\nsloppy = true",
            "tcp|udp",
            "sloppy is for tcp, and the service has no tcp port".into(),
        ),
        (
            "",
            "listen = \"198.18.0.100:80/%\"\nsyn-proxy = true",
            "tcp|udp",
            "syn-proxy is for tcp, and the service has no tcp port".into(),
        ),
        (
            "",
            "listen = \"198.18.0.100:21/%\"\nhelper = \"ftp\"",
            "tcp|udp",
            "helper is for tcp, and the service has no tcp port".into(),
        ),
        (
            "",
            "listen = \"198.18.0.100:80/%\"\nmss-clamp = 1400",
            "tcp|udp",
            "mss-clamp is for tcp, and the service has no tcp port".into(),
        ),
        (
            BOTH,
            "sloppy = true\none-packet = %",
            "true|\"yes\"",
            "one-packet is a string: write true or false".into(),
        ),
        (WEB, "helper = \"%\"", "ftp|sip", format!("{web}: helper \"sip\" is not known: use one of ftp")),
        (
            WEB,
            "helper = \"ftp\"\nforward = \"%\"",
            "nat|dr",
            format!("{web}: helper does not work under dr: remove it, and keep clients"),
        ),
        (
            WEB,
            "helper = \"ftp\"\nsyn-proxy = %",
            "false|true",
            format!("{web}: helper does not work behind syn-proxy: remove one of the two"),
        ),
        (
            "listen = \"198.18.0.100:21/tcp\"\nhelper = \"ftp\"\n",
            "[[service]]\nlisten = \"198.18.0.100:%/tcp\"",
            "8021|20",
            "helper needs port 20 and the unprivileged ones of 198.18.0.100 for data connections, and service \
             198.18.0.100:20/tcp listens on 198.18.0.100:20/tcp: give one of the two an address of its own"
                .into(),
        ),
        (
            "",
            "listen = \"198.18.0.100:%/tcp\"\nhelper = \"ftp\"",
            "21|21-22",
            "helper does not work with ports 21-22 of TCP: listen on one port".into(),
        ),
        (
            WEB,
            "mss-clamp = %",
            "\"off\"|true",
            format!("{web}: mss-clamp is a boolean: write \"auto\", \"off\", or a number of bytes"),
        ),
        (
            WEB,
            "mss-clamp = %",
            "88|87",
            format!("{web}: mss-clamp 87 is out of bounds: write \"auto\", \"off\", or a number"),
        ),
        (
            WEB,
            "mss-clamp = %",
            "\"auto\"|\"never\"",
            format!("{web}: mss-clamp \"never\" is not known: write \"auto\", \"off\""),
        ),
        (
            WEB,
            "syn-proxy = true\nforward = \"%\"",
            "nat|dr",
            format!("{web}: syn-proxy does not work under dr: remove it, or use forward = \"nat\""),
        ),
        (
            WEB,
            "syn-proxy = true\nsloppy = %",
            "false|true",
            format!("{web}: syn-proxy refuses the packets that sloppy takes: remove one of the two"),
        ),
        (
            WEB,
            "syn-proxy = true\ndestination = [{ address = \"198.19.0.1\", forward = \"%\" }]",
            "nat|tun",
            format!(
                "{}: forward tun does not work behind syn-proxy: use forward = \"nat\"",
                of_web("198.19.0.1")
            ),
        ),
        (
            WEB,
            "sorry = { %forward = \"nat\" }",
            "address = \"198.19.0.9\", |",
            format!("{web}: sorry.address is missing: write ADDRESS or ADDRESS:PORT"),
        ),
        (
            WEB,
            "sorry = { address = \"198.19.0.9:%\", forward = \"dr\" }",
            "80|81",
            format!("sorry server 198.19.0.9:81 of {web}: port 81 differs from the service's 80 under dr"),
        ),
        (
            WEB,
            "sorry = { address = \"%\" }",
            "198.19.0.9|2001:db8::9",
            format!("sorry server 2001:db8::9 of {web}: IPv6 under nat does not fit 198.18.0.100:80/tcp"),
        ),
        (
            WEB,
            "destination = [{ address = \"198.19.0.1\" }]\nsorry = { address = \"198.19.0.1:%\" }",
            "81|80",
            format!("sorry server 198.19.0.1:80 of {web}: it is one of the destinations"),
        ),
        (
            WEB,
            "backup-below = %",
            "1|0",
            format!("{web}: backup-below 0 is out of bounds: write an integer from 1 to 65535"),
        ),
        (
            WEB,
            "destination = [{ address = \"%\" }]",
            "198.19.0.1|198.18.0.100",
            format!(
                "{}: it is the service's virtual address: write the real server's own",
                of_web("198.18.0.100")
            ),
        ),
        (
            WEB,
            "destination = [{ address = \"198.18.0.100%\", forward = \"local\" }]",
            ":80|:81",
            format!("{}: port 81 differs from the service's 80 under local", of_web("198.18.0.100:81")),
        ),
        (
            WEB,
            "destination = [{ address = \"%\", forward = \"local\" }]",
            "198.18.0.1|2001:db8::1",
            format!("{}: IPv6 under local does not fit 198.18.0.100:80/tcp", of_web("2001:db8::1")),
        ),
        (
            WEB,
            "destination = [{ address = \"2001:db8::1\", forward = \"%\" }]",
            "tun|dr",
            format!(
                "{}: IPv6 under dr does not fit 198.18.0.100:80/tcp: write an address of IPv4, or forward = \"tun\"",
                of_web("2001:db8::1")
            ),
        ),
        (
            RANGE,
            "destination = [{ address = \"198.19.0.1:15\", forward = \"%\" }]",
            "nat|tun",
            "port 15 differs from the service's 10-20 under tun: leave the port out".into(),
        ),
        (
            RANGE,
            "forward = \"dr\"\ndestination = [{ address = \"198.19.0.1%\" }]",
            "|:10",
            "port 10 differs from the service's 10-20 under dr".into(),
        ),
        (
            BOTH,
            "forward = \"dr\"\ndestination = [{ address = \"198.19.0.1%\" }]",
            "|:80",
            "port 80 differs from the service's 53 under dr".into(),
        ),
        (
            BOTH,
            "destination = [{ address = \"198.19.0.1\" }, { address = \"198.19.0.1%\" }]",
            ":80|",
            "destination 198.19.0.1 of service 198.18.0.100:80/tcp,198.18.0.100:53/udp: it is given twice"
                .into(),
        ),
        (
            "",
            "listen = [\"198.18.0.1:80/tcp\", \"[2001:db8::1]:80/tcp\"]\ndestination = [{ address = \"198.19.0.1\", forward = \"%\" }]",
            "tun|nat",
            "IPv4 under nat does not fit [2001:db8::1]:80/tcp".into(),
        ),
        (
            "",
            "listen = [\"198.18.0.1:80/tcp\", \"198.18.0.%:80/tcp\"]",
            "2|1",
            "listen 198.18.0.1:80/tcp is listed twice: list each port once".into(),
        ),
        (
            "",
            "listen = [\"198.18.0.1:10-20/tcp\", \"198.18.0.1:%-30/tcp\"]",
            "21|20",
            "listen 198.18.0.1:20-30/tcp overlaps with 198.18.0.1:10-20/tcp: list each port once".into(),
        ),
        (
            WEB,
            "destination = [{ address = \"198.19.0.1\", tunnel = \"gre\", forward = \"%\" }]",
            "tun|nat",
            format!(
                "{}: tunnel gre does not fit forward nat: remove it, or use forward = \"tun\"",
                of_web("198.19.0.1")
            ),
        ),
        (
            WEB,
            "destination = [{ address = \"198.19.0.1\", tunnel = \"%\", tunnel-port = 6081, forward = \"tun\" }]",
            "gue|gre",
            format!(
                "{}: tunnel-port 6081 does not fit tunnel gre: remove it, or use tunnel = \"gue\"",
                of_web("198.19.0.1")
            ),
        ),
        (
            WEB,
            "destination = [{ address = \"198.19.0.1\", tunnel = \"%\", tunnel-checksum = true, forward = \"tun\" }]",
            "gre|ipip",
            format!(
                "{}: tunnel-checksum true does not fit tunnel ipip: remove it, or use tunnel = \"gre\" or \"gue\"",
                of_web("198.19.0.1")
            ),
        ),
        (
            WEB,
            "destination = [{ address = \"198.19.0.1\", tunnel = \"%\", forward = \"tun\" }]",
            "ipip|vxlan",
            format!(
                "{}: tunnel type \"vxlan\" is not known: use one of ipip, gre, gue",
                of_web("198.19.0.1")
            ),
        ),
        (
            WEB,
            "destination = [{ address = \"198.19.0.1\", state = \"%\" }]",
            "maint|down",
            format!("{}: state \"down\" is not known: use one of ready, drain, maint", of_web("198.19.0.1")),
        ),
        (
            WEB,
            "destination = [{ address = \"198.19.0.1\", upper-threshold = 5, lower-threshold = % }]",
            "5|6",
            format!("{}: lower-threshold 6 is above upper-threshold 5", of_web("198.19.0.1")),
        ),
        (
            WEB,
            "destination = [{ address = \"198.19.0.1\", connection-limit = % }]",
            "4294967295|4294967296",
            format!("{}: connection-limit 4294967296 is out of bounds", of_web("198.19.0.1")),
        ),
    ];
    let mut wrong = Vec::new();
    for (listen, template, values, want) in table {
        let (accepted, refused) = values.split_once('|').unwrap();
        let said = |value: &str| invalid_in(&format!("[[service]]\n{listen}{}\n", with(template, value)));
        let (good, bad) = (said(accepted), said(refused));
        if !good.is_empty() || bad.len() != 1 || !bad[0].contains(want) {
            wrong.push(format!("{template} with {values}:\n{good:#?}\n{bad:#?}\nwant {want}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}
