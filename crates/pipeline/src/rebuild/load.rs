//! One manifest into a catalogue in the making.

use std::path::Path;

use ntt_catalogue::Restore;
use ntt_catalogue::rows::EventRow;
use ntt_host::{Clock, SystemClock};
use ntt_model::entry::{Directory, Name, ScanEvent};
use ntt_model::name::escape;
use ntt_model::{MediumId, MediumKey};

use super::keys::Keys;
use crate::entries::Entries;
use crate::manifest::{DirectoryLine, Line, Manifest, PathLine};
use crate::stage::Running;
use crate::{Error, Interrupt, RunOutcome, Stage};

/// Loads a manifest; returns how many lines it has.
pub(super) fn manifest(
    path: &Path,
    keys: &Keys,
    restoration: &mut dyn Restore,
    stage: &Running<'_>,
    interrupt: &Interrupt,
) -> Result<u64, Error> {
    let mut manifest = Manifest::open(path)?;
    let mut head = manifest.head()?;
    let id = head.medium.medium.id;
    let renumbered = keys.of_medium(id).filter(|numbers| numbers.is_some());
    renumbered.inspect(|numbers| numbers.medium(&mut head.medium));
    let added = restoration.medium(&head.medium, &head.evidence, head.image.as_ref());
    added.map_err(|error| manifest.error(error.to_string()))?;
    let mut load = Load {
        medium: head.medium.key,
        id,
        keys,
        restoration,
        entries: Entries::default(),
        directory: None,
    };
    while let Some(line) = manifest.next()? {
        interrupt.check()?;
        load.take(line).map_err(|reason| manifest.error(reason))?;
        stage.add(1, 0);
    }
    if renumbered.is_some() {
        let told = load.restoration.event(&renumbering(head.medium.key));
        told.map_err(|error| manifest.error(error.to_string()))?;
    }
    Ok(manifest.lines())
}

/// The event that says why the manifest does not tell what the catalogue does, and has it written again.
fn renumbering(medium: MediumKey) -> EventRow {
    EventRow {
        at: Some(SystemClock.now()),
        medium: Some(medium),
        stage: Stage::Rebuild.as_str().to_owned(),
        result: RunOutcome::Complete.as_str().to_owned(),
        elapsed_ms: 0,
        count: 0,
        bytes: 0,
        detail: "its numbers were those of another medium too, and are new".to_owned(),
    }
}

struct Load<'r> {
    medium: MediumKey,
    id: MediumId,
    keys: &'r Keys,
    restoration: &'r mut dyn Restore,
    entries: Entries,
    directory: Option<u64>,
}

impl Load<'_> {
    /// Takes one line; the error is the reason for which it cannot be right.
    fn take(&mut self, line: Line) -> Result<(), String> {
        match line {
            Line::Directory(line) => return self.enter(&line),
            Line::Path(line) => return self.name(&line),
            Line::Inode(inode) => return self.push(ScanEvent::Inode(inode)),
            Line::Blob(line) => {
                return self
                    .restoration
                    .blob(&line.row()?)
                    .map_err(|error| error.to_string());
            }
            Line::Medium(_) => return Err("a second medium".to_owned()),
            _ => self.flush()?,
        }
        let line = self.renumbered(line);
        let restoration = &mut self.restoration;
        match line {
            Line::Volume(line) => restoration.volume(&line.row),
            Line::Finding(row) => restoration.finding(self.medium, &row),
            Line::Event(row) => restoration.event(&row),
            Line::Scan(row) => restoration.begin_scan(&row),
            Line::Result(record) => restoration.result(&record),
            Line::Attempt(record) => restoration.attempt(&record),
            Line::ScanEnd => restoration.end_scan(),
            _ => Ok(()),
        }
        .map_err(|error| error.to_string())
    }

    /// The line with the numbers that its rows get.
    fn renumbered(&self, mut line: Line) -> Line {
        if let Line::Volume(volume) = &mut line {
            self.keys.volume(self.id, volume);
        }
        let Some(numbers) = self.keys.of_medium(self.id) else {
            return line;
        };
        match &mut line {
            Line::Finding(row) => numbers.finding(row),
            Line::Event(row) => numbers.event(row),
            Line::Scan(row) => numbers.scan(row),
            _ => {}
        }
        line
    }

    fn enter(&mut self, line: &DirectoryLine) -> Result<(), String> {
        self.directory = Some(line.inode);
        self.push(ScanEvent::Directory(Directory {
            inode: line.inode,
            parent: line.parent,
            name: line.name.bytes()?,
            namespace: line.namespace,
        }))
    }

    /// A name is what follows the last `/` of its path: no name has one.
    fn name(&mut self, line: &PathLine) -> Result<(), String> {
        let path = line.path.bytes()?;
        let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
        let directory = self
            .directory
            .ok_or_else(|| "a path before any directory".to_owned())?;
        if let Some(rule) = &line.rule {
            self.entries.label(line.id, rule);
        }
        self.push(ScanEvent::Name(Name {
            directory,
            name: name.to_vec(),
            inode: line.inode,
            namespace: line.namespace,
            alternate: line.alternate,
            allocation: line.allocation,
        }))
    }

    fn push(&mut self, event: ScanEvent) -> Result<(), String> {
        if let Some(name) = event.misleading_name() {
            return Err(format!("no entry can have the name `{}`", escape(name)));
        }
        let pushed = self.entries.push(event, self.restoration);
        pushed.map(drop).map_err(|error| error.to_string())
    }

    fn flush(&mut self) -> Result<(), String> {
        let flushed = self.entries.flush(self.restoration);
        flushed.map(drop).map_err(|error| error.to_string())
    }
}
