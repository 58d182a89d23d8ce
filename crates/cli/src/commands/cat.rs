//! `ntt cat`.

use std::ffi::OsString;
use std::io::{IsTerminal, Read, Write};
use std::os::unix::ffi::OsStrExt;

use clap::Args;
use ntt_catalogue::Catalogue;
use ntt_catalogue::rows::{State, StreamState};
use ntt_model::{BlobHash, name::escape};
use ntt_pipeline::Archive;
use ntt_report::listing::entries_at;
use ntt_report::occurrences::{self, stream_name};
use ntt_report::selector::{ScanChoice, Selector};
use ntt_store::{Piece, Verified};

use crate::args::Global;
use crate::commands::choice::{OneScan, not_found};
use crate::commands::withdrawn::tell_place;
use crate::commands::{DAMAGED_IN_STORE, GONE_FROM_STORE};
use crate::exit::{CommandResult, Exit, Failure, FailureKind, tell_failure};
use crate::output::{Output, tell};
use crate::session;

/// Write the content of files to stdout, byte for byte.
///
/// Exits with 3 if bytes of a damaged file are missing; they come as zeros. Exits with 12 if a content is damaged in the store: nothing of it is written if that
/// is on record, else it shows when it has been read.
#[derive(Debug, Args)]
pub(crate) struct CatArgs {
    /// MEDIUM/VOLUME/PATH, or the 64 hexadecimal digits of a content.
    #[arg(required = true)]
    targets: Vec<OsString>,
    /// A named stream (fork, alternate data stream, attribute) instead of the data.
    #[arg(long, value_name = "NAME")]
    stream: Option<OsString>,
    #[command(flatten)]
    scan: OneScan,
}

pub(crate) fn run(global: &Global, args: &CatArgs) -> CommandResult {
    let archive = session::look(global)?;
    let catalogue = archive.catalogue();
    let wanted = args
        .stream
        .as_ref()
        .map(|name| name.as_bytes())
        .unwrap_or_default();
    let choice = args.scan.choice();
    let mut out = Output::new(global);
    let mut exit = Exit::Done;
    let mut failed: Option<Failure> = None;
    for target in &args.targets {
        let target = target.as_bytes();
        let wrote = content(global, catalogue, target, wanted, choice)
            .and_then(|content| content_out(&archive, target, &content, &mut out));
        match wrote {
            Ok(wrote) if exit != Exit::Damage && wrote != Exit::Done => exit = wrote,
            Ok(_) => {}
            Err(failure) if failure.ends_all() => return Err(failure),
            // One that cannot be written keeps no other from it.
            Err(failure) => {
                out.flush()?;
                if let Some(earlier) = failed.replace(failure) {
                    tell_failure(global, &earlier);
                }
            }
        }
    }
    out.flush()?;
    match failed {
        Some(failure) if exit == Exit::Damage => {
            tell_failure(global, &failure);
            Ok(exit)
        }
        Some(failure) => Err(failure),
        None => Ok(exit),
    }
}

fn content_out(
    archive: &Archive,
    target: &[u8],
    content: &Content,
    out: &mut Output,
) -> Result<Exit, Failure> {
    match content {
        Content::Blob { blob, damaged } => blob_out(archive, target, blob, *damaged, out),
        Content::Attribute(value) => value_out(value, out.raw()).map(|()| Exit::Done),
    }
}

/// What a target names.
enum Content {
    /// A content of the store, and whether bytes of it are missing.
    Blob { blob: BlobHash, damaged: bool },
    /// The value of a small attribute, which the catalogue has.
    Attribute(Vec<u8>),
}

/// Writes a content of the store, and says on stderr what is wrong with it.
fn blob_out(
    archive: &Archive,
    target: &[u8],
    blob: &BlobHash,
    damaged: bool,
    out: &mut Output,
) -> Result<Exit, Failure> {
    let name = escape(target);
    let (exit, said) = match (write(archive, blob, out.raw())?, damaged) {
        (Wrote::Damaged, _) => (Exit::Damage, format!("ntt: {name}: {DAMAGED_IN_STORE}")),
        (Wrote::Nothing, _) => (Exit::Damage, format!("ntt: {name}: {GONE_FROM_STORE}")),
        (Wrote::Right, true) => {
            let said = format!("ntt: {name} is damaged: its missing bytes are shown as zeros");
            (Exit::Losses, said)
        }
        (Wrote::Right, false) => return Ok(Exit::Done),
    };
    out.flush()?;
    tell(&said);
    Ok(exit)
}

fn value_out(mut value: &[u8], out: &mut impl Write) -> Result<(), Failure> {
    if std::io::stdout().is_terminal() {
        let mut looked_at = value;
        refuse_controls(&mut looked_at)?;
    }
    Ok(std::io::copy(&mut value, out).map(drop)?)
}

/// What a target names, or why there is nothing to write.
fn content(
    global: &Global,
    catalogue: &dyn Catalogue,
    target: &[u8],
    stream: &[u8],
    choice: ScanChoice,
) -> Result<Content, Failure> {
    if let Some(hash) = std::str::from_utf8(target)
        .ok()
        .and_then(|text| text.parse().ok())
    {
        return match occurrences::blob(catalogue, &hash)? {
            Some(_) => Ok(Content::Blob {
                blob: hash,
                damaged: false,
            }),
            None => Err(Failure::new(
                FailureKind::Failed,
                format!("{hash} is not in the archive"),
            )),
        };
    }
    let selector = Selector::parse(catalogue, target)?;
    tell_place(global, catalogue, &selector);
    let absent = |error| not_found(catalogue, &selector, choice, error);
    let scans = selector.find_scans(catalogue, choice).map_err(absent)?;
    let failed = |text: &str| Failure::new(FailureKind::Failed, format!("{} {text}", escape(target)));
    let mut reason = if stream.is_empty() {
        failed("has no content")
    } else {
        failed(&format!("has no stream or attribute {}", escape(stream)))
            .hint("`ntt ls --streams` shows what there is")
    };
    for (scan, entry) in entries_at(catalogue, &scans, &selector).map_err(absent)? {
        let states = catalogue.stream_states(scan, entry.number)?;
        let Some(state) = states
            .into_iter()
            .find(|state| stream_name(&state.kind) == stream)
        else {
            let attributes = entry.inode.into_iter().flat_map(|inode| inode.xattrs);
            match attributes.into_iter().find(|attribute| attribute.name == stream) {
                Some(attribute) => return Ok(Content::Attribute(attribute.value)),
                None => continue,
            }
        };
        match stored(&state) {
            Some(found) => return Ok(found),
            None => {
                reason = failed(&format!(
                    "is not stored: it is {}",
                    ntt_report::export::state_name(&state.state)
                ));
            }
        }
    }
    Err(reason)
}

fn stored(state: &StreamState) -> Option<Content> {
    Some(Content::Blob {
        blob: *state.state.blob()?,
        damaged: matches!(state.state, State::Damaged { .. }),
    })
}

/// What came of writing a content.
enum Wrote {
    /// It is what was put into the store (R42).
    Right,
    /// It is not.
    Damaged,
    /// It is gone from the store.
    Nothing,
}

/// Writes a content. Of one that is on record as damaged nothing is written, unless it is right again.
fn write(archive: &Archive, blob: &BlobHash, out: &mut impl Write) -> Result<Wrote, Failure> {
    let store = archive.store();
    let is_suspect = occurrences::blob(archive.catalogue(), blob)?.is_some_and(|row| row.bad);
    if is_suspect && !matches!(store.verifier().verify(blob)?, Verified::Good) {
        return Ok(Wrote::Damaged);
    }
    let Some(reader) = store.held(blob)? else {
        return Ok(Wrote::Nothing);
    };
    if std::io::stdout().is_terminal() {
        refuse_controls(&mut store.reader(blob)?)?;
    }
    let digest = reader.hashed_pieces::<std::io::Error>(&mut |piece| match piece {
        Piece::Bytes(bytes) => out.write_all(bytes),
        Piece::Zeros(len) => std::io::copy(&mut std::io::repeat(0).take(len), out).map(drop),
    })?;
    Ok(if digest == *blob {
        Wrote::Right
    } else {
        Wrote::Damaged
    })
}

/// Content is hostile: what could take over a terminal goes to a file or a pager.
fn refuse_controls(reader: &mut impl Read) -> Result<(), Failure> {
    let mut buffer = [0; 64 * 1024];
    loop {
        let count = reader.read(&mut buffer)?;
        if count == 0 {
            return Ok(());
        }
        let is_text = |byte: &u8| !byte.is_ascii_control() || matches!(byte, b'\n' | b'\t' | b'\r' | b'\x0c');
        if !buffer[..count].iter().all(is_text) {
            return Err(
                Failure::usage("the content has control characters that could upset the terminal")
                    .hint("redirect it to a file, or pipe it to `less` or `xxd`"),
            );
        }
    }
}
