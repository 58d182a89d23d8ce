//! What a command needs before it can start: the settings, the archive, the observer, the interrupt.

use std::path::{Path, PathBuf};

use ntt_catalogue::rows::MediumRow;
use ntt_pipeline::archive::{Access, CataloguePlace};
use ntt_pipeline::config::{ConfigLayer, Origin};
use ntt_pipeline::{Archive, Config, Context, Error, ErrorKind, Interrupt, manifest};
use ntt_report::selector::find_medium;

use crate::args::Global;
use crate::exit::{Failure, FailureKind};
use crate::interrupt;
use crate::output::tell;
use crate::progress::Renderer;

/// Prefix of the environment variables that hold settings: `NTT_JOBS`, `NTT_RULES`...
const ENVIRONMENT_PREFIX: &str = "NTT_";

/// A setting given on the command line.
pub(crate) type Flag<'a> = (&'static str, &'a str);

/// Everything a run works with, for as long as it lasts.
pub(crate) struct Session {
    archive: Archive,
    config: Config,
    renderer: Renderer,
    interrupt: Interrupt,
    scan_program: PathBuf,
}

impl Session {
    /// Opens the archive for `access` with the settings in force. There must be one: only [`Session::open_or_create`] makes it, so that a
    /// mistyped name gives an error and not an empty archive.
    pub(crate) fn open(global: &Global, access: Access, flags: &[Flag<'_>]) -> Result<Self, Failure> {
        let root = archive_root(global)?;
        let config = config(global, &root, flags)?;
        if !Archive::exists(&root, &CataloguePlace::of(&config)?) {
            return Err(Archive::absence(&root).into());
        }
        Self::open_at(global, &root, access, config)
    }

    /// Opens the archive for writing, a new one if there is none.
    pub(crate) fn open_or_create(global: &Global, flags: &[Flag<'_>]) -> Result<Self, Failure> {
        let root = archive_root(global)?;
        let config = config(global, &root, flags)?;
        Self::open_at(global, &root, Access::Write, config)
    }

    /// Opens the archive for writing, or to look if it takes no changes, and then says why.
    pub(crate) fn open_as_far_as_possible(
        global: &Global,
        flags: &[Flag<'_>],
    ) -> Result<(Self, Option<Error>), Failure> {
        let root = archive_root(global)?;
        let config = config(global, &root, flags)?;
        let place = CataloguePlace::of(&config)?;
        if !Archive::exists(&root, &place) {
            return Err(Archive::absence(&root).into());
        }
        let (archive, why) =
            Archive::open_as_far_as_possible(&root, config.pack_threshold_bytes.value, &place)?;
        Ok((Self::of(global, archive, config)?, why))
    }

    fn open_at(global: &Global, root: &Path, access: Access, config: Config) -> Result<Self, Failure> {
        let place = CataloguePlace::of(&config)?;
        let archive = Archive::open(root, access, config.pack_threshold_bytes.value, &place)?;
        Self::of(global, archive, config)
    }

    fn of(global: &Global, archive: Archive, config: Config) -> Result<Self, Failure> {
        if matches!(archive.access(), Access::Write | Access::Copy) {
            manifest::refuse_older_catalogue(&archive)?;
        }
        Ok(Self {
            archive,
            config,
            renderer: Renderer::new(global),
            interrupt: Interrupt::from_flag(interrupt::flag()?),
            scan_program: scan_program()?,
        })
    }

    pub(crate) fn archive(&self) -> &Archive {
        &self.archive
    }

    /// What the use cases take.
    pub(crate) fn context(&self) -> Context<'_> {
        Context {
            archive: &self.archive,
            config: &self.config,
            scan_program: self.scan_program.clone(),
            observer: &self.renderer,
            interrupt: &self.interrupt,
        }
    }

    /// Ends a run that wrote: the manifests of all media that it changed are written anew, also when it failed or was stopped, so that the
    /// archive can always be read without its catalogue.
    pub(crate) fn settle<T>(&self, result: Result<T, Error>) -> Result<T, Failure> {
        let refreshed = self.refresh_manifests();
        let value = result?;
        refreshed?;
        Ok(value)
    }

    /// Writes the manifests anew of all media that changed, also after an interruption.
    pub(crate) fn refresh_manifests(&self) -> Result<(), Error> {
        let interrupt = Interrupt::new();
        let context = Context {
            interrupt: &interrupt,
            ..self.context()
        };
        manifest::refresh(&context).map(|_| ())
    }

    /// The medium that a word of the command line names.
    pub(crate) fn medium(&self, name: &[u8]) -> Result<MediumRow, Failure> {
        Ok(find_medium(self.archive.catalogue(), name)?)
    }
}

/// Opens the archive for looking only.
pub(crate) fn look(global: &Global) -> Result<Archive, Failure> {
    let root = archive_root(global)?;
    Ok(Archive::open(&root, Access::ReadOnly, 0, &place(global)?)?)
}

/// Where the catalogue lies, by the settings in force.
pub(crate) fn place(global: &Global) -> Result<CataloguePlace, Failure> {
    let config = config(global, &archive_root(global)?, &[])?;
    Ok(CataloguePlace::of(&config)?)
}

/// The program that is started as scan child: this one.
pub(crate) fn scan_program() -> Result<PathBuf, Failure> {
    Ok(std::env::current_exe()?)
}

/// The archive's directory: flag or `NTT_ARCHIVE`, else the user's settings, else the XDG data directory.
pub(crate) fn archive_root(global: &Global) -> Result<PathBuf, Failure> {
    if let Some(path) = &global.archive {
        return Ok(path.clone());
    }
    match std::env::var_os("NTT_ARCHIVE") {
        // What a script left empty by mistake is not the archive of the configuration.
        Some(path) if path.is_empty() => return Err(Failure::usage("NTT_ARCHIVE is empty")),
        Some(path) => return Ok(path.into()),
        None => {}
    }
    if let Some(path) = user_layer()?.archive() {
        return Ok(path.to_owned());
    }
    xdg_directory("XDG_DATA_HOME", ".local/share")
        .map(|directory| directory.join("ntt"))
        .ok_or_else(|| {
            Failure::usage("there is no home directory to keep the archive in").hint("give --archive DIR")
        })
}

/// The settings in force for the archive in `root`.
pub(crate) fn config(global: &Global, root: &Path, flags: &[Flag<'_>]) -> Result<Config, Failure> {
    Archive::refuse_closed(root)?;
    let path = Archive::config_path(root);
    let place = path.display().to_string();
    let variables: Vec<(String, String, String)> = std::env::vars()
        .filter_map(|(name, value)| setting_name(&name).map(|key| (key, value, name)))
        .collect();
    let environment = variables
        .iter()
        .map(|(key, value, name)| (key.as_str(), value.as_str(), Origin::Environment(name.clone())));
    let catalogue = global.catalogue.as_deref().map(|url| ("catalogue", url));
    let flags = flags
        .iter()
        .copied()
        .chain(catalogue)
        .map(|(key, value)| (key, value, Origin::Flag(format!("--{}", key.replace('_', "-")))));
    let layers = [
        user_layer()?,
        ConfigLayer::from_file(&path, Origin::Archive(place))?,
        ConfigLayer::from_pairs(environment)?,
        ConfigLayer::from_pairs(flags)?,
    ];
    Ok(Config::from_layers(&layers))
}

/// The setting that an environment variable holds; variables that are no settings have other names in [`Global`].
fn setting_name(variable: &str) -> Option<String> {
    const NOT_SETTINGS: [&str; 3] = ["archive", "log", "corpus"];
    let key = variable.strip_prefix(ENVIRONMENT_PREFIX)?.to_ascii_lowercase();
    (!NOT_SETTINGS.contains(&key.as_str())).then_some(key)
}

fn user_layer() -> Result<ConfigLayer, Failure> {
    let Some(path) = xdg_directory("XDG_CONFIG_HOME", ".config").map(|home| home.join("ntt/config.toml"))
    else {
        return Ok(ConfigLayer::from_pairs([])?);
    };
    let place = path.display().to_string();
    Ok(ConfigLayer::from_file(&path, Origin::User(place))?)
}

/// A directory of the XDG base directory specification.
fn xdg_directory(variable: &str, below_home: &str) -> Option<PathBuf> {
    let given = std::env::var_os(variable)
        .map(PathBuf::from)
        .filter(|path| path.is_absolute());
    given.or_else(|| {
        let home = std::env::var_os("HOME")
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())?;
        Some(home.join(below_home))
    })
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let kind = match error.kind() {
            ErrorKind::Usage => FailureKind::Usage,
            ErrorKind::Failed => FailureKind::Failed,
            ErrorKind::Withdrawn => FailureKind::Withdrawn,
            ErrorKind::Unreachable => FailureKind::Unreachable,
            ErrorKind::Held => FailureKind::Held,
            ErrorKind::Interrupted => FailureKind::Interrupted,
        };
        let hint = match &error {
            Error::NoArchive(_) => {
                Some("name it with --archive DIR or NTT_ARCHIVE; `ntt ingest` makes a new one")
            }
            Error::NoCatalogue(_) | Error::Catalogue(ntt_catalogue::Error::Damaged(_)) => {
                Some("`ntt doctor --rebuild-catalogue` makes it again from the manifests")
            }
            Error::CatalogueElsewhere(_) => Some(
                "name the database with --catalogue, NTT_CATALOGUE or `catalogue` in the archive's ntt.toml. If the database is gone, `ntt doctor --rebuild-catalogue` fills \
                 another from the manifests. If the catalogue is in the archive again, remove its file `archive-id`",
            ),
            Error::OlderCatalogue { .. } => Some(
                "it may have been put back from an old copy: put back the latest one, or make it again from the manifests with `ntt doctor --rebuild-catalogue`, which keeps \
                 the present one; of one in a server it fills another, empty database, which is to be named with --catalogue",
            ),
            Error::StrangeCatalogue(_) => Some(
                "it would know a part of the archive only. Name the one that has the rest (look at --catalogue and NTT_CATALOGUE), fill this one from that with \
                 `ntt catalogue copy`, or from the manifests with `ntt doctor --rebuild-catalogue`",
            ),
            Error::ForeignCatalogue(_) | Error::Catalogue(ntt_catalogue::Error::Foreign { .. }) => Some(
                "one catalogue belongs to one archive: look at --archive, --catalogue, NTT_ARCHIVE and NTT_CATALOGUE",
            ),
            Error::Catalogue(ntt_catalogue::Error::Missing { .. }) => {
                Some("`ntt catalogue init` makes one, `ntt catalogue copy` fills one from another")
            }
            Error::Catalogue(ntt_catalogue::Error::Version { found, known })
                if found < known && *found > 0 =>
            {
                Some("`ntt catalogue init` brings it to the version of this program")
            }
            Error::Catalogue(ntt_catalogue::Error::Version { found, known }) if found > known => {
                Some("a newer ntt made it: use that one, or a newer one still")
            }
            Error::Store(ntt_store::Error::DamagedIndex(_)) => Some(
                "the contents are not touched by it: `ntt doctor --rebuild-index` makes the index again from them",
            ),
            Error::Held { .. } => Some("wait for the other run to end; `ntt status` shows what it does"),
            _ => None,
        };
        let failure = Self::new(kind, error);
        match hint {
            Some(hint) => failure.hint(hint),
            None => failure,
        }
    }
}

impl From<ntt_store::Error> for Failure {
    fn from(error: ntt_store::Error) -> Self {
        Error::from(error).into()
    }
}

/// A file named on the command line as a setting. Settings in a file are relative to the archive, but what is typed is relative to where
/// it is typed.
pub(crate) fn typed_path(path: &Path) -> Result<String, Failure> {
    let path = std::path::absolute(path)?;
    let text = path.to_str().map(str::to_owned);
    text.ok_or_else(|| Failure::usage(format!("{}: the path is not UTF-8", path.display())))
}

/// After Ctrl-C: what is safe, and how to go on.
pub(crate) fn say_how_to_resume(global: &Global) {
    if !global.quiet && !global.json {
        tell("interrupted: what is done is safe; run the same command again to go on");
    }
}
