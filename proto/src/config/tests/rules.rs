//! What is refused, rule by rule, with what is accepted beside it.

use super::*;

/// A service with one destination; `%` stands for what differs.
pub(super) fn with(template: &str, differing: &str) -> String {
    template.replace('%', differing)
}

#[test]
fn each_rule_refuses_and_its_neighbour_is_accepted() {
    const SERVICE: &str = "[[service]]\nlisten = \"198.18.0.100:80/tcp\"\n";
    const DEST: &str = "[[service]]\nlisten = \"198.18.0.100:80/tcp\"\n[[service.destination]]\n";
    let table: &[(&str, &str, &str, &str)] = &[
        // What differs: template, accepted, refused, what the refusal says.
        ("%[director]", "", "x = 1\n", "key \"x\" is not known"),
        ("[[interface]]\nname = \"%\"\n[[interface]]\nname = \"b\"", "a", "b", "declared twice"),
        (
            "[[interface]]\nname = \"%\"",
            "abcdefghijklmno",
            "abcdefghijklmnop",
            "cannot be an interface's name",
        ),
        ("[[interface]]\nname = \"a\"\nmtu = %", "68", "67", "mtu 67 is under 68"),
        ("[[interface]]\nname = \"a\"\nmtu = %", "65535", "65536", "mtu 65536 is out of bounds"),
        (
            "[[interface]]\nname = \"a\"\naddresses = [\"2001:db8::1/64\"]\nmtu = %",
            "1280",
            "1279",
            "under 1280 with IPv6",
        ),
        ("[[interface]]\nname = \"a\"\naddresses = [\"198.18.0.1/%\"]", "32", "33", "beyond its family"),
        ("[[interface]]\nname = \"a\"\naddresses = [\"2001:db8::1/%\"]", "128", "129", "beyond its family"),
        (
            "[[interface]]\nname = \"a\"\naddresses = [\"198.18.0.1/24\", \"198.18.0.%/24\"]",
            "2",
            "1",
            "listed twice",
        ),
        ("[[interface]]\nname = \"a\"\nmode = \"%\"", "zero-copy", "native", "mode \"native\" is not known"),
        (
            "[[interface]]\nname = \"a\"\n[[route]]\nto = \"198.19.0.0/16\"\ninterface = \"%\"",
            "a",
            "b",
            "interface \"b\" is not declared",
        ),
        ("[[route]]\nto = \"0.0.0.0/%\"\ninterface = \"a\"", "0", "33", "beyond its family"),
        (
            "[[route]]\nto = \"0.0.0.0/0\"\nvia = \"%\"\ninterface = \"a\"",
            "198.18.0.2",
            "::2",
            "not of the family",
        ),
        (
            "[[neighbour]]\naddress = \"%\"\nmac = \"02:00:00:00:00:01\"\ninterface = \"a\"",
            "198.18.0.2",
            "224.0.0.2",
            "multicast",
        ),
        ("[director]\ncores = %", "[0]", "[]", "cores is empty"),
        ("[director]\ncores = \"%\"", "auto", "all", "cores is a string"),
        ("[director]\nmax-connections = %", "1", "0", "max-connections 0 is out of bounds"),
        ("[director]\nannounce = { refresh = \"%\" }", "0s", "25h", "in announce.refresh, refresh 25h"),
        ("[director]\nsocket-group = %", "0", "true", "a boolean"),
        ("S\ninterface = \"%\"", "d0", "d 0", "cannot be an interface's name"),
        ("S\nname = \"%\"", "web", "198.18.0.100:81/tcp", "a listen that is not its own"),
        ("S\non-removal = \"%\"", "keep", "forget", "use one of reset, keep, drop"),
        ("S\ntimeouts = { udp = \"%\" }", "1s", "999ms", "out of bounds"),
        ("S\ntimeouts = { tcp = \"%\" }", "12h", "43201s", "out of bounds"),
        ("S\n[[service]]\nlisten = \"198.18.0.100:%/tcp\"", "81", "80", "is taken by service"),
        ("S\n[[service]]\nlisten = \"198.18.0.100:80/%\"", "udp", "tcp", "is taken by service"),
        (
            "S\nname = \"a\"\n[[service]]\nname = \"%\"\nlisten = \"198.18.0.100:81/tcp\"",
            "b",
            "a",
            "another service",
        ),
        ("D\naddress = \"198.19.1.1\"\nweight = %", "2147483647", "2147483648", "out of bounds"),
        ("D\naddress = \"198.19.1.1\"\nweight = %", "0", "-1", "out of bounds"),
        (
            "D\naddress = \"198.19.1.1\"\n[[service.destination]]\naddress = \"198.19.1.1:%\"",
            "81",
            "80",
            "twice",
        ),
        (
            "D\naddress = \"198.19.1.1:%\"\nforward = \"dr\"",
            "80",
            "81",
            "port 81 differs from the service's 80",
        ),
        (
            "D\naddress = \"198.19.1.1:%\"\nforward = \"tun\"",
            "80",
            "81",
            "differs from the service's 80 under tun",
        ),
        (
            "D\naddress = \"198.19.1.1:81\"\nforward = \"%\"",
            "nat",
            "dr",
            "differs from the service's 80 under dr",
        ),
        ("D\naddress = \"%\"", "198.19.1.1", "2001:db8::1", "IPv6 under nat does not fit"),
        ("D\naddress = \"198.19.1.1\"\nlower-threshold = %", "0", "1", "is above upper-threshold 0"),
    ];
    for (template, accepted, refused, why) in table {
        let template = match template.split_at(1) {
            ("S", rest) => format!("{SERVICE}{}", rest.trim_start()),
            ("D", rest) => format!("{DEST}{}", rest.trim_start()),
            _ => (*template).to_owned(),
        };
        let good = invalid_in(&with(&template, accepted));
        assert_eq!(good, Vec::<String>::new(), "{template:?} with {accepted}");
        let errors = invalid_in(&with(&template, refused));
        assert!(errors.iter().any(|error| error.contains(why)), "{template:?} with {refused}: {errors:?}");
    }
}

#[test]
fn services_may_stand_beside_each_other_where_one_wins() {
    let services = |listens: [&str; 2]| {
        listens.map(|listen| format!("[[service]]\nlisten = \"198.18.0.1:{listen}\"\n")).concat()
    };
    for good in
        [["10-20/tcp", "21-30/tcp"], ["10-20/tcp", "15/tcp"], ["*/tcp", "15-16/tcp"], ["*/tcp", "*/udp"]]
    {
        assert_eq!(invalid_in(&services(good)), Vec::<String>::new(), "{good:?}");
    }
    for bad in
        [["10-20/tcp", "20-30/tcp"], ["*/tcp", "*/tcp"], ["10-20/udp", "10-20/udp"], ["5/udp", "5/udp"]]
    {
        assert_eq!(invalid_in(&services(bad)).len(), 1, "{bad:?}");
    }
}

#[test]
fn the_director_and_its_queues_are_checked_too() {
    for (good, bad, why) in [
        (
            "[director]\ncores = [1, 2]\n[[interface]]\nname = \"a\"\nqueue-cores = [1, 2, 2]",
            "[director]\ncores = [1, 2]\n[[interface]]\nname = \"a\"\nqueue-cores = [1, 3]",
            "error: f:5: interface a: core 3 in queue-cores has no worker: name cores of the director's list",
        ),
        (
            "[[interface]]\nname = \"a\"\nqueue-cores = [4095]",
            "[[interface]]\nname = \"a\"\nqueue-cores = [4096]",
            "error: f:3: interface a: queue-cores 4096 is out of bounds: write an integer from 0 to 4095",
        ),
        (
            "[[interface]]\nname = \"a\"",
            "[[interface]]\nname = \"a\"\nqueue-cores = []",
            "error: f:3: interface a: queue-cores is empty: write a list of core numbers, as in [1, 2]",
        ),
        (
            "[director]\nflood = { source-rate = 10, source-burst = 5 }",
            "[director]\nflood = { source-burst = 5 }",
            "error: f:2: director: flood.source-burst 5 has no flood.source-rate: write a source-rate, or",
        ),
        (
            "[director]\nflood = { new-connections = 0 }",
            "[director]\nflood = { new-connections = -1 }",
            "error: f:2: director: flood.new-connections -1 is out of bounds: write an integer from 0 to",
        ),
        (
            "[director]\ntimeouts = { udp = \"1s\" }",
            "[director]\ntimeouts = { udp = \"0s\" }",
            "error: f:2: director: in timeouts.udp, a timeout of 0s is out of bounds",
        ),
    ] {
        assert_eq!(invalid_in(good), Vec::<String>::new(), "{good}");
        let errors = invalid_in(bad);
        let [error] = &errors[..] else { panic!("{bad}: {errors:#?}") };
        assert!(error.starts_with(why), "{error}");
    }
}
