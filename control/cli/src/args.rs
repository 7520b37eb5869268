//! The grammar of the command line.

use clap::{Args, Parser, Subcommand, ValueHint};
use sheave_proto::api::ConnState;
use sheave_proto::config::{DestAddr, Forward, Listen, OnRemoval, Scheduler, Timeout, Weight};
use std::path::PathBuf;

/// Exit codes, printed with the long help.
const EXIT_CODES: &str = "Exit codes: 0 done, 1 failed, 2 usage or invalid configuration, 3 no such object, \
                          4 director not reachable. Errors go to standard error, one line each.";

/// The operator's command line of the sheave director.
#[derive(Debug, Parser)]
#[command(name = "sheave", version, about, long_about = None, after_long_help = EXIT_CODES)]
#[command(arg_required_else_help = true, max_term_width = 100)]
pub struct Cli {
    /// The director's control socket
    #[arg(long, global = true, env = "SHEAVE_SOCKET", value_hint = ValueHint::FilePath)]
    #[arg(default_value = "/run/sheave/control.sock")]
    pub socket: PathBuf,
    /// Print JSON: the director's answer as it is
    #[arg(long, global = true)]
    pub json: bool,
    /// What to do
    #[command(subcommand)]
    pub verb: Verb,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// The director at a glance: interfaces and their modes, workers, services
    Status,
    /// List, show, add, edit or remove virtual services
    #[command(subcommand)]
    Service(ServiceVerb),
    /// List, show, add, edit or remove destinations of a service
    #[command(subcommand)]
    Destination(DestinationVerb),
    /// Replace the whole configuration by a file, at once; connections that are not concerned go on
    Apply {
        /// The configuration file (TOML)
        #[arg(value_hint = ValueHint::FilePath)]
        file: PathBuf,
        /// Only print what would change
        #[arg(long)]
        dry_run: bool,
    },
    /// Read the file that the director was started with again, and apply it
    Reload,
    /// Totals, and rates a second (2-second estimator, as IPVS computes them)
    Stats {
        /// Only this service
        service: Option<String>,
        /// Print again every 2 seconds, until interrupted
        #[arg(long, short)]
        watch: bool,
    },
    /// List connection entries
    Connections(ConnectionArgs),
    /// Next hops and their hardware addresses
    Neighbours,
    /// Workers: turns, frames, queues, ring and XDP statistics
    Workers,
    /// Every verdict and reason, with its meaning
    Counters {
        /// Those that are 0, too
        #[arg(long, short)]
        all: bool,
    },
    /// Print events as they happen, until interrupted
    Events {
        /// Begin with this number, as far as the director keeps them
        #[arg(long)]
        since: Option<u64>,
    },
    /// The configuration in force
    #[command(subcommand)]
    Config(ConfigVerb),
    /// Run the packet path over captured frames and say what it would do
    Replay(crate::replay::ReplayArgs),
    /// Print a completion script for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Write the man pages into a directory
    Man {
        /// The directory; it is created
        #[arg(value_hint = ValueHint::DirPath)]
        directory: PathBuf,
    },
}

/// Verbs about services.
#[derive(Debug, Subcommand)]
pub enum ServiceVerb {
    /// Every service with its destinations
    List,
    /// One service with its destinations
    Show {
        /// Its name or listen string
        service: String,
    },
    /// Add a service
    Add {
        /// What it listens on, ADDRESS:PORT/PROTO, as in 198.18.0.100:80/tcp
        listen: Listen,
        /// Its name [default: the listen string]
        #[arg(long)]
        name: Option<String>,
        /// See there.
        #[command(flatten)]
        settings: ServiceSettings,
    },
    /// Change the named settings of a service
    Edit {
        /// Its name or listen string
        service: String,
        /// See there.
        #[command(flatten)]
        settings: ServiceSettings,
    },
    /// Remove a service with its destinations
    Remove {
        /// Its name or listen string
        service: String,
    },
}

/// Settings of a service; what is not given stays as it is, or at its default for a new one.
#[derive(Debug, Args)]
pub struct ServiceSettings {
    /// How destinations are chosen: rr, wrr, lc or wlc [default: wlc]
    #[arg(long, short)]
    pub scheduler: Option<Scheduler>,
    /// Forwarding method of destinations that name none: nat, dr or tun [default: nat]
    #[arg(long, short)]
    pub forward: Option<Forward>,
    /// What happens to TCP connections of a removed destination: reset, keep or drop [default: reset]
    #[arg(long)]
    pub on_removal: Option<OnRemoval>,
    /// The one interface on which the virtual address is answered and announced
    #[arg(long)]
    pub interface: Option<String>,
    /// Timeout of established TCP connections [default: 15m]
    #[arg(long, value_name = "DURATION")]
    pub tcp_timeout: Option<Timeout>,
    /// Timeout of TCP connections in FIN_WAIT [default: 2m]
    #[arg(long, value_name = "DURATION")]
    pub tcp_fin_timeout: Option<Timeout>,
    /// Timeout of UDP [default: 5m]
    #[arg(long, value_name = "DURATION")]
    pub udp_timeout: Option<Timeout>,
}

/// Verbs about destinations.
#[derive(Debug, Subcommand)]
pub enum DestinationVerb {
    /// Every destination, or those of one service
    List {
        /// The service's name or listen string
        service: Option<String>,
    },
    /// One destination
    Show(DestinationName),
    /// Add a destination to a service
    Add {
        /// See there.
        #[command(flatten)]
        name: DestinationName,
        /// See there.
        #[command(flatten)]
        settings: DestinationSettings,
    },
    /// Change the named settings of a destination; weight 0 takes no new connections
    Edit {
        /// See there.
        #[command(flatten)]
        name: DestinationName,
        /// See there.
        #[command(flatten)]
        settings: DestinationSettings,
    },
    /// Remove a destination from its service
    Remove(DestinationName),
}

/// Which destination.
#[derive(Debug, Args)]
pub struct DestinationName {
    /// The service's name or listen string
    pub service: String,
    /// The destination's ADDRESS or ADDRESS:PORT
    pub address: DestAddr,
}

/// Settings of a destination; what is not given stays as it is, or at its default for a new one.
#[derive(Debug, Args)]
pub struct DestinationSettings {
    /// Its share of new connections, 0 to 2147483647 [default: 1]
    #[arg(long, short, value_parser = weight)]
    pub weight: Option<Weight>,
    /// Its forwarding method: nat, dr or tun [default: the service's]
    #[arg(long, short)]
    pub forward: Option<Forward>,
}

/// Which connections, and how many.
#[derive(Debug, Args)]
pub struct ConnectionArgs {
    /// Only to this virtual ADDRESS or ADDRESS:PORT
    #[arg(long)]
    pub vip: Option<DestAddr>,
    /// Only to this real server, ADDRESS or ADDRESS:PORT
    #[arg(long)]
    pub real: Option<DestAddr>,
    /// Only of this client, ADDRESS or ADDRESS:PORT
    #[arg(long)]
    pub client: Option<DestAddr>,
    /// Only in this state: established, syn-recv, fin-wait, time-wait, close, udp, ...
    #[arg(long)]
    pub state: Option<ConnState>,
    /// Only of this service
    #[arg(long)]
    pub service: Option<String>,
    /// At most so many; 0 is all
    #[arg(long, default_value_t = 1000)]
    pub limit: u64,
}

/// Verbs about the configuration.
#[derive(Debug, Subcommand)]
pub enum ConfigVerb {
    /// Print it, fit for a file
    Show,
}

/// A weight, by the reader of the configuration's values.
fn weight(text: &str) -> Result<Weight, String> {
    let number: u32 = text.parse().map_err(|_| "not a whole number from 0 on".to_owned())?;
    Weight::try_from(number).map_err(|error| error.to_string())
}
