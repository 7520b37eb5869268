//! The documents that speak of the command line and of its counters say what is true.
//!
//! docs/counters.md is written from the table of reasons: `REGEN=1 cargo test -p sheave-cli --test docs` writes it
//! anew, for review as a diff.

use clap::CommandFactory;
use sheave_cli::args::Cli;
use sheave_pipeline::helper::Note;
use sheave_pipeline::{Reason, VerdictKind};
use std::fmt::Write;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    own.ancestors().nth(2).expect("the workspace is two above").to_owned()
}

fn document(name: &str) -> String {
    let file = root().join(name);
    std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

const HEAD: &str = "\
# Counters

Every frame that a worker receives gets exactly one verdict, and everything but a plain forward has a reason. Both are counted:
`sheave counters` prints those that are not 0 with their meaning, `sheave counters --all` the others too, `sheave replay` writes them to `counters.json` and names
the reason of each frame in `verdicts.jsonl`. They are cumulative since the director's start, 64 bits wide, the sum over all workers, and survive a reload.

This page is written from the table of reasons in `dataplane/pipeline/src/reason.rs`; a test holds it.
";

/// What a verdict means, and when to look at its reasons.
fn meaning(kind: VerdictKind) -> &'static str {
    match kind {
        VerdictKind::Forward => "Sent on to a real server or to a client. Has no reason.",
        VerdictKind::Reply => "Answered by the director itself.",
        VerdictKind::Pass => {
            "Left to the kernel, byte for byte as it came. Most is simply none of the director's business; \
             what it does not handle yet is here too."
        }
        VerdictKind::Punt => "Handed to the control thread.",
        VerdictKind::Hold => {
            "Kept back for now. When it is sent in the end, the traffic of its service and destination counts it; \
             when it is given up on, only the reason of that counts it."
        }
        VerdictKind::Drop => {
            "Dropped without an answer: malformed, or not to be served now. What is lost after its verdict (a held \
             packet that is given up on, a way out that is full) counts for its reason only."
        }
    }
}

/// docs/counters.md.
fn counters() -> String {
    let mut text = HEAD.to_owned();
    for kind in VerdictKind::ALL {
        let reasons: Vec<_> = Reason::ALL.iter().filter(|reason| reason.kind() == kind).collect();
        let _ = write!(text, "\n## {}\n\n{}\n", kind.name(), meaning(kind));
        if !reasons.is_empty() {
            text.push_str("\n| reason | meaning |\n|---|---|\n");
        }
        for reason in reasons {
            let _ = writeln!(text, "| `{}` | {} |", reason.name(), reason.help().replace('|', "\\|"));
        }
    }
    text.push_str(
        "\n## Helpers\n\nWhat a service's `helper` made of commands and replies; their packets have verdicts as others do. What is \
         ignored passes as it is.\n\n| counter | meaning |\n|---|---|\n",
    );
    for note in Note::ALL {
        let _ = writeln!(text, "| `{}` | {} |", note.name(), note.help());
    }
    text
}

#[test]
fn the_page_of_counters_is_the_table_of_reasons() {
    let (file, expected) = (root().join("docs/counters.md"), counters());
    if std::env::var_os("REGEN").is_some() {
        std::fs::write(&file, &expected).expect("writable");
    }
    let there = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(there == expected, "docs/counters.md is not what the table says: REGEN=1 writes it anew");
    assert!(Reason::ALL.iter().all(|reason| there.contains(&format!("| `{}` |", reason.name()))));
}

/// Commands in a document: whole lines of code, and what stands in backticks within text.
#[derive(Debug, Default)]
struct Commands {
    lines: Vec<String>,
    inline: Vec<String>,
}

impl Commands {
    fn of(text: &str) -> Commands {
        let mut found = Commands::default();
        let mut fenced = false;
        for line in text.lines() {
            if line.starts_with("```") {
                fenced = !fenced;
            } else if fenced || line.starts_with("    ") {
                found.lines.extend(Self::command(line));
            } else {
                let code = line.split('`').skip(1).step_by(2);
                found.inline.extend(code.filter_map(Self::command));
            }
        }
        found
    }

    /// The `sheave ...` of a line of a shell, without remarks and what is the shell's own.
    fn command(line: &str) -> Option<String> {
        let line = line.trim();
        let line = line.strip_prefix("sudo ").unwrap_or(line);
        let rest = line.strip_prefix("sheave ")?;
        let rest = rest.split(['#', '>', '|']).next().unwrap_or_default();
        Some(rest.replace(['[', ']'], ""))
    }
}

/// Whether a word stands for another one: SERVICE, FILE, ...
fn is_placeholder(word: &str) -> bool {
    word == "..." || (word.len() > 1 && word.bytes().all(|b| b.is_ascii_uppercase() || b"-:=/.".contains(&b)))
}

/// The verbs at the start of a command exist.
fn verbs_exist(command: &str) -> Result<(), String> {
    let mut at = Cli::command();
    for word in command.split_whitespace() {
        if !at.has_subcommands() || word.starts_with('-') || is_placeholder(word) {
            break;
        }
        at = at.find_subcommand(word).cloned().ok_or_else(|| format!("sheave {command}: no verb {word}"))?;
    }
    Ok(())
}

fn check(document: &str, text: &str) -> Commands {
    let commands = Commands::of(text);
    let mut wrong = Vec::new();
    for command in commands.lines.iter().chain(&commands.inline) {
        wrong.extend(verbs_exist(command).err());
    }
    let whole = commands.lines.iter().filter(|line| !line.split_whitespace().any(is_placeholder));
    for command in whole {
        let words = std::iter::once("sheave").chain(command.split_whitespace());
        match Cli::command().try_get_matches_from(words) {
            Err(error) if error.use_stderr() => wrong.push(format!("sheave {command}: {error}")),
            _ => {}
        }
    }
    assert!(wrong.is_empty(), "{document}: {wrong:#?}");
    commands
}

#[test]
fn documents_speak_only_of_verbs_that_exist() {
    for (name, least) in [("README.md", 5), ("docs/operations.md", 15)] {
        let found = check(name, &document(name));
        let count = found.lines.len() + found.inline.len();
        assert!(count >= least, "{name}: only {count} commands were found");
    }
    for name in ["docs/differences-from-ipvs.md", "docs/counters.md"] {
        check(name, &document(name));
    }
}

#[test]
fn the_check_finds_what_is_wrong() {
    let found = Commands::of(
        "    sudo sheave status   # now\n```\nsheave stats --watch | head\n```\n`sheave nosuch`, `sheaved`\n",
    );
    assert_eq!(found.lines, ["status   ", "stats --watch "]);
    assert_eq!(found.inline, ["nosuch"]);
    assert!(verbs_exist("nosuch").is_err() && verbs_exist("service nosuch").is_err());
    assert!(verbs_exist("service show web").is_ok() && verbs_exist("stats [SERVICE]").is_ok());
    let refused = std::panic::catch_unwind(|| check("a text", "    sheave status --nosuch\n"));
    assert!(refused.is_err());
    check("a text", "    sheave service show SERVICE\n");
}
