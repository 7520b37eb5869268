//! From verbs to operations: asks the director, hands the answer to `show`.

use crate::args::{
    Cli, ConfigVerb, ConnectionArgs, DestinationName, DestinationVerb, DrainArgs, ServiceVerb, StickyArgs,
    StickyVerb, Verb,
};
use crate::client::Client;
use crate::client::Result;
use crate::error::{Code, ExitError};
use crate::export::ExportVerb;
use crate::import::ImportVerb;
use crate::{export, import, pages, show};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;
use sheave_proto::api::{
    Applied, ConfigShown, ConfigSource, ConnectionFilter, CountersReport, DestinationList, Drain, EventBody,
    NeighboursReport, Op, PlanReport, ServiceList, ServiceShown, StatsReport, Status, StickyCleared,
    StickyFilter, Subscribed, WorkersReport,
};
use sheave_proto::config::{Destination, DestinationPatch, Intent, Service};
use std::io::{ErrorKind, IsTerminal, Write};
use std::path::Path;
use std::time::Duration;

/// What an operator wants to see: a director and a form.
struct Session<'a> {
    cli: &'a Cli,
}

/// Carries out the command line.
///
/// # Errors
/// Lines for standard error and an exit code.
pub(crate) fn run(cli: &Cli) -> Result {
    let session = Session { cli };
    match &cli.verb {
        Verb::Status => session.ask(Op::StatusShow, |a: &Status| show::status(a)),
        Verb::Service(verb) => session.service(verb),
        Verb::Destination(verb) => session.destination(verb),
        Verb::Drain(args) => session.drain(args),
        Verb::Ready(name) => session.intend(name, Intent::Ready),
        Verb::Maint(name) => session.intend(name, Intent::Maint),
        Verb::Apply { file, dry_run } => session.apply(file, *dry_run),
        Verb::Reload => session.change(Op::ConfigReload),
        Verb::Stats { service, watch } => session.stats(service.as_deref(), *watch),
        Verb::Connections(args) => session.connections(args),
        Verb::Sticky(verb) => session.sticky(verb),
        Verb::Neighbours => session.ask(Op::NeighboursList, |a: &NeighboursReport| show::neighbours(a)),
        Verb::Workers => session.ask(Op::WorkersShow, |a: &WorkersReport| show::workers(a)),
        Verb::Counters { all } => session.ask(Op::CountersShow, |a: &CountersReport| show::counters(a, *all)),
        Verb::Events { since } => session.events(*since),
        Verb::Config(ConfigVerb::Show) => session.ask(Op::ConfigShow, |a: &ConfigShown| show::config(a)),
        Verb::Import(verb) => session.import(verb),
        Verb::Export(ExportVerb::Ipvsadm { file }) => session.export(file.as_deref()),
        Verb::Replay(args) => crate::replay::run(args),
        Verb::Completions { all: Some(directory), .. } => pages::all_completions(directory),
        Verb::Completions { shell, all: None } => shell.map_or(Ok(()), |s| write(&pages::completions(s))),
        Verb::Man { directory } => pages::man(directory),
    }
}

impl Session<'_> {
    fn client(&self) -> Result<Client> {
        Client::connect(&self.cli.socket, self.cli.patience)
    }

    fn ask<T: DeserializeOwned>(&self, op: Op, text: impl Fn(&T) -> String) -> Result {
        self.ask_over(&mut self.client()?, op, text)
    }

    /// Asks, and prints the answer as `text` makes it, or as the JSON that it is: with what this program does not
    /// know of, too.
    fn ask_over<T: DeserializeOwned>(
        &self,
        client: &mut Client,
        op: Op,
        text: impl Fn(&T) -> String,
    ) -> Result {
        if self.cli.json {
            let answer: serde_json::Value = client.call(op)?;
            line(&to_json(&answer))
        } else {
            write(text(&client.call(op)?).as_bytes())
        }
    }

    /// Prints what was put together from several answers, or from a part of one.
    fn print<T: Serialize>(&self, answer: &T, text: impl Fn(&T) -> String) -> Result {
        if self.cli.json { line(&to_json(answer)) } else { write(text(answer).as_bytes()) }
    }

    /// Asks for a change, and prints what it was.
    fn change(&self, op: Op) -> Result {
        self.ask(op, |applied: &Applied| show::changes(&applied.changes))
    }

    fn service(&self, verb: &ServiceVerb) -> Result {
        match verb {
            ServiceVerb::List => self.ask(Op::ServiceList, |a: &ServiceList| show::services(&a.services)),
            ServiceVerb::Show { service } => {
                let op = Op::ServiceShow { service: service.clone() };
                self.ask(op, |a: &ServiceShown| show::service(&a.service))
            }
            ServiceVerb::Add { listen, name, settings } => {
                let [first, ..] = listen[..] else { return Ok(()) };
                let mut service = Service { listens: listen.clone(), ..Service::new(first) };
                service.name = name.clone().unwrap_or_else(|| Service::default_name(listen));
                settings.patch().apply(&mut service);
                self.change(Op::ServiceAdd(Box::new(service)))
            }
            ServiceVerb::Edit { service, settings } => {
                let patch = settings.patch();
                something_to_change(patch.is_empty(), &format!("service {service}"), "--scheduler wrr")?;
                self.change(Op::ServiceSet { service: service.clone(), patch })
            }
            ServiceVerb::Remove { service } => self.change(Op::ServiceRemove { service: service.clone() }),
        }
    }

    fn destination(&self, verb: &DestinationVerb) -> Result {
        match verb {
            DestinationVerb::List { service } => self
                .ask(Op::DestinationList { service: service.clone() }, |a: &DestinationList| {
                    show::destinations(&a.destinations)
                }),
            DestinationVerb::Show(name) => self.show_destination(name),
            DestinationVerb::Add { name, settings } => {
                let mut destination = Destination::new(name.address);
                settings.patch().apply(&mut destination);
                self.change(Op::DestinationAdd { service: name.service.clone(), destination })
            }
            DestinationVerb::Edit { name, settings } => {
                let patch = settings.patch();
                something_to_change(
                    patch.is_empty(),
                    &format!("destination {}", name.address),
                    "--weight 3",
                )?;
                let (service, address) = (name.service.clone(), name.address);
                self.change(Op::DestinationSet { service, address, patch })
            }
            DestinationVerb::Remove(name) => {
                let (service, address) = (name.service.clone(), name.address);
                self.change(Op::DestinationRemove { service, address })
            }
        }
    }

    /// Says what a destination is to do.
    fn intend(&self, name: &DestinationName, state: Intent) -> Result {
        let patch = DestinationPatch { state: Some(state), ..DestinationPatch::default() };
        self.change(Op::DestinationSet { service: name.service.clone(), address: name.address, patch })
    }

    fn drain(&self, args: &DrainArgs) -> Result {
        let (name, default) = (&args.name, Drain::default());
        let drain = Drain {
            deadline: args.deadline,
            then: args.then.unwrap_or(default.then),
            templates: args.templates.unwrap_or(default.templates),
        };
        let op = Op::DestinationDrain { service: name.service.clone(), address: name.address, drain };
        if !args.wait {
            return self.change(op);
        }
        // Listening first: nothing of it is missed.
        let (which, mut listener) = (self.named_destinations(name)?, self.client()?);
        let _: Subscribed = listener.call(Op::EventsSubscribe { since: None })?;
        self.change(op)?;
        while let Some(event) = listener.next_event()? {
            let (service, address, over) = match &event.body {
                EventBody::DrainProgress { service, address, .. } => (service, address, false),
                EventBody::DrainFinished { service, address, .. } => (service, address, true),
                _ => continue,
            };
            if which.destinations.iter().any(|d| d.service == *service && d.address == *address) {
                line(&if self.cli.json { to_json(&event) } else { show::event(&event) })?;
                if over {
                    return Ok(());
                }
            }
        }
        let wrong = "the director ended the connection";
        Err(ExitError::new(Code::Unreachable, "drain", wrong, "see its log, and 'sheave destination list'"))
    }

    fn show_destination(&self, name: &DestinationName) -> Result {
        let list = self.named_destinations(name)?;
        self.print(&list, |list| show::destinations(&list.destinations))
    }

    fn named_destinations(&self, name: &DestinationName) -> Result<DestinationList> {
        let op = Op::DestinationList { service: Some(name.service.clone()) };
        let mut list: DestinationList = self.client()?.call(op)?;
        list.destinations.retain(|d| {
            d.address.addr == name.address.addr
                && (name.address.port.is_none() || name.address.port == d.address.port)
        });
        if list.destinations.is_empty() {
            let object = format!("destination {} of service {}", name.address, name.service);
            let remedy = format!("see 'sheave destination list {}'", name.service);
            return Err(ExitError::new(Code::NotFound, object, "there is no such object", remedy));
        }
        Ok(list)
    }

    fn apply(&self, file: &Path, dry_run: bool) -> Result {
        let source = configuration(file)?;
        if dry_run {
            self.ask(Op::ConfigPlan(source), |plan: &PlanReport| show::changes(&plan.changes))
        } else {
            self.change(Op::ConfigApply(source))
        }
    }

    fn import(&self, verb: &ImportVerb) -> Result {
        self.print(&json!({ "toml": import::run(verb)? }), |answer| {
            answer["toml"].as_str().unwrap_or_default().to_owned()
        })
    }

    fn export(&self, file: Option<&Path>) -> Result {
        let config = match file {
            Some(file) => export::config(file)?,
            None => self.client()?.call::<ConfigShown>(Op::ConfigShow)?.config,
        };
        let saved = export::rules(&config);
        for line in &saved.left_out {
            // Where it cannot be said, the rules still are.
            let _unheard = writeln!(std::io::stderr(), "note: {line}");
        }
        self.print(&json!({ "rules": saved.rules, "left-out": saved.left_out }), |_| saved.rules.clone())
    }

    fn stats(&self, service: Option<&str>, watch: bool) -> Result {
        let mut client = self.client()?;
        let clear = watch && !self.cli.json && std::io::stdout().is_terminal();
        loop {
            let op = Op::StatsShow { service: service.map(str::to_owned) };
            let home = if clear { "\x1b[H\x1b[2J" } else { "" };
            self.ask_over(&mut client, op, |report: &StatsReport| home.to_owned() + &show::stats(report))?;
            if !watch {
                return Ok(());
            }
            #[expect(
                clippy::disallowed_methods,
                reason = "a person watches: this is the pace of what is shown"
            )]
            std::thread::sleep(Duration::from_secs(2));
        }
    }

    fn connections(&self, args: &ConnectionArgs) -> Result {
        let filter = ConnectionFilter {
            vip: args.vip,
            real: args.real,
            client: args.client,
            proto: None,
            state: args.state,
            service: args.service.clone(),
            limit: 0,
            cursor: None,
        };
        let ask = |limit, cursor| Op::ConnectionsList(ConnectionFilter { limit, cursor, ..filter.clone() });
        self.print(&self.client()?.pages(args.limit, ask)?, show::connections)
    }

    fn sticky(&self, verb: &StickyVerb) -> Result {
        let filter = |args: &StickyArgs| StickyFilter {
            service: args.service.clone(),
            client: args.client,
            destination: args.destination,
        };
        match verb {
            StickyVerb::List { which, limit } => {
                let ask = |limit, cursor| Op::StickyList { filter: filter(which), limit, cursor };
                self.print(&self.client()?.pages(*limit, ask)?, show::sticky)
            }
            StickyVerb::Clear { which, .. } => {
                self.ask(Op::StickyClear(filter(which)), |a: &StickyCleared| show::cleared(a))
            }
        }
    }

    fn events(&self, since: Option<u64>) -> Result {
        let mut client = self.client()?;
        let _: Subscribed = client.call(Op::EventsSubscribe { since })?;
        while let Some(event) = client.next_event()? {
            line(&if self.cli.json { to_json(&event) } else { show::event(&event) })?;
        }
        let wrong = "the director ended the connection";
        Err(ExitError::new(Code::Unreachable, "events", wrong, "see its log, and start again"))
    }
}

fn something_to_change(nothing: bool, object: &str, example: &str) -> Result {
    if nothing {
        let remedy = format!("name what to change, as in {example}");
        return Err(ExitError::new(Code::Usage, object, "nothing to change", remedy));
    }
    Ok(())
}

fn to_json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("answers have a JSON form")
}

/// Reads a configuration file; what is wrong with its text is the director's to say.
fn configuration(file: &Path) -> Result<ConfigSource> {
    let standard_input = file.as_os_str() == "-";
    let name = if standard_input { "standard input".to_owned() } else { file.display().to_string() };
    let text = if standard_input {
        std::io::read_to_string(std::io::stdin())
    } else {
        std::fs::read_to_string(file)
    };
    let text = text.map_err(|e| {
        let wrong = match e.kind() {
            ErrorKind::NotFound => "there is no such file".to_owned(),
            ErrorKind::InvalidData => "it is not UTF-8 text".to_owned(),
            _ => e.to_string(),
        };
        ExitError::new(Code::Usage, &name, wrong, "name a configuration file (TOML)")
    })?;
    Ok(ConfigSource::Toml { text, file: name })
}

fn line(text: &str) -> Result {
    write(format!("{text}\n").as_bytes())
}

/// Prints. That nobody reads any more (`| head`) is no failure, and nothing to go on for.
fn write(text: &[u8]) -> Result {
    let mut out = std::io::stdout().lock();
    match out.write_all(text).and_then(|()| out.flush()) {
        Err(e) if e.kind() == ErrorKind::BrokenPipe => Err(ExitError { code: Code::Done, lines: Vec::new() }),
        Err(e) => Err(ExitError::new(Code::Failed, "standard output", e, "look at where it goes")),
        Ok(()) => Ok(()),
    }
}
