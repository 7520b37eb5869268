//! Programs that read ipvsadm's output read ours: the patterns and the ways of splitting that they use, in our own
//! words, each on the tables of the golden test.

use super::golden::{config, printed};
use super::names;
use regex::Regex;
use std::collections::BTreeMap;

fn output(line: &str) -> String {
    printed(&config(), line, &names())
}

/// A table of real servers for each service, as monitoring plugins keep it.
fn tree(text: &str, service: &str, real: &str) -> BTreeMap<String, Vec<Vec<String>>> {
    let (service, real) = (Regex::new(service).expect("a pattern"), Regex::new(real).expect("a pattern"));
    let (mut tree, mut current) = (BTreeMap::new(), None);
    for line in text.lines().skip(3) {
        if let Some(found) = service.captures(line) {
            let name = format!("{} {}", &found[1], &found[2]);
            tree.insert(name.clone(), Vec::new());
            current = Some(name);
        } else {
            let found = real.captures(line).unwrap_or_else(|| panic!("{line:?} is neither"));
            let fields = found.iter().skip(1).flatten().map(|field| field.as_str().to_owned()).collect();
            let owner = current.as_ref().expect("a service stands in front");
            tree.get_mut(owner).expect("it is known").push(fields);
        }
    }
    tree
}

#[test]
fn pool_checks_find_services_and_count_their_real_servers() {
    // As a check of the kind of check_ipvs: protocol, address and scheduler; address, method, weight, counts.
    let tree = tree(
        &output("-L -n"),
        r"^(TCP|UDP|SCTP|FWM)\s+([\d.:]+)\s+(\w+)",
        r"^\s+->\s+(\d+\.\d+\.\d+\.\d+):(\d+)\s+(Masq|Route|Tunnel|Local)\s+(\d+)\s+(\d+)\s+(\d+)\s*$",
    );
    assert_eq!(tree.len(), 7);
    let web = &tree["TCP 198.18.0.100:80"];
    let usable = web.iter().filter(|fields| fields[3] != "0").count();
    assert_eq!((web.len(), usable), (4, 3));
    assert_eq!(web[1], ["198.19.1.12", "8080", "Masq", "3", "12", "3456"]);
    assert!(tree["TCP 198.18.0.101:21"].is_empty());
    assert_eq!(tree["FWM 7"].len(), 2);
}

#[test]
fn exporters_read_exact_totals_and_rates() {
    let service = r"^(TCP|UDP|FWM)\s+(\S+)\s+\d+\s+\d+\s+\d+\s+\d+\s+\d+$";
    let real = r"^  -> (\S+)\s+(\d+)\s+(\d+)\s+(\d+)\s+(\d+)\s+(\d+)$";
    let totals = tree(&output("-L -n --stats --exact"), service, real);
    let web = &totals["TCP 198.18.0.100:80"][0];
    let wanted =
        ["198.19.1.11:80", "123456789", "1234567890", "864197523", "123456789000000", "369999996633000"];
    assert_eq!(web[..], wanted);
    let rates = tree(&output("-L -n --rate --exact"), service, real);
    assert_eq!(
        rates["UDP 198.18.0.100:53"][0][..],
        ["198.19.1.11:53", "8", "7", "4", "121876010", "9777735"]
    );
}

#[test]
fn graphs_undo_the_abbreviation_of_large_numbers() {
    let number = Regex::new(r"^(\d+)([KMGT]?)$").expect("a pattern");
    let read = |text: &str| -> u64 {
        let found = number.captures(text).unwrap_or_else(|| panic!("{text}"));
        let unit = match &found[2] {
            "" => 1,
            "K" => 1_000,
            "M" => 1_000_000,
            "G" => 1_000_000_000,
            _ => 1_000_000_000_000,
        };
        found[1].parse::<u64>().expect("a number") * unit
    };
    let text = output("-Ln --stats");
    let line = text.lines().find(|line| line.contains("-> 198.19.1.11:80 ")).expect("a real server");
    let fields: Vec<u64> = line.split_whitespace().skip(2).map(read).collect();
    assert_eq!(fields, [123_456_000, 1_234_000_000, 864_197_000, 123_000_000_000_000, 369_000_000_000_000]);
}

#[test]
fn one_liners_count_and_sum_columns() {
    // ipvsadm -Ln | grep -v RemoteAddress | grep -- '->' | awk '{sum+=$5} END {print sum}'
    let text = output("-Ln");
    let reals = || text.lines().filter(|line| !line.contains("RemoteAddress") && line.contains("->"));
    let column = |at: usize| reals().map(move |line| line.split_whitespace().nth(at - 1).expect("a column"));
    assert_eq!(column(5).map(|field| field.parse::<u32>().expect("a number")).sum::<u32>(), 127);
    assert_eq!(column(3).filter(|method| *method == "Masq").count(), 6);
    // ipvsadm -Ln | sed -n '/TCP  VIP/,/RIP/p' | tail -n 1 | awk '{print $6}'
    let from = text.lines().skip_while(|line| !line.contains("TCP  198.18.0.100:80"));
    let last = from.scan(false, |done, line| {
        let go_on = !*done;
        *done |= line.contains("198.19.1.13:80");
        go_on.then_some(line)
    });
    assert_eq!(last.last().and_then(|line| line.split_whitespace().nth(5)), Some("3458"));
    // ipvsadm -L -n | awk '/^TCP/ {print $2}'
    let services: Vec<&str> = text
        .lines()
        .filter(|line| line.starts_with("TCP"))
        .filter_map(|line| line.split_whitespace().nth(1))
        .collect();
    assert_eq!(services, ["198.18.0.9:0", "198.18.0.100:80", "198.18.0.100:443", "198.18.0.101:21"]);
}

#[test]
fn fixed_columns_are_where_they_were() {
    let text = output("-L -n");
    let banner =
        Regex::new(r"^IP Virtual Server version (\d+)\.(\d+)\.(\d+) \(size=(\d+)\)$").expect("a pattern");
    let first = text.lines().next().expect("a line");
    assert_eq!(banner.captures(first).map(|found| found[4].to_owned()).as_deref(), Some("4096"));
    for line in text.lines().skip(3).filter(|line| line.starts_with("  -> ")) {
        // unpack('x5 A28 x A7 x A6 x A10 x A10')
        let field = |from: usize, width: usize| line[from..from + width].trim_end();
        let wide = field(42, 6).len() == 6;
        if !wide {
            assert!(["Masq", "Route", "Tunnel"].contains(&field(34, 7)), "{line}");
            assert!(
                [field(42, 6), field(49, 10), field(60, 10)].iter().all(|f| f.parse::<u32>().is_ok()),
                "{line}"
            );
        }
    }
    let stats = output("-L -n --stats");
    let title = stats.lines().nth(1).expect("titles");
    let line = stats.lines().nth(3).expect("a service");
    for (name, at) in [("Conns", 0), ("InPkts", 1), ("OutPkts", 2), ("InBytes", 3), ("OutBytes", 4)] {
        let end = 33 + (at + 1) * 9;
        assert!(title[..end].ends_with(name), "{title}");
        assert!(line[..end].ends_with(|c: char| c.is_ascii_alphanumeric()), "{line}");
    }
}

#[test]
fn persistence_and_flags_are_found_behind_the_scheduler() {
    let pattern =
        r"^(?:TCP|UDP|FWM)\s+\S+ (\w+)(?: \(([\w,-]+)\))?(?: persistent (\d+)(?: mask ([\d.]+))?)?( ops)?$";
    let pattern = Regex::new(pattern).expect("a pattern");
    let text = output("-L -n");
    let mut found = BTreeMap::new();
    for line in text.lines().skip(3).filter(|line| !line.starts_with("  ->")) {
        let captures = pattern.captures(line).unwrap_or_else(|| panic!("{line}"));
        let fields: Vec<String> =
            captures.iter().skip(1).map(|f| f.map_or(String::new(), |f| f.as_str().to_owned())).collect();
        found.insert(line.split_whitespace().nth(1).expect("a name").to_owned(), fields.join("|"));
    }
    assert_eq!(found["198.18.0.101:21"], "sh|sh-fallback,sh-port|||");
    assert_eq!(found["198.18.0.100:443"], "wlc||360|255.255.255.0|");
    assert_eq!(found["255.255.255.254:65535"], "lblcr||43200|255.255.255.128| ops");
}

#[test]
fn scripts_read_rules_and_timeouts() {
    let rule =
        r"^-a (-[tuf]) (\S+) -r (\S+) (-[gim]) -w (\d+)(?: --tun-type (\w+))?(?: -x \d+)?(?: -y \d+)?$";
    let rule = Regex::new(rule).expect("a pattern");
    let saved = output("-S -n");
    let reals: Vec<&str> = saved.lines().filter(|line| line.starts_with("-a ")).collect();
    assert!(reals.iter().all(|line| rule.is_match(line)), "{saved}");
    assert_eq!(reals.len(), 10);
    let timeouts = Regex::new(r"^Timeout \(tcp tcpfin udp\): (\d+) (\d+) (\d+)$").expect("a pattern");
    let line = output("-L --timeout");
    let found = timeouts.captures(line.trim_end()).expect("the line of timeouts");
    assert_eq!([&found[1], &found[2], &found[3]], ["900", "120", "300"]);
}
