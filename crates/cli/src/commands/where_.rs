//! `ntt where`.

use std::ffi::OsString;
use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use clap::Args;
use ntt_catalogue::Catalogue;
use ntt_catalogue::query::Scans;
use ntt_model::{BlobHash, name::escape};
use ntt_pipeline::Archive;
use ntt_report::Error;
use ntt_report::listing::entries_at;
use ntt_report::occurrences::{self, Place};
use ntt_report::selector::{ScanChoice, Selector, find_medium};

use crate::args::Global;
use crate::commands::choice::{AllScans, older_hint, older_scans, scan_note};
use crate::commands::volume::short;
use crate::commands::withdrawn::tell_place;
use crate::commands::{DAMAGED_IN_STORE, GONE_FROM_STORE};
use crate::exit::{CommandResult, Exit, Failure, FailureKind};
use crate::output::Output;
use crate::{session, units};

/// Show every place at which a content stands on any medium.
///
/// The content is named by its BLAKE3, by a path in the archive, or by a file on this machine: is its content archived? Exits with 0 if the
/// content is in the archive, 1 if it is not or stands on media only that are withdrawn, and 12 if it is damaged there, or its file is gone from the store. Its bytes are not read: `ntt verify` does that.
#[derive(Debug, Args)]
pub(crate) struct WhereArgs {
    /// 64 hexadecimal digits, MEDIUM/VOLUME/PATH, or a file on this machine (write `./FILE` if it could be taken for something else).
    content: OsString,
    #[command(flatten)]
    scans: AllScans,
}

pub(crate) fn run(global: &Global, args: &WhereArgs) -> CommandResult {
    let archive = session::look(global)?;
    let catalogue = archive.catalogue();
    let hashes = hashes(global, catalogue, args.content.as_bytes(), args.scans.choice())?;
    let mut out = Output::new(global);
    let mut standings = Vec::new();
    for hash in hashes {
        standings.push(print(&archive, &mut out, &hash, args.scans.scans())?);
    }
    out.flush()?;
    Ok(exit_of(&standings))
}

/// How a content stands in the archive.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Standing {
    Unknown,
    /// In the store, and on no medium that counts.
    Withdrawn,
    Archived,
    /// On record as damaged in the store, or gone from it.
    Damaged,
}

fn exit_of(standings: &[Standing]) -> Exit {
    if standings.contains(&Standing::Damaged) {
        Exit::Damage
    } else if standings.contains(&Standing::Archived) {
        Exit::Done
    } else {
        Exit::NotFound
    }
}

/// What the argument names, tried as digest, file of this machine, and place in the archive.
fn hashes(
    global: &Global,
    catalogue: &dyn Catalogue,
    content: &[u8],
    choice: ScanChoice,
) -> Result<Vec<BlobHash>, Failure> {
    if let Some(hash) = std::str::from_utf8(content)
        .ok()
        .and_then(|text| text.parse().ok())
    {
        return Ok(vec![hash]);
    }
    let path = Path::new(std::ffi::OsStr::from_bytes(content));
    if path.is_file() || is_of_host(content) {
        let hash = hash_file(path);
        return Ok(vec![hash.map_err(|error| {
            Failure::new(FailureKind::Failed, format!("{}: {error}", escape(content)))
        })?]);
    }
    let nowhere =
        |error| Failure::from(error).hint(format!("{} is no file of this machine either", escape(content)));
    let selector = match Selector::parse(catalogue, content) {
        // What begins with no medium may be a mistyped file: no rule of writing places was broken.
        Err(Error::Usage(reason)) => {
            let first = content.split(|byte| *byte == b'/').next().unwrap_or_default();
            find_medium(catalogue, first).map_err(nowhere)?;
            return Err(nowhere(Error::Usage(reason)));
        }
        selector => selector?,
    };
    tell_place(global, catalogue, &selector);
    let scans = selector.find_scans(catalogue, choice).map_err(nowhere)?;
    let entries = match entries_at(catalogue, &scans, &selector) {
        Err(error @ Error::NotFound { .. }) if choice == ScanChoice::Current => {
            let failure = Failure::from(error);
            let hint = older_hint(older_scans(catalogue, &selector)?);
            return Err(hint.into_iter().fold(failure, Failure::hint));
        }
        entries => entries?,
    };
    let mut hashes = Vec::new();
    for (scan, entry) in entries {
        for stream in catalogue.stream_states(scan, entry.number)? {
            hashes.extend(stream.state.blob());
        }
    }
    hashes.sort_unstable();
    hashes.dedup();
    if hashes.is_empty() {
        return Err(Failure::new(
            FailureKind::Failed,
            format!("{} has no stored content", escape(content)),
        ));
    }
    Ok(hashes)
}

/// Whether a name can only be that of a file of this machine.
fn is_of_host(name: &[u8]) -> bool {
    [&b"/"[..], b"./", b"../"]
        .iter()
        .any(|start| name.starts_with(start))
}

fn hash_file(path: &Path) -> std::io::Result<BlobHash> {
    ntt_host::expect_regular(path)?;
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(File::open(path)?)?;
    Ok(BlobHash::from_bytes(*hasher.finalize().as_bytes()))
}

/// Prints one content and its places.
fn print(archive: &Archive, out: &mut Output, hash: &BlobHash, scans: Scans) -> Result<Standing, Failure> {
    let catalogue = archive.catalogue();
    let Some(blob) = occurrences::blob(catalogue, hash)? else {
        if out.json() {
            out.json_line("content", &serde_json::json!({ "hash": hash, "archived": false }))?;
        } else {
            out.line(format!("{hash} is not in the archive"))?;
        }
        return Ok(Standing::Unknown);
    };
    // The store decides what is there, not a table (R37).
    let is_there = archive.store().held(hash)?.is_some();
    let is_withdrawn = occurrences::is_withdrawn(catalogue, hash)?;
    if out.json() {
        out.json_line(
            "content",
            &serde_json::json!({ "hash": hash.to_hex(), "archived": !is_withdrawn, "blob": blob, "in_store": is_there }),
        )?;
    } else {
        let kind = blob.content_type.as_deref().unwrap_or("content type unknown");
        let bytes = units::counted(blob.size_bytes, "byte", "bytes");
        out.line(format!(
            "{hash}  {bytes}, {kind}, verified {}",
            units::time(blob.verified)
        ))?;
        if blob.bad {
            out.line(format!("  {DAMAGED_IN_STORE}"))?;
        } else if !is_there {
            out.line(format!("  {GONE_FROM_STORE}"))?;
        }
    }
    let mut places = 0;
    let mut withdrawn = occurrences::places(catalogue, hash, scans, &mut |place| {
        places += 1;
        if out.json() {
            out.json_line("place", &place)?;
        } else {
            out.line(place_line(&place))?;
        }
        Ok(())
    })?;
    let mut older = 0;
    if places == 0 && scans == Scans::Current {
        (older, withdrawn) = older_places(catalogue, hash)?;
    }
    if !out.json() {
        let count = units::counted(places, "place", "places");
        let older = match older {
            0 => String::new(),
            older => format!(
                " now, {} in superseded scans: --all-scans shows them",
                units::count(older)
            ),
        };
        let withdrawn = match withdrawn {
            0 => String::new(),
            withdrawn => format!(
                "; on media that are withdrawn {}, which do not count",
                units::count(withdrawn)
            ),
        };
        out.line(format!("  {count}{older}{withdrawn}"))?;
    } else {
        if older > 0 {
            let told = serde_json::json!({ "superseded_places": older });
            out.json_line("places-once", &told)?;
        }
        if withdrawn > 0 {
            let told = serde_json::json!({ "withdrawn_places": withdrawn });
            out.json_line("places-withdrawn", &told)?;
        }
    }
    Ok(if blob.bad || !is_there {
        Standing::Damaged
    } else if is_withdrawn {
        Standing::Withdrawn
    } else {
        Standing::Archived
    })
}

/// In how many places superseded scans list a content that stands nowhere now, and how many there are on media that are withdrawn.
fn older_places(catalogue: &dyn Catalogue, hash: &BlobHash) -> Result<(u64, u64), Failure> {
    let mut places = 0;
    let withdrawn = occurrences::places(catalogue, hash, Scans::All, &mut |_| {
        places += 1;
        Ok(())
    })?;
    Ok((places, withdrawn))
}

fn place_line(place: &Place) -> String {
    let stream = if place.stream.0.is_empty() {
        String::new()
    } else {
        format!(" [stream {}]", place.stream.escaped())
    };
    format!(
        "  {}/{}/{}{stream}{}{}{}  ({})",
        short(&place.medium.to_string()),
        place.volume,
        place.path.escaped(),
        if place.damaged { " [damaged]" } else { "" },
        if place.alternate { " [second name]" } else { "" },
        scan_note(&place.scan),
        place.medium_name,
    )
}
