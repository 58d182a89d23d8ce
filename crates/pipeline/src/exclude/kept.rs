//! The rules of a medium, kept beside its manifest: `media/<medium>/rules.toml`. Who scans it again labels it by them again, whoever gave them and however long ago (R26).

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::PathBuf;

use ntt_catalogue::rows::MediumRow;
use ntt_host::{Disk, RealDisk};

use super::Rules;
use crate::config::Origin;
use crate::{Archive, Context, Error};

fn path(archive: &Archive, medium: &MediumRow) -> PathBuf {
    Archive::medium_dir(archive.root(), medium.medium.id).join("rules.toml")
}

/// Keeps the rules that label a medium from now on; durable when it returns.
///
/// # Errors
///
/// When the file cannot be written.
pub(super) fn keep(archive: &Archive, medium: &MediumRow, rules: &Rules) -> Result<(), Error> {
    let path = path(archive, medium);
    let directory = Archive::make_medium_dir(archive.root(), medium.medium.id)?;
    let io = |error| Error::io("keeping the rules", &path)(error);
    let temporary = path.with_extension("toml.tmp");
    let mut file = File::create(&temporary).map_err(io)?;
    file.write_all(rules.text().as_bytes()).map_err(io)?;
    file.sync_all().map_err(io)?;
    fs::rename(&temporary, &path).map_err(io)?;
    RealDisk.sync_dir(&directory).map_err(io)
}

/// The rules that this run was given, if they are others than those that label the medium.
///
/// # Errors
///
/// [`Error::Config`] if a file of rules is wrong; when one cannot be read.
pub(crate) fn given_anew(context: &Context<'_>, medium: &MediumRow) -> Result<Option<Rules>, Error> {
    let setting = &context.config.rules;
    let (Origin::Flag(_), Some(_)) = (&setting.origin, &setting.value) else {
        return Ok(None);
    };
    let rules = Rules::of_settings(context.config, context.archive.root())?;
    match of_medium(context.archive, medium) {
        Ok(Some(kept)) if kept.text() == rules.text() => Ok(None),
        _ => Ok(Some(rules)),
    }
}

/// The rules that label a medium, if it has any.
///
/// # Errors
///
/// [`Error::Config`] if the file is wrong; when it cannot be read.
pub(crate) fn of_medium(archive: &Archive, medium: &MediumRow) -> Result<Option<Rules>, Error> {
    let path = path(archive, medium);
    match fs::read_to_string(&path) {
        Ok(text) => Rules::from_toml(&text, &path.display().to_string()).map(Some),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::io("reading the rules", &path)(error)),
    }
}

/// The rules by which a scan of the medium is labelled: those of this run, else those that the medium was labelled by last, else those of the settings; none if there are
/// none at all.
///
/// # Errors
///
/// [`Error::Config`] if a file of rules is wrong; when one cannot be read or kept.
pub(crate) fn for_scan(context: &Context<'_>, medium: &MediumRow) -> Result<Rules, Error> {
    let setting = &context.config.rules;
    let given = || Rules::of_settings(context.config, context.archive.root());
    if matches!(setting.origin, Origin::Flag(_)) {
        let rules = given()?;
        keep(context.archive, medium, &rules)?;
        return Ok(rules);
    }
    match of_medium(context.archive, medium)? {
        Some(rules) => Ok(rules),
        None => given(),
    }
}
