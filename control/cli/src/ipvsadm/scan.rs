//! From words to options, as ipvsadm's scanner of options does it: short ones may be combined, the last of them may
//! be followed at once by its value, long ones are never shortened, and words that are no option may stand anywhere.

use super::grammar::{SPECS, Spec, Tag, Takes};

/// What is wrong with a word; its `Display` is what ipvsadm says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fault<'a> {
    Unknown(&'a str),
    NoValue(&'a str),
    UnwantedValue(&'a str),
}

impl std::fmt::Display for Fault<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Fault::Unknown(word) => write!(f, "{word}: unknown option"),
            Fault::NoValue(word) => write!(f, "{word}: missing argument"),
            Fault::UnwantedValue(word) => write!(f, "{word}: option does not take an argument"),
        }
    }
}

/// An option with its value, and the word that it stood in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Found<'a> {
    pub(super) tag: Tag,
    pub(super) value: Option<&'a str>,
    pub(super) word: &'a str,
}

/// Goes over the words of a command line.
#[derive(Debug)]
pub(super) struct Scanner<'a> {
    words: &'a [&'a str],
    /// What follows the letter that was read last, and the word of both.
    letters: Option<(&'a str, &'a str)>,
    others: Vec<&'a str>,
}

impl<'a> Scanner<'a> {
    pub(super) fn new(words: &'a [&'a str]) -> Scanner<'a> {
        Scanner { words, letters: None, others: Vec::new() }
    }

    /// The next option; `None` when there is none any more.
    pub(super) fn option(&mut self) -> Result<Option<Found<'a>>, Fault<'a>> {
        if let Some((word, rest)) = self.letters.take() {
            return self.letter(word, rest).map(Some);
        }
        while let Some((&word, rest)) = self.words.split_first() {
            self.words = rest;
            if word == "--" {
                self.others.extend_from_slice(std::mem::take(&mut self.words));
            } else if let Some(long) = word.strip_prefix("--") {
                return self.long(word, long).map(Some);
            } else if let Some(letters) = word.strip_prefix('-').filter(|letters| !letters.is_empty()) {
                return self.letter(word, letters).map(Some);
            } else {
                self.others.push(word);
            }
        }
        Ok(None)
    }

    /// The words that were no options, once all options were read.
    pub(super) fn others(self) -> Vec<&'a str> {
        self.others
    }

    fn long(&mut self, word: &'a str, long: &'a str) -> Result<Found<'a>, Fault<'a>> {
        let (name, value) = match long.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (long, None),
        };
        let spec = SPECS.iter().find(|spec| spec.long == name).ok_or(Fault::Unknown(word))?;
        self.valued(spec, word, value)
    }

    /// Reads the first letter of `letters`; what follows is its value, or the next letter.
    fn letter(&mut self, word: &'a str, letters: &'a str) -> Result<Found<'a>, Fault<'a>> {
        let mut chars = letters.chars();
        let letter = chars.next();
        let spec = SPECS.iter().find(|spec| spec.short == letter).ok_or(Fault::Unknown(word))?;
        let rest = Some(chars.as_str()).filter(|rest| !rest.is_empty());
        match (spec.takes, rest) {
            (Takes::Nothing, Some(rest)) if !rest.starts_with('=') => {
                self.letters = Some((word, rest));
                self.valued(spec, word, None)
            }
            (_, rest) => self.valued(spec, word, rest.map(|rest| rest.strip_prefix('=').unwrap_or(rest))),
        }
    }

    fn valued(
        &mut self,
        spec: &'static Spec,
        word: &'a str,
        value: Option<&'a str>,
    ) -> Result<Found<'a>, Fault<'a>> {
        let found = |value| Found { tag: spec.tag, value, word };
        match (spec.takes, value) {
            (Takes::Nothing, Some(_)) => Err(Fault::UnwantedValue(word)),
            (Takes::Nothing, None) => Ok(found(None)),
            (_, Some(value)) => Ok(found(Some(value))),
            (takes, None) => {
                let next = self.words.first().copied();
                let next = next.filter(|next| takes == Takes::Value || !next.starts_with('-'));
                if next.is_some() {
                    self.words = &self.words[1..];
                } else if takes == Takes::Value {
                    return Err(Fault::NoValue(word));
                }
                Ok(found(next))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ipvsadm::grammar::{Opt, Verb};

    type Options = Vec<(Tag, Option<String>)>;

    /// The options of a line, then the words that are none, or the fault that ends it.
    fn scan(line: &str) -> (Options, Result<Vec<String>, String>) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let mut scanner = Scanner::new(&words);
        let mut found = Vec::new();
        loop {
            match scanner.option() {
                Ok(Some(option)) => found.push((option.tag, option.value.map(str::to_owned))),
                Ok(None) => break,
                Err(fault) => return (found, Err(fault.to_string())),
            }
        }
        (found, Ok(scanner.others().into_iter().map(str::to_owned).collect()))
    }

    #[test]
    fn values_stand_behind_their_option_in_any_form() {
        for line in ["-At a:80", "-Ata:80", "-A -t=a:80", "-A --tcp-service=a:80", "-A --tcp-service a:80"] {
            let wanted = vec![(Tag::Verb(Verb::Add), None), (Tag::Tcp, Some("a:80".to_owned()))];
            assert_eq!(scan(line), (wanted, Ok(Vec::new())), "{line}");
        }
        for (line, value) in [
            ("-p", None),
            ("-p 60", Some("60")),
            ("-p60", Some("60")),
            ("-p=60", Some("60")),
            ("-p --", None),
        ] {
            let wanted = vec![(Tag::Opt(Opt::Persistent), value.map(str::to_owned))];
            assert_eq!(scan(line), (wanted, Ok(Vec::new())), "{line}");
        }
        assert_eq!(scan("-t --ops").0, [(Tag::Tcp, Some("--ops".to_owned()))], "a needed value is any word");
    }

    #[test]
    fn words_that_are_no_option_are_kept_apart() {
        let (found, others) = scan("--set 900 120 - 300 -- -L");
        assert_eq!(found, [(Tag::Verb(Verb::Set), None)]);
        assert_eq!(others, Ok(["900", "120", "-", "300", "-L"].map(str::to_owned).to_vec()));
    }

    #[test]
    fn faults_name_the_word() {
        for (line, fault) in [
            ("-nQ", "-nQ: unknown option"),
            ("--lis", "--lis: unknown option"),
            ("-t", "-t: missing argument"),
            ("--ops=x", "--ops=x: option does not take an argument"),
            ("-o=x", "-o=x: option does not take an argument"),
        ] {
            assert_eq!(scan(line).1, Err(fault.to_owned()), "{line}");
        }
    }
}
