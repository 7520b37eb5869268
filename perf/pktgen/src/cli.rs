//! Words of the command line, and what each verb does with the library.

use clap::{Args, Parser, Subcommand};
use serde::Serialize;
use sheave_io::FaultRates;
use sheave_io::lab::Hook;
use sheave_pktgen::exchange::{Client, serve};
use sheave_pktgen::send::{LiveSender, Sent, Until, pin, send_af_xdp};
use sheave_pktgen::sink::VerifyingSink;
use sheave_pktgen::station::Station;
use sheave_pktgen::traffic::Protocol;
use sheave_pktgen::verify::Fault;
use sheave_pktgen::{Change, Expect, Mac, Real, Sizes, Spread, Stream, Traffic, bare, clock};
use std::io::{self, IsTerminal, Write};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Generates packets, and verifies what arrives.
///
/// Run each verb in the network namespace of its interface. What is sent carries its flow, a sequence number and the time
/// of its sending; the sink wants the same words about the traffic as the sender, and knows by them what is right.
#[derive(Debug, Parser)]
#[command(name = "sheave-pktgen", version)]
pub(crate) struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Send packets of many flows out of an interface
    Send(SendArgs),
    /// Count and verify what arrives at an interface, until SIGINT or SIGTERM
    ///
    /// Fails when anything that arrived was wrong.
    Sink(SinkArgs),
    /// Open and close TCP connections as fast as the answers come
    Connect(ConnectArgs),
    /// Answer the packets of `connect`, statelessly, until SIGINT or SIGTERM
    Respond(RespondArgs),
    /// Forward between two interfaces and change hardware addresses only, until SIGINT or SIGTERM
    Bare(BareArgs),
}

/// The traffic: the same words for the sender and for the sink.
#[derive(Debug, Args)]
struct TrafficArgs {
    /// The service, as in 198.18.0.100:80 or [2001:db8:0:18::100]:80
    #[arg(long, value_name = "ADDRESS:PORT")]
    to: SocketAddr,
    /// udp, tcp (the first packet of each flow is a SYN) or syn
    #[arg(long, default_value = "udp", value_name = "WHAT")]
    protocol: Protocol,
    /// Flows: 16384 for each address of a client
    #[arg(long, default_value_t = 16_384, value_name = "N")]
    flows: u32,
    /// Flows that were never seen before in each round, as in a flood
    #[arg(long)]
    fresh: bool,
    /// SYNs of ever new flows behind each packet, to the port above; the other flows are then taken to be established
    #[arg(long, default_value_t = 0, value_name = "N")]
    flood: u32,
    /// uniform, zipf or zipf:EXPONENT
    #[arg(long, default_value = "uniform")]
    spread: Spread,
    /// Frame sizes with check sequence: 64, imix, or sizes with weights as in 64:7,594:4,1518:1
    #[arg(long, default_value = "64")]
    size: Sizes,
    /// First address of the clients
    #[arg(long, value_name = "ADDRESS")]
    clients: Option<IpAddr>,
    /// Order of flows and sizes
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

impl TrafficArgs {
    fn traffic(&self) -> io::Result<Traffic> {
        let mut traffic = Traffic {
            protocol: self.protocol,
            flows: self.flows,
            fresh: self.fresh,
            flood: self.flood,
            spread: self.spread,
            sizes: self.size.clone(),
            seed: self.seed,
            ..Traffic::to(self.to)
        };
        if let Some(clients) = self.clients {
            traffic.first_client = clients;
        }
        let most = u32::try_from(sheave_io::lab::ENTRIES).unwrap_or(u32::MAX);
        if traffic.flows == 0 || traffic.flows > most {
            return Err(io::Error::other(format!("flows {}: not possible: use 1 to {most}", traffic.flows)));
        }
        if traffic.flood > 0 && (traffic.fresh || traffic.protocol != Protocol::Tcp) {
            return Err(io::Error::other(
                "flood: goes with established flows of TCP: use --protocol tcp, not --fresh",
            ));
        }
        if traffic.first_client.is_ipv4() != traffic.to.is_ipv4() {
            return Err(io::Error::other("clients: of another family than the service: use one of both"));
        }
        Ok(traffic)
    }
}

#[derive(Debug, Args)]
struct SendArgs {
    #[command(flatten)]
    traffic: TrafficArgs,
    /// Out of which interface
    #[arg(long)]
    interface: String,
    /// Hardware address of the director
    #[arg(long, value_name = "MAC")]
    next_hop: Mac,
    /// Hardware address of the sender
    #[arg(long, default_value = "02:00:00:00:00:e0", value_name = "MAC")]
    source: Mac,
    /// Packets a second; as fast as possible without
    #[arg(long, default_value_t = 0.0, value_name = "PPS", hide_default_value = true)]
    rate: f64,
    /// End after so many packets
    #[arg(long, value_name = "N")]
    count: Option<u64>,
    /// End after so many seconds
    #[arg(long, value_name = "SECONDS")]
    time: Option<f64>,
    /// Send through an AF_XDP socket instead of live frames
    #[arg(long)]
    af_xdp: bool,
    /// Send through so many queues of the interface, each flow through one of them
    #[arg(long, default_value_t = 1, value_name = "N", requires = "af_xdp")]
    queues: u32,
    /// Stay on this processor
    #[arg(long)]
    core: Option<usize>,
}

#[derive(Debug, Args)]
struct SinkArgs {
    #[command(flatten)]
    traffic: TrafficArgs,
    /// At which interface
    #[arg(long)]
    interface: String,
    /// What is done to the packets on their way: bare, route, nat, dr or tun
    #[arg(long, default_value = "nat")]
    change: Change,
    /// A real server: its hardware address and address, as in 02:00:00:00:01:11/198.19.1.11:8080 (repeat it)
    #[arg(long = "real", value_name = "MAC/ADDRESS:PORT", value_parser = real, required = true)]
    reals: Vec<Real>,
    /// The hardware address that packets must come from
    #[arg(long, value_name = "MAC")]
    from: Option<Mac>,
    /// Judge the packets of one flow in so many (a power of two)
    #[arg(long, default_value_t = 1, value_name = "N")]
    one_in: u32,
    /// Judge one packet in so many instead, of all flows; order and loss by flow are not seen then
    #[arg(long)]
    by_packet: bool,
    /// Hang it on the driver (XDP) instead of the kernel's ingress
    #[arg(long)]
    xdp: bool,
}

#[derive(Debug, Args)]
struct ConnectArgs {
    /// The service
    #[arg(long, value_name = "ADDRESS:PORT")]
    to: std::net::SocketAddrV4,
    /// Out of which interface
    #[arg(long)]
    interface: String,
    /// Hardware address of the director
    #[arg(long, value_name = "MAC")]
    next_hop: Mac,
    /// Hardware address of the client
    #[arg(long, default_value = "02:00:00:00:00:e0", value_name = "MAC")]
    source: Mac,
    /// First address of the clients
    #[arg(long, default_value = "198.18.128.0", value_name = "ADDRESS")]
    clients: std::net::Ipv4Addr,
    /// Pairs of address and port, used in turn
    #[arg(long, default_value_t = 65_536, value_name = "N")]
    tuples: u32,
    /// Connections open at a time
    #[arg(long, default_value_t = 256, value_name = "N")]
    concurrent: u32,
    /// For how many seconds
    #[arg(long, default_value_t = 5.0, value_name = "SECONDS")]
    time: f64,
    /// Stay on this processor
    #[arg(long)]
    core: Option<usize>,
}

#[derive(Debug, Args)]
struct RespondArgs {
    /// At which interface
    #[arg(long)]
    interface: String,
    /// Stay on this processor
    #[arg(long)]
    core: Option<usize>,
}

#[derive(Debug, Args)]
struct BareArgs {
    /// One way: IN:OUT/SOURCE/DESTINATION, as in d0:d1/02:00:00:00:00:d1/02:00:00:00:01:11
    #[arg(long, value_parser = way)]
    there: bare::Way,
    /// The way back, likewise
    #[arg(long, value_parser = way)]
    back: bare::Way,
    /// Wait for packets instead of looking all the time
    #[arg(long)]
    adaptive: bool,
    /// Stay on this processor
    #[arg(long)]
    core: Option<usize>,
    /// Faults in a million packets on the first way: corrupt=1,duplicate=1,reorder=1,drop=1
    #[arg(long, value_parser = faults)]
    faults: Option<FaultRates>,
}

fn real(text: &str) -> Result<Real, String> {
    let wrong = || format!("real {text}: write it as 02:00:00:00:01:11/198.19.1.11:8080");
    let (mac, address) = text.split_once('/').ok_or_else(wrong)?;
    Ok(Real { mac: mac.parse()?, address: address.parse().map_err(|_| wrong())? })
}

fn way(text: &str) -> Result<bare::Way, String> {
    let wrong = || format!("way {text}: write it as IN:OUT/SOURCE/DESTINATION");
    let (names, macs) = text.split_once('/').ok_or_else(wrong)?;
    let (from, to) = names.split_once(':').ok_or_else(wrong)?;
    let (source, destination) = macs.split_once('/').ok_or_else(wrong)?;
    Ok(bare::Way {
        from: from.to_owned(),
        to: to.to_owned(),
        source: source.parse()?,
        destination: destination.parse()?,
    })
}

fn faults(text: &str) -> Result<FaultRates, String> {
    let mut rates = FaultRates::default();
    for part in text.split(',') {
        let wrong = || format!("fault {part}: write corrupt=N, duplicate=N, reorder=N, drop=N or truncate=N");
        let (name, rate) = part.split_once('=').ok_or_else(wrong)?;
        let rate = rate.parse().map_err(|_| wrong())?;
        match name {
            "corrupt" => rates.corrupt = rate,
            "duplicate" => rates.duplicate = rate,
            "reorder" => rates.reorder = rate,
            "drop" => rates.drop = rate,
            "truncate" => rates.truncate = rate,
            _ => return Err(wrong()),
        }
    }
    Ok(rates)
}

/// Does what was asked for; false when it was done and found something wrong.
pub(crate) fn run(cli: Cli) -> io::Result<bool> {
    match cli.verb {
        Verb::Send(args) => send(&args),
        Verb::Sink(args) => sink(&args),
        Verb::Connect(args) => connect(&args),
        Verb::Respond(args) => respond(&args),
        Verb::Bare(args) => forward(&args),
    }
}

fn send(args: &SendArgs) -> io::Result<bool> {
    let traffic = Traffic { source: args.source, next_hop: args.next_hop, ..args.traffic.traffic()? };
    let stream = Stream::new(traffic);
    let time = args.time.map(Duration::from_secs_f64);
    if args.count.is_none() && time.is_none() {
        return Err(io::Error::other("send: without an end: use --count or --time"));
    }
    let until = Until { packets: args.count, time };
    let mut line = Line::new();
    let show = |sent: Sent| line.show(&format!("{} packets, {:.3} Mpps", sent.packets, sent.rate / 1e6));
    let sent = if args.af_xdp {
        pin(args.core);
        let station = |queue| Station::on(&args.interface, queue, false);
        let mut stations = (0..args.queues).map(station).collect::<io::Result<Vec<_>>>()?;
        send_af_xdp(&stream, &mut stations, args.rate, until, show)?
    } else {
        LiveSender::new(Arc::new(stream), &args.interface)?.send(args.rate, until, args.core, show)?
    };
    line.end();
    print(&sent)?;
    Ok(true)
}

fn sink(args: &SinkArgs) -> io::Result<bool> {
    let stop = on_signals()?;
    let expect = Expect {
        traffic: args.traffic.traffic()?,
        change: args.change,
        from: args.from,
        reals: args.reals.clone(),
        order: !args.by_packet && !args.traffic.fresh,
    };
    let hook = if args.xdp { Hook::Xdp } else { Hook::Tc };
    let mut sink = VerifyingSink::attach(&args.interface, hook, args.one_in, expect)?;
    let (mut line, start) = (Line::new(), clock::now());
    line.show("ready");
    // ORDERING: only that it is seen some time counts.
    while !stop.load(Ordering::Relaxed) {
        clock::pause(Duration::from_millis(10));
        sink.work();
        if start.elapsed().subsec_millis() < 20 {
            let received = sink.received()?;
            line.show(&format!("{} packets, {} faulty", received.packets, received.verdicts.faulty()));
        }
    }
    sink.settle(Duration::from_millis(100))?;
    line.end();
    let received = sink.received()?;
    print(&received)?;
    for fault in Fault::ALL.into_iter().filter(|fault| received.verdicts.of(*fault) > 0) {
        eprintln!("{fault:?}: {} packets", received.verdicts.of(fault));
    }
    Ok(received.verdicts.faulty() == 0)
}

fn connect(args: &ConnectArgs) -> io::Result<bool> {
    pin(args.core);
    let mut station = Station::open(&args.interface, true)?;
    let client = Client {
        to: args.to,
        macs: [args.source, args.next_hop],
        first: args.clients,
        tuples: args.tuples,
        concurrent: args.concurrent,
        time: Duration::from_secs_f64(args.time),
    };
    let mut line = Line::new();
    let done = client.run(&mut station, |sum| {
        line.show(&format!("{} connections, {:.0} a second", sum.completed, sum.rate));
    })?;
    line.end();
    print(&done)?;
    Ok(done.completed > 0 && done.unexpected == 0)
}

fn respond(args: &RespondArgs) -> io::Result<bool> {
    let stop = on_signals()?;
    pin(args.core);
    let mut station = Station::open(&args.interface, true)?;
    Line::new().show("ready");
    let answered = serve(&mut station, &stop);
    println!("{{\"answered\":{answered}}}");
    Ok(true)
}

fn forward(args: &BareArgs) -> io::Result<bool> {
    let stop = on_signals()?;
    let options = bare::Options {
        core: args.core,
        adaptive: args.adaptive,
        faults: args.faults.map(|rates| (rates, 1)),
    };
    let ways = [args.there.clone(), args.back.clone()];
    let forwarded = bare::forward(&ways, &options, &stop, || Line::new().show("ready"))?;
    println!("{{\"forwarded\":{forwarded}}}");
    Ok(true)
}

/// A flag that SIGINT and SIGTERM set.
fn on_signals() -> io::Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&stop))?;
    }
    Ok(stop)
}

fn print(result: &impl Serialize) -> io::Result<()> {
    println!("{}", serde_json::to_string(result).map_err(io::Error::other)?);
    Ok(())
}

/// One line on a terminal that is written again and again; elsewhere only its first word appears, for scripts that wait.
struct Line {
    terminal: bool,
    shown: bool,
}

impl Line {
    fn new() -> Line {
        Line { terminal: io::stderr().is_terminal(), shown: false }
    }

    fn show(&mut self, text: &str) {
        if self.terminal {
            eprint!("\r\x1b[K{text}");
            let _ = io::stderr().flush();
        } else if !self.shown {
            eprintln!("{text}");
        }
        self.shown = true;
    }

    fn end(&self) {
        if self.terminal && self.shown {
            eprintln!();
        }
    }
}
