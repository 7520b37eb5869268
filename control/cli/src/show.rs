//! Answers as text for people: aligned columns, one object a line.

use comfy_table::{CellAlignment, ContentArrangement, Table};
use sheave_pipeline::Reason;
use sheave_proto::api::{
    Change, ConfigShown, ConnectionPage, Counter, CounterKind, CountersReport, DestinationStatus,
    DrainStatus, Event, NeighboursReport, ServiceStatus, Stats, StatsReport, Status, StickyCleared,
    StickyPage, UnixTime, WorkerStatus, WorkersReport,
};
use sheave_proto::config::{BackupBelow, Listen, MssClamp, Persistence};
use std::fmt::Write;

/// Columns: a name that ends in `>` is right-aligned.
fn table(columns: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_preset(comfy_table::presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(columns.iter().map(|c| c.trim_end_matches('>').to_owned()));
    for (at, name) in columns.iter().enumerate() {
        if let Some(column) = table.column_mut(at) {
            column.set_padding((0, 2));
            if name.ends_with('>') {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
    }
    table
}

fn lines(table: &Table) -> String {
    table.to_string().lines().fold(String::new(), |mut text, line| {
        text.push_str(line.trim_end());
        text.push('\n');
        text
    })
}

fn row<const N: usize>(table: &mut Table, cells: [String; N]) {
    table.add_row(cells);
}

/// Or what stands for nothing.
fn or_dash(value: Option<impl ToString>) -> String {
    value.map_or_else(|| "-".to_owned(), |v| v.to_string())
}

/// So many of something.
fn some(count: u32, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}

fn listens(listens: &[Listen]) -> String {
    listens.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
}

/// Time of day, UTC.
fn clock(time: UnixTime) -> String {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a time after 1970")]
    let seconds = time.0 as u64;
    format!("{:02}:{:02}:{:02}Z", seconds / 3600 % 24, seconds / 60 % 60, seconds % 60)
}

fn duration(seconds: f64) -> String {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "shown in whole seconds")]
    let s = seconds.max(0.0) as u64;
    match s {
        0..=119 => format!("{s}s"),
        120..=7199 => format!("{}m{:02}s", s / 60, s % 60),
        _ => format!("{}h{:02}m", s / 3600, s / 60 % 60),
    }
}

pub(crate) fn status(a: &Status) -> String {
    let mut text = format!(
        "sheaved {} ({}), process {}, up {}, at {}\n",
        a.version,
        a.name,
        a.pid,
        duration(a.as_of.0 - a.started.0),
        clock(a.as_of)
    );
    // Writing to a String cannot fail.
    let _ = writeln!(
        text,
        "configuration {} from {}: {}, {}",
        a.epoch,
        a.config_file.as_deref().unwrap_or("the socket"),
        some(a.services, "service"),
        some(a.destinations, "destination")
    );
    let workers = some(a.workers, "worker");
    let _ = writeln!(text, "{workers}, {} of at most {} connections", a.connections, a.max_connections);
    text += &pressure(a);
    text.push('\n');
    if a.interfaces.is_empty() {
        return text + "no interface is served: see the director's log\n";
    }
    let mut t = table(&["INTERFACE", "MODE", "QUEUES>", "MTU>", "MAC", "LINK", "NOTE"]);
    for i in &a.interfaces {
        row(
            &mut t,
            [
                i.name.clone(),
                i.mode.map_or_else(|| "not served".to_owned(), |m| m.to_string()),
                i.queues.to_string(),
                or_dash(i.mtu),
                or_dash(i.mac),
                if i.up { "up" } else { "down" }.to_owned(),
                i.why.clone().unwrap_or_default(),
            ],
        );
    }
    text + &lines(&t)
}

/// What is said of floods and of a full table.
fn pressure(a: &Status) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    for flood in &a.floods {
        let _ = writeln!(
            text,
            "worker {} in flood mode for {}, {} new connections in the second before; {} not established",
            flood.worker,
            duration(flood.lasts),
            flood.rate,
            a.half_open
        );
    }
    if let Some(refused) = a.refused {
        let _ =
            writeln!(text, "the connection table is full: {refused} found no room (raise max-connections)");
    }
    let early = a.dropped_early;
    if early.by_source + early.by_vip > 0 {
        let _ = writeln!(
            text,
            "dropped before a worker saw them: {} new connections beyond source-rate, {} beyond vip-rate",
            early.by_source, early.by_vip
        );
    }
    text
}

pub(crate) fn services(services: &[ServiceStatus]) -> String {
    if services.is_empty() {
        return "no services: add one with 'sheave service add ADDRESS:PORT/PROTO'\n".to_owned();
    }
    let mut t = table(&["SERVICE", "LISTEN", "SCHED", "FORWARD", "DESTINATIONS>", "ACTIVE>", "INACTIVE>"]);
    for s in services {
        row(
            &mut t,
            [
                s.name.clone(),
                listens(&s.listen),
                s.scheduler.to_string(),
                s.forward.to_string(),
                s.destinations.len().to_string(),
                s.active.to_string(),
                s.inactive.to_string(),
            ],
        );
    }
    lines(&t)
}

pub(crate) fn service(s: &ServiceStatus) -> String {
    let mut text = format!(
        "service {}\n  listen      {}\n  scheduler   {}\n  forward     {}\n  on-removal  {}\n  timeouts    tcp {}, tcp-fin {}, udp {}\n",
        s.name,
        listens(&s.listen),
        s.scheduler,
        s.forward,
        s.on_removal,
        s.timeouts.tcp,
        s.timeouts.tcp_fin,
        s.timeouts.udp
    );
    let flags: Vec<&str> = s.scheduler_flags.iter().map(|flag| flag.as_str()).collect();
    let yes = |is: bool| is.then(|| "yes".to_owned());
    let changed = |is: bool, value: &dyn std::fmt::Display| is.then(|| value.to_string());
    let more = [
        ("flags", (!flags.is_empty()).then(|| flags.join(", "))),
        ("mh-table", s.mh_table.map(|slots| slots.get().to_string())),
        ("draws", s.draws.map(|draws| draws.get().to_string())),
        ("persistence", s.persistence.map(persistence)),
        ("one-packet", yes(s.one_packet)),
        ("sloppy", yes(s.sloppy)),
        ("syn-proxy", yes(s.syn_proxy)),
        ("helper", s.helper.map(|helper| helper.to_string())),
        ("mss-clamp", changed(s.mss_clamp != MssClamp::default(), &s.mss_clamp)),
        ("pmtu", (!s.pmtu_discovery).then(|| "no discovery".to_owned())),
        ("sorry", s.sorry.map(|sorry| sorry.address.to_string())),
        (
            "backup",
            changed(s.backup_below != BackupBelow::default(), &format!("below {}", s.backup_below.get())),
        ),
        ("slow-start", s.slow_start.map(|time| time.to_string())),
        ("interface", s.interface.clone()),
    ];
    for (name, value) in more {
        if let Some(value) = value {
            let _ = writeln!(text, "  {name:<11} {value}");
        }
    }
    text + "\n" + &destinations(&s.destinations)
}

fn persistence(persistence: Persistence) -> String {
    let by = persistence.netmask.map(|bits| format!(", by /{bits}")).unwrap_or_default();
    format!("{}{by}", persistence.timeout)
}

pub(crate) fn destinations(destinations: &[DestinationStatus]) -> String {
    if destinations.is_empty() {
        return "no destinations: add one with 'sheave destination add SERVICE ADDRESS'\n".to_owned();
    }
    let columns = ["SERVICE", "DESTINATION", "FORWARD", "WEIGHT>", "STATE", "ACTIVE>", "INACTIVE>", "CONNS>"];
    let mut t = table(&columns);
    for d in destinations {
        row(
            &mut t,
            [
                d.service.clone(),
                d.address.to_string(),
                d.forward.to_string(),
                d.weight.to_string(),
                destination_state(d),
                d.active.to_string(),
                d.inactive.to_string(),
                d.stats.totals.conns.to_string(),
            ],
        );
    }
    lines(&t)
}

/// Whether it is given connections, and how far it is on its way in or out.
fn destination_state(d: &DestinationStatus) -> String {
    match (d.slow_start, &d.drain) {
        (_, Some(DrainStatus { deadline: Some(deadline), .. })) => {
            format!("{} until {}", d.state, clock(*deadline))
        }
        (Some(share), None) => format!("{} {:.0} %", d.state, share * 100.0),
        _ => d.state.to_string(),
    }
}

pub(crate) fn changes(changes: &[Change]) -> String {
    if changes.is_empty() {
        return "no change\n".to_owned();
    }
    changes.iter().fold(String::new(), |text, change| text + &change.to_string() + "\n")
}

pub(crate) fn config(a: &ConfigShown) -> String {
    let end = if a.toml.is_empty() || a.toml.ends_with('\n') { "" } else { "\n" };
    a.toml.clone() + end
}

pub(crate) fn stats(a: &StatsReport) -> String {
    let mut totals = table(&["TOTAL", "CONNS>", "IN-PACKETS>", "OUT-PACKETS>", "IN-BYTES>", "OUT-BYTES>"]);
    let mut rates = table(&["RATE", "CPS>", "INPPS>", "OUTPPS>", "INBPS>", "OUTBPS>"]);
    let mut add = |name: String, s: &Stats| {
        let (t, r) = (&s.totals, &s.rates);
        let counts = [t.conns, t.in_packets, t.out_packets, t.in_bytes, t.out_bytes];
        let speeds = [r.cps, r.inpps, r.outpps, r.inbps, r.outbps];
        totals.add_row(std::iter::once(name.clone()).chain(counts.map(|n| n.to_string())));
        rates.add_row(std::iter::once(name).chain(speeds.map(|n| n.to_string())));
    };
    for s in &a.services {
        add(s.name.clone(), &s.stats);
        for d in &s.destinations {
            add(format!("  {}", d.address), &d.stats);
        }
    }
    add("all".to_owned(), &a.total);
    format!("{}\n{}", lines(&totals), lines(&rates))
}

pub(crate) fn connections(a: &ConnectionPage) -> String {
    if a.entries.is_empty() && a.cursor.is_none() {
        return "no connections\n".to_owned();
    }
    let mut t = table(&["PROTO", "CLIENT", "VIP", "REAL", "FORWARD", "STATE", "EXPIRES>", "SERVICE"]);
    for c in &a.entries {
        row(
            &mut t,
            [
                c.proto.to_string(),
                c.client.to_string(),
                c.vip.to_string(),
                c.real.to_string(),
                c.forward.to_string(),
                c.state.to_string(),
                duration(c.expires_in),
                or_dash(c.service.as_ref()),
            ],
        );
    }
    let more = if a.cursor.is_some() { "there are more: --limit 0 shows all\n" } else { "" };
    lines(&t) + more
}

pub(crate) fn sticky(a: &StickyPage) -> String {
    if a.entries.is_empty() && a.cursor.is_none() {
        return "no templates\n".to_owned();
    }
    let mut t = table(&["SERVICE", "CLIENT", "DESTINATION", "CONNECTIONS>", "EXPIRES>"]);
    for e in &a.entries {
        row(
            &mut t,
            [
                e.service.clone(),
                e.client.to_string(),
                e.destination.to_string(),
                e.connections.to_string(),
                duration(e.expires_in),
            ],
        );
    }
    let more = if a.cursor.is_some() { "there are more: --limit 0 shows all\n" } else { "" };
    lines(&t) + more
}

pub(crate) fn cleared(a: &StickyCleared) -> String {
    match a.cleared {
        1 => "1 template is forgotten\n".to_owned(),
        n => format!("{n} templates are forgotten\n"),
    }
}

pub(crate) fn neighbours(a: &NeighboursReport) -> String {
    if a.neighbours.is_empty() {
        return "no neighbours\n".to_owned();
    }
    let mut t = table(&["ADDRESS", "INTERFACE", "MAC", "STATE", "ORIGIN"]);
    for n in &a.neighbours {
        let state = (n.state.to_string(), n.origin.to_string());
        row(&mut t, [n.address.to_string(), n.interface.clone(), or_dash(n.mac), state.0, state.1]);
    }
    lines(&t)
}

pub(crate) fn workers(a: &WorkersReport) -> String {
    if a.workers.is_empty() {
        return "no workers: see the director's log\n".to_owned();
    }
    let mut t = table(&[
        "WORKER>",
        "CORE>",
        "EPOCH>",
        "TURNS>",
        "IDLE>",
        "SLEEPS>",
        "PACKETS>",
        "FRAMES>",
        "FREE>",
        "IN-PORTS>",
        "HELD>",
        "ELSEWHERE>",
    ]);
    for w in &a.workers {
        let f = &w.frames;
        let cells = [
            u64::from(w.worker),
            u64::from(w.core),
            w.epoch,
            w.turns,
            w.idle_turns,
            w.sleeps,
            w.packets,
            f.total,
            f.free,
            f.in_ports,
            f.held,
            f.elsewhere,
        ];
        row(&mut t, cells.map(|n| n.to_string()));
    }
    let q = queues(&a.workers);
    if q.is_empty() { lines(&t) } else { format!("{}\n{}", lines(&t), lines(&q)) }
}

fn queues(workers: &[WorkerStatus]) -> Table {
    let mut q = table(&[
        "WORKER>",
        "INTERFACE",
        "QUEUE>",
        "MODE",
        "RX>",
        "TX>",
        "KICKS>",
        "RX-DROPPED>",
        "RX-RING-FULL>",
        "TX-RING-FULL>",
        "FILL-EMPTY>",
        "INVALID>",
    ]);
    for (w, u) in workers.iter().flat_map(|w| w.queues.iter().map(move |q| (w.worker, q))) {
        row(
            &mut q,
            [
                w.to_string(),
                u.interface.clone(),
                u.queue.to_string(),
                u.mode.to_string(),
                u.rx_frames.to_string(),
                u.tx_frames.to_string(),
                u.tx_kicks.to_string(),
                u.rx_dropped.to_string(),
                u.rx_ring_full.to_string(),
                u.tx_ring_full.to_string(),
                u.fill_empty.to_string(),
                (u.rx_invalid + u.tx_invalid).to_string(),
            ],
        );
    }
    q
}

pub(crate) fn counters(a: &CountersReport, all: bool) -> String {
    if !all && a.counters.iter().all(|c| c.value == 0) {
        return "nothing was counted yet: --all shows what is counted\n".to_owned();
    }
    let mut t = table(&["COUNTER", "KIND", "VALUE>", "MEANING"]);
    for c in a.counters.iter().filter(|c| all || c.value > 0) {
        row(&mut t, [c.name.clone(), kind(c), c.value.to_string(), c.help.clone()]);
    }
    lines(&t)
}

/// What a counter counts: for a reason, the verdict that it is a reason of.
fn kind(counter: &Counter) -> String {
    let reason = Reason::ALL.iter().find(|reason| reason.name() == counter.name);
    match (counter.kind, reason) {
        (CounterKind::Reason, Some(reason)) => reason.kind().name().to_owned(),
        (kind, _) => kind.to_string(),
    }
}

/// One line: time, number, name, and what belongs to it.
pub(crate) fn event(event: &Event) -> String {
    let mut text = format!("{} #{} {}", clock(event.time), event.seq, event.body.name());
    if let Ok(serde_json::Value::Object(map)) = serde_json::to_value(&event.body) {
        for (key, value) in map.iter().filter(|(key, _)| *key != "event") {
            let _ = match value {
                serde_json::Value::String(s) if s.contains([' ', '=', '"']) => write!(text, " {key}={s:?}"),
                serde_json::Value::String(s) => write!(text, " {key}={s}"),
                other => write!(text, " {key}={other}"),
            };
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_lines_do_not_trail() {
        let mut t = table(&["NAME", "COUNT>", "NOTE"]);
        row(&mut t, ["a".into(), "7".into(), String::new()]);
        row(&mut t, ["longer".into(), "1234567".into(), "x".into()]);
        assert_eq!(lines(&t), "NAME      COUNT  NOTE\na             7\nlonger  1234567  x\n");
    }

    #[test]
    fn times_read_as_people_say_them() {
        assert_eq!(clock(UnixTime(1_795_254_305.9)), "09:45:05Z");
        assert_eq!(
            [5.9, 119.0, 120.0, 7199.0, 43_200.0, -1.0].map(duration),
            ["5s", "119s", "2m00s", "119m59s", "12h00m", "0s"]
        );
    }
}
