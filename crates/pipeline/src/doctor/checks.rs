//! The single checks.

use std::collections::BTreeSet;
use std::path::Path;

use ntt_host::{Clock, SystemClock};
use ntt_model::Timestamp;
use ntt_report::units;
use ntt_store::{CheckReport, Problem};

use super::{Check, CheckStatus};
use crate::archive::media_folders;
use crate::{Archive, Context, Error, HostPath};

/// Less free space than this is worth a warning.
const FREE_BYTES_MIN: u64 = 1 << 30;
/// No clock that is right shows a time before this one (2025-01-01).
const CLOCK_MIN: Timestamp = Timestamp::from_nanos(1_735_689_600_000_000_000);
/// Problems told in one check.
const TOLD_MAX: usize = 5;

/// The machine: space, permission, clock, scan child.
pub(super) fn environment(context: &Context<'_>) -> Vec<Check> {
    vec![
        space(context.archive),
        permission(context.archive),
        clock(),
        crate::scan::self_test(context),
    ]
}

fn space(archive: &Archive) -> Check {
    match rustix::fs::statvfs(archive.root()) {
        Err(error) => Check::new("space", CheckStatus::Warning, error.to_string(), ""),
        Ok(stat) => {
            let free = stat.f_bavail.saturating_mul(stat.f_frsize);
            let detail = format!(
                "{} and {} free",
                units::bytes(free),
                units::counted(stat.f_favail, "inode", "inodes")
            );
            if free < FREE_BYTES_MIN {
                let advice = "free some space, or move the archive to a larger disk";
                return Check::new("space", CheckStatus::Warning, detail, advice);
            }
            Check::ok("space", detail)
        }
    }
}

fn permission(archive: &Archive) -> Check {
    use rustix::fs::Access;
    let access = Access::READ_OK | Access::WRITE_OK | Access::EXEC_OK;
    match rustix::fs::access(archive.root(), access) {
        Ok(()) => Check::ok("permission", "the archive can be read and written"),
        Err(rustix::io::Errno::ROFS) => Check::new(
            "permission",
            CheckStatus::Warning,
            "the archive is on a read-only file system: it can be read, not written",
            "`ntt verify` reads it as it is and records nothing; to change the archive, mount it so that it can be written",
        ),
        Err(_) if rustix::fs::access(archive.root(), Access::READ_OK | Access::EXEC_OK).is_ok() => {
            Check::new(
                "permission",
                CheckStatus::Warning,
                "this user may read the archive, not write to it",
                "`ntt verify` reads it as it is and records nothing; to change the archive, run ntt as the user whom it belongs to",
            )
        }
        Err(error) => Check::new(
            "permission",
            CheckStatus::Problem,
            format!("the archive cannot be read: {error}"),
            "give the user who runs ntt the ownership of the archive",
        ),
    }
}

fn clock() -> Check {
    let now = SystemClock.now();
    if now < CLOCK_MIN {
        let advice = "set the clock; leases, retries and the log depend on it";
        return Check::new("clock", CheckStatus::Problem, format!("it shows {now}"), advice);
    }
    Check::ok("clock", now.to_string())
}

/// The store's own consistency, without reading contents.
pub(super) fn store(report: &CheckReport) -> Vec<Check> {
    let Kinds {
        index,
        lost,
        unknown,
        strays,
        remains,
        strangers,
        damage,
    } = Kinds::of(report);
    let packs = units::counted(report.packs, "pack", "packs");
    let detail = match report.index_is_damaged() {
        true => format!("{packs}; contents were not counted: the index cannot be read"),
        false => format!(
            "{}, {}, {packs}",
            units::counted(report.blobs, "content", "contents"),
            units::bytes(report.bytes),
        ),
    };
    let fix = "`ntt doctor --fix --dry-run` lists them, `ntt doctor --fix`";
    let mut checks = vec![match damage.len() {
        0 => Check::ok("store", detail),
        _ => Check::new(
            "store",
            CheckStatus::Problem,
            shortened(&damage),
            "look at the disk under the archive; `ntt verify` tells which contents are hit, and `ntt doctor --fix` stores elsewhere what lies there and is whole, and makes the lists of packs (.idx) again",
        ),
    }];
    let mut add = |name: &str, status, found: &[String], advice: String| {
        if !found.is_empty() {
            let detail = format!("{}: {}", found.len(), shortened(&each_once(found)));
            checks.push(Check::new(name, status, detail, &advice));
        }
    };
    let rebuild = "the contents are not touched by it: `ntt doctor --rebuild-index` makes the index again from them, `--dry-run` first".to_owned();
    add("store index", CheckStatus::Problem, &index, rebuild);
    let strike = format!("{fix} strikes them from the index");
    add("index without bytes", CheckStatus::Problem, &lost, strike);
    let adopt = format!("{fix} hashes them and takes them in");
    add("bytes without index", CheckStatus::Warning, &unknown, adopt);
    let remove =
        "of a run that writes now, or was killed: then the next run that writes removes it".to_owned();
    add("unfinished work", CheckStatus::Warning, &strays, remove);
    let stay = "nothing is to be done: what was damaged there is struck from the index, and its bytes stay because nothing is ever deleted".to_owned();
    add("remains", CheckStatus::Warning, &remains, stay);
    let leave =
        "not of the store, which passes them over; whoever knows what they are may remove them".to_owned();
    add("strange files", CheckStatus::Warning, &strangers, leave);
    checks
}

/// Each text once: a file is told once, however many contents it has.
fn each_once(texts: &[String]) -> Vec<String> {
    let mut told = BTreeSet::new();
    let once = texts.iter().filter(|text| told.insert(text.as_str()));
    once.cloned().collect()
}

/// Problems of the store by what is to be done about them.
#[derive(Default)]
struct Kinds {
    index: Vec<String>,
    lost: Vec<String>,
    unknown: Vec<String>,
    strays: Vec<String>,
    remains: Vec<String>,
    strangers: Vec<String>,
    damage: Vec<String>,
}

impl Kinds {
    fn of(report: &CheckReport) -> Self {
        let mut kinds = Self::default();
        let shown = |path: &Path| HostPath::from(path).to_string();
        for problem in &report.problems {
            match problem {
                Problem::Missing { hash, path } => {
                    kinds.lost.push(format!("{} in {}", hash.to_hex(), shown(path)));
                }
                Problem::Orphan { path, .. } => kinds.unknown.push(shown(path)),
                Problem::StrayTemporary { path } => kinds.strays.push(shown(path)),
                Problem::TornEnd { path, len, .. } => {
                    kinds
                        .strays
                        .push(format!("the last {len} bytes of {}", shown(path)));
                }
                Problem::Remains { path, offset, len } => {
                    kinds
                        .remains
                        .push(format!("{len} bytes at {offset} of {}", shown(path)));
                }
                Problem::Foreign { path } => kinds.strangers.push(shown(path)),
                Problem::DamagedIndex(damage) => {
                    let (path, offset) = (shown(&damage.path), damage.offset);
                    let told = format!("{path} at byte {offset}: {}", damage.detail);
                    kinds.index.push(told);
                }
                Problem::Damaged { path, offset, detail } => {
                    kinds
                        .damage
                        .push(format!("{} at {offset}: {detail}", shown(path)));
                }
                other => kinds.damage.push(other.to_string()),
            }
        }
        kinds
    }
}

/// The catalogue's own consistency.
pub(super) fn catalogue(archive: &Archive) -> Result<Check, Error> {
    let problems = archive.catalogue().check()?;
    if problems.is_empty() {
        return Ok(Check::ok("catalogue", "consistent"));
    }
    Ok(damaged_catalogue(&shortened(&problems)))
}

pub(super) fn damaged_catalogue(detail: &str) -> Check {
    let advice = "run `ntt doctor --rebuild-catalogue`";
    Check::new("catalogue", CheckStatus::Problem, detail, advice)
}

/// Whether every medium has a manifest and every manifest its medium. A catalogue that lost media (its file damaged, or put back from an old
/// copy) is whole in itself; only the manifests tell. And whether they can be read: they are what is left when the catalogue is lost.
pub(super) fn manifests(context: &Context<'_>) -> Result<Vec<Check>, Error> {
    let damaged = crate::manifest::damaged(context)?;
    let mut checks = vec![standing_manifests(context.archive)?];
    if !damaged.is_empty() {
        let problems: Vec<String> = damaged.iter().map(|one| one.problem.to_string()).collect();
        let advice = "`ntt doctor --fix` writes them again from the catalogue";
        checks.retain(|check| check.status != CheckStatus::Ok);
        checks.push(Check::new(
            "manifests",
            CheckStatus::Problem,
            shortened(&problems),
            advice,
        ));
    }
    Ok(checks)
}

fn standing_manifests(archive: &Archive) -> Result<Check, Error> {
    let known: BTreeSet<String> = archive
        .catalogue()
        .media()?
        .iter()
        .map(|row| row.medium.id.to_string())
        .collect();
    let kept = manifests_kept(archive)?;
    let mut unknown: BTreeSet<String> = kept.difference(&known).cloned().collect();
    unknown.extend(crate::manifest::ahead(archive)?.iter().map(ToString::to_string));
    let unknown: Vec<String> = unknown.into_iter().collect();
    let without: Vec<String> = known.difference(&kept).cloned().collect();
    Ok(if !unknown.is_empty() {
        let detail = format!(
            "{} of media of which the catalogue does not know all that they tell: {}",
            unknown.len(),
            shortened(&unknown)
        );
        let advice = "the catalogue lost that: `ntt doctor --rebuild-catalogue` makes it again from the manifests, and keeps the present one. Until then nothing is written to the archive";
        Check::new("manifests", CheckStatus::Problem, detail, advice)
    } else if !without.is_empty() {
        let advice = "run `ntt ingest` on their sources again: the manifest is written at its end";
        Check::new(
            "manifests",
            CheckStatus::Warning,
            format!("missing: {}", shortened(&without)),
            advice,
        )
    } else {
        let media = u64::try_from(known.len()).unwrap_or(u64::MAX);
        let media = units::counted(media, "medium", "media");
        Check::ok("manifests", format!("one for each of {media}"))
    })
}

/// The media whose rules cannot be read, if there are any: nothing scans them until they have others.
pub(super) fn rules(archive: &Archive) -> Result<Option<Check>, Error> {
    let media = archive.catalogue().media()?.into_iter();
    let wrong = media.filter_map(|medium| crate::exclude::of_medium(archive, &medium).err());
    let wrong: Vec<String> = wrong.map(|error| error.to_string()).collect();
    let advice = "no scan of these media begins; `ntt exclude MEDIUM RULES` gives them others";
    let check = || Check::new("rules", CheckStatus::Problem, shortened(&wrong), advice);
    Ok((!wrong.is_empty()).then(check))
}

/// Whether every scan that searches look at has a whole segment in the search index.
pub(super) fn search(archive: &Archive) -> Result<Check, Error> {
    let standing = crate::search::standing(archive)?;
    if standing.wanting.is_empty() {
        let scans = units::counted(standing.whole, "scan", "scans");
        return Ok(Check::ok("search index", format!("one for each of {scans}")));
    }
    let wanting = standing
        .wanting
        .iter()
        .map(|(scan, problem)| format!("scan {}: {problem}", scan.scan));
    let advice = "searches look at every name of these scans in the catalogue; `ntt doctor --fix` makes the index again";
    let detail = shortened(&wanting.collect::<Vec<_>>());
    Ok(Check::new("search index", CheckStatus::Warning, detail, advice))
}

/// Ids of the media that have a manifest on disk.
fn manifests_kept(archive: &Archive) -> Result<BTreeSet<String>, Error> {
    let mut kept = media_folders(archive.root())?;
    kept.retain(|medium| crate::manifest::path(archive.root(), *medium).is_file());
    Ok(kept.iter().map(ToString::to_string).collect())
}

fn shortened(problems: &[String]) -> String {
    let told: Vec<&str> = problems.iter().take(TOLD_MAX).map(String::as_str).collect();
    match problems.len().saturating_sub(TOLD_MAX) {
        0 => told.join("; "),
        more => format!("{}; and {more} more", told.join("; ")),
    }
}

#[cfg(test)]
mod tests {
    use ntt_model::BlobHash;

    use super::*;

    #[test]
    fn a_file_is_told_once_however_many_contents_it_has() {
        let orphan = |number: u8, path: &str| Problem::Orphan {
            hash: BlobHash::from_bytes([number; 32]),
            path: path.into(),
        };
        let problems = (0..9).map(|number| orphan(number, "one.tar"));
        let report = CheckReport {
            problems: problems.chain([orphan(9, "two.tar")]).collect(),
            ..CheckReport::default()
        };
        let checks = store(&report);
        let check = checks
            .iter()
            .find(|check| check.name == "bytes without index")
            .expect("told");
        assert_eq!(check.detail, "10: one.tar; two.tar");
    }
}
