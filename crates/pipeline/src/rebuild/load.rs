//! One manifest into a catalogue in the making.

use std::path::Path;

use ntt_catalogue::Restore;
use ntt_model::MediumKey;
use ntt_model::entry::{Directory, Name, ScanEvent};
use ntt_model::name::escape;

use crate::entries::Entries;
use crate::manifest::{DirectoryLine, Line, Manifest, PathLine};
use crate::stage::Running;
use crate::{Error, Interrupt};

/// Loads a manifest; returns how many lines it has.
pub(super) fn manifest(
    path: &Path,
    restoration: &mut dyn Restore,
    stage: &Running<'_>,
    interrupt: &Interrupt,
) -> Result<u64, Error> {
    let mut manifest = Manifest::open(path)?;
    let head = manifest.head()?;
    let added = restoration.medium(&head.medium, &head.evidence, head.image.as_ref());
    added.map_err(|error| manifest.error(error.to_string()))?;
    let mut load = Load {
        medium: head.medium.key,
        restoration,
        entries: Entries::default(),
        directory: None,
    };
    while let Some(line) = manifest.next()? {
        interrupt.check()?;
        load.take(line).map_err(|reason| manifest.error(reason))?;
        stage.add(1, 0);
    }
    Ok(manifest.lines())
}

struct Load<'r> {
    medium: MediumKey,
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
