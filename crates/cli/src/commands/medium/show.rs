//! `ntt medium show`.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;

use ntt_catalogue::rows::MediumKind;
use ntt_model::name::escape;
use ntt_pipeline::census::Kept;
use ntt_pipeline::health::{self, MediumHealth};
use ntt_report::find::ScanMark;
use ntt_report::hits::Hits;
use ntt_report::media::{self, MediumReport, VolumeReport};
use ntt_report::selector::find_medium;

use crate::args::Global;
use crate::commands::summary::health_line;
use crate::commands::volume::{VolumeTitle, print_content};
use crate::commands::withdrawn::since;
use crate::exit::{CommandResult, Exit};
use crate::output::Output;
use crate::{session, units};

/// Prints everything known of one medium.
pub(super) fn show(global: &Global, name: &OsString, with_findings: bool) -> CommandResult {
    let archive = session::look(global)?;
    let catalogue = archive.catalogue();
    let medium = find_medium(catalogue, name.as_bytes())?;
    let report = media::show(catalogue, &medium, &Kept::load(&archive)?)?;
    let health = health::of(&archive, &medium)?;
    let findings = if with_findings {
        media::placed_findings(catalogue, &medium)?
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
    for found in findings {
        let severity = units::severity(found.row.finding.severity);
        let path = found.path.map(|path| format!(": {path}")).unwrap_or_default();
        out.line(format!("{severity:<8} {}{path}", found.row.finding))?;
    }
    out.flush()?;
    Ok(Exit::Done)
}

fn print_identity(out: &mut Output, report: &MediumReport) -> std::io::Result<()> {
    let summary = &report.summary;
    out.line(format!("medium   {}", summary.id))?;
    out.line(format!("label    {}", or_dash(&escape(summary.label.as_bytes()))))?;
    out.line(format!("source   {}", summary.source_name))?;
    out.line(format!("added    {}", units::time(Some(summary.added))))?;
    out.line(format!("state    {}", summary.completeness.as_str()))?;
    if let Some(withdrawal) = &summary.withdrawn {
        out.line(format!("withdrawn since {}", since(withdrawal)))?;
    }
    if summary.bad > 0 {
        let contents = units::counted(summary.bad, "content is", "contents are");
        out.line(format!(
            "damaged  {contents} damaged in the store: see `ntt doctor`"
        ))?;
    }
    if let Some(image) = &report.image {
        if report.summary.kind == MediumKind::Set {
            out.line("lies at  the images that it is made of")?;
        } else {
            out.line(format!("lies at  {}", escape(&image.path)))?;
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
    for set in &report.withdrawn_sets {
        out.line(format!(
            "member   of the set {set}, which is withdrawn: what it holds of this medium counts nowhere"
        ))?;
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
    let (same_as, census) = (volume.same_as.as_deref(), volume.census.as_ref());
    print_content(out, "  ", (same_as, census, &volume.verdict))?;
    print_scans(out, &volume.scans)
}

/// The numbers that `--scan` takes, if there is more than one.
fn print_scans(out: &mut Output, scans: &[ScanMark]) -> std::io::Result<()> {
    if scans.len() < 2 {
        return Ok(());
    }
    let each = scans.iter().map(|mark| match mark.superseded {
        true => format!("{} of {}", mark.scan, units::date(mark.scanned)),
        false => format!("{} now", mark.scan),
    });
    out.line(format!("  scans {}", each.collect::<Vec<_>>().join(", ")))
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

fn or_dash(text: &str) -> &str {
    if text.is_empty() { "-" } else { text }
}
