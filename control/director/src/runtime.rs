//! From the command line to the running director and to its end.
//!
//! Start: configuration, socket (so that a second director ends before it touches anything), connection table, frame
//! memory, workers, steering program, interfaces, ready. End: steering first, then the queues, the workers, the socket.

use crate::args::Args;
use crate::control::Control;
use crate::cores;
use crate::dataplane::{Dataplane, Setup};
use crate::director::{Director, Made};
use crate::netlink::Netlink;
use crate::serving::Serving;
use crate::socket;
use crate::wall;
use clap::CommandFactory;
use sheave_io::Steering;
use sheave_plan::Desired;
use sheave_proto::config::{self, Config};
use sheave_worker::{Clock, MAX_WORKERS, available_cores};
use std::fmt::Display;
use std::io::IsTerminal;
use std::process::ExitCode;

/// Exit codes, as in the contract.
const FAILED: u8 = 1;
const INVALID: u8 = 2;

/// Why the director did not start, or ended badly: lines for standard error.
enum Failure {
    Invalid(Vec<String>),
    Failed(String),
}

/// Does what the command line says.
pub fn main(args: &Args) -> ExitCode {
    let outcome = if args.man { print_manual() } else { start(args) };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Invalid(lines)) => {
            lines.iter().for_each(|line| eprintln!("{line}"));
            ExitCode::from(INVALID)
        }
        Err(Failure::Failed(line)) => {
            eprintln!("error: {line}");
            ExitCode::from(FAILED)
        }
    }
}

fn failed(what: &str) -> impl Fn(&dyn Display) -> Failure {
    move |e| Failure::Failed(format!("{what}: {e}"))
}

fn print_manual() -> Result<(), Failure> {
    clap_mangen::Man::new(Args::command())
        .render(&mut std::io::stdout())
        .map_err(|e| failed("manual page: not written")(&e))
}

/// Reads the file, or takes the defaults when there is none.
fn read(args: &Args) -> Result<Desired, Failure> {
    let Some(path) = &args.config else { return Ok(Desired::default()) };
    let name = path.display().to_string();
    let text = std::fs::read_to_string(path).map_err(|e| {
        Failure::Invalid(vec![format!("error: {name}: cannot be read: {e}: name a file that can")])
    })?;
    let lines =
        |errors: Vec<config::ConfigError>| Failure::Invalid(errors.iter().map(ToString::to_string).collect());
    let config: Config = config::parse(&text, &name).map_err(lines)?;
    Desired::new(config).map_err(lines)
}

fn start(args: &Args) -> Result<(), Failure> {
    let desired = read(args)?;
    let settings = desired.config().director.clone();
    let cores = cores::pick(&settings.cores, &available_cores(), MAX_WORKERS)
        .map_err(|why| Failure::Invalid(vec![format!("error: {why}")]))?;
    if args.check {
        return Ok(());
    }
    log(args);
    let started = wall::now();
    let (listener, socket_file) = socket::bind(&settings).map_err(Failure::Failed)?;
    let mut control = Control::new().map_err(|e| failed("control thread")(&e))?;
    let steering = Steering::load().map_err(|e| Failure::Failed(e.to_string()))?;
    let netlink = Netlink::open().map_err(|e| failed("netlink")(&e))?;
    let clock = Clock::start();
    let setup = Setup { director: &settings, cores: &cores, clock, notify: control.notify() };
    let (dataplane, current) = Dataplane::start(&setup).map_err(|e| Failure::Failed(e.to_string()))?;
    let serving = Serving::new(steering);
    let file = args.config.clone();
    let mut director = Director::new(Made { file, started, desired, dataplane, serving, netlink, current });
    control.settle(&mut director).map_err(|e| Failure::Failed(e.to_string()))?;
    tracing::info!(
        workers = cores.len(),
        services = director.desired.config().services.len(),
        socket = %settings.socket.display(),
        "ready"
    );
    let outcome = control.run(&mut director, listener);
    director.stop();
    drop(socket_file);
    outcome.map(drop).map_err(|e| failed("control thread")(&e))
}

fn log(args: &Args) {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_max_level(args.log)
        .with_target(false)
        .init();
}
