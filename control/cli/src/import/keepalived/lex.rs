//! From the text of keepalived.conf to statements: comments, quotes, escapes, blocks, definitions, includes.

use crate::import::report::Note;
use crate::import::tree::{Builder, Place, Statement};
use std::collections::BTreeMap;
use std::iter::Peekable;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::str::Chars;

/// How deep files may include others.
const DEEPEST: usize = 16;

/// Where files come from.
pub(crate) trait Files {
    /// The files that a pattern names, seen from a directory, with their text.
    fn find(&self, from: &Path, pattern: &str) -> std::io::Result<Vec<(PathBuf, String)>>;
}

/// A piece of a line.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Word(String),
    Open,
    Close,
}

/// A whole file with all that it includes.
///
/// # Errors
/// Where blocks do not fit together, and what is wrong there.
pub(crate) fn read(
    path: &Path,
    text: &str,
    files: &dyn Files,
) -> Result<(Vec<Statement>, Vec<Note>), (Place, String)> {
    let mut reader =
        Reader { files, builder: Builder::default(), definitions: BTreeMap::new(), notes: Vec::new() };
    reader.file(path, text, 0)?;
    let statements = reader.builder.finish().map_err(|place| (place, "'{' is not closed".to_owned()))?;
    Ok((statements, reader.notes))
}

struct Reader<'f> {
    files: &'f dyn Files,
    builder: Builder,
    definitions: BTreeMap<String, String>,
    notes: Vec<Note>,
}

impl Reader<'_> {
    fn file(&mut self, path: &Path, text: &str, depth: usize) -> Result<(), (Place, String)> {
        let file: Rc<str> = Rc::from(path.display().to_string());
        let mut lines = (1..).zip(text.lines());
        while let Some((line, first)) = lines.next() {
            let place = Place { file: Rc::clone(&file), line };
            let mut whole = first.to_owned();
            while let Some(cut) = whole.strip_suffix('\\') {
                whole = cut.trim_end().to_owned();
                let Some((_, next)) = lines.next() else { break };
                whole.push('\n');
                whole.push_str(next);
            }
            self.line(&place, &whole, path, depth)?;
        }
        Ok(())
    }

    fn line(&mut self, place: &Place, line: &str, path: &Path, depth: usize) -> Result<(), (Place, String)> {
        let start = line.trim_start();
        if self.define(start) {
            return Ok(());
        }
        if start.starts_with('@') || start.starts_with('~') {
            let what = if start.starts_with('@') { "conditional lines" } else { "sequences and lists" };
            let remedy = "write it out and import again";
            self.notes.push(Note::new(place, format!("{}: {what} are not read: {remedy}", start.trim())));
            return Ok(());
        }
        for line in self.expand(place, line).lines() {
            let pieces = pieces(line).map_err(|wrong| (place.clone(), wrong))?;
            match &pieces[..] {
                [Piece::Word(word), Piece::Word(pattern)] if is_include(word) => {
                    self.include(place, pattern, path, depth)?;
                }
                _ => self.pieces(place, pieces)?,
            }
        }
        Ok(())
    }

    /// Takes a definition, `$NAME=VALUE`.
    fn define(&mut self, line: &str) -> bool {
        let Some((name, value)) = line.strip_prefix('$').and_then(|rest| rest.split_once('=')) else {
            return false;
        };
        let is_name = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        if is_name {
            self.definitions.insert(name.to_owned(), value.trim().to_owned());
        }
        is_name
    }

    /// Puts in what definitions stand for.
    fn expand(&mut self, place: &Place, line: &str) -> String {
        let mut text = String::new();
        let mut rest = line;
        while let Some((before, after)) = rest.split_once('$') {
            text.push_str(before);
            let braced = after.starts_with('{');
            let inner = if braced { &after[1..] } else { after };
            let end = inner.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(inner.len());
            let (name, behind) = inner.split_at(end);
            let behind = if braced { behind.strip_prefix('}') } else { Some(behind) };
            match (self.definitions.get(name), behind) {
                (Some(value), Some(behind)) => {
                    text.push_str(value);
                    rest = behind;
                }
                _ => {
                    if !name.is_empty() {
                        let text = format!("${name}: there is no such definition, or none that is read");
                        self.notes.push(Note::new(place, text));
                    }
                    text.push('$');
                    rest = after;
                }
            }
        }
        text + rest
    }

    fn include(
        &mut self,
        place: &Place,
        pattern: &str,
        path: &Path,
        depth: usize,
    ) -> Result<(), (Place, String)> {
        if depth == DEEPEST {
            return Err((place.clone(), format!("files include each other more than {DEEPEST} deep")));
        }
        let directory = path.parent().unwrap_or(Path::new(""));
        match self.files.find(directory, pattern) {
            Ok(found) if found.is_empty() => {
                self.notes.push(Note::new(place, format!("include {pattern}: there is no such file")));
                Ok(())
            }
            Ok(found) => found.iter().try_for_each(|(path, text)| self.file(path, text, depth + 1)),
            Err(error) => Err((place.clone(), format!("include {pattern}: {error}"))),
        }
    }

    fn pieces(&mut self, place: &Place, pieces: Vec<Piece>) -> Result<(), (Place, String)> {
        let mut words = Vec::new();
        for piece in pieces {
            match piece {
                Piece::Word(word) => words.push(word),
                Piece::Open => {
                    self.statement(place, &mut words);
                    if !self.builder.open() {
                        return Err((place.clone(), "'{' stands alone".to_owned()));
                    }
                }
                Piece::Close => {
                    self.statement(place, &mut words);
                    if !self.builder.close() {
                        return Err((place.clone(), "'}' closes nothing".to_owned()));
                    }
                }
            }
        }
        self.statement(place, &mut words);
        Ok(())
    }

    fn statement(&mut self, place: &Place, words: &mut Vec<String>) {
        if !words.is_empty() {
            self.builder.statement(Statement::new(place.clone(), std::mem::take(words)));
        }
    }
}

fn is_include(word: &str) -> bool {
    matches!(word, "include" | "includer" | "includem" | "includew" | "includeb" | "includea")
}

/// The pieces of a line, without its remark.
fn pieces(line: &str) -> Result<Vec<Piece>, String> {
    let mut pieces = Vec::new();
    let mut chars = line.chars().peekable();
    loop {
        while chars.next_if(|c| c.is_whitespace()).is_some() {}
        match chars.peek() {
            None | Some('#' | '!') => return Ok(pieces),
            Some(_) => pieces.extend(word(&mut chars)?),
        }
    }
}

/// A word, in quotes or not, and a brace at its end.
fn word(chars: &mut Peekable<Chars<'_>>) -> Result<Vec<Piece>, String> {
    let (mut text, mut quoted, mut quote) = (String::new(), false, None);
    while let Some(&c) = chars.peek() {
        if quote.is_none() && (c.is_whitespace() || c == '#' || c == '!') {
            break;
        }
        chars.next();
        match c {
            '\\' if quote.is_some() => text.extend(escaped(chars)),
            '"' | '\'' if quote == Some(c) => quote = None,
            '"' | '\'' if quote.is_none() => (quote, quoted) = (Some(c), true),
            c => text.push(c),
        }
    }
    if let Some(quote) = quote {
        return Err(format!("{quote} is not closed"));
    }
    Ok(match text.as_str() {
        _ if quoted => vec![Piece::Word(text)],
        "{" => vec![Piece::Open],
        "}" => vec![Piece::Close],
        other => match other.strip_suffix('{') {
            Some(word) if !word.contains('{') => vec![Piece::Word(word.to_owned()), Piece::Open],
            _ => vec![Piece::Word(text)],
        },
    })
}

/// What a backslash and what follows it stand for.
fn escaped(chars: &mut Peekable<Chars<'_>>) -> Option<char> {
    let number = |chars: &mut Peekable<Chars<'_>>, radix, most| {
        let mut value = 0;
        for _ in 0..most {
            let Some(digit) = chars.peek().and_then(|c| c.to_digit(radix)) else { break };
            chars.next();
            value = value * radix + digit;
        }
        char::from_u32(value)
    };
    match *chars.peek()? {
        '0'..='7' => number(chars, 8, 3),
        'x' => {
            chars.next();
            number(chars, 16, 2)
        }
        c => {
            chars.next();
            Some(match c {
                'a' => '\x07',
                'b' => '\x08',
                'E' => '\x1b',
                'f' => '\x0c',
                'n' => '\n',
                'r' => '\r',
                't' => '\t',
                'v' => '\x0b',
                other => other,
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Files that are there under exactly the pattern.
    struct Few(&'static [(&'static str, &'static str)]);

    impl Files for Few {
        fn find(&self, from: &Path, pattern: &str) -> std::io::Result<Vec<(PathBuf, String)>> {
            let wanted = from.join(pattern);
            let found = self.0.iter().filter(|(name, _)| Path::new(name) == wanted);
            Ok(found.map(|(name, text)| (PathBuf::from(name), (*text).to_owned())).collect())
        }
    }

    fn shown(statements: &[Statement], depth: usize, text: &mut String) {
        for statement in statements {
            let words: Vec<String> = statement.words.iter().map(|word| format!("<{word}>")).collect();
            text.push_str(&format!("{}{} {}\n", "  ".repeat(depth), statement.place, words.join("")));
            shown(statement.inner(), depth + 1, text);
        }
    }

    fn lexed(
        text: &str,
        files: &'static [(&'static str, &'static str)],
    ) -> Result<(String, Vec<String>), String> {
        let read = read(Path::new("dir/k.conf"), text, &Few(files));
        let (statements, notes) = read.map_err(|(place, wrong)| format!("{place}: {wrong}"))?;
        let mut text = String::new();
        shown(&statements, 0, &mut text);
        Ok((text, notes.iter().map(|note| format!("{}: {}", note.place, note.text)).collect()))
    }

    #[test]
    fn blocks_comments_and_quotes_are_understood() {
        let text = "! remark\na b # rest\nc {\n d \"e f\"'g h' \"i\\\"j\\x41\\101\"\n}\nk\n{\nl { m n } o{\n}\n}\n p \"{\"\n";
        let (tree, notes) = lexed(text, &[]).unwrap();
        let wanted = "dir/k.conf:2 <a><b>\ndir/k.conf:3 <c>\n  dir/k.conf:4 <d><e fg h><i\"jAA>\n\
                      dir/k.conf:6 <k>\n  dir/k.conf:8 <l>\n    dir/k.conf:8 <m><n>\n  dir/k.conf:8 <o>\n\
                      dir/k.conf:11 <p><{>\n";
        assert_eq!((tree.as_str(), notes), (wanted, Vec::new()));
    }

    #[test]
    fn definitions_and_includes_are_followed() {
        let text = "$VIP=198.18.0.1\n$REAL= \\\n real 1 { \\\n w 2 \\\n }\nvs $VIP ${VIP}x {\n $REAL\n}\n\
                    include more.conf\ninclude none.conf\nz $NO\n@main q\n~SEQ(a, 1, 2) b\n";
        let (tree, notes) = lexed(text, &[("dir/more.conf", "deep x\n")]).unwrap();
        let wanted = "dir/k.conf:6 <vs><198.18.0.1><198.18.0.1x>\n  dir/k.conf:7 <real><1>\n    dir/k.conf:7 <w><2>\n\
                      dir/more.conf:1 <deep><x>\ndir/k.conf:11 <z><$NO>\n";
        assert_eq!(tree, wanted);
        let places: Vec<&str> = notes.iter().filter_map(|note| note.split(": ").next()).collect();
        assert_eq!(places, ["dir/k.conf:10", "dir/k.conf:11", "dir/k.conf:12", "dir/k.conf:13"], "{notes:?}");
    }

    #[test]
    fn what_does_not_fit_together_is_named_with_its_line() {
        for (text, wrong) in [
            ("a {\n b\n", "dir/k.conf:1: '{' is not closed"),
            ("a\n}\n", "dir/k.conf:2: '}' closes nothing"),
            ("\n{\n}\n", "dir/k.conf:2: '{' stands alone"),
            ("a \"b\n", "dir/k.conf:1: \" is not closed"),
        ] {
            assert_eq!(lexed(text, &[]).unwrap_err(), wrong);
        }
        let error = lexed("include k.conf\n", &[("dir/k.conf", "include k.conf\n")]).unwrap_err();
        assert_eq!(error, "dir/k.conf:1: files include each other more than 16 deep");
    }
}
