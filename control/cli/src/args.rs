//! The grammar of the command line.

mod settings;

pub use settings::{DestinationSettings, ServiceSettings, Unset};

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Parser, Subcommand, ValueHint};
use sheave_proto::api::{Clients, ConnState, Deadline, Rest, Templates};
use sheave_proto::config::{DestAddr, Duration, Listen, ValueError};
use std::path::PathBuf;
use std::str::FromStr;

/// Exit codes, printed with the long help.
const EXIT_CODES: &str = "Exit codes: 0 done, 1 failed, 2 usage or invalid configuration, 3 no such object, \
                          4 director not reachable. Errors go to standard error, one line each.";

const APPLY: &str = "\
Examples:
  sheave apply new.toml --dry-run      what would change
  sheave apply new.toml
  sheave config show | sed s/wlc/rr/ | sheave apply -";

const SERVICE_ADD: &str = "\
Examples:
  sheave service add 198.18.0.100:80/tcp --name web
  sheave service add 198.18.0.100:53/udp --scheduler wrr --forward dr --udp-timeout 30s
  sheave service add 198.18.0.100:80/tcp 198.18.0.100:443/tcp --persistence 6m
  sheave service add 198.18.0.100:*/udp --name logs --one-packet";

const SERVICE_EDIT: &str = "\
Examples:
  sheave service edit web --scheduler lc
  sheave service edit 198.18.0.100:80/tcp --on-removal keep --tcp-timeout 1h
  sheave service edit web --unset persistence --unset sorry";

const DESTINATION_ADD: &str = "\
Examples:
  sheave destination add web 198.19.1.11:8080
  sheave destination add web 198.19.1.12 --forward dr --weight 3";

const DESTINATION_EDIT: &str = "\
Examples:
  sheave destination edit web 198.19.1.11:8080 --weight 0      before maintenance
  sheave destination edit web 198.19.1.11:8080 --weight 3";

const DRAIN: &str = "\
Examples:
  sheave drain web 198.19.1.11:8080 --wait                         until its last connection has ended
  sheave drain web 198.19.1.11:8080 --deadline 5m --then reset
  sheave ready web 198.19.1.11:8080                                calls it off";

const CONNECTIONS: &str = "\
Examples:
  sheave connections --vip 198.18.0.100:80 --state established
  sheave connections --client 192.0.2.7 --limit 0 --json";

const STICKY_LIST: &str = "\
Examples:
  sheave sticky list --service web
  sheave sticky list --client 192.0.2.0/24 --limit 0 --json";

const STICKY_CLEAR: &str = "\
Examples:
  sheave sticky clear --client 192.0.2.7
  sheave sticky clear --service web --destination 198.19.1.11
  sheave sticky clear --all";

const REPLAY: &str = "\
Examples:
  sheave replay --config sheave.toml --in d0=clients.pcap --in d1=servers.pcap --out result";

const COMPLETIONS: &str = "\
Examples:
  sheave completions bash > /usr/share/bash-completion/completions/sheave
  sheave completions --all /usr/share/sheave/completions";

/// What every verb takes.
const EVERYWHERE: &str = "Options of every verb";

/// Asks the sheave director what it does, and tells it what to do
#[derive(Debug, Parser)]
#[command(name = "sheave", version, after_long_help = EXIT_CODES)]
#[command(arg_required_else_help = true, max_term_width = 100)]
pub struct Cli {
    /// The director's control socket
    #[arg(long, global = true, env = "SHEAVE_SOCKET", value_name = "PATH", value_hint = ValueHint::FilePath)]
    #[arg(default_value = "/run/sheave/control.sock", help_heading = EVERYWHERE)]
    pub socket: PathBuf,
    /// Print JSON: the director's answer as it is, on one line
    #[arg(long, global = true, help_heading = EVERYWHERE)]
    pub json: bool,
    /// How long the director may take to answer
    #[arg(long, global = true, value_name = "DURATION", default_value = "30s", help_heading = EVERYWHERE)]
    pub patience: Duration,
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
    /// Let a destination finish: no new connections, and an end to those that it has
    ///
    /// Its state in the configuration becomes drain. With a deadline the connections that are left then go on or are
    /// reset. What is said here beside the state does not outlive the director.
    #[command(after_help = DRAIN)]
    Drain(DrainArgs),
    /// Let a destination serve again after drain or maint
    Ready(DestinationName),
    /// Take a destination out of service: its connections go by the service's on-removal, and do not come back
    Maint(DestinationName),
    /// Replace the whole configuration by a file, at once; connections that are not concerned go on
    ///
    /// Prints what changes: + is new, - goes, ~ stays and changes, ! waits for the next start of the director.
    #[command(after_help = APPLY)]
    Apply {
        /// The configuration file (TOML); - is standard input
        #[arg(value_hint = ValueHint::FilePath)]
        file: PathBuf,
        /// Only print what would change
        #[arg(long)]
        dry_run: bool,
    },
    /// Read the file that the director was started with again, and apply it
    Reload,
    /// Totals and rates of services and destinations
    ///
    /// Totals count from the director's start. Rates are a second's, as IPVS computes them: every 2 seconds, a
    /// quarter of the way to what was seen.
    Stats {
        /// Only this service: its name or listen string
        service: Option<String>,
        /// Print again every 2 seconds, until interrupted
        #[arg(long, short)]
        watch: bool,
    },
    /// List connection entries
    #[command(after_help = CONNECTIONS)]
    Connections(ConnectionArgs),
    /// List or clear sticky tables: which clients persistence keeps with which destination
    #[command(subcommand)]
    Sticky(StickyVerb),
    /// Next hops and their hardware addresses
    Neighbours,
    /// Workers: turns, where their frames are, statistics of queues and rings
    Workers,
    /// What became of packets, and why: verdicts and reasons that were counted, with their meaning
    Counters {
        /// Those that are 0, too
        #[arg(long, short)]
        all: bool,
    },
    /// Print events as they happen, until interrupted
    Events {
        /// Begin with the event of this number, as far as the director keeps them
        #[arg(long, value_name = "NUMBER")]
        since: Option<u64>,
    },
    /// Print the configuration in force
    #[command(subcommand)]
    Config(ConfigVerb),
    /// Turn the configuration of other virtual servers into one of sheave
    ///
    /// Prints a configuration file. Each line that cannot be carried over is named by a remark in it; health checks and
    /// VRRP are kept as remarks that are marked as not active yet.
    #[command(subcommand)]
    Import(crate::import::ImportVerb),
    /// Turn a configuration of sheave into that of other virtual servers
    #[command(subcommand)]
    Export(crate::export::ExportVerb),
    /// Run the packet path over captured frames and say what it would do
    #[command(after_help = REPLAY)]
    Replay(crate::replay::ReplayArgs),
    /// Print a completion script for a shell
    #[command(after_help = COMPLETIONS)]
    Completions {
        /// The shell
        #[arg(required_unless_present = "all")]
        shell: Option<clap_complete::Shell>,
        /// Instead, write the scripts of every shell into a directory; it is created
        #[arg(long, value_name = "DIRECTORY", value_hint = ValueHint::DirPath, conflicts_with = "shell")]
        all: Option<PathBuf>,
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
    /// Every service, a line each
    List,
    /// One service with its destinations
    Show {
        /// Its name or listen string
        service: String,
    },
    /// Add a service
    #[command(after_help = SERVICE_ADD)]
    Add {
        /// What it listens on, ADDRESS:PORT/PROTO, as in 198.18.0.100:80/tcp; PORT may be a range 5000-5100 or *
        #[arg(required = true)]
        listen: Vec<Listen>,
        /// Its name [default: the listen strings, with commas between them]
        #[arg(long)]
        name: Option<String>,
        /// Its settings.
        #[command(flatten)]
        settings: ServiceSettings,
    },
    /// Change the named settings of a service; the others stay as they are
    #[command(after_help = SERVICE_EDIT)]
    Edit {
        /// Its name or listen string
        service: String,
        /// Its settings.
        #[command(flatten)]
        settings: ServiceSettings,
    },
    /// Remove a service with its destinations
    Remove {
        /// Its name or listen string
        service: String,
    },
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
    #[command(after_help = DESTINATION_ADD)]
    Add {
        /// Which.
        #[command(flatten)]
        name: DestinationName,
        /// Its settings.
        #[command(flatten)]
        settings: DestinationSettings,
    },
    /// Change the named settings of a destination; with weight 0 it gets no new connections
    #[command(after_help = DESTINATION_EDIT)]
    Edit {
        /// Which.
        #[command(flatten)]
        name: DestinationName,
        /// Its settings.
        #[command(flatten)]
        settings: DestinationSettings,
    },
    /// Remove a destination from its service; its connections go by the service's on-removal
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

/// What to drain, and how.
#[derive(Debug, Args)]
pub struct DrainArgs {
    /// Which.
    #[command(flatten)]
    pub name: DestinationName,
    /// When it ends at the latest, from now [default: when its last connection has ended]
    #[arg(long, value_name = "DURATION")]
    pub deadline: Option<Deadline>,
    /// What becomes of the connections that are left at the deadline [default: keep]
    #[arg(long, value_name = "WHAT", requires = "deadline", value_parser = words(Rest::ALL, Rest::as_str))]
    pub then: Option<Rest>,
    /// What persistence templates of it still do [default: ignore]
    #[arg(long, value_name = "WHAT", value_parser = words(Templates::ALL, Templates::as_str))]
    pub templates: Option<Templates>,
    /// Print how it goes, until it is over
    #[arg(long, short)]
    pub wait: bool,
}

/// Which connections, and how many.
#[derive(Debug, Args)]
pub struct ConnectionArgs {
    /// Only to this virtual ADDRESS or ADDRESS:PORT
    #[arg(long, value_name = "ADDRESS")]
    pub vip: Option<DestAddr>,
    /// Only to this real server, ADDRESS or ADDRESS:PORT
    #[arg(long, value_name = "ADDRESS")]
    pub real: Option<DestAddr>,
    /// Only of this client, ADDRESS or ADDRESS:PORT
    #[arg(long, value_name = "ADDRESS")]
    pub client: Option<DestAddr>,
    /// Only in this state
    #[arg(long, value_parser = words(ConnState::ALL, ConnState::as_str))]
    pub state: Option<ConnState>,
    /// Only of this service: its name or listen string
    #[arg(long)]
    pub service: Option<String>,
    /// At most so many; 0 is all
    #[arg(long, short = 'n', value_name = "N", default_value_t = 1000)]
    pub limit: u64,
}

/// Verbs about persistence templates.
#[derive(Debug, Subcommand)]
pub enum StickyVerb {
    /// List templates
    #[command(after_help = STICKY_LIST)]
    List {
        /// Which.
        #[command(flatten)]
        which: StickyArgs,
        /// At most so many; 0 is all
        #[arg(long, short = 'n', value_name = "N", default_value_t = 1000)]
        limit: u64,
    },
    /// Forget templates: the next connection of each client is scheduled anew; those that there are go on
    #[command(after_help = STICKY_CLEAR)]
    Clear {
        /// Which.
        #[command(flatten)]
        which: StickyArgs,
        /// All of them
        #[arg(long, required_unless_present_any = WHICH, conflicts_with_all = WHICH)]
        all: bool,
    },
}

/// The options of [`StickyArgs`].
const WHICH: [&str; 3] = ["service", "client", "destination"];

/// Which templates; all that is given must hold.
#[derive(Debug, Args)]
pub struct StickyArgs {
    /// Only of this service: its name or listen string
    #[arg(long)]
    pub service: Option<String>,
    /// Only of this client or network: ADDRESS or ADDRESS/LENGTH
    #[arg(long, value_name = "CLIENTS")]
    pub client: Option<Clients>,
    /// Only to this destination, ADDRESS or ADDRESS:PORT
    #[arg(long, value_name = "ADDRESS")]
    pub destination: Option<DestAddr>,
}

/// Verbs about the configuration.
#[derive(Debug, Subcommand)]
pub enum ConfigVerb {
    /// Print the configuration in force, fit for a file
    Show,
}

/// The words of a vocabulary, for help and completions too.
pub(crate) fn words<T>(all: &'static [T], word: fn(T) -> &'static str) -> impl TypedValueParser<Value = T>
where
    T: FromStr<Err = ValueError> + Copy + Send + Sync + 'static,
{
    PossibleValuesParser::new(all.iter().map(|value| word(*value))).try_map(|text| text.parse::<T>())
}
