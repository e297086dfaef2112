//! `(did you mean X?)`.

/// How many changes may lie between a word and what was meant.
const NEAR: usize = 2;

/// ` (did you mean X?)`, or nothing when no option is near. Case does not count.
pub(crate) fn did_you_mean(word: &str, options: &[&str]) -> String {
    let word = word.to_ascii_lowercase();
    // Distance takes time: nothing long is near.
    if word.len() > 32 {
        return String::new();
    }
    options
        .iter()
        .map(|option| (distance(&word, &option.to_ascii_lowercase()), option))
        .filter(|(distance, _)| (1..=NEAR).contains(distance) && *distance < word.len())
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, option)| format!(" (did you mean {option}?)"))
        .unwrap_or_default()
}

/// How many characters must be put in, taken out or changed.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let changed = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_word_is_meant() {
        let options = ["FROM", "RUN", "COPY", "ADD"];
        assert_eq!(did_you_mean("FOO", &options), " (did you mean FROM?)");
        assert_eq!(did_you_mean("coppy", &options), " (did you mean COPY?)");
        assert_eq!(did_you_mean("something", &options), "");
        assert_eq!(did_you_mean("AB", &options), "");
        assert_eq!(did_you_mean("", &options), "");
        assert_eq!(did_you_mean(&"x".repeat(100), &options), "");
        assert_eq!(distance("kitten", "sitting"), 3);
    }
}
