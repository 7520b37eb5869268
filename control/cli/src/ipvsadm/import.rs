//! Rules that were saved, or the ipvsadm commands of a script, carried out on an empty configuration.

use super::command::{Command, VirtualService};
use super::names::{Names, SystemNames};
use super::table::MARK;
use super::{Refusal, change, parse};
use sheave_proto::config::{Config, Listen, Service};
use std::collections::BTreeMap;

/// What a text comes to.
#[derive(Debug, Default)]
pub(crate) struct Imported {
    pub(crate) config: Config,
    /// Lines that are not carried over, and why.
    pub(crate) refused: Vec<(usize, String)>,
    /// The line that each service, by its name, was made on.
    pub(crate) places: BTreeMap<String, usize>,
}

/// Carries out a text; `unknown` stands for the listens of firewall marks, of IPv4 and of IPv6.
pub(crate) fn imported(text: &str, unknown: [Listen; 2]) -> Imported {
    let (mut import, names) = (Imported::default(), SystemNames::read());
    for (line, text) in (1..).zip(text.lines()) {
        let before = import.config.services.len();
        match command(text, &names) {
            Ok(None) => {}
            Ok(Some(command)) => {
                marked(&mut import.config, &command, unknown);
                if let Err(refusal) = change::edit(&mut import.config, &command) {
                    let why = refusal.text.strip_prefix("error: ").unwrap_or(&refusal.text);
                    import.refused.push((line, format!("{}: {why}", text.trim())));
                }
            }
            Err(why) => import.refused.push((line, format!("{}: {why}", text.trim()))),
        }
        for service in import.config.services.iter().skip(before) {
            import.places.insert(service.name.clone(), line);
        }
    }
    import
}

/// The command of a line; none when there is nothing on it.
fn command(line: &str, names: &dyn Names) -> Result<Option<Command>, String> {
    let text = line.split('#').next().unwrap_or_default().replace(['"', '\''], "");
    let words: Vec<&str> = text.split_whitespace().take_while(|word| !is_shell(word)).collect();
    let is_program = |word: &&str| word.rsplit('/').next() == Some("ipvsadm");
    let words = match words[..] {
        [] => return Ok(None),
        [first, ..] if first.starts_with('-') => &words[..],
        [first, ..] if is_program(&first) => &words[1..],
        ["sudo", second, ..] if is_program(&second) => &words[2..],
        _ => return Err("it is no command of ipvsadm".to_owned()),
    };
    // Alone it lists.
    if words.is_empty() {
        return Ok(None);
    }
    match parse::parse(words, "ipvsadm", names) {
        Ok(Command::List(..) | Command::Save(_)) => Ok(None),
        Ok(command) => Ok(Some(command)),
        Err(Refusal { text, .. }) => Err(text),
    }
}

/// Whether a word is the shell's, and all that follows it.
fn is_shell(word: &str) -> bool {
    matches!(word, "|" | "||" | "&&" | "&" | ";") || word.starts_with('>') || word.starts_with("2>")
}

/// Makes the service of a firewall mark that is about to be added.
fn marked(config: &mut Config, command: &Command, unknown: [Listen; 2]) {
    if let Command::Add(VirtualService::Mark(mark, ipv6), _) = command {
        let name = format!("{MARK}{mark}");
        if config.services.iter().all(|service| service.name != name) {
            config.services.push(Service { name, ..Service::new(unknown[usize::from(*ipv6)]) });
        }
    }
}
