//! What is told of a disc as a whole.

use ntt_source::field::{le_u16, le_u32, u8_at};

use super::date;
use super::descriptor::{BootRecord, Charset, Descriptor, Session};
use super::directory::RecordFormat;
use super::disc::{Disc, SECTOR_BYTES};
use super::record::Record;
use super::susp;
use super::tree::Tree;
use crate::{Facts, State, TimeZone};
use ntt_model::Namespace;

/// Why a probe thinks that it is ISO 9660.
pub(super) fn evidence(session: &Session) -> String {
    let mut evidence = format!("{} volume descriptors at sector 16", session.descriptors.len());
    if let Some(Charset::Joliet(level)) = session.joliet().map(|descriptor| descriptor.charset) {
        evidence.push_str(&format!(", Joliet level {level}"));
    }
    evidence
}

/// The facts of a disc, from the primary descriptor of the session with the preferred tree.
pub(super) fn facts(disc: &Disc<'_>, sessions: &[Session], preferred: &Tree) -> Facts {
    let session = sessions
        .iter()
        .find(|session| session.start_sector == preferred.session);
    let primary = session
        .and_then(Session::primary)
        .unwrap_or(&preferred.descriptor);
    let end = sessions.iter().map(|session| session.end(disc.len())).max();
    Facts {
        type_name: "iso9660".to_owned(),
        label: primary.text(40, 32),
        uuid: date::as_uuid(primary.date(830)).or_else(|| date::as_uuid(primary.date(813))),
        block_size_bytes: u32::try_from(primary.block_bytes()).unwrap_or(2048),
        size_bytes: end.unwrap_or(0),
        used_bytes: None,
        created: date::long(primary.date(813)),
        written: date::long(primary.date(830)),
        state: State::Clean,
        time_resolution_ns: 1_000_000_000,
        time_zone: TimeZone::Utc,
        root: super::number::directory(preferred.root.offset),
        details: details(disc, sessions, session, preferred, primary),
    }
}

fn details(
    disc: &Disc<'_>,
    sessions: &[Session],
    session: Option<&Session>,
    preferred: &Tree,
    primary: &Descriptor,
) -> Vec<(String, String)> {
    let mut details = Vec::new();
    let mut note = |label: &str, value: String| {
        if !value.is_empty() {
            details.push((label.to_owned(), value));
        }
    };
    note("preferred names", preferred.label());
    for (label, at, len) in TEXTS {
        note(label, escaped(&primary.text(at, len)));
    }
    for (label, at) in [("expires", 847), ("effective", 864)] {
        note(
            label,
            date::long(primary.date(at)).map_or_else(String::new, |time| time.to_string()),
        );
    }
    if let Some(joliet) = session.and_then(Session::joliet) {
        if let Charset::Joliet(level) = joliet.charset {
            note("joliet level", level.to_string());
        }
        note("joliet label", escaped(&joliet.text(40, 32)));
    }
    if preferred.namespace == Namespace::RockRidge {
        note(
            "extensions",
            extensions(disc, preferred.format, preferred.root.offset),
        );
    }
    if let Some(boot) = session.and_then(|session| session.boot) {
        note("el torito", boot_catalog(disc, boot));
    }
    if sessions.len() > 1 {
        let starts: Vec<String> = sessions
            .iter()
            .map(|session| session.start_sector.to_string())
            .collect();
        note("sessions at sectors", starts.join(", "));
    }
    details
}

/// Text fields of the primary descriptor (ECMA-119 8.4): label, offset, length.
const TEXTS: [(&str, usize, usize); 5] = [
    ("system", 8, 32),
    ("volume set", 190, 128),
    ("publisher", 318, 128),
    ("data preparer", 446, 128),
    ("application", 574, 128),
];

fn escaped(bytes: &[u8]) -> String {
    ntt_model::name::escape(bytes).into_owned()
}

/// Identifiers of the extensions in use (`ER`, SUSP 5.5).
fn extensions(disc: &Disc<'_>, format: RecordFormat, root: u64) -> String {
    let mut found = Vec::new();
    let sector = disc.sector(root).unwrap_or_default();
    let area = Record::parse(&sector).map(|record| record.system_use());
    let area = area
        .and_then(|area| area.get(format.susp_skip?..))
        .unwrap_or_default();
    let mut each = |entry: susp::SystemUseEntry<'_>| {
        if entry.signature == *b"ER" {
            let len = usize::from(u8_at(entry.data, 0).unwrap_or(0));
            let identifier = entry.data.get(4..).and_then(|rest| rest.get(..len));
            found.extend(identifier.map(escaped));
        }
    };
    susp::walk(disc, format.block_bytes, (root, area), &mut each, &mut Vec::new());
    found.join(", ")
}

/// The boot catalog's validation and default entry (El Torito 1.0, figures 2 and 3).
fn boot_catalog(disc: &Disc<'_>, boot: BootRecord) -> String {
    let place = format!("boot catalog at sector {}", boot.catalog);
    let offset = u64::from(boot.catalog).saturating_mul(SECTOR_BYTES);
    let Ok(catalog) = disc.sector(offset) else {
        return format!("{place}, which could not be read");
    };
    if u8_at(&catalog, 0) != Some(1) || le_u16(&catalog, 30) != Some(0xaa55) {
        return format!("{place}, which is corrupt");
    }
    let platform = match u8_at(&catalog, 1) {
        Some(0) => "x86",
        Some(1) => "PowerPC",
        Some(2) => "Mac",
        Some(0xef) => "EFI",
        _ => "unknown platform",
    };
    let bootable = if u8_at(&catalog, 32) == Some(0x88) {
        "bootable"
    } else {
        "not bootable"
    };
    let emulation = match u8_at(&catalog, 33).map(|media| media & 0x0f) {
        Some(0) => "no emulation",
        Some(1..=3) => "floppy",
        Some(4) => "hard disk",
        _ => "unknown medium",
    };
    let image = le_u32(&catalog, 40).unwrap_or(0);
    let sectors = le_u16(&catalog, 38).unwrap_or(0);
    format!(
        "{place}, {platform}, {bootable}, {emulation}, image at sector {image}, {sectors} sectors of 512 bytes"
    )
}
