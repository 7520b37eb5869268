//! The grammar of the command line.

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Parser, Subcommand, ValueHint};
use sheave_proto::api::{ConnState, Deadline, Rest, Templates};
use sheave_proto::config::{
    BackupBelow, DestAddr, Draws, Duration, Forward, Listen, MhTable, OnRemoval, Scheduler, SchedulerFlag,
    SlowStart, Timeout, ValueError, Weight,
};
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
  sheave service add 198.18.0.100:53/udp --scheduler wrr --forward dr --udp-timeout 30s";

const SERVICE_EDIT: &str = "\
Examples:
  sheave service edit web --scheduler lc
  sheave service edit 198.18.0.100:80/tcp --on-removal keep --tcp-timeout 1h";

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
        /// What it listens on, ADDRESS:PORT/PROTO, as in 198.18.0.100:80/tcp
        listen: Listen,
        /// Its name [default: the listen string]
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

/// Settings of a service; what is not given stays as it is, or at its default for a new one.
#[derive(Debug, Args)]
pub struct ServiceSettings {
    /// A variant of the scheduler; may be given more than once, and replaces those before
    #[arg(long, value_name = "FLAG", value_parser = words(SchedulerFlag::ALL, SchedulerFlag::as_str))]
    pub scheduler_flag: Vec<SchedulerFlag>,
    /// mh: slots of the table [default: 65537]
    #[arg(long, value_name = "SLOTS", value_parser = number::<MhTable>)]
    pub mh_table: Option<MhTable>,
    /// random: how many destinations are drawn [default: 2]
    #[arg(long, value_name = "N", value_parser = number::<Draws>)]
    pub draws: Option<Draws>,
    /// Where connections go when no destination can take them: ADDRESS or ADDRESS:PORT, by the service's method
    #[arg(long, value_name = "ADDRESS")]
    pub sorry: Option<DestAddr>,
    /// Backup destinations are used while fewer others than this are usable [default: 1]
    #[arg(long, value_name = "N", value_parser = number::<BackupBelow>)]
    pub backup_below: Option<BackupBelow>,
    /// How long a new or recovered destination takes to grow to its weight [default: no time]
    #[arg(long, value_name = "DURATION")]
    pub slow_start: Option<SlowStart>,
    /// How destinations are chosen: rr, wrr, lc, wlc, ... [default: wlc]
    #[arg(long, short, value_parser = words(Scheduler::ALL, Scheduler::as_str))]
    pub scheduler: Option<Scheduler>,
    /// Forwarding method of destinations that name none [default: nat]
    #[arg(long, short, value_name = "METHOD", value_parser = words(Forward::ALL, Forward::as_str))]
    pub forward: Option<Forward>,
    /// What happens to TCP connections of a removed destination [default: reset]
    #[arg(long, value_name = "WHAT", value_parser = words(OnRemoval::ALL, OnRemoval::as_str))]
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

/// Settings of a destination; what is not given stays as it is, or at its default for a new one.
#[derive(Debug, Args)]
pub struct DestinationSettings {
    /// Its share of new connections, 0 to 2147483647 [default: 1]
    #[arg(long, short, value_parser = weight)]
    pub weight: Option<Weight>,
    /// Its forwarding method [default: the service's]
    #[arg(long, short, value_name = "METHOD", value_parser = words(Forward::ALL, Forward::as_str))]
    pub forward: Option<Forward>,
    /// It is overloaded from so many connections on; 0 is never [default: 0]
    #[arg(long, value_name = "N")]
    pub upper_threshold: Option<u32>,
    /// It no longer is below so many; 0 is three quarters of the upper [default: 0]
    #[arg(long, value_name = "N")]
    pub lower_threshold: Option<u32>,
    /// It never gets more connections than this; 0 is no limit [default: 0]
    #[arg(long, value_name = "N")]
    pub connection_limit: Option<u32>,
    /// Whether it waits until others are missing [default: false]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    pub backup: Option<bool>,
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

/// Verbs about the configuration.
#[derive(Debug, Subcommand)]
pub enum ConfigVerb {
    /// Print the configuration in force, fit for a file
    Show,
}

/// A weight, by the reader of the configuration's values.
fn weight(text: &str) -> Result<Weight, String> {
    let number: u32 = text.parse().map_err(|_| "not a whole number from 0 on".to_owned())?;
    Weight::try_from(number).map_err(|error| error.to_string())
}

/// A bounded number, by the reader of the configuration's values.
fn number<T: TryFrom<u32, Error = ValueError>>(text: &str) -> Result<T, String> {
    let number: u32 = text.parse().map_err(|_| "not a whole number from 0 on".to_owned())?;
    T::try_from(number).map_err(|error| error.to_string())
}

/// The words of a vocabulary, for help and completions too.
fn words<T>(all: &'static [T], word: fn(T) -> &'static str) -> impl TypedValueParser<Value = T>
where
    T: FromStr<Err = ValueError> + Copy + Send + Sync + 'static,
{
    PossibleValuesParser::new(all.iter().map(|value| word(*value))).try_map(|text| text.parse::<T>())
}
