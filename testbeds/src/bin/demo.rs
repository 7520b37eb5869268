//! The demo: one network in namespaces, three web servers behind one virtual IP, reached by NAT, by direct routing
//! and by IP-in-IP tunnelling in turn. Each step says what it does, does it, and fails the demo if it does not hold.

#![forbid(unsafe_code)]

use std::io::{self, BufRead, IsTerminal};
use std::process::ExitCode;

use clap::Parser;
use sheave_testbeds::http::{After, HttpConn, greeting};
use sheave_testbeds::load::{Running, Tally};
use sheave_testbeds::servers::tcp_greeter;
use sheave_testbeds::wait::Stopwatch;
use sheave_testbeds::{Bed, Capture, Error, Method, Result, Service, addr};

/// Shows sheave on real traffic: NAT, direct routing and IP-in-IP tunnelling, in network namespaces.
#[derive(Debug, Parser)]
#[command(name = "demo", version)]
struct Options {
    /// Stay at the end until Enter is pressed, so that you can try commands on the running director
    #[arg(long)]
    keep: bool,
    /// No colours, even on a terminal
    #[arg(long)]
    plain: bool,
}

/// Requests that are counted for each method.
const REQUESTS: u32 = 30;

/// The network, as the demo draws it.
const DRAWING: &str = "
    client 198.18.0.2 ---+--- d0  director  d1 ---+--- 198.19.1.11 r1 (nginx)
                         |  198.18.0.1 198.19.1.1 +--- 198.19.1.12 r2 (nginx)
                         +--- other router -------+--- 198.19.1.13 r3 (nginx)

    virtual IP: 198.18.0.100, on no interface: sheaved answers for it";

/// What is said, and how.
struct Stage {
    colours: bool,
    steps: u32,
}

impl Stage {
    fn heading(&mut self, text: &str) {
        self.steps += 1;
        let (on, off) = if self.colours { ("\x1b[1;36m", "\x1b[0m") } else { ("", "") };
        println!("\n{on}== {}. {text}{off}", self.steps);
    }

    fn say(&self, text: &str) {
        println!("   {text}");
    }

    fn command(&self, text: &str) {
        let (on, off) = if self.colours { ("\x1b[33m", "\x1b[0m") } else { ("", "") };
        println!("   {on}$ {text}{off}");
    }

    fn good(&self, text: &str) {
        let (on, off) = if self.colours { ("\x1b[32m", "\x1b[0m") } else { ("", "") };
        println!("   {on}ok{off} {text}");
    }

    fn block(&self, text: &str) {
        for line in text.trim_end().lines() {
            println!("      {line}");
        }
    }
}

fn main() -> ExitCode {
    let options = Options::parse();
    let colours = !options.plain && io::stdout().is_terminal();
    let watch = Stopwatch::start();
    let mut stage = Stage { colours, steps: 0 };
    match show(&mut stage, &options) {
        Ok(()) => {
            println!("\nDone in {:.0} s; nothing is left behind.", watch.elapsed().as_secs_f64());
            ExitCode::SUCCESS
        }
        Err(e) => {
            eprintln!("\nerror: demo: {e}");
            ExitCode::FAILURE
        }
    }
}

fn show(stage: &mut Stage, options: &Options) -> Result<()> {
    stage.heading("A network of our own: a client, a director, three web servers");
    println!("{DRAWING}");
    let bed = Bed::start(Method::Nat)?;
    let shown = acts(stage, &bed);
    if shown.is_err() {
        eprintln!("{}", bed.director.state());
    }
    shown?;
    if options.keep {
        println!("\n   It stays as it is until you press Enter.");
        let _ = io::stdin().lock().lines().next();
    }
    Ok(())
}

fn acts(stage: &mut Stage, bed: &Bed) -> Result<()> {
    nat(stage, bed)?;
    host(stage, bed)?;
    maintenance(stage, bed)?;
    direct_routing(stage, bed)?;
    tunnelling(stage, bed)?;
    the_end(stage, bed)
}

fn nat(stage: &mut Stage, bed: &Bed) -> Result<()> {
    stage.heading("NAT: the director rewrites addresses and ports, in both directions");
    stage.say("The web servers listen on port 8080; their default route is the director.");
    stage.command("sheaved --config nat.toml");
    stage.command("sheave service list");
    stage.block(&bed.director.sheave(&["service", "list"])?);
    stage.command("sheave destination list web");
    stage.block(&bed.director.sheave(&["destination", "list", "web"])?);
    let url = format!("http://{}/", addr::VIP);
    for _ in 0..6 {
        let answer = bed.lab.client.exec(&["curl", "-sS", "--fail", "--max-time", "10", &url])?;
        stage.command(&format!("curl {url}     -> {}", answer.trim()));
    }
    spread(stage, bed)
}

/// Asks often and says who answered.
fn spread(stage: &Stage, bed: &Bed) -> Result<()> {
    let mut tally = Tally::default();
    for _ in 0..REQUESTS {
        *tally.answers.entry(bed.ask()?).or_default() += 1;
    }
    stage.good(&format!("{REQUESTS} requests through the virtual IP: {}", counts(&tally)));
    if tally.answers.len() == bed.lab.reals.len() {
        return Ok(());
    }
    Err(Error::new(format!(
        "virtual IP: not every server answered: {}: see `sheave counters`",
        counts(&tally)
    )))
}

fn counts(tally: &Tally) -> String {
    let each: Vec<_> = tally.answers.iter().map(|(server, count)| format!("{server} {count}")).collect();
    each.join(", ")
}

fn host(stage: &mut Stage, bed: &Bed) -> Result<()> {
    stage.heading("The director's host stays a host");
    let own = addr::DIRECTOR_OUTSIDE.to_string();
    bed.lab.client.exec(&["ping", "-c", "1", "-W", "5", &own])?;
    stage.good(&format!("ping {own}: answered by the director's kernel, on the same interface"));
    let at = (addr::DIRECTOR_OUTSIDE, 2222).into();
    let _server = tcp_greeter(&bed.lab.director, "the host's own server", at)?;
    stage.good(&format!("tcp {at}: answered by {}", greeting(&bed.lab.client, at)?));
    Ok(())
}

fn maintenance(stage: &mut Stage, bed: &Bed) -> Result<()> {
    stage.heading("A server is taken out and put back while requests run");
    let third = format!("{}:{}", addr::real(3), Method::Nat.web_port());
    let load = bed.close_load();
    load.wait_server("r3", 50)?;
    let step = |words: &[&str]| -> Result<()> {
        stage.command(&format!("sheave {}", words.join(" ")));
        bed.director.sheave(words).map(drop)
    };
    let told = |load: &Running, what: &str| stage.say(&format!("{what}: {}", counts(&load.tally())));
    told(&load, "answers so far");
    step(&["destination", "edit", "web", &third, "--weight", "0"])?;
    load.wait_without("r3", 200)?;
    told(&load, "r3 gets no new connections");
    step(&["destination", "remove", "web", &third])?;
    load.wait_answers(200)?;
    told(&load, "r3 is out");
    step(&["destination", "add", "web", &third, "--weight", "1"])?;
    load.wait_server("r3", 100)?;
    let tally = load.finish();
    stage.say(&format!("r3 is back: {}", counts(&tally)));
    if let Some(first) = tally.failures.first() {
        let (failed, total) = (tally.failed, tally.total());
        return Err(Error::new(format!("{failed} requests failed, {total} did not: {}", first.what)));
    }
    stage.good(&format!("{} requests, 0 failed", tally.total()));
    Ok(())
}

/// Prepares the real servers for a method and applies a file that uses it.
fn switch(stage: &Stage, bed: &Bed, method: Method) -> Result<()> {
    bed.lab.prepare(method)?;
    let path = bed.lab.file(&format!("{}.toml", method.name()));
    let text = bed.director.config_text(&[Service::web(&bed.lab, method)])?;
    std::fs::write(&path, text).map_err(Error::about(path.display()))?;
    let shown = path.display().to_string();
    stage.command(&format!("sheave apply {}.toml --dry-run", method.name()));
    stage.block(&bed.director.sheave(&["apply", &shown, "--dry-run"])?);
    stage.command(&format!("sheave apply {}.toml", method.name()));
    bed.director.sheave(&["apply", &shown]).map(drop)
}

/// One request on a connection of its own while the cable of the server that answers is watched.
fn watch_first(stage: &Stage, bed: &Bed, wanted: &str) -> Result<()> {
    let real = &bed.lab.reals[0];
    let capture = Capture::start(&bed.lab, &real.netns, "r0", "ip and net 198.18.0.0/24 or ip proto 4")?;
    let mut server = String::new();
    for _ in 0..bed.lab.reals.len() * 2 {
        let mut connection = HttpConn::open(&bed.lab.client, bed.lab.vip(80))?;
        server = connection.ask(After::Close).map_err(Error::about("request through the virtual IP"))?;
        if server == real.name {
            break;
        }
    }
    let captured = capture.finish()?;
    let lines = captured.lines()?;
    let line = lines.iter().find(|line| line.contains(wanted)).ok_or_else(|| {
        Error::new(format!("{} (last answer by {server}): no frame with {wanted:?}: {lines:?}", real.name))
    })?;
    stage.say("On the cable to r1:");
    stage.block(line);
    Ok(())
}

fn direct_routing(stage: &mut Stage, bed: &Bed) -> Result<()> {
    stage.heading("Direct routing: only the frame's addresses change; answers go past the director");
    stage.say("Each server owns the virtual IP on its loopback and is silent about it:");
    stage.block("ip addr add 198.18.0.100/32 dev lo; sysctl net.ipv4.conf.all.arp_ignore=1 .arp_announce=2");
    switch(stage, bed, Method::Dr)?;
    watch_first(stage, bed, &format!("> {}.80: Flags [S]", addr::VIP))?;
    spread(stage, bed)
}

fn tunnelling(stage: &mut Stage, bed: &Bed) -> Result<()> {
    stage.heading("Tunnelling: the client's packet travels inside another one");
    stage.say("As before, and each server strips the outer header.");
    switch(stage, bed, Method::Tun)?;
    watch_first(stage, bed, &format!("{} > {}: IP", addr::DIRECTOR_INSIDE, addr::real(1)))?;
    spread(stage, bed)
}

fn the_end(stage: &mut Stage, bed: &Bed) -> Result<()> {
    stage.heading("What it counted");
    stage.command("sheave stats");
    stage.block(&bed.director.sheave(&["stats"])?);
    stage.heading("To try next, on the running director");
    let socket = bed.director.socket().display();
    stage.say("target/release/demo --keep stays at this point; then, in another terminal:");
    stage.block(&format!(
        "export SHEAVE_SOCKET={socket}\n\
         target/release/sheave status\n\
         target/release/sheave stats --watch\n\
         target/release/sheave connections\n\
         target/release/sheave counters\n\
         target/release/sheave events\n\
         ip netns exec {} curl http://{}/",
        bed.lab.client.name(),
        addr::VIP
    ));
    Ok(())
}
