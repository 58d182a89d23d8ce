//! What `ntt rescue` says on stdout.

use std::io;
use std::path::Path;

use ntt_mapfile::Mapfile;
use ntt_model::name::escape;
use ntt_rescue::Paths;
use ntt_rescue::health::{Health, States, Verdict, judge, strip};
use ntt_rescue::merge::Merged;
use ntt_rescue::monitor::letters;
use ntt_rescue::record::{FillRecord, Record};
use ntt_rescue::sentinel::SENTINEL_BYTES;
use ntt_rescue::session::Plan;
use serde::Serialize;

use crate::output::Output;
use crate::units;

/// Cells of a drawn map, and of one of its lines.
const CELLS: u64 = 1024;
const CELLS_PER_LINE: usize = 64;

/// What would be done.
pub(super) fn plan(out: &mut Output, plan: &Plan) -> io::Result<()> {
    if out.json() {
        return out.document("rescue-plan", plan);
    }
    let geometry = &plan.geometry;
    out.line(format!(
        "would read {} ({} bytes in sectors of {} bytes, read as {})",
        escape(plan.source.as_bytes()),
        units::count(geometry.size_bytes),
        geometry.sector_bytes,
        units::word(&plan.class),
    ))?;
    out.line(format!("into {}", shown(&plan.image)))?;
    if plan.resumes {
        let left = geometry.size_bytes.saturating_sub(plan.states.rescued.bytes);
        let left = units::count(left);
        out.line(format!("going on from {}: {left} bytes to go", shown(&plan.map)))?;
    }
    out.flush()
}

/// What a rescue came to.
pub(super) fn record(out: &mut Output, record: &Record, paths: &Paths) -> io::Result<()> {
    if out.json() {
        out.json_line("rescue-summary", record)?;
        return out.flush();
    }
    health(out, &record.health)?;
    if let Some(stats) = &record.health.stats {
        out.line(format!(
            "reads    {} of {} failed{}",
            units::count(stats.failed_reads),
            units::count(stats.reads),
            latencies(record)
        ))?;
    }
    fill(out, &record.fill)?;
    out.line(format!("blake3   {}", record.blake3))?;
    if let Some(sha256) = &record.sha256 {
        out.line(format!("sha256   {sha256}"))?;
    }
    if record.unclaimed_bytes > 0 {
        let bytes = units::count(record.unclaimed_bytes);
        out.line(format!(
            "         {bytes} bytes of the image are not vouched for, and count as zeros"
        ))?;
    }
    if record.equal_places > 0 {
        let places = units::counted(record.equal_places, "place", "places");
        out.line(format!(
            "medium   known by {places} of {SENTINEL_BYTES} bytes of the image, compared and equal; what was rescued before was not read again"
        ))?;
    }
    out.line(format!("image    {}", shown(&paths.image)))?;
    out.line(format!("map      {}", shown(&paths.map)))?;
    out.flush()
}

fn latencies(record: &Record) -> String {
    let stats = record.health.stats.as_ref();
    let failed = stats.and_then(|stats| stats.failed_latencies.percentile_us(50));
    failed
        .map(|micros| format!(", half of them within {}", units::elapsed(micros.div_ceil(1000))))
        .unwrap_or_default()
}

fn fill(out: &mut Output, fill: &FillRecord) -> io::Result<()> {
    match fill.byte {
        Some(byte) => out.line(format!(
            "fill     all of {} rescued bytes are 0x{byte:02X}",
            units::count(fill.examined_bytes)
        )),
        None => Ok(()),
    }
}

fn health(out: &mut Output, health: &Health) -> io::Result<()> {
    out.line(format!(
        "{}: {}",
        health.verdict.as_str(),
        match health.verdict {
            Verdict::Complete => "every byte was read".to_owned(),
            Verdict::CompleteAfterRetries =>
                "every byte was read, some only after failures: the medium is failing".to_owned(),
            Verdict::Unknown => "nothing was tried yet".to_owned(),
            _ => format!(
                "{} bytes are missing in {}, the largest of {} bytes",
                units::count(health.missing_bytes),
                units::counted(health.missing_areas, "place", "places"),
                units::count(health.largest_missing_bytes)
            ),
        }
    ))?;
    let rows: Vec<Vec<String>> = rows(&health.states)
        .into_iter()
        .filter(|(name, bytes, _)| *bytes > 0 || *name == "rescued")
        .map(|(name, bytes, areas)| vec![name.to_owned(), units::count(bytes), units::count(areas)])
        .collect();
    out.table(&["state", "bytes", "areas"], &rows)
}

/// Name, bytes and areas of each state, from best to worst.
pub(super) fn rows(states: &States) -> [(&'static str, u64, u64); 5] {
    [
        ("rescued", states.rescued),
        ("untried", states.untried),
        ("untrimmed", states.untrimmed),
        ("unscraped", states.unscraped),
        ("bad", states.bad),
    ]
    .map(|(name, total)| (name, total.bytes, total.areas))
}

#[derive(Serialize)]
struct MapAnswer<'a> {
    map: String,
    health: &'a Health,
    strip: String,
}

/// A map, drawn.
pub(super) fn map(out: &mut Output, path: &Path, map: &Mapfile, size_bytes: u64) -> io::Result<()> {
    let verdict = judge(size_bytes, Some(map), None, None);
    let strip = letters(&strip(map, size_bytes, CELLS));
    if out.json() {
        return out.document(
            "rescue-map",
            &MapAnswer {
                map: shown(path),
                health: &verdict,
                strip,
            },
        );
    }
    let cells: Vec<char> = strip.chars().collect();
    let per_cell = size_bytes.div_ceil(CELLS);
    for (line, row) in cells.chunks(CELLS_PER_LINE).enumerate() {
        let cell = u64::try_from(line * CELLS_PER_LINE).unwrap_or(u64::MAX);
        let offset = u128::from(size_bytes) * u128::from(cell) / u128::from(CELLS);
        out.line(format!("{offset:>#14x}  {}", row.iter().collect::<String>()))?;
    }
    out.line(format!(
        "one cell is {}; + rescued, . in part, ? untried, * untrimmed, / unscraped, - bad",
        units::bytes(per_cell)
    ))?;
    health(out, &verdict)?;
    out.flush()
}

/// What a merge came to.
pub(super) fn merged(out: &mut Output, merged: &Merged) -> io::Result<()> {
    if out.json() {
        return out.document("rescue-merge", merged);
    }
    for contribution in &merged.contributions {
        let bytes: u64 = contribution.ranges.iter().map(|range| range.len).sum();
        out.line(format!(
            "{} bytes from {}",
            units::count(bytes),
            shown(&contribution.image)
        ))?;
        if let Some(first) = contribution.differing.first() {
            out.line(format!(
                "  {} bytes differ from an image before it, the first at {:#x}; they were not taken",
                units::count(contribution.differing_bytes),
                first.offset
            ))?;
        }
    }
    health(out, &merged.health)?;
    out.line(format!("blake3   {}", merged.blake3))?;
    out.flush()
}

fn shown(path: &Path) -> String {
    escape(path.as_os_str().as_encoded_bytes()).to_string()
}
