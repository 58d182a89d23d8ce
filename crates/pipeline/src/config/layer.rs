//! One source of settings: a file, the environment, or the flags.

use std::io::ErrorKind;
use std::path::Path;

use super::{Config, Origin, Values};
use crate::Error;

/// Keys that a layer may hold, for hints.
const KEYS: [&str; 10] = [
    "pack_threshold",
    "jobs",
    "scan_time",
    "scan_stall",
    "scan_memory",
    "rules",
    "catalogue",
    "path_map",
    "unpack_limit",
    "allow_backing",
];

/// The values of one source of settings, typed, with their origins.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ConfigLayer(Vec<(Values, Origin)>);

/// One setting as `config show` prints it.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize)]
pub struct Shown {
    /// The key.
    pub key: &'static str,
    /// The value as it would be written.
    pub value: String,
    /// Where it came from.
    #[serde(flatten)]
    pub origin: Origin,
}

impl ConfigLayer {
    /// Reads the text of a TOML file.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] for a key that is not known (with the nearest one as a hint) or a value of the wrong type.
    pub fn from_toml(text: &str, origin: Origin) -> Result<Self, Error> {
        let values = parse(text, &origin.to_string())?;
        Ok(Self(vec![(values, origin)]))
    }

    /// Reads a TOML file; an absent file is an empty layer.
    ///
    /// # Errors
    ///
    /// As [`ConfigLayer::from_toml`], and when the file cannot be read.
    pub fn from_file(path: &Path, origin: Origin) -> Result<Self, Error> {
        match std::fs::read_to_string(path) {
            Ok(text) => Self::from_toml(&text, origin),
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
                Ok(Self(Vec::new()))
            }
            Err(error) => Err(Error::io("reading settings", path)(error)),
        }
    }

    /// Takes key and value pairs, each with its own origin: environment variables or flags.
    ///
    /// # Errors
    ///
    /// As [`ConfigLayer::from_toml`].
    pub fn from_pairs<'a>(
        pairs: impl IntoIterator<Item = (&'a str, &'a str, Origin)>,
    ) -> Result<Self, Error> {
        let mut layers = Vec::new();
        for (key, value, origin) in pairs {
            let line = format!("{key} = {}", toml::Value::from(value));
            let line = match value.parse::<u64>() {
                Ok(number) => format!("{key} = {number}"),
                Err(_) => line,
            };
            layers.push((parse(&line, &origin.to_string())?, origin));
        }
        Ok(Self(layers))
    }

    /// The archive that this layer names, if it does.
    pub fn archive(&self) -> Option<&Path> {
        self.0
            .iter()
            .rev()
            .find_map(|(values, _)| values.archive.as_deref())
    }

    pub(super) fn apply(&self, config: &mut Config) {
        for (values, origin) in &self.0 {
            let size = |size: Option<super::value::Size>| size.map(|size| size.0);
            let span = |span: Option<super::value::Seconds>| span.map(|span| span.0);
            config
                .pack_threshold_bytes
                .set(size(values.pack_threshold), origin);
            config.jobs.set(values.jobs, origin);
            config.scan_time.set(span(values.scan_time), origin);
            config.scan_stall.set(span(values.scan_stall), origin);
            config.scan_memory_bytes.set(size(values.scan_memory), origin);
            config.rules.set(values.rules.clone().map(Some), origin);
            config.catalogue.set(values.catalogue.clone().map(Some), origin);
            config.path_map.set(values.path_map.clone(), origin);
            config.unpack_limit_bytes.set(size(values.unpack_limit), origin);
            config
                .allow_backing
                .set(values.allow_backing.clone().map(Some), origin);
        }
    }
}

impl Config {
    /// Every setting with its value and origin, in the order of the documentation.
    pub fn shown(&self) -> Vec<Shown> {
        let seconds = |time: std::time::Duration| format!("{}s", time.as_secs());
        let path = |path: &Option<std::path::PathBuf>| {
            path.as_deref().map_or(String::new(), |path| {
                ntt_model::name::escape(path.as_os_str().as_encoded_bytes()).into_owned()
            })
        };
        let (rules, allow_backing) = (path(&self.rules.value), path(&self.allow_backing.value));
        let catalogue = self
            .catalogue
            .value
            .as_deref()
            .map_or(String::new(), without_password);
        let shown = [
            (
                self.pack_threshold_bytes.value.to_string(),
                &self.pack_threshold_bytes.origin,
            ),
            (self.jobs.value.to_string(), &self.jobs.origin),
            (seconds(self.scan_time.value), &self.scan_time.origin),
            (seconds(self.scan_stall.value), &self.scan_stall.origin),
            (
                self.scan_memory_bytes.value.to_string(),
                &self.scan_memory_bytes.origin,
            ),
            (rules, &self.rules.origin),
            (catalogue, &self.catalogue.origin),
            (self.path_map.value.to_string(), &self.path_map.origin),
            (
                self.unpack_limit_bytes.value.to_string(),
                &self.unpack_limit_bytes.origin,
            ),
            (allow_backing, &self.allow_backing.origin),
        ];
        KEYS.into_iter()
            .zip(shown)
            .map(|(key, (value, origin))| Shown {
                key,
                value,
                origin: origin.clone(),
            })
            .collect()
    }
}

/// A URL without the password that may stand in it.
fn without_password(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else {
        return url.to_owned();
    };
    let authority = rest.split('/').next().unwrap_or_default();
    match authority
        .rsplit_once('@')
        .and_then(|(user, _)| user.split_once(':'))
    {
        Some((user, password)) => {
            let rest = rest.get(user.len() + 1 + password.len()..).unwrap_or_default();
            format!("{scheme}://{user}{rest}")
        }
        None => url.to_owned(),
    }
}

fn parse(text: &str, place: &str) -> Result<Values, Error> {
    toml::from_str(text).map_err(|error| Error::Config {
        place: place.to_owned(),
        reason: with_hint(error.message()),
    })
}

/// Adds the nearest known key to serde's message about an unknown one.
fn with_hint(message: &str) -> String {
    let unknown = message
        .strip_prefix("unknown field `")
        .and_then(|rest| rest.split('`').next());
    match unknown.and_then(nearest_key) {
        Some((unknown, key)) => format!("unknown key `{unknown}`; did you mean `{key}`?"),
        None => message.to_owned(),
    }
}

fn nearest_key(unknown: &str) -> Option<(&str, &'static str)> {
    let key = KEYS.into_iter().min_by_key(|key| distance(unknown, key))?;
    Some((unknown, key))
}

/// Levenshtein distance of two short ASCII words.
fn distance(left: &str, right: &str) -> usize {
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, a) in left.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in right.bytes().enumerate() {
            let substitute = diagonal + usize::from(a != b);
            diagonal = row[j + 1];
            row[j + 1] = substitute.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[right.len()]
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn archive(text: &str) -> Result<ConfigLayer, Error> {
        ConfigLayer::from_toml(text, Origin::Archive("ntt.toml".into()))
    }

    #[test]
    fn later_layers_win_and_say_so() -> Result<(), Error> {
        let flag = Origin::Flag("--jobs".into());
        let layers = [
            archive("jobs = 4\npack_threshold = \"1MiB\"\nscan_stall = \"2m\"")?,
            ConfigLayer::from_pairs([("jobs", "8", flag.clone())])?,
        ];
        let config = Config::from_layers(&layers);
        assert_eq!((config.jobs.value, &config.jobs.origin), (8, &flag));
        assert_eq!(config.pack_threshold_bytes.value, 1 << 20);
        assert_eq!(config.scan_stall.value, Duration::from_secs(120));
        assert_eq!(config.scan_time.origin, Origin::BuiltIn);
        Ok(())
    }

    #[test]
    fn a_password_in_a_url_is_not_shown() {
        assert_eq!(
            without_password("postgres://me:se:cr@t@host/db"),
            "postgres://me@host/db"
        );
        for url in [
            "postgres://me@host/db",
            "postgres:///db?host=/run/a:b@c",
            "/a/file",
        ] {
            assert_eq!(without_password(url), url);
        }
    }

    #[test]
    fn a_path_map_is_a_table_or_a_list() -> Result<(), Error> {
        let table = archive("path_map = { \"/srv/a\" = \"/mnt/a\" }")?;
        let list = ConfigLayer::from_pairs([("path_map", "/srv/a=/mnt/a", Origin::Environment("X".into()))])?;
        let of = |layer| Config::from_layers(&[layer]).path_map.value;
        assert_eq!(of(table), of(list));
        assert!(archive("path_map = \"nonsense\"").is_err());
        Ok(())
    }

    #[test]
    fn an_unknown_key_is_an_error_with_the_nearest_known_one() {
        let error = archive("pack_treshold = 1").expect_err("unknown");
        assert_eq!(
            error.to_string(),
            "ntt.toml: unknown key `pack_treshold`; did you mean `pack_threshold`?"
        );
        assert!(archive("pack_threshold = \"many\"").is_err());
    }
}
