//! What an ingest or a copy says at its end.

use ntt_pipeline::copy::CopySummary;
use ntt_pipeline::ingest::{IngestSummary, MediumSummary, SourceFailure, VolumeSummary};
use ntt_report::completeness::Completeness;
use ntt_rescue::health::{Health, Verdict};

use crate::commands::DAMAGED_IN_STORE;
use crate::commands::volume::{VolumeTitle, print_content, short, short_volume};
use crate::output::{Output, tell};
use crate::units;

/// The summary of an ingest, medium by medium, each balanced (R29).
pub(crate) fn print_ingest(out: &mut Output, summary: &IngestSummary) -> std::io::Result<()> {
    if out.json() {
        return out
            .json_line("ingest-summary", summary)
            .and_then(|()| out.flush());
    }
    for medium in &summary.media {
        print_medium(out, medium)?;
    }
    out.flush()?;
    print_failures(&summary.failures);
    Ok(())
}

/// Sources that could not be used, on stderr.
pub(crate) fn print_failures(failures: &[SourceFailure]) {
    for failure in failures {
        let (path, error) = (failure.path.to_string(), &failure.error);
        let named = error.starts_with(path.as_str());
        let place = if named { String::new() } else { format!("{path}: ") };
        tell(&format!("ntt: {place}{error}"));
    }
}

fn print_medium(out: &mut Output, medium: &MediumSummary) -> std::io::Result<()> {
    out.line(format!("{}  {}", short(&medium.medium.to_string()), medium.name))?;
    if let Some(why) = &medium.recognised {
        out.line(format!("  known already: {why}"))?;
    }
    for volume in &medium.volumes {
        print_volume(out, volume)?;
    }
    if is_waiting(medium) {
        out.line("  not copied: `ntt copy` does it")?;
    } else {
        print_copied(out, &medium.copied)?;
    }
    let [info, warning, loss] = medium.findings;
    if info + warning + loss > 0 {
        let counts = units::findings(loss, warning, info);
        let id = medium.medium.to_string();
        out.line(format!("  {counts}: ntt medium show --findings {}", short(&id)))?;
    }
    let health = medium.health.as_ref().filter(|health| health.missing_bytes > 0);
    if let Some(health) = health {
        let line = match is_map_lost(health) {
            true => missing_line(medium.completeness.as_str(), health),
            false => health_line(health),
        };
        out.line(format!("  {line}"))?;
    }
    // That every file is complete as far as the map goes does not say that all were listed.
    let is_told = match health {
        Some(health) => {
            health.verdict != Verdict::FilesComplete || medium.completeness != Completeness::Partial
        }
        // Without a map it is a container that tells what is missing.
        None if medium.completeness == Completeness::FilesComplete => {
            out.line(
                "  files-complete: bytes of the image are missing, and no file and no structure lies in them",
            )?;
            true
        }
        None => !medium.partial,
    };
    if let Some(set) = &medium.by_set {
        let (state, set) = (medium.completeness.as_str(), set.to_string());
        return out.line(format!(
            "  {state}, as is the set {} of which it is a part",
            short(&set)
        ));
    }
    if !is_told {
        out.line("  partial: something on this medium could not be read")?;
    }
    Ok(())
}

/// Whether there is something to copy, of which nothing was.
fn is_waiting(medium: &MediumSummary) -> bool {
    let copied = &medium.copied;
    // What is the same as a volume of another medium is copied with that.
    let own = medium.volumes.iter().filter(|volume| volume.same_as.is_none());
    let mut censuses = own.filter_map(|volume| volume.census.as_ref());
    copied.stored_streams + copied.damaged_streams + copied.failed_streams == 0
        && censuses.any(|census| census.pending.count > 0)
}

/// The verdict on a medium with missing bytes; bytes, never a rounded share (R7).
pub(crate) fn health_line(health: &Health) -> String {
    let verdict = health.verdict.as_str();
    match health.verdict {
        Verdict::Unknown if !is_map_lost(health) => {
            format!("{verdict}: nothing says that anything of it was read")
        }
        _ if health.missing_bytes == 0 => format!("{verdict}: every byte was read"),
        _ => missing_line(verdict, health),
    }
}

/// Whether what is missing is known from the record alone.
fn is_map_lost(health: &Health) -> bool {
    health.missing_bytes > 0 && !health.has_map()
}

fn missing_line(verdict: &str, health: &Health) -> String {
    let missing = units::count(health.missing_bytes);
    let places = units::counted(health.missing_areas, "place", "places");
    let hit = match health.files_hit {
        Some(true) => ", and files or structures lie in them",
        Some(false) => ", and no file and no structure lies in them",
        None => "",
    };
    let source = match is_map_lost(health) {
        true => ", as the mapfile said that is gone",
        false => "",
    };
    format!("{verdict}: {missing} bytes are missing in {places}{source}{hit}")
}

fn print_volume(out: &mut Output, volume: &VolumeSummary) -> std::io::Result<()> {
    let title = VolumeTitle {
        number: volume.volume,
        type_name: &volume.type_name,
        verdict: &volume.verdict,
        label: &volume.label,
        reader: &volume.reader,
    };
    out.line(format!("  {title}"))?;
    let (same_as, census) = (volume.same_as.as_deref(), volume.census.as_ref());
    print_content(out, "    ", (same_as, census, &volume.verdict))
}

/// The summary of a copy.
pub(crate) fn print_copy(out: &mut Output, summary: &CopySummary) -> std::io::Result<()> {
    if out.json() {
        return out.json_line("copy-summary", summary).and_then(|()| out.flush());
    }
    print_copied(out, summary)?;
    out.flush()
}

fn print_copied(out: &mut Output, summary: &CopySummary) -> std::io::Result<()> {
    if summary.bad > 0 {
        let contents = units::counted(summary.bad, "content is", "contents are");
        out.line(format!("  {contents} {DAMAGED_IN_STORE}"))?;
    }
    for original in &summary.elsewhere {
        let medium = original.split('/').next().unwrap_or_default();
        out.line(format!(
            "  contents wait of a volume that is the same as {}: ntt copy {}",
            short_volume(original),
            short(medium)
        ))?;
    }
    if summary.stored_streams + summary.damaged_streams + summary.failed_streams == 0 {
        return out.line("  nothing was left to copy");
    }
    let stored = units::counted(summary.stored_streams, "content", "contents");
    let damaged = match summary.damaged_streams {
        0 => String::new(),
        count => format!(" whole and {} damaged", units::count(count)),
    };
    let mut line = format!(
        "  copied {stored}{damaged}, {} read",
        units::bytes(summary.bytes_read)
    );
    let new = units::counted(summary.new_blobs, "was new", "were new");
    line.push_str(&format!(
        "; {new} to the archive ({})",
        units::bytes(summary.new_bytes)
    ));
    if summary.failed_streams > 0 {
        line.push_str(&format!("; {} failed", units::count(summary.failed_streams)));
    }
    out.line(line)
}
