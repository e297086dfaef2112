//! `.dockerignore` and `--exclude`: which files of a tree do not count.
//!
//! The rules are Docker's: each line is a pattern from the tree's root, the last line that fits
//! decides, `!` takes a file back in, and what lies below a directory that fits fits as well.
//! [`Patterns::matches`] answers for one path; [`Patterns::below`] for a walk, where what is
//! known of a directory need not be found out again for all that is in it.

mod clean;
mod glob;

pub use clean::clean;
pub use glob::Glob;

/// Patterns of one file.
const MAX_PATTERNS: usize = 100_000;

/// Why a pattern makes no sense.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// A class without its end, a range that runs backwards, an escape of nothing.
    #[error("syntax error in pattern: {0:?}")]
    Syntax(String),
    /// A lone `!`.
    #[error("illegal exclusion pattern: \"!\"")]
    LoneException,
    /// More lines than any tree needs.
    #[error("more than {MAX_PATTERNS} patterns")]
    TooMany,
}

/// Patterns in their order.
#[derive(Clone, Debug, Default)]
pub struct Patterns {
    patterns: Vec<Pattern>,
}

#[derive(Clone, Debug)]
struct Pattern {
    /// It takes back in what others leave out.
    exception: bool,
    /// The cleaned pattern.
    text: String,
    form: Form,
}

/// How a path is compared; the simple ones are most.
#[derive(Clone, Debug)]
enum Form {
    /// The whole path.
    Exact,
    /// `abc**`: what begins with the text.
    Prefix,
    /// `**abc`: what ends with the text.
    Suffix,
    /// All else.
    Glob(Glob),
}

/// What is known of a path: whether it is left out, and by which patterns.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// It does not count.
    pub excluded: bool,
    /// The patterns that fit it or a directory above.
    fitting: Vec<bool>,
}

impl Patterns {
    /// Reads a `.dockerignore`. Lines that begin with `#` are comments.
    ///
    /// # Errors
    /// [`PatternError`] for the first line that makes no sense.
    ///
    /// ```
    /// let patterns = build::ignore::Patterns::parse("*\n!src\nsrc/**/*.o\n").unwrap();
    /// assert!(patterns.matches("README"));
    /// assert!(!patterns.matches("src/a/main.c"));
    /// assert!(patterns.matches("src/a/main.o"));
    /// ```
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        Self::from_lines(text.lines().filter(|line| !line.starts_with('#')))
    }

    /// Takes one pattern a line; nothing is a comment.
    ///
    /// # Errors
    /// [`PatternError`].
    pub fn from_lines<'a>(lines: impl IntoIterator<Item = &'a str>) -> Result<Self, PatternError> {
        let mut patterns = Vec::new();
        for line in lines {
            if let Some(pattern) = Pattern::parse(line)? {
                patterns.push(pattern);
            }
            if patterns.len() > MAX_PATTERNS {
                return Err(PatternError::TooMany);
            }
        }
        Ok(Self { patterns })
    }

    /// There is no pattern.
    pub fn is_empty(&self) -> bool {
        self.patterns.is_empty()
    }

    /// Takes a path back in if it is left out: what the builder itself must see.
    pub fn keep(&mut self, path: &str) {
        if self.matches(path) {
            self.patterns.push(Pattern { exception: true, text: clean(path), form: Form::Exact });
        }
    }

    /// Whether a path is left out. It is relative to the root, has no leading slash and no dots.
    pub fn matches(&self, path: &str) -> bool {
        if self.patterns.is_empty() {
            return false;
        }
        let mut verdict = Verdict::default();
        let ends = path.match_indices('/').map(|(at, _)| at).chain([path.len()]);
        for end in ends {
            verdict = self.below(&verdict, &path[..end]);
        }
        verdict.excluded
    }

    /// What is known of `path` when `parent` is what is known of the directory that it lies in;
    /// for those at the root that is the default.
    pub fn below(&self, parent: &Verdict, path: &str) -> Verdict {
        let mut excluded = false;
        let mut fitting = vec![false; self.patterns.len()];
        for (index, pattern) in self.patterns.iter().enumerate() {
            let mut fits = parent.fitting.get(index).copied().unwrap_or(false);
            if !fits {
                // A pattern that would change nothing is not asked, and hence does not count for
                // what lies below either: so does Docker.
                if pattern.exception != excluded {
                    continue;
                }
                fits = pattern.fits(path);
            }
            fitting[index] = fits;
            if fits {
                excluded = !pattern.exception;
            }
        }
        Verdict { excluded, fitting }
    }

    /// Whether nothing in a directory that is left out can be taken back in, so that it need not
    /// be looked into.
    pub fn excludes_all_below(&self, directory: &str, verdict: &Verdict) -> bool {
        verdict.excluded
            && !self
                .patterns
                .iter()
                .any(|pattern| pattern.exception && pattern.may_fit_below(directory))
    }
}

impl Pattern {
    fn parse(line: &str) -> Result<Option<Self>, PatternError> {
        let line = line.trim();
        let (mut exception, rest) = match line.strip_prefix('!') {
            Some(rest) => (true, rest.trim()),
            None => (false, line),
        };
        let mut text = if rest.is_empty() { String::new() } else { clean(rest) };
        if text.starts_with('/') {
            text.remove(0);
        }
        // Docker reads the line twice, so that `/!a` is an exception as well.
        if !exception && text.starts_with('!') {
            exception = true;
            text.remove(0);
        }
        if text.is_empty() {
            return if exception { Err(PatternError::LoneException) } else { Ok(None) };
        }
        let form = Form::of(&text)?;
        Ok(Some(Self { exception, text, form }))
    }

    fn fits(&self, path: &str) -> bool {
        match &self.form {
            Form::Exact => path == self.text,
            Form::Prefix => path.starts_with(self.text.trim_end_matches('*')),
            Form::Suffix => {
                let suffix = self.text.strip_prefix("**").unwrap_or(&self.text);
                path.ends_with(suffix) || suffix.strip_prefix('/') == Some(path)
            }
            Form::Glob(glob) => glob.matches(path),
        }
    }

    /// Whether something below the directory may fit. Wildcards always may; what stands before
    /// the first of them must agree with the directory.
    fn may_fit_below(&self, directory: &str) -> bool {
        let fixed = match self.text.find(['*', '?', '[', '\\']) {
            Some(at) => &self.text[..at],
            None => &self.text,
        };
        let below = format!("{directory}/");
        if fixed.len() >= below.len() {
            return fixed.starts_with(&below);
        }
        // An exact text that is shorter can be the directory or above, never below; but then it
        // fits what is below as well.
        below.starts_with(fixed)
    }
}

impl Form {
    fn of(text: &str) -> Result<Self, PatternError> {
        let glob = Glob::parse(text)?;
        let special = |text: &str| text.contains(['*', '?', '[', ']', '\\']);
        if !special(text) {
            return Ok(Self::Exact);
        }
        if text.strip_prefix("**").is_some_and(|rest| !special(rest)) {
            // `**abc` is the one pattern in which the stars stand for a part of a name as well.
            return Ok(Self::Suffix);
        }
        if text.strip_suffix("**").is_some_and(|rest| !special(rest)) {
            return Ok(Self::Prefix);
        }
        Ok(Self::Glob(glob))
    }
}

#[cfg(test)]
mod tests;
