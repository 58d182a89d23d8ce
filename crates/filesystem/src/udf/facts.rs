//! What is told of a disc as a whole.

use super::anchor::Anchor;
use super::descriptor::MapKind;
use super::inode;
use super::session::Session;
use super::space::Map;
use super::text::{shown_revision, uuid};
use crate::disc::Disc;
use crate::{Facts, State, TimeZone};

/// Why a probe thinks that it is UDF.
pub(super) fn evidence(recognised: Option<&str>, anchors: &[Anchor]) -> String {
    let sequence = recognised.map(|name| format!("{name} in the volume recognition sequence"));
    let places: Vec<String> = anchors.iter().map(|anchor| anchor.sector.to_string()).collect();
    let anchor = anchors.first().map(|anchor| {
        format!(
            "anchors at sectors {} of {} bytes",
            places.join(", "),
            anchor.sector_bytes
        )
    });
    let parts: Vec<String> = sequence.into_iter().chain(anchor).collect();
    parts.join(", ")
}

/// The facts of a disc, from its last session; `sessions` has the last one first.
pub(super) fn facts(disc: &Disc<'_>, sessions: &[Session], session: &Session) -> Facts {
    let primary = session.descriptors.primary.as_ref();
    let integrity = session.integrity.as_ref();
    let label = session.table.as_ref().map(|(header, _)| header.label.clone());
    let written = integrity.and_then(|integrity| integrity.recorded);
    let root = session
        .file_sets
        .first()
        .map(|set| inode::number(&session.space, set.root.at));
    Facts {
        type_name: "udf".to_owned(),
        label: label
            .filter(|label| !label.is_empty())
            .unwrap_or_else(|| session.logical.label.clone()),
        uuid: primary.and_then(|primary| uuid(&primary.volume_set)),
        block_size_bytes: session.logical.block_bytes,
        size_bytes: sessions
            .iter()
            .map(|session| size(disc, session))
            .max()
            .unwrap_or(0),
        used_bytes: used_bytes(session),
        created: primary.and_then(|primary| primary.recorded),
        written: written.or_else(|| session.file_sets.first().and_then(|set| set.recorded)),
        state: state(session),
        time_resolution_ns: 1000,
        time_zone: TimeZone::Utc,
        root: root.unwrap_or(0),
        details: details(sessions, session),
    }
}

/// A write-once disc is whole if its virtual allocation table is there; its integrity descriptor stays open for ever (UDF 2.2.6).
fn state(session: &Session) -> State {
    match (&session.table, &session.integrity) {
        (Some(_), _) => State::Clean,
        (None, Some(integrity)) if integrity.is_closed => State::Clean,
        (None, Some(_)) => State::Dirty,
        (None, None) => State::Unknown,
    }
}

/// The end of all that the session needs. A write-once partition may be as long as the blank disc was.
fn size(disc: &Disc<'_>, session: &Session) -> u64 {
    let structures = session.structures().into_iter().map(|range| range.end());
    let partition = session.end();
    let is_open_ended = session.table.is_some() || session.space.maps.contains(&Map::Broken);
    let partition = if is_open_ended {
        partition.min(disc.len())
    } else {
        partition
    };
    structures.chain([partition]).max().unwrap_or(0)
}

/// By the integrity descriptor, if it is closed and knows; metadata partitions lie in others.
fn used_bytes(session: &Session) -> Option<u64> {
    let integrity = session
        .integrity
        .as_ref()
        .filter(|integrity| integrity.is_closed)?;
    let mut used = 0_u64;
    let mut known = false;
    for (kind, (free, size)) in session.logical.maps.iter().zip(&integrity.partitions) {
        if matches!(kind.kind, MapKind::Plain | MapKind::Spared { .. }) && *free != u32::MAX {
            let blocks = u64::from(size.checked_sub(*free)?);
            used = used.saturating_add(blocks.saturating_mul(session.space.block_bytes));
            known = true;
        }
    }
    known.then_some(used)
}

fn details(sessions: &[Session], session: &Session) -> Vec<(String, String)> {
    let mut details = Vec::new();
    let mut note = |label: &str, value: String| {
        if !value.is_empty() {
            details.push((label.to_owned(), value));
        }
    };
    note("revision", shown_revision(session.logical.revision));
    note("partitions", partitions(session).join(", "));
    if let Some(primary) = &session.descriptors.primary {
        note("volume", escaped(&primary.volume));
        note("volume set", escaped(&primary.volume_set));
        note("application", escaped(&primary.application));
        note("written by", escaped(&primary.implementation));
    }
    let of_table = session.table.as_ref().map(|(header, _)| header.counts);
    let counts = of_table
        .filter(|counts| *counts != (0, 0))
        .or_else(|| session.integrity.as_ref()?.counts);
    if let Some((files, directories)) = counts {
        note("files and directories", format!("{files} and {directories}"));
    }
    if let Some((_, offset)) = session.table {
        note("virtual allocation table", format!("at {offset:#x}"));
    }
    if session
        .logical
        .maps
        .iter()
        .any(|map| matches!(map.kind, MapKind::Metadata { .. }))
    {
        let mirror = if session.mirror.is_some() {
            "a copy of its own"
        } else {
            "none"
        };
        note("metadata mirror", mirror.to_owned());
    }
    if sessions.len() > 1 {
        let places: Vec<String> = sessions
            .iter()
            .filter_map(|session| session.anchors.first())
            .map(|anchor| anchor.sector.to_string())
            .collect();
        note("sessions with anchors at sectors", places.join(", "));
    }
    details
}

fn partitions(session: &Session) -> Vec<String> {
    let maps = session.logical.maps.iter().enumerate();
    maps.map(|(index, map)| {
        let kind = match &map.kind {
            MapKind::Plain => "plain",
            MapKind::Virtual => "virtual",
            MapKind::Spared { .. } => "sparable",
            MapKind::Metadata { .. } => "metadata",
            MapKind::Other(name) => name,
        };
        match session.partition(index) {
            Some(partition) if matches!(map.kind, MapKind::Plain | MapKind::Spared { .. }) => format!(
                "{kind} ({}, {} sectors at {})",
                partition.access_name(),
                partition.sectors,
                partition.first_sector
            ),
            _ => kind.to_owned(),
        }
    })
    .collect()
}

fn escaped(bytes: &[u8]) -> String {
    ntt_model::name::escape(bytes).into_owned()
}
