//! Rules on the bytes of paths.

use std::path::Path;

use globset::{GlobBuilder, GlobMatcher};
use ntt_catalogue::rows::PathRow;
use ntt_model::Kind;
use regex::bytes::Regex;
use serde::Deserialize;

use crate::config::Size;
use crate::{Config, Error};

/// Rules, in order; the first that matches a path names it.
#[derive(Debug, Default)]
pub struct Rules {
    /// What they were read from.
    text: String,
    names: Vec<String>,
    rules: Vec<Rule>,
}

#[derive(Debug)]
struct Rule {
    pattern: Pattern,
    kind: Option<Kind>,
    min_size: u64,
    max_size: u64,
}

#[derive(Debug)]
enum Pattern {
    /// Matches the whole path; without `/` in the glob, its last name.
    Glob { matcher: GlobMatcher, name_only: bool },
    /// Matches anywhere in the path.
    Regex(Regex),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RulesFile {
    #[serde(default)]
    rule: Vec<RuleText>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RuleText {
    name: String,
    glob: Option<String>,
    regex: Option<String>,
    kind: Option<Kind>,
    min_size: Option<Size>,
    max_size: Option<Size>,
}

/// What is wrong with TOML, and in which line.
fn in_one_line(text: &str, error: &toml::de::Error) -> String {
    let before = error.span().and_then(|span| text.get(..span.start));
    match before {
        Some(before) => format!("line {}: {}", before.matches('\n').count() + 1, error.message()),
        None => error.message().to_owned(),
    }
}

impl Rules {
    /// Reads rules from TOML: `[[rule]]` tables with `name`, one of `glob` or `regex`, and optionally `kind`, `min_size`, `max_size`
    /// (inclusive).
    ///
    /// A glob with a `/` matches the whole path relative to the volume's root (`*` stays within one directory, `**` does not); one
    /// without matches the last name. A regular expression works on bytes and matches anywhere in the path.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] with the rule that is wrong.
    pub fn from_toml(text: &str, place: &str) -> Result<Self, Error> {
        let wrong = |reason: String| Error::Config {
            place: place.to_owned(),
            reason,
        };
        let file: RulesFile = toml::from_str(text).map_err(|error| wrong(in_one_line(text, &error)))?;
        let mut rules = Self {
            text: text.to_owned(),
            ..Self::default()
        };
        for text in file.rule {
            let name = text.name.clone();
            if name.is_empty() || rules.names.contains(&name) {
                return Err(wrong(format!("rule `{name}`: the name is empty or taken")));
            }
            let rule = Rule::parse(&text).map_err(|reason| wrong(format!("rule `{name}`: {reason}")))?;
            rules.names.push(name);
            rules.rules.push(rule);
        }
        Ok(rules)
    }

    /// Reads a rules file.
    ///
    /// # Errors
    ///
    /// As [`Rules::from_toml`]; [`Error::Config`] too when the file cannot be read, since whoever named it named it wrongly.
    pub fn load(path: &Path) -> Result<Self, Error> {
        let place = path.display().to_string();
        let text = ntt_host::expect_regular(path).and_then(|()| std::fs::read_to_string(path));
        match text {
            Ok(text) => Self::from_toml(&text, &place),
            Err(error) => Err(Error::Config {
                place,
                reason: format!("reading the rules failed: {error}"),
            }),
        }
    }

    /// Reads the rules file that the settings name, to be asked before anything is read or written: none if they name none.
    ///
    /// # Errors
    ///
    /// As [`Rules::load`].
    pub fn of_settings(config: &Config, archive: &Path) -> Result<Self, Error> {
        match &config.rules.value {
            // What settings in a file name is relative to the archive.
            Some(path) => Self::load(&archive.join(path)),
            None => Ok(Self::default()),
        }
    }

    /// The text that they were read from.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Names of the rules.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// The index of the rule that excludes a path.
    pub fn rule_of(&self, path: &PathRow) -> Option<usize> {
        self.rules.iter().position(|rule| rule.matches(path))
    }
}

impl Rule {
    fn parse(text: &RuleText) -> Result<Self, String> {
        let pattern = match (&text.glob, &text.regex) {
            (Some(glob), None) => Pattern::glob(glob)?,
            (None, Some(regex)) => Pattern::Regex(Regex::new(regex).map_err(|error| error.to_string())?),
            _ => return Err("give one of `glob` and `regex`".to_owned()),
        };
        Ok(Self {
            pattern,
            kind: text.kind,
            min_size: text.min_size.map_or(0, |size| size.0),
            max_size: text.max_size.map_or(u64::MAX, |size| size.0),
        })
    }

    fn matches(&self, path: &PathRow) -> bool {
        let size_fits = (self.min_size..=self.max_size).contains(&path.size_bytes);
        let kind_fits = self.kind.is_none() || self.kind == path.kind;
        size_fits && kind_fits && self.pattern.matches(&path.path)
    }
}

impl Pattern {
    fn glob(glob: &str) -> Result<Self, String> {
        let built = GlobBuilder::new(glob)
            .literal_separator(true)
            .build()
            .map_err(|error| error.to_string())?;
        Ok(Self::Glob {
            matcher: built.compile_matcher(),
            name_only: !glob.contains('/'),
        })
    }

    fn matches(&self, path: &[u8]) -> bool {
        match self {
            Self::Regex(regex) => regex.is_match(path),
            Self::Glob { matcher, name_only } => {
                let subject = match path.iter().rposition(|byte| *byte == b'/') {
                    Some(slash) if *name_only => &path[slash + 1..],
                    _ => path,
                };
                matcher.is_match(crate::HostPath::from_bytes(subject).as_path())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use ntt_model::Namespace;
    use ntt_model::entry::Allocation;

    use super::*;

    fn path(path: &[u8], size_bytes: u64) -> PathRow {
        PathRow {
            id: 1,
            path: path.to_vec(),
            inode: 1,
            kind: Some(Kind::File),
            size_bytes,
            namespace: Namespace::Native,
            alternate: false,
            allocation: Allocation::Allocated,
            rule: None,
        }
    }

    const RULES: &str = r#"
        [[rule]]
        name = "thumbnails"
        glob = "Thumbs.db"
        [[rule]]
        name = "caches"
        glob = "home/*/.cache/**"
        [[rule]]
        name = "swap"
        regex = '(?-u)^pagefile\xff?\.sys$'
        min_size = "1KiB"
    "#;

    /// R26: rules match bytes relative to the volume's root; the first that matches names the path.
    #[test]
    fn r26_globs_and_regexes_match_bytes() -> Result<(), Error> {
        let rules = Rules::from_toml(RULES, "rules.toml")?;
        let rule_of = |bytes: &[u8], size| rules.rule_of(&path(bytes, size));
        assert_eq!(rule_of(b"a/b/Thumbs.db", 1), Some(0));
        assert_eq!(rule_of(b"home/\xff\xfe/.cache/x\n/y", 1), Some(1));
        assert_eq!(
            rule_of(b"home/a/b/.cache/x", 1),
            None,
            "a star stays within one directory"
        );
        assert_eq!(rule_of(b"pagefile\xff.sys", 2048), Some(2));
        assert_eq!(rule_of(b"pagefile.sys", 1023), None);
        assert_eq!(
            rule_of(b"odd # name\r", 1),
            None,
            "nothing is excluded for odd characters"
        );
        Ok(())
    }

    #[test]
    fn wrong_rules_are_told_by_name() {
        for (text, expected) in [
            ("[[rule]]\nname='a'", "rule `a`: give one of"),
            ("[[rule]]\nname='a'\nglob='['", "rule `a`: error parsing glob"),
            (
                "[[rule]]\nname='a'\nglob='x'\n[[rule]]\nname='a'\nglob='y'",
                "the name is empty or taken",
            ),
            ("[[rules]]\nname='a'", "unknown field `rules`"),
        ] {
            let error = Rules::from_toml(text, "f").expect_err("wrong").to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
