//! Finding the word that was meant.

/// The known words that differ from `word` by few letters, nearest first, at most three.
pub(crate) fn near<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    // Texts of this length are no misspelt words, and comparing them is quadratic.
    const LONGEST: usize = 64;
    if word.len() > LONGEST {
        return Vec::new();
    }
    let reach = (word.chars().count() / 3).clamp(1, 3);
    let mut found: Vec<(usize, &str)> =
        known.into_iter().map(|k| (distance(word, k), k)).filter(|(d, _)| *d <= reach).collect();
    found.sort_by_key(|(distance, _)| *distance);
    found.into_iter().take(3).map(|(_, word)| word).collect()
}

/// How many letters to insert, remove or replace to get from one word to the other.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut corner = i;
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let replaced = corner + usize::from(from != *to);
            corner = row[j + 1];
            row[j + 1] = replaced.min(corner + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_count_letters() {
        assert_eq!(distance("weight", "weight"), 0);
        assert_eq!(distance("wieght", "weight"), 2);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("kitten", "sitting"), 3);
    }

    #[test]
    fn near_words_are_offered_and_far_ones_not() {
        assert_eq!(near("shceduler", ["weight", "scheduler"]), ["scheduler"]);
        assert!(near("colour", ["weight", "scheduler"]).is_empty());
        assert!(near(&"x".repeat(1000), ["x"]).is_empty());
    }
}
