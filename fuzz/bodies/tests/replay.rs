//! Every committed input goes through its target's body, as plain tests.

use sheave_fuzz::TARGETS;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

fn fuzz_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn names_in(dir: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display()));
    entries
        .map(|entry| entry.expect("a readable directory").file_name().to_string_lossy().into_owned())
        .collect()
}

#[test]
fn every_input_of_every_corpus_passes() {
    for (name, body) in TARGETS {
        let dir = fuzz_dir().join("corpus").join(name);
        let inputs = names_in(&dir);
        assert!(!inputs.is_empty(), "corpus/{name} has no input");
        for input in inputs {
            let bytes = fs::read(dir.join(&input)).unwrap();
            // The name of an input that panics is the first thing to know.
            let result = std::panic::catch_unwind(|| body(&bytes));
            assert!(result.is_ok(), "corpus/{name}/{input} panics");
        }
    }
}

#[test]
fn every_target_has_a_body_a_corpus_and_a_fuzz_target() {
    let bodies: BTreeSet<String> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(names_in(&fuzz_dir().join("corpus")), bodies);
    let sources = bodies.iter().map(|name| format!("{name}.rs")).collect();
    assert_eq!(names_in(&fuzz_dir().join("fuzz_targets")), sources);
    let manifest = fs::read_to_string(fuzz_dir().join("Cargo.toml")).unwrap();
    for name in &bodies {
        assert!(manifest.contains(&format!("name = \"{name}\"\n")), "fuzz/Cargo.toml has no [[bin]] {name}");
    }
}
