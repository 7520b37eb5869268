//! The house's own rules, held: who may use whom, and where `unsafe` may be.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use sheave_testbeds::run;

/// The directories whose crates may contain `unsafe`.
const UNSAFE_HOUSES: [&str; 2] = ["dataplane/io", "dataplane/table"];

fn root() -> PathBuf {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    own.parent().expect("the workspace is one above").to_owned()
}

/// The packages of the workspace, as cargo sees them.
fn packages() -> Vec<Value> {
    let manifest = root().join("Cargo.toml");
    let path = manifest.to_str().expect("UTF-8 path");
    let metadata = ["metadata", "--no-deps", "--offline", "--format-version", "1", "--manifest-path", path];
    let text = run(&[&[env!("CARGO")], metadata.as_slice()].concat()).expect("cargo metadata");
    let metadata: Value = serde_json::from_str(&text).expect("JSON");
    metadata["packages"].as_array().expect("a list of packages").clone()
}

fn allowed() -> BTreeMap<String, BTreeSet<String>> {
    let text = include_str!("../edges.txt");
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    let edges = lines.map(|line| {
        let (from, to) = line.split_once(':').expect("NAME: NAMES");
        (from.to_owned(), to.split_whitespace().map(str::to_owned).collect())
    });
    edges.collect()
}

#[test]
fn crates_use_only_those_that_the_list_allows() {
    let allowed = allowed();
    let packages = packages();
    assert!(packages.len() >= 10, "cargo metadata shows {} packages only", packages.len());
    let mut wrong = Vec::new();
    for package in &packages {
        let name = package["name"].as_str().expect("a package has a name");
        let Some(may) = allowed.get(name) else {
            wrong.push(format!("{name}: not in testbeds/edges.txt"));
            continue;
        };
        for dependency in package["dependencies"].as_array().expect("a list") {
            let to = dependency["name"].as_str().expect("a dependency has a name");
            let counts = dependency["kind"].as_str() != Some("dev") && dependency["path"].is_string();
            if counts && !may.contains(to) {
                wrong.push(format!("{name} -> {to}: not allowed by testbeds/edges.txt"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn the_list_names_only_crates_that_exist() {
    let names: BTreeSet<_> =
        packages().iter().map(|p| p["name"].as_str().expect("name").to_owned()).collect();
    for (from, to) in allowed() {
        assert!(names.contains(&from), "{from}");
        assert!(to.is_subset(&names), "{from}: {to:?}");
    }
}

#[test]
fn every_crate_outside_the_unsafe_houses_forbids_unsafe_code() {
    let root = root();
    let mut missing = Vec::new();
    for package in packages() {
        let targets = package["targets"].as_array().expect("a list").clone();
        for target in targets {
            let source = PathBuf::from(target["src_path"].as_str().expect("a path"));
            let kind = target["kind"][0].as_str().expect("a kind");
            let is_house = UNSAFE_HOUSES.iter().any(|house| source.starts_with(root.join(house)));
            if !is_house && ["lib", "bin", "proc-macro"].contains(&kind) {
                let text = fs::read_to_string(&source).expect("source");
                if !text.lines().any(|line| line == "#![forbid(unsafe_code)]") {
                    missing.push(source);
                }
            }
        }
    }
    assert!(missing.is_empty(), "without #![forbid(unsafe_code)]: {missing:#?}");
}

#[test]
fn unsafe_occurs_only_in_its_two_houses() {
    let root = root();
    let mut found = Vec::new();
    let mut looked = 0;
    for package in packages() {
        let manifest = PathBuf::from(package["manifest_path"].as_str().expect("a path"));
        let directory = manifest.parent().expect("a manifest is in a directory");
        if UNSAFE_HOUSES.iter().any(|house| directory == root.join(house)) {
            continue;
        }
        for source in sources(directory) {
            looked += 1;
            let text = fs::read_to_string(&source).expect("source");
            for (number, line) in text.lines().enumerate().filter(|(_, line)| has_unsafe(line)) {
                found.push(format!("{}:{}: {}", source.display(), number + 1, line.trim()));
            }
        }
    }
    assert!(looked > 20, "only {looked} sources were found");
    assert!(found.is_empty(), "{found:#?}");
}

/// Whether a line of code (not a comment) begins an unsafe block, function, implementation or attribute.
fn has_unsafe(line: &str) -> bool {
    let code = line.split("//").next().unwrap_or("");
    let mut pieces = code.split("unsafe");
    let mut before = pieces.next().unwrap_or("");
    for after in pieces {
        let begins = !before.ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == '"');
        let rest = after.trim_start();
        let opens = ["{", "(", "fn ", "impl", "extern", "trait "].iter().any(|next| rest.starts_with(next));
        // At the end of a line, the brace is on the next one.
        if begins && (opens || rest.is_empty()) {
            return true;
        }
        before = after;
    }
    false
}

/// The Rust sources under a directory.
fn sources(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).expect("directory").flatten() {
        let path = entry.path();
        if path.is_dir() && path.file_name().is_some_and(|name| name != "target") {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}

#[test]
fn the_search_for_unsafe_finds_it_and_nothing_else() {
    let word = "unsafe";
    for code in
        ["let x = W { *p };", "W fn f()", "W impl Send for X", "pub W extern \"C\" {", "#[W(no_mangle)]", "W"]
    {
        assert!(has_unsafe(&code.replace('W', word)), "{code}");
    }
    for code in
        ["#![forbid(W_code)]", "// W { }", "let W_thing = 1;", "/// no W fn", "let text = \"the W houses\";"]
    {
        assert!(!has_unsafe(&code.replace('W', word)), "{code}");
    }
}
