//! Settings: typed values, each with the place it came from.

mod layer;
mod path_map;
mod value;

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use layer::{ConfigLayer, Shown};
pub use path_map::PathMap;
pub(crate) use value::Size;
pub use value::{Origin, Setting};

/// The settings in force. Every field is a [`Setting`]: the value and where it came from.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Config {
    /// Contents up to this size go to packs; 0 keeps every content as a file of its own.
    pub pack_threshold_bytes: Setting<u64>,
    /// Threads that read and hash while copying or verifying.
    pub jobs: Setting<u32>,
    /// Wall time after which one scan is stopped with a finding.
    pub scan_time: Setting<Duration>,
    /// Time without any progress after which the scan child is killed (R19).
    pub scan_stall: Setting<Duration>,
    /// Address space of the scan child.
    pub scan_memory_bytes: Setting<u64>,
    /// File with exclusion rules; relative paths count from the archive.
    pub rules: Setting<Option<PathBuf>>,
    /// URL of a catalogue in a PostgreSQL server; without one the catalogue lies in the archive.
    pub catalogue: Setting<Option<String>>,
    /// Where this host has what the catalogue knows by the paths of another one.
    pub path_map: Setting<PathMap>,
    /// Length up to which a compressed image is unpacked.
    pub unpack_limit_bytes: Setting<u64>,
    /// Directory below which files that an image names may be opened, besides those beside it.
    pub allow_backing: Setting<Option<PathBuf>>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            pack_threshold_bytes: Setting::built_in(1 << 20),
            jobs: Setting::built_in(2),
            scan_time: Setting::built_in(Duration::from_secs(24 * 3600)),
            scan_stall: Setting::built_in(Duration::from_secs(60)),
            scan_memory_bytes: Setting::built_in(2 << 30),
            rules: Setting::built_in(None),
            catalogue: Setting::built_in(None),
            path_map: Setting::built_in(PathMap::default()),
            unpack_limit_bytes: Setting::built_in(1 << 40),
            allow_backing: Setting::built_in(None),
        }
    }
}

impl Config {
    /// The built-in values overlaid by `layers`, the first the weakest: user, archive, environment, flags.
    pub fn from_layers(layers: &[ConfigLayer]) -> Self {
        let mut config = Self::default();
        for layer in layers {
            layer.apply(&mut config);
        }
        config
    }
}

/// What a layer may set; unknown keys are errors.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Values {
    pub(crate) pack_threshold: Option<value::Size>,
    pub(crate) jobs: Option<u32>,
    pub(crate) scan_time: Option<value::Seconds>,
    pub(crate) scan_stall: Option<value::Seconds>,
    pub(crate) scan_memory: Option<value::Size>,
    pub(crate) rules: Option<PathBuf>,
    pub(crate) catalogue: Option<String>,
    pub(crate) path_map: Option<PathMap>,
    pub(crate) unpack_limit: Option<value::Size>,
    pub(crate) allow_backing: Option<PathBuf>,
    /// Only in the user's file: where the archive is. It is what finds the other settings, so it is none of them.
    pub(crate) archive: Option<PathBuf>,
}
