//! Who is measured: the bare forwarder, sheave, and what one would use instead. Each runs alone, on the director's processor.

use crate::bench::{Bench, Family, GENERATOR, INSIDE, NEAR, OUTSIDE, REALS, VIP, real_mac};
use crate::machine::{DIRECTOR_CORE, GENERATOR_CORE};
use sheave_pktgen::{Change, Expect, Mac, Real, Traffic, bare};
use sheave_testbeds::wait::wait_until;
use sheave_testbeds::{Error, Process, Result, run};
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

/// One that can be measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Contender {
    /// Nobody: endpoints on a cable of their own. Only what tells whether they are fit to measure others.
    Direct,
    /// Forwards and changes hardware addresses only: the ceiling of whatever uses AF_XDP.
    Bare,
    SheaveNat,
    SheaveDr,
    SheaveTun,
    /// The kernel's own forwarding, without any rule.
    Route,
    /// nftables: a hash over the client's address and port, a map of real servers.
    Nft,
    /// DPDK's testpmd over the same AF_XDP sockets, changing hardware addresses only.
    Testpmd,
    Haproxy,
    Nginx,
}

impl Contender {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Contender::Direct => "nobody between",
            Contender::Bare => "bare AF_XDP",
            Contender::SheaveNat => "sheave NAT",
            Contender::SheaveDr => "sheave DR",
            Contender::SheaveTun => "sheave TUN",
            Contender::Route => "ip_forward",
            Contender::Nft => "nftables DNAT",
            Contender::Testpmd => "DPDK testpmd",
            Contender::Haproxy => "HAProxy",
            Contender::Nginx => "nginx stream",
        }
    }

    /// Whether it is the director or its ceiling. Peers may be missing.
    pub(crate) fn is_ours(self) -> bool {
        matches!(self, Contender::Bare) || self.method().is_some()
    }

    fn method(self) -> Option<&'static str> {
        match self {
            Contender::SheaveNat => Some("nat"),
            Contender::SheaveDr => Some("dr"),
            Contender::SheaveTun => Some("tun"),
            _ => None,
        }
    }

    /// Whether its packets are handled by the kernel's receive path, which then has to run on the director's processor.
    pub(crate) fn is_in_kernel(self) -> bool {
        matches!(self, Contender::Route | Contender::Nft | Contender::Haproxy | Contender::Nginx)
    }

    /// The real servers' port: NAT and proxies map ports, the others cannot.
    pub(crate) fn real_port(self) -> u16 {
        match self {
            Contender::SheaveNat | Contender::Nft | Contender::Haproxy | Contender::Nginx => 8080,
            _ => 80,
        }
    }

    /// To whom its packets are sent.
    pub(crate) fn to(self, family: Family) -> SocketAddr {
        match self {
            Contender::Route => family.real(1, 80),
            Contender::Direct => NEAR.into(),
            _ => family.vip(),
        }
    }

    /// What is right of the packets that come through it.
    pub(crate) fn expect(self, traffic: &Traffic) -> Expect {
        let family = Family::of(traffic.to.ip());
        let one = |mac: Mac| vec![Real { mac, address: family.real(1, 80) }];
        let (change, from, reals) = match self {
            Contender::Bare => (Change::Bare, INSIDE, one(real_mac(1))),
            // It swaps them.
            Contender::Testpmd => (Change::Bare, OUTSIDE, one(GENERATOR)),
            Contender::Route => (Change::Route, INSIDE, one(real_mac(1))),
            Contender::SheaveDr => (Change::Dr, INSIDE, family.reals(80)),
            Contender::SheaveTun => (Change::Tun, INSIDE, family.reals(80)),
            _ => (Change::Nat, INSIDE, family.reals(self.real_port())),
        };
        Expect { traffic: traffic.clone(), change, from: Some(from), reals, order: !traffic.fresh }
    }

    /// New connections a second that it is given while it warms up; 0: no need to.
    pub(crate) fn opening(self) -> f64 {
        match self {
            Contender::Bare | Contender::Testpmd | Contender::Route => 0.0,
            Contender::Nft => 300_000.0,
            // Below what counts as a flood.
            _ => 150_000.0,
        }
    }

    /// Starts it, to serve port 80 of the VIP.
    pub(crate) fn start<'a>(self, bench: &'a Bench, job: &Job) -> Result<Running<'a>> {
        let mut running = Running { bench, contender: self, process: None, thread: None };
        settle_queues(bench, self.is_in_kernel())?;
        match self {
            Contender::Bare => running.thread = Some(start_bare(bench)?),
            Contender::Route | Contender::Direct => {}
            Contender::Nft => start_nft(bench, job)?,
            Contender::Testpmd => running.process = Some(start_testpmd(bench)?),
            Contender::Haproxy | Contender::Nginx => running.process = Some(start_proxy(bench, self)?),
            Contender::SheaveNat | Contender::SheaveDr | Contender::SheaveTun => {
                running.process = Some(start_sheave(bench, self, job)?);
            }
        }
        Ok(running)
    }
}

/// New connections a second to a VIP that the steering program admits where there is a flood.
const ADMITTED: u32 = 20_000;

/// What a contender has to serve.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Job {
    pub(crate) family: Family,
    /// TCP; UDP otherwise.
    pub(crate) tcp: bool,
    /// Whether the port above is flooded.
    pub(crate) flooded: bool,
    pub(crate) flows: u32,
}

impl Job {
    /// TCP over IPv4.
    pub(crate) fn tcp(flows: u32) -> Job {
        Job { family: Family::V4, tcp: true, flooded: false, flows }
    }

    fn protocol(self) -> &'static str {
        if self.tcp { "tcp" } else { "udp" }
    }
}

/// A bare forwarder on a thread.
#[derive(Debug)]
struct Forwarder {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Result<io::Result<u64>>>,
}

/// A contender that runs. Dropping it ends it and leaves the bench as it was.
#[derive(Debug)]
pub(crate) struct Running<'a> {
    bench: &'a Bench,
    contender: Contender,
    process: Option<Process>,
    thread: Option<Forwarder>,
}

impl Running<'_> {
    /// Resident memory of its process and the children of that, in bytes.
    pub(crate) fn memory(&self) -> u64 {
        let Some(process) = &self.process else { return 0 };
        let children =
            fs::read_to_string(format!("/proc/{0}/task/{0}/children", process.pid())).unwrap_or_default();
        let own = process.pid().to_string();
        children.split_whitespace().chain([own.as_str()]).map(resident).sum()
    }

    /// What it said.
    pub(crate) fn log(&self) -> String {
        self.process.as_ref().map(Process::log).unwrap_or_default()
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.signal_end();
        }
        if let Some(forwarder) = self.thread.take() {
            // ORDERING: the thread looks at nothing else of ours.
            forwarder.stop.store(true, Ordering::Relaxed);
            let _ = forwarder.thread.join();
        }
        let director = &self.bench.director;
        match self.contender {
            Contender::Nft => drop(director.exec(&["nft", "flush", "ruleset"])),
            Contender::Haproxy | Contender::Nginx => drop(director.ip(&format!("addr del {VIP}/32 dev lo"))),
            _ => {}
        }
    }
}

/// The end of a process that may want to tidy up.
trait SignalEnd {
    fn signal_end(&mut self) -> Result<()>;
}

impl SignalEnd for Process {
    fn signal_end(&mut self) -> Result<()> {
        run(&["kill", "-TERM", &self.pid().to_string()])?;
        self.wait_end(Duration::from_secs(5)).map(drop)
    }
}

fn resident(pid: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0) * 1024
}

/// Which processor receives for the director: its own when the kernel does the work, through a thread of its own; else
/// the generator's, which does it in passing.
fn settle_queues(bench: &Bench, threaded: bool) -> Result<()> {
    let before = receivers()?;
    let script = format!("for d in d0 d1; do echo {} > /sys/class/net/$d/threaded; done", u8::from(threaded));
    bench.director.exec(&["sh", "-c", &script])?;
    // Threads of the kernel belong to no namespace: those that are new are ours.
    for pid in receivers()?.difference(&before) {
        run(&["taskset", "-pc", &DIRECTOR_CORE.to_string(), pid])?;
    }
    Ok(())
}

fn receivers() -> Result<BTreeSet<String>> {
    let list = run(&["ps", "-eo", "pid,comm"])?;
    let lines = list.lines().filter(|line| line.contains("napi/d"));
    Ok(lines.filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect())
}

fn start_bare(bench: &Bench) -> Result<Forwarder> {
    let stop = Arc::new(AtomicBool::new(false));
    let (tell, ready) = mpsc::channel();
    let way = |from: &str, to: &str, source, destination| bare::Way {
        from: from.to_owned(),
        to: to.to_owned(),
        source,
        destination,
    };
    let ways = [way("d0", "d1", INSIDE, real_mac(1)), way("d1", "d0", OUTSIDE, GENERATOR)];
    let thread = bench.director.thread({
        let stop = Arc::clone(&stop);
        move || {
            let options = bare::Options { core: Some(DIRECTOR_CORE), adaptive: true, faults: None };
            bare::forward(&ways, &options, &stop, || _ = tell.send(()))
        }
    });
    if ready.recv_timeout(Duration::from_secs(10)).is_err() {
        let why = thread.join().map_err(|_| Error::new("bare forwarder: panicked"))?;
        return Err(Error::new(format!("bare forwarder: did not start: {why:?}")));
    }
    Ok(Forwarder { stop, thread })
}

fn start_nft(bench: &Bench, job: &Job) -> Result<()> {
    let protocol = job.protocol();
    let ip = if job.family == Family::V4 { "ip" } else { "ip6" };
    let mut map = String::new();
    for number in 1..=REALS {
        // Writing to a String cannot fail.
        let _ = write!(map, "{} : {} . 8080, ", number - 1, job.family.real(number, 0).ip());
    }
    let rules = format!(
        "table {ip} perf {{\nchain pre {{\ntype nat hook prerouting priority -100;\n\
         {ip} daddr {} {protocol} dport 80 dnat {ip} addr . port to \
         jhash {ip} saddr . {protocol} sport mod {REALS} map {{ {map} }}\n}}\n}}\n",
        job.family.vip().ip()
    );
    let file = bench.file("rules.nft");
    fs::write(&file, rules).map_err(Error::about(file.display()))?;
    // Both are the whole machine's; more than was there before harms nobody.
    let entries = (job.flows * 2).max(1 << 18).to_string();
    let _ = fs::write("/proc/sys/net/netfilter/nf_conntrack_max", &entries);
    let _ = fs::write("/sys/module/nf_conntrack/parameters/hashsize", &entries);
    let file = file.to_str().ok_or_else(|| Error::new("scratch directory: not UTF-8"))?;
    bench.director.exec(&["nft", "-f", file]).map(drop)
}

fn start_testpmd(bench: &Bench) -> Result<Process> {
    let device = |n: u8| format!("--vdev=net_af_xdp{n},iface=d{n},busy_budget=64");
    let cores = format!("--lcores=0@{GENERATOR_CORE},1@{DIRECTOR_CORE}");
    let devices = [device(0), device(1)];
    let command = [
        "dpdk-testpmd",
        "--no-huge",
        "-m",
        "512",
        "--no-pci",
        "--no-shconf",
        "--no-telemetry",
        &cores,
        &devices[0],
        &devices[1],
        "--",
        "--forward-mode=macswap",
        "--nb-cores=1",
        "--auto-start",
        "--total-num-mbufs=32768",
        "--stats-period=3600",
    ];
    let log = bench.file("testpmd.log");
    let mut process = bench.director.spawn(&command, &log)?;
    wait_up("dpdk-testpmd", &mut process, |said| {
        said.contains("Port 1:") || said.contains("Port statistics")
    })?;
    Ok(process)
}

fn start_proxy(bench: &Bench, which: Contender) -> Result<Process> {
    bench.director.ip(&format!("addr add {VIP}/32 dev lo"))?;
    let mut servers = String::new();
    for number in 1..=REALS {
        let address = Family::V4.real(number, 8080);
        let _ = match which {
            Contender::Haproxy => writeln!(servers, "  server r{number} {address}"),
            _ => write!(servers, "server {address}; "),
        };
    }
    let core = DIRECTOR_CORE.to_string();
    let (name, text) = match which {
        Contender::Haproxy => (
            "haproxy.cfg",
            format!(
                "global\n  nbthread 1\n  maxconn 9000\ndefaults\n  mode tcp\n  timeout connect 5s\n  timeout client 60s\n  \
                 timeout server 60s\nlisten perf\n  bind {VIP}:80 backlog 65535\n  balance roundrobin\n{servers}"
            ),
        ),
        _ => (
            "nginx.conf",
            format!(
                "load_module /usr/lib/nginx/modules/ngx_stream_module.so;\nworker_processes 1;\npid {};\ndaemon off;\n\
                 error_log stderr crit;\nevents {{ worker_connections 19000; }}\n\
                 stream {{ upstream reals {{ {servers} }} server {{ listen {VIP}:80 backlog=65535; proxy_pass reals; }} }}\n",
                bench.file("nginx.pid").display()
            ),
        ),
    };
    let file = bench.file(name);
    fs::write(&file, text).map_err(Error::about(file.display()))?;
    let file = file.to_str().ok_or_else(|| Error::new("scratch directory: not UTF-8"))?;
    let command = match which {
        Contender::Haproxy => vec!["taskset", "-c", &core, "haproxy", "-db", "-f", file],
        _ => vec!["taskset", "-c", &core, "nginx", "-c", file],
    };
    let mut process = bench.director.spawn(&command, &bench.file("proxy.log"))?;
    let mut up = false;
    wait_up(which.name(), &mut process, |_| {
        up = up
            || bench.director.exec(&["ss", "-Hltn", "sport", "=", ":80"]).is_ok_and(|said| !said.is_empty());
        up
    })?;
    Ok(process)
}

fn start_sheave(bench: &Bench, which: Contender, job: &Job) -> Result<Process> {
    let (method, port) = (which.method().unwrap_or("nat"), which.real_port());
    let socket = bench.file("control.sock");
    // A quarter of it may be half open, three quarters of that at one listen: all flows of a flooded case are, until they are
    // measured, because no real server answers.
    let connections = if job.flooded { job.flows * 8 } else { (job.flows * 5 / 4).max(1 << 16) };
    // All flows of a case begin at once, which is no flood.
    let flood = if job.flooded {
        format!("vip-rate = {ADMITTED}, vip-burst = {ADMITTED}")
    } else {
        "new-connections = 0".to_owned()
    };
    let mut text = format!(
        "[director]\nname = \"perf\"\nsocket = \"{}\"\ncores = [{DIRECTOR_CORE}]\nmax-connections = {connections}\n\
         flood = {{ {flood} }}\n\n\
         [[interface]]\nname = \"d0\"\n\n[[interface]]\nname = \"d1\"\n\n\
         [[service]]\nlisten = \"{}/{}\"\nscheduler = \"rr\"\nforward = \"{method}\"\n",
        socket.display(),
        job.family.vip(),
        job.protocol()
    );
    for number in 1..=REALS {
        let _ = write!(text, "\n[[service.destination]]\naddress = \"{}\"\n", job.family.real(number, port));
    }
    if job.flooded {
        let (vip, real) = (SocketAddr::new(job.family.vip().ip(), 81), job.family.real(REALS + 1, 8081));
        let _ = write!(
            text,
            "\n[[service]]\nlisten = \"{vip}/tcp\"\nscheduler = \"rr\"\nforward = \"nat\"\n\
             \n[[service.destination]]\naddress = \"{real}\"\n"
        );
    }
    let file = bench.file("sheaved.toml");
    fs::write(&file, text).map_err(Error::about(file.display()))?;
    let program = own_directory()?.join("sheaved");
    let (program, file) = (program.to_string_lossy().into_owned(), file.to_string_lossy().into_owned());
    let log = bench.file("sheaved.log");
    let _ = fs::remove_file(&log);
    let mut process = bench.director.spawn(&[&program, "--config", &file], &log)?;
    wait_up("sheaved", &mut process, |_| std::os::unix::net::UnixStream::connect(&socket).is_ok())?;
    Ok(process)
}

/// Where this program is, and sheaved beside it.
fn own_directory() -> Result<PathBuf> {
    let own = std::env::current_exe().map_err(Error::about("path of the running program"))?;
    let directory = own.parent().map(PathBuf::from).unwrap_or_default();
    if directory.join("sheaved").is_file() {
        return Ok(directory);
    }
    Err(Error::new(format!("sheaved: not in {}: build it: make release", directory.display())))
}

fn wait_up(name: &str, process: &mut Process, mut is_up: impl FnMut(&str) -> bool) -> Result<()> {
    let mut ended = None;
    let up = wait_until(&format!("{name}: start"), Duration::from_secs(15), || {
        ended = process.ended();
        ended.is_some() || is_up(&process.log())
    });
    match (up, ended) {
        (Ok(_), None) => Ok(()),
        (_, Some(status)) => {
            Err(Error::new(format!("{name}: ended at start with {status}: {}", process.log())))
        }
        (Err(error), None) => Err(Error::new(format!("{error}: it said: {}", process.log()))),
    }
}
