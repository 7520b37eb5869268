//! Help, man pages and completions.

use crate::director::{Place, run};
use clap::CommandFactory;
use sheave_cli::args::Cli;
use std::process::Command;

/// Every verb as it is typed, and its help.
fn verbs() -> Vec<(String, clap::Command)> {
    fn walk(words: &str, command: &clap::Command, into: &mut Vec<(String, clap::Command)>) {
        for verb in command.get_subcommands().filter(|verb| verb.get_name() != "help") {
            let words = format!("{words} {}", verb.get_name());
            walk(&words, verb, into);
            into.push((words, verb.clone()));
        }
    }
    let mut cli = Cli::command();
    cli.build();
    let mut all = Vec::new();
    walk("sheave", &cli, &mut all);
    all
}

#[test]
fn the_grammar_is_sound() {
    Cli::command().debug_assert();
}

#[test]
fn every_verb_and_argument_says_what_it_is() {
    let verbs = verbs();
    assert!(verbs.len() > 20, "{} verbs", verbs.len());
    for (words, verb) in &verbs {
        let about = verb.get_about().map(ToString::to_string).unwrap_or_default();
        assert!(about.len() > 10 && !about.ends_with('.'), "{words}: {about:?}");
        for argument in verb.get_arguments() {
            let help = argument.get_help().map(ToString::to_string).unwrap_or_default();
            assert!(help.len() > 5, "{words}: {}: {help:?}", argument.get_id());
        }
    }
}

#[test]
fn help_is_printed_for_every_verb() {
    let place = Place::new("help");
    let short = run(&place.socket(), &["-h"], "").out;
    for (words, verb) in verbs() {
        let args: Vec<&str> = words.split(' ').skip(1).chain(["--help"]).collect();
        let mut verb = verb.clone();
        assert!(verb.render_long_help().to_string().contains(&format!("Usage: {words}")), "{words}");
        if let [name, _] = args[..] {
            assert!(short.contains(&format!("\n  {name}")), "{name} is not in the list of verbs");
        }
    }
    let ran = run(&place.socket(), &["service", "add", "--help"], "");
    assert_eq!((ran.code, ran.err.as_str()), (0, ""));
    assert!(ran.out.contains("sheave service add 198.18.0.100:80/tcp --name web"), "{}", ran.out);
    let ran = run(&place.socket(), &["--version"], "");
    assert_eq!((ran.code, ran.out), (0, format!("sheave {}\n", env!("CARGO_PKG_VERSION"))));
    let ran = Command::new(env!("CARGO_BIN_EXE_sheave")).output().expect("sheave runs");
    assert_eq!(
        (ran.status.code(), ran.stdout.len()),
        (Some(2), 0),
        "no verb is a mistake, answered by the help"
    );
    assert!(String::from_utf8_lossy(&ran.stderr).contains("Usage: sheave"), "{ran:?}");
}

#[test]
fn examples_are_understood() {
    let mut seen = 0;
    for (words, verb) in verbs() {
        let Some(examples) = verb.get_after_help() else { continue };
        let examples = examples.to_string();
        for line in examples.lines().filter(|line| line.starts_with("  sheave ")) {
            // What follows two spaces is a remark, what follows > or | is the shell's.
            let command = line.trim().split("  ").next().unwrap_or_default();
            for command in command.split('|').filter(|part| part.trim().starts_with("sheave ")) {
                let command = command.split('>').next().unwrap_or_default();
                let parsed = Cli::command().try_get_matches_from(command.split_whitespace());
                assert!(parsed.is_ok(), "{words}: {command}: {parsed:?}");
                seen += 1;
            }
        }
    }
    assert!(seen >= 12, "{seen} examples");
}

#[test]
fn man_pages_and_completions_are_written() {
    let place = Place::new("pages");
    let (man, completions) = (place.path().join("new/man"), place.path().join("new/completions"));
    let ran = run(&place.socket(), &["man", man.to_str().expect("UTF-8")], "");
    assert_eq!((ran.code, ran.out.as_str(), ran.err.as_str()), (0, "", ""));
    for (words, verb) in verbs() {
        let page = man.join(format!("{}.1", words.replace(' ', "-")));
        let text = std::fs::read_to_string(&page).unwrap_or_else(|e| panic!("{}: {e}", page.display()));
        let about = verb.get_about().expect("checked above").to_string();
        let first = about.split([' ', '-']).next().expect("a word").to_owned();
        assert!(text.contains(&first), "{words}: {text}");
    }
    let ran = run(&place.socket(), &["completions", "--all", completions.to_str().expect("UTF-8")], "");
    assert_eq!((ran.code, ran.out.as_str(), ran.err.as_str()), (0, "", ""));
    let bash = std::fs::read_to_string(completions.join("sheave.bash")).expect("a script for bash");
    let zsh = std::fs::read_to_string(completions.join("_sheave")).expect("a script for zsh");
    let printed = run(&place.socket(), &["completions", "bash"], "");
    assert_eq!((printed.code, printed.out), (0, bash.clone()));
    assert!(bash.contains("connections") && bash.contains("fin-wait") && zsh.contains("--dry-run"));
    let blocked = place.file("blocked", "");
    let ran = run(&place.socket(), &["man", blocked.to_str().expect("UTF-8")], "");
    assert_eq!((ran.code, ran.err.lines().count()), (1, 1), "{}", ran.err);
}
