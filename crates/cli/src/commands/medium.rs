//! `ntt medium list|add|show|label`.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;

use clap::{Args, Subcommand};
use ntt_catalogue::rows::{Census, MediumKind};
use ntt_pipeline::archive::Access;
use ntt_pipeline::health::{self, MediumHealth};
use ntt_pipeline::rescue;
use ntt_report::hits::Hits;
use ntt_report::media::{self, MediumReport, VolumeReport};
use ntt_report::selector::{current_findings, find_medium};

use crate::args::Global;
use crate::commands::summary::health_line;
use crate::exit::{CommandResult, Exit};
use crate::output::Output;
use crate::session::{self, Session};
use crate::units;

/// List, add, show or label the media in the archive.
#[derive(Debug, Args)]
pub(crate) struct MediumArgs {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List all media: what they hold, and whether all of it is safe.
    List,
    /// Put a medium on record from which nothing can be read, such as a drive that never spins up.
    Add {
        /// What it is called until it has a label: the time is put behind it.
        name: String,
        /// Nothing of it can be read. (What can be read is added by `ntt ingest`.)
        #[arg(long, required = true)]
        unreadable: bool,
        /// Words on its label, or what there is to say of it; kept verbatim.
        #[arg(long, value_name = "TEXT")]
        label: Option<String>,
        /// The serial number printed on it.
        #[arg(long, value_name = "TEXT")]
        serial: Option<String>,
    },
    /// Show everything known of one medium: identity, volumes, content, findings, history.
    Show {
        /// Id (or its first digits), label or source name of the medium.
        medium: OsString,
        /// List every finding.
        #[arg(long)]
        findings: bool,
    },
    /// Set the words on a medium's label; they are kept verbatim, and earlier words stay in its history (R5).
    Label {
        /// Id (or its first digits), label or source name of the medium.
        medium: OsString,
        /// The words.
        text: String,
        /// Say what would change and change nothing.
        #[arg(long)]
        dry_run: bool,
    },
}

pub(crate) fn run(global: &Global, args: &MediumArgs) -> CommandResult {
    match &args.action {
        Action::List => list(global),
        Action::Add {
            name, label, serial, ..
        } => add(global, name, label.as_deref(), serial.as_deref()),
        Action::Show { medium, findings } => show(global, medium, *findings),
        Action::Label {
            medium,
            text,
            dry_run,
        } => label(global, medium, text, *dry_run),
    }
}

fn list(global: &Global) -> CommandResult {
    let archive = session::look(global)?;
    let catalogue = archive.catalogue();
    let media = media::list(catalogue)?;
    let mut out = Output::new(global);
    if out.json() {
        out.document("medium-list", &serde_json::json!({ "media": media }))?;
        return Ok(Exit::Done);
    }
    let rows: Vec<Vec<String>> = media
        .iter()
        .map(|medium| {
            let name = if medium.label.is_empty() {
                &medium.source_name
            } else {
                &medium.label
            };
            vec![
                medium.id.to_string()[..12].to_owned(),
                medium.completeness.as_str().to_owned(),
                units::count(medium.volumes),
                units::count(medium.paths),
                units::count(medium.stored.count),
                units::bytes(medium.stored.bytes),
                units::count(medium.lost.count),
                name.clone(),
            ]
        })
        .collect();
    out.table(
        &[
            "MEDIUM", "STATE", "VOLUMES", "PATHS", "STORED", "BYTES", "LOST", "NAME",
        ],
        &rows,
    )?;
    Ok(Exit::Done)
}

fn add(global: &Global, name: &str, label: Option<&str>, serial: Option<&str>) -> CommandResult {
    let session = Session::open_or_create(global, &[])?;
    let added = rescue::add_unreadable(session.archive(), name, label, serial);
    let row = session.settle(added)?;
    let mut out = Output::new(global);
    if out.json() {
        out.document("medium-add", &row)?;
    } else {
        let id = row.medium.id;
        out.line(format!(
            "added {} as unreadable, medium {id}",
            row.medium.source_name
        ))?;
        out.flush()?;
    }
    Ok(Exit::Done)
}

fn show(global: &Global, name: &OsString, with_findings: bool) -> CommandResult {
    let archive = session::look(global)?;
    let catalogue = archive.catalogue();
    let medium = find_medium(catalogue, name.as_bytes())?;
    let report = media::show(catalogue, &medium)?;
    let health = health::of(&archive, &medium)?;
    let findings = if with_findings {
        current_findings(catalogue, &medium)?
    } else {
        Vec::new()
    };
    let mut out = Output::new(global);
    if out.json() {
        let mut value = serde_json::to_value(&report).map_err(std::io::Error::from)?;
        value["health"] = serde_json::to_value(&health).map_err(std::io::Error::from)?;
        if with_findings {
            value["findings_detail"] = serde_json::to_value(&findings).map_err(std::io::Error::from)?;
        }
        out.document("medium", &value)?;
        return Ok(Exit::Done);
    }
    print_identity(&mut out, &report)?;
    if let Some(health) = &health {
        print_health(&mut out, health)?;
    }
    for volume in &report.volumes_detail {
        print_volume(&mut out, volume)?;
    }
    print_history(&mut out, &report)?;
    if !findings.is_empty() {
        out.line("")?;
    }
    for row in findings {
        let severity = units::severity(row.finding.severity);
        let text = ntt_model::name::escape(row.finding.to_string().as_bytes()).into_owned();
        out.line(format!("{severity:<8} {text}"))?;
    }
    out.flush()?;
    Ok(Exit::Done)
}

fn print_identity(out: &mut Output, report: &MediumReport) -> std::io::Result<()> {
    let summary = &report.summary;
    out.line(format!("medium   {}", summary.id))?;
    out.line(format!("label    {}", or_dash(&summary.label)))?;
    out.line(format!("source   {}", summary.source_name))?;
    out.line(format!("added    {}", units::time(Some(summary.added))))?;
    out.line(format!("state    {}", summary.completeness.as_str()))?;
    if let Some(image) = &report.image {
        if report.summary.kind == MediumKind::Set {
            out.line("lies at  the images that it is made of")?;
        } else {
            out.line(format!("lies at  {}", ntt_model::name::escape(&image.path)))?;
        }
        if image.size_bytes > 0 {
            out.line(format!(
                "size     {} ({} bytes)",
                units::bytes(image.size_bytes),
                units::count(image.size_bytes)
            ))?;
        }
        if image.expected_bytes > image.size_bytes {
            let missing = image.expected_bytes - image.size_bytes;
            out.line(format!(
                "missing  {} bytes: the image is shorter than its tables say",
                units::count(missing)
            ))?;
        }
        let unread: u64 = image.unread.iter().map(|range| range.len).sum();
        if unread > 0 {
            out.line(format!(
                "unread   {} in {}",
                units::counted(unread, "byte", "bytes"),
                units::counted(image.unread.len() as u64, "area", "areas")
            ))?;
        }
    }
    for evidence in &report.evidence {
        out.line(format!(
            "evidence {:<14} {} ({})",
            evidence.kind, evidence.value, evidence.origin
        ))?;
    }
    for set in &report.sets {
        out.line(format!("member   of the set {set}"))?;
    }
    let counts = report.findings;
    out.line(format!(
        "findings {}",
        units::findings(counts.loss, counts.warning, counts.info)
    ))
}

fn print_health(out: &mut Output, known: &MediumHealth) -> std::io::Result<()> {
    out.line(format!("health   {}", health_line(&known.health)))?;
    let Hits {
        files, structures, ..
    } = known.hits;
    if files.count + structures > 0 {
        out.line(format!(
            "hit      {} of {}, {}: ntt find --state damaged,failed",
            units::counted(files.count, "content", "contents"),
            units::bytes(files.bytes),
            units::counted(structures, "structure", "structures"),
        ))?;
    }
    if let Some(stats) = &known.health.stats {
        let (failed, reads) = (units::count(stats.failed_reads), units::count(stats.reads));
        out.line(format!("reads    {failed} of {reads} failed"))?;
    }
    Ok(())
}

fn print_volume(out: &mut Output, volume: &VolumeReport) -> std::io::Result<()> {
    out.line("")?;
    let title = VolumeTitle {
        number: volume.number,
        type_name: &volume.type_name,
        verdict: &volume.verdict,
        label: &volume.label,
        reader: volume.reader.as_deref().unwrap_or_default(),
    };
    let uuid = if volume.uuid.is_empty() {
        String::new()
    } else {
        format!(" {}", volume.uuid)
    };
    out.line(format!(
        "{title}{uuid}, {} at {}",
        units::bytes(volume.size_bytes),
        units::address(volume.image_offset)
    ))?;
    if let Some(original) = &volume.same_as {
        out.line(format!(
            "  the same volume as {}: not copied again",
            short_volume(original)
        ))?;
    }
    match &volume.census {
        Some(census) => print_census(out, census, "  "),
        None => out.line(format!("  not scanned ({})", volume.verdict)),
    }
}

/// What a volume is called in a report.
pub(crate) struct VolumeTitle<'v> {
    pub(crate) number: u32,
    pub(crate) type_name: &'v str,
    pub(crate) verdict: &'v str,
    /// Its label, escaped.
    pub(crate) label: &'v str,
    /// Who read what is told of it: a hybrid disc has several file systems over the same bytes.
    pub(crate) reader: &'v str,
}

impl std::fmt::Display for VolumeTitle<'_> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let is_hybrid = self.type_name.contains('+') && !self.reader.is_empty();
        let what = match self.type_name {
            "" => self.verdict,
            name => name,
        };
        write!(out, "volume {}", self.number)?;
        if is_hybrid {
            write!(out, " as {}", self.reader)?;
        }
        write!(out, ": {what}")?;
        if !self.label.is_empty() {
            write!(out, " `{}`", self.label)?;
        }
        Ok(())
    }
}

/// The balance of a volume: found = stored + excluded + lost + waiting (R29).
pub(crate) fn print_census(out: &mut Output, census: &Census, indent: &str) -> std::io::Result<()> {
    let row = |what: &str, tally: ntt_catalogue::rows::Tally| {
        format!(
            "{indent}{what:<22} {:>12} {:>12}",
            units::count(tally.count),
            units::bytes(tally.bytes)
        )
    };
    let inodes: Vec<String> = census
        .inodes
        .iter()
        .map(|(kind, count)| counted_kind(*count, *kind))
        .collect();
    let count = census
        .inodes
        .iter()
        .fold(0_u64, |sum, (_, count)| sum.saturating_add(*count));
    out.line(format!(
        "{indent}{}, {}: {}",
        units::counted(census.paths, "path", "paths"),
        units::counted(count, "inode", "inodes"),
        inodes.join(", ")
    ))?;
    out.line(row("found", census.found))?;
    out.line(row("stored", census.stored))?;
    for (rule, tally) in &census.excluded {
        out.line(row(&format!("excluded by {rule}"), *tally))?;
    }
    let lost = [
        ("damaged", census.damaged),
        ("to be tried again", census.retryable),
        ("not copied yet", census.pending),
    ];
    for (what, tally) in lost {
        if tally.count > 0 {
            out.line(row(what, tally))?;
        }
    }
    for (class, tally) in &census.failed {
        out.line(row(&format!("given up: {class}"), *tally))?;
    }
    Ok(())
}

/// `1 symbolic link`, `2 directories`.
fn counted_kind(count: u64, kind: ntt_model::Kind) -> String {
    use ntt_model::Kind;
    let (one, many) = match kind {
        Kind::File => ("file", "files"),
        Kind::Directory => ("directory", "directories"),
        Kind::Symlink => ("symbolic link", "symbolic links"),
        Kind::Fifo => ("named pipe", "named pipes"),
        Kind::Socket => ("socket", "sockets"),
        Kind::CharDevice => ("character device", "character devices"),
        Kind::BlockDevice => ("block device", "block devices"),
        Kind::Unknown => ("of unknown kind", "of unknown kind"),
    };
    units::counted(count, one, many)
}

fn print_history(out: &mut Output, report: &MediumReport) -> std::io::Result<()> {
    if report.events.is_empty() {
        return Ok(());
    }
    out.line("")?;
    let rows: Vec<Vec<String>> = report
        .events
        .iter()
        .map(|event| {
            vec![
                units::time(event.at),
                event.stage.clone(),
                event.result.clone(),
                units::elapsed(event.elapsed_ms),
                units::count(event.count),
                units::bytes(event.bytes),
                event.detail.clone(),
            ]
        })
        .collect();
    out.table(
        &[
            "WHEN (UTC)",
            "STAGE",
            "RESULT",
            "TOOK",
            "ITEMS",
            "BYTES",
            "DETAIL",
        ],
        &rows,
    )
}

fn label(global: &Global, name: &OsString, text: &str, dry_run: bool) -> CommandResult {
    let access = Access::Write.unless_dry(dry_run);
    let session = Session::open(global, access, &[])?;
    let medium = session.medium(name.as_bytes())?;
    let catalogue = session.archive().catalogue();
    if !dry_run {
        session.settle(
            catalogue
                .set_label(medium.key, text)
                .map_err(ntt_pipeline::Error::from),
        )?;
    }
    let mut out = Output::new(global);
    if out.json() {
        let value = serde_json::json!({
            "medium": medium.medium.id, "label": text, "previous": medium.medium.label, "dry_run": dry_run,
        });
        out.document("medium-label", &value)?;
    } else {
        let verb = if dry_run { "would label" } else { "labelled" };
        out.line(format!(
            "{verb} {} `{text}`{}",
            short(&medium.medium.id.to_string()),
            match medium.medium.label.as_str() {
                "" => String::new(),
                previous => format!(" (was `{previous}`)"),
            }
        ))?;
        out.flush()?;
    }
    Ok(Exit::Done)
}

/// The first digits of an id, as people type them.
fn short(id: &str) -> &str {
    id.get(..12).unwrap_or(id)
}

/// `MEDIUM/VOLUME` with the first digits of the medium's id.
pub(crate) fn short_volume(name: &str) -> String {
    match name.split_once('/') {
        Some((id, volume)) => format!("{}/{volume}", short(id)),
        None => name.to_owned(),
    }
}

fn or_dash(text: &str) -> &str {
    if text.is_empty() { "-" } else { text }
}
