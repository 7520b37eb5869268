//! Results as part of the documentation: text between two marks of a page, and the plots beside it.

use sheave_testbeds::{Error, Result};
use std::fs;
use std::path::Path;

const BEGIN: &str = "<!-- results: written by make perf-publish -->\n";
const END: &str = "<!-- end of results -->\n";

/// Puts `text` and the plots of `from` into a page, in the place of what an earlier run put there.
pub(crate) fn publish(page: &Path, text: &str, from: &Path, plots: &[String]) -> Result<()> {
    let old = fs::read_to_string(page).map_err(Error::about(page.display()))?;
    let folder = page.with_extension("");
    fs::create_dir_all(&folder).map_err(Error::about(folder.display()))?;
    let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let mut images = String::new();
    for plot in plots {
        let (source, file) = (from.join(format!("{plot}.svg")), folder.join(format!("{plot}.svg")));
        fs::copy(&source, file).map_err(Error::about(source.display()))?;
        images += &format!("![{}]({name}/{plot}.svg)\n", plot.replace('-', " "));
    }
    let new = between_marks(&old, &format!("{text}\n{images}"));
    let new = new.ok_or_else(|| Error::new(format!("{}: has no marks for results", page.display())))?;
    fs::write(page, new).map_err(Error::about(page.display()))
}

fn between_marks(old: &str, text: &str) -> Option<String> {
    let (before, rest) = old.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{BEGIN}\n{text}\n{END}{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_between_the_marks_changes() {
        let page = format!("# page\n{BEGIN}old\n{END}rest\n");
        assert_eq!(between_marks(&page, "new").expect("marks"), format!("# page\n{BEGIN}\nnew\n{END}rest\n"));
        assert_eq!(between_marks("# page\n", "new"), None);
    }
}
