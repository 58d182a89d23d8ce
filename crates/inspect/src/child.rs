//! The scan child: the only process that parses what a medium says (R19).
//!
//! The same binary, started as `<program> __scan-child` with the source as standard input (read-only), a socket to the supervisor as standard
//! output, and a pipe for error text as standard error. Further files of the image come through the socket, before anything else. Nothing else is open, the
//! environment is empty, and before the first byte of the source
//! is read the process has confined itself (see [`crate::sandbox`]). It serves one [`Request`] and exits; one that reads serves stream after
//! stream until the supervisor is gone.

use std::any::Any;
use std::fs::File;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use ntt_filesystem::{Error, FileSystem};
use ntt_model::space::DEVICES;
use ntt_model::{Extent, ScanEvent};
use ntt_source::{ReadAt, SubRange};

use crate::container::Packaging;
use crate::protocol::{FailedKind, Message, Request, ScanPlan, Work, read_frame, write_frame};
use crate::{sandbox, survey, tree};
use outbox::{Outbox, locked};
use progress::Progress;
use watcher::Watcher;

mod companions;
pub mod escape;
mod outbox;
mod progress;
mod reading;
pub mod rehearsal;
mod source;
mod unpacking;
mod watcher;

pub(crate) use companions::DESCRIPTORS_MAX;
pub(crate) use outbox::BATCH_EVENTS;

/// The hidden first argument with which the program starts as scan child.
pub const ARGUMENT: &str = "__scan-child";

/// The exit status of a child that could not even say what is wrong.
const UNSPEAKABLE: u8 = 70;

/// Runs the scan child; to be called by a program first thing when its first argument is [`ARGUMENT`].
///
/// Must be called from the only thread, before anything is opened: inherited descriptors are closed, whoever owns them.
pub fn main() -> ExitCode {
    match serve() {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::from(UNSPEAKABLE),
    }
}

/// Serves one request; errors are those of the socket.
fn serve() -> io::Result<()> {
    let confinement = sandbox::cut_loose();
    let mut socket = File::from(rustix::stdio::stdout().try_clone_to_owned()?);
    let source = File::from(rustix::stdio::stdin().try_clone_to_owned()?);
    let request: Request = read_frame(&mut socket)?;
    let companions = companions::receive(&socket, request.source.descriptors())?;
    let mut requests = socket.try_clone()?;
    let count = u64::try_from(companions.len()).unwrap_or(u64::MAX);
    let confinement = sandbox::confine(request.limits, count, &confinement);
    write_frame(&mut socket, &Message::Hello(confinement))?;
    if request.work == Work::TryEscape {
        return write_frame(&mut socket, &Message::Attempts(escape::attempt_all(&source)));
    }
    let outbox = Arc::new(Mutex::new(Outbox::new(socket)));
    let answer = catch_unwind(AssertUnwindSafe(|| {
        let files = match source::files(source, companions, request.source, &outbox) {
            Ok(files) => files,
            Err(error) => return setup_failed(&error),
        };
        match request.work {
            Work::Look => Message::Packaging(Box::new(Packaging::of(files.look()))),
            Work::Unpack => unpacking::serve(&files, &outbox),
            Work::InspectSet(plan) => match files.open_each() {
                Ok(images) => inspect_set(images, &Watcher::new(&plan, &outbox), &outbox),
                Err(error) => setup_failed(&error),
            },
            other => match files.open() {
                Ok(source) => {
                    let source = Progress::new(source, outbox.clone());
                    work(&source, other, &mut requests, &outbox)
                }
                Err(error) => setup_failed(&error),
            },
        }
    }));
    let answer = answer.unwrap_or_else(|panic| panicked(panic.as_ref()));
    // A panic while the outbox was locked left it whole: it is only locked to add or send whole events.
    let mut outbox = locked(&outbox);
    outbox.flush()?;
    outbox.send(&answer)
}

/// Does the work and gives the last message of the child.
fn work(source: &dyn ReadAt, work: Work, requests: &mut File, outbox: &Mutex<Outbox>) -> Message {
    match work {
        Work::Inspect(plan) => inspect(source, &Watcher::new(&plan, outbox)),
        Work::Survey { patience } => {
            Message::Survey(Box::new(survey::survey(source, Instant::now() + patience)))
        }
        Work::Scan {
            range,
            mapping,
            device,
            family,
            plan,
        } => {
            let opened = match mapping {
                Some(mapping) => ntt_filesystem::open_mapped(family, source, &mapping, device),
                None => {
                    let volume = Box::new(SubRange::new(source, range));
                    ntt_filesystem::open(family, volume, range.offset)
                }
            };
            match opened {
                Ok(file_system) => scan(file_system.as_ref(), device.is_some(), &plan, outbox),
                Err(error) => failed(&error),
            }
        }
        Work::Rehearse { rehearsal, plan } => scan(&rehearsal.file_system(), false, &plan, outbox),
        Work::Read => reading::serve(source, requests, outbox),
        // Served before the source is opened.
        Work::Look | Work::Unpack | Work::InspectSet(_) | Work::TryEscape => Message::Attempts(Vec::new()),
    }
}

fn inspect(source: &dyn ReadAt, watcher: &Watcher<'_>) -> Message {
    said(&tree::build_watched(source, watcher))
}

fn inspect_set(images: Vec<Arc<dyn ReadAt>>, watcher: &Watcher<'_>, outbox: &Arc<Mutex<Outbox>>) -> Message {
    let watched = images
        .into_iter()
        .map(|image| Progress::new(image, outbox.clone()));
    match tree::build_set_watched(watched.collect(), watcher) {
        Some(trees) => said(&trees),
        None => setup_failed(&io::Error::other("the set has too many images")),
    }
}

fn said(trees: &impl serde::Serialize) -> Message {
    match serde_json::to_vec(trees) {
        Ok(json) => Message::Tree(json),
        Err(error) => setup_failed(&error),
    }
}

fn scan(file_system: &dyn FileSystem, is_device: bool, plan: &ScanPlan, outbox: &Mutex<Outbox>) -> Message {
    let facts = Message::Facts(Box::new(file_system.facts().clone()));
    {
        let mut outbox = locked(outbox);
        outbox.expect(plan.received, plan.careful);
        if let Err(error) = outbox.send(&facts) {
            return setup_failed(&error);
        }
    }
    let result = file_system.scan(&plan.options, &mut |mut event| {
        if !is_device {
            keep_to_images(&mut event);
        }
        locked(outbox).take(event)
    });
    match result {
        Ok(()) => Message::Done(locked(outbox).counts()),
        Err(error) => failed(&error),
    }
}

/// Takes extents away that no image can have: behind them, the addresses of the medium are those of other volumes.
fn keep_to_images(event: &mut ScanEvent) {
    let ScanEvent::Inode(inode) = event else { return };
    let is_beyond = |extent: &Extent| {
        let range = extent.image_range();
        range.is_some_and(|range| range.offset.saturating_add(range.len) > DEVICES)
    };
    for stream in &mut inode.streams {
        if stream.extents.iter().any(is_beyond) {
            stream.extents.retain(|extent| !is_beyond(extent));
            stream.extents_incomplete = true;
        }
    }
}

fn failed(error: &Error) -> Message {
    let kind = match error {
        Error::Read { .. } => FailedKind::Read,
        Error::Corrupt { .. } => FailedKind::Corrupt,
        Error::Unsupported(_) => FailedKind::Unsupported,
        _ => FailedKind::Setup,
    };
    Message::Failed {
        kind,
        detail: chain(error),
    }
}

/// An error and its causes in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

fn setup_failed(error: &dyn std::error::Error) -> Message {
    Message::Failed {
        kind: FailedKind::Setup,
        detail: chain(error),
    }
}

/// The panic's message; where it happened is on standard error.
fn panicked(panic: &(dyn Any + Send)) -> Message {
    let text = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied());
    Message::Failed {
        kind: FailedKind::Panic,
        detail: text.unwrap_or("unknown panic").to_owned(),
    }
}
