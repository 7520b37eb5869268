//! Configuration files: any text is either a valid configuration or a list of errors that an operator can use.

use sheave_proto::config::{Config, ConfigError, parse, to_toml};

const FILE: &str = "sheave.toml";

/// Reading ends, an error says on one line where, what and what to do, and a configuration that is accepted
/// means the same after it was written out and read back, as TOML and as JSON.
pub fn config(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    match parse(text, FILE) {
        Ok(config) => survives_being_written(&config),
        Err(errors) => explain(text, &errors),
    }
}

fn explain(text: &str, errors: &[ConfigError]) {
    assert!(!errors.is_empty(), "refused without a reason");
    // An unexpected end is on the line that the last line break begins.
    let lines = text.matches('\n').count() + 1;
    for error in errors {
        let shown = error.to_string();
        assert!(shown.starts_with("error: sheave.toml:"), "{shown}");
        assert!(!shown.contains('\n'), "more than one line: {shown:?}");
        assert!(!error.object.is_empty() && !error.message.is_empty() && !error.remedy.is_empty(), "{shown}");
        if let Some(line) = error.line {
            assert!((1..=lines).contains(&line), "line {line} of {lines}: {shown}");
        }
    }
}

fn survives_being_written(config: &Config) {
    let toml = to_toml(config);
    match parse(&toml, FILE) {
        Ok(again) => assert_eq!(&again, config, "written as {toml}"),
        Err(errors) => panic!("written as {toml}, which is refused: {errors:#?}"),
    }
    let json = serde_json::to_value(config).expect("a configuration is JSON");
    match Config::from_json(&json) {
        Ok(again) => assert_eq!(&again, config, "written as {json}"),
        Err(errors) => panic!("written as {json}, which is refused: {errors:#?}"),
    }
}
