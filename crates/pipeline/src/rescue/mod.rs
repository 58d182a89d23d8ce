//! A device into the archive: `media/<medium>/image` with its map, log and health record.
//!
//! The medium, the evidence of its identity and the human's words are on record before its body is read, so that a rescue that is interrupted,
//! or hopeless, leaves more than a memory. What comes after works on the image, as with any other.

mod advise;
mod eject;
mod hardware;
mod known;
mod smart;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ntt_catalogue::rows::{EventRow, Evidence, Image, MediumKind, MediumRow, NewMedium};
use ntt_host::{Clock, Disk, Random, RealDisk, SystemClock, SystemRandom};
use ntt_model::{ByteRange, MediumId, MediumKey, Severity};
use ntt_report::selector::find_medium;
use ntt_rescue::Paths;
use ntt_rescue::device::Device;
use ntt_rescue::engine::Outcome;
use ntt_rescue::geometry::{Class, Geometry};
use ntt_rescue::monitor::Monitor;
use ntt_rescue::policy::Policy;
use ntt_rescue::real::RealDevice;
use ntt_rescue::record::Record;
use ntt_rescue::session::{self, Request, World};
use ntt_rescue::sink::{OpenOptions, require_space};
use ntt_rescue::watch::SystemStopwatch;
use serde::{Deserialize, Serialize};

pub use advise::Surveyor;
pub(crate) use hardware::Hardware;

use crate::identify::{Recognition, relabel};
use crate::stage::{Running, Subject};
use crate::{Archive, Context, Error, Event, HostPath, Interrupt, RunOutcome, Stage};

/// How devices are rescued.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct RescueSettings {
    /// Rescue regular files too, as if each were a device.
    pub files_too: bool,
    /// The effort.
    pub policy: Policy,
    /// Go on although an earlier map speaks of another size: the same disc in another drive.
    pub accept_size: bool,
    /// Begin although the archive has less room than the medium may need.
    pub accept_space: bool,
    /// Ranges to read first.
    pub priority: Vec<ByteRange>,
    /// Read what files need before the rest from the start on, and not only once something fails.
    pub files_first: bool,
    /// Go on with this medium, whatever is thought of the source: id, label or source name.
    pub medium: Option<Vec<u8>>,
    /// Eject the medium when all was done that can be done.
    pub eject: bool,
}

/// What a rescue would do.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RescuePlan {
    /// The device.
    pub source: HostPath,
    /// Its size and sectors.
    pub geometry: Geometry,
    /// Its kind.
    pub class: Class,
    /// What the device says of itself, and nothing that had to be read from the medium.
    pub evidence: Vec<Evidence>,
    /// Whether the archive has it. A known one has been rescued whole, and every byte of it was compared.
    #[serde(flatten)]
    pub recognition: Recognition,
    /// Why it is not a medium that is like it, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub passed_over: Option<String>,
}

impl RescuePlan {
    /// Why it is taken for the medium that it is taken for.
    fn why(&self) -> String {
        match (self.recognition.why(), &self.passed_over) {
            (Some(why), _) => why.to_owned(),
            (None, Some(passed_over)) => format!("new medium: {passed_over}"),
            (None, None) => "new medium".to_owned(),
        }
    }
}

/// What became of a rescue.
#[derive(Debug)]
pub(crate) struct Rescued {
    /// The image in the archive.
    pub(crate) image: PathBuf,
    /// Why the device is a medium that the archive had, if it is.
    pub(crate) why: Option<String>,
}

impl RescueSettings {
    /// Whether a source is rescued: block devices always, files when that was asked for.
    pub fn concerns(&self, path: &Path) -> bool {
        use std::os::unix::fs::FileTypeExt;
        std::fs::metadata(path).is_ok_and(|metadata| {
            metadata.file_type().is_block_device() || (self.files_too && metadata.is_file())
        })
    }

    fn options(&self) -> OpenOptions {
        OpenOptions {
            background: true,
            accept_size: self.accept_size,
            accept_space: self.accept_space,
        }
    }
}

/// The files of the rescue of a medium.
pub fn paths(root: &Path, medium: MediumId) -> Paths {
    Paths::new(&Archive::medium_dir(root, medium).join("image"), None)
}

/// Looks at a device and asks the archive whether it knows the medium in it. Reads of it a few places that an earlier image has, and all of it
/// only if that image is whole. `label` is what the human says of it.
///
/// # Errors
///
/// [`Error::Rescue`] if the device cannot be read or is in use; nothing is then written (R4).
pub fn plan(
    archive: Option<&Archive>,
    path: &Path,
    settings: &RescueSettings,
    label: Option<&str>,
    interrupt: &Interrupt,
) -> Result<RescuePlan, Error> {
    let mut device = RealDevice::open(path)?;
    let geometry = device.geometry();
    let hardware = Hardware::of(path);
    let source = std::fs::canonicalize(path).map_err(Error::io("looking at", path))?;
    let mut plan = RescuePlan {
        source: source.into(),
        geometry,
        class: geometry.class(),
        evidence: evidence(&geometry, &hardware),
        recognition: Recognition::New,
        passed_over: None,
    };
    match (archive, &settings.medium) {
        (Some(archive), Some(name)) => plan.recognition = named(archive, name)?,
        (Some(archive), None) => {
            let asked = (settings.accept_size, label);
            let known = known::recognise(archive, &mut device, &plan.evidence, asked, interrupt)?;
            (plan.recognition, plan.passed_over) = (known.recognition, known.passed_over);
        }
        (None, _) => {}
    }
    Ok(plan)
}

/// What there is before anything of the medium has been read.
fn evidence(geometry: &Geometry, hardware: &Hardware) -> Vec<Evidence> {
    let piece = |kind: &str, value: u64| Evidence {
        kind: kind.to_owned(),
        value: value.to_string(),
        origin: "device".to_owned(),
    };
    let mut evidence = vec![
        piece("size", geometry.size_bytes),
        piece("sector-size", u64::from(geometry.sector_bytes)),
    ];
    evidence.extend(hardware.evidence(geometry.class()));
    evidence
}

fn named(archive: &Archive, name: &[u8]) -> Result<Recognition, Error> {
    let row = find_medium(archive.catalogue(), name)?;
    Ok(Recognition::Resume {
        key: row.key,
        medium: row.medium.id,
        why: "you say so".to_owned(),
    })
}

/// Puts the medium on record, rescues it as far as it goes, and gives the image.
///
/// # Errors
///
/// [`Error::Interrupted`] and [`Error::DeviceLost`] leave a state from which the same call goes on; [`Error::Source`] if nothing answered:
/// the medium is on record all the same.
pub(crate) fn run(
    context: &Context<'_>,
    plan: &RescuePlan,
    settings: &RescueSettings,
    label: Option<&str>,
) -> Result<Rescued, Error> {
    // A medium that is on record is rescued into what it has; a new one for which there is no room would be one more at each attempt (R38).
    if plan.recognition == Recognition::New && !settings.accept_space {
        require_space(&RealDisk, context.archive.root(), plan.geometry.size_bytes)?;
    }
    if plan.passed_over.is_some() {
        context.observer.event(&Event::Message {
            severity: Severity::Warning,
            text: plan.why(),
        });
    }
    let medium = put_on_record(context, plan, label)?;
    let paths = paths(context.archive.root(), medium.medium.id);
    let image = paths.image.clone();
    let why = plan.recognition.why().map(str::to_owned);
    if matches!(plan.recognition, Recognition::Known { .. }) {
        return Ok(Rescued { image, why });
    }
    let stage = Running::start(context.observer, Stage::Rescue, Subject::medium(&medium));
    let result = read(context, plan, settings, &medium, paths);
    if let Ok(record) = &result {
        stage.add(record.health.missing_areas, record.health.states.rescued.bytes);
    }
    let catalogue = context.archive.catalogue();
    let record = stage.settle_told(catalogue, Some(&medium), result, |record| {
        (outcome(record), record.health.verdict.as_str().to_owned())
    })?;
    match record.outcome {
        Outcome::Stopped => Err(Error::Interrupted),
        Outcome::DeviceLost => Err(Error::DeviceLost(plan.source.as_path().to_owned())),
        Outcome::NobodyAnswers => Err(Error::Source {
            path: plan.source.as_path().to_owned(),
            reason: format!(
                "no read has succeeded; it is on record as medium {}",
                medium.medium.id
            ),
        }),
        Outcome::Done | Outcome::EffortSpent => {
            if settings.eject {
                eject::eject(plan.source.as_path(), context.observer);
            }
            Ok(Rescued { image, why })
        }
    }
}

fn outcome(record: &Record) -> RunOutcome {
    match record.outcome {
        Outcome::Stopped | Outcome::DeviceLost => RunOutcome::Interrupted,
        Outcome::NobodyAnswers => RunOutcome::Failed,
        Outcome::Done | Outcome::EffortSpent if record.health.missing_bytes == 0 => RunOutcome::Complete,
        Outcome::Done | Outcome::EffortSpent => RunOutcome::Losses,
    }
}

/// The medium's row, its evidence, its words, its place and its manifest.
fn put_on_record(context: &Context<'_>, plan: &RescuePlan, label: Option<&str>) -> Result<MediumRow, Error> {
    let stage = Running::start(context.observer, Stage::Identify, Subject::NOTHING);
    let catalogue = context.archive.catalogue();
    let key = match plan.recognition.key() {
        Some(key) => {
            relabel(context, key, label)?;
            catalogue.add_evidence(key, &plan.evidence)?;
            key
        }
        None => add(context, plan, label)?,
    };
    let medium = catalogue.medium(key)?;
    let paths = paths(context.archive.root(), medium.medium.id);
    Archive::make_medium_dir(context.archive.root(), medium.medium.id)?;
    if catalogue.image(key)?.is_none() {
        catalogue.set_image(key, &untouched(&paths, plan.geometry.size_bytes)?)?;
    }
    stage.end_logged(catalogue, Some(&medium), RunOutcome::Complete, plan.why())?;
    crate::manifest::run(context, &medium)?;
    Ok(medium)
}

/// Adds a medium that exists as a thing, under a random id (R2) and a name that says what it was read from, and when.
fn add(context: &Context<'_>, plan: &RescuePlan, label: Option<&str>) -> Result<MediumKey, Error> {
    let name = plan.source.as_path().file_name().unwrap_or_default();
    add_named(
        context.archive,
        &ntt_model::name::escape(name.as_encoded_bytes()),
        label,
        &plan.evidence,
    )
}

/// Adds a medium of which nothing was read yet, and perhaps never will be. `name` gets the time behind it.
fn add_named(
    archive: &Archive,
    name: &str,
    label: Option<&str>,
    evidence: &[Evidence],
) -> Result<MediumKey, Error> {
    let mut id = [0; 16];
    SystemRandom
        .fill(&mut id)
        .map_err(Error::io("asking for randomness", archive.root()))?;
    let now = SystemClock.now().to_string();
    let seconds = now.split(['.', 'Z']).next().unwrap_or(&now);
    let medium = NewMedium {
        id: MediumId::from_bytes(id),
        kind: MediumKind::Image,
        label: label.unwrap_or_default().to_owned(),
        source_name: format!("{name}-{seconds}Z"),
    };
    Ok(archive.catalogue().add_medium(&medium, None, evidence)?)
}

/// Puts a medium on record of which nothing can be read, with what the human says of it.
///
/// # Errors
///
/// When the catalogue fails.
pub fn add_unreadable(
    archive: &Archive,
    name: &str,
    label: Option<&str>,
    serial: Option<&str>,
) -> Result<MediumRow, Error> {
    let catalogue = archive.catalogue();
    let evidence = serial.map(|serial| Evidence {
        kind: "printed-serial".to_owned(),
        value: serial.to_owned(),
        origin: "label".to_owned(),
    });
    let name = ntt_model::name::escape(name.as_bytes());
    let key = add_named(archive, &name, label, evidence.as_slice())?;
    catalogue.add_event(&EventRow {
        at: None,
        medium: Some(key),
        stage: Stage::Rescue.as_str().to_owned(),
        result: RunOutcome::Failed.as_str().to_owned(),
        elapsed_ms: 0,
        count: 0,
        bytes: 0,
        detail: "unreadable, as a human says".to_owned(),
    })?;
    Ok(catalogue.medium(key)?)
}

/// The image before its first byte: all of it is unread.
fn untouched(paths: &Paths, size_bytes: u64) -> Result<Image, Error> {
    let absolute = |path: &Path| {
        std::path::absolute(path)
            .map(|path| HostPath::from(path).as_bytes().to_vec())
            .map_err(Error::io("looking for", path))
    };
    Ok(Image {
        path: absolute(&paths.image)?,
        imported: true,
        size_bytes,
        modified: None,
        digest: None,
        mapfile: Some(absolute(&paths.map)?),
        unread: vec![ByteRange::new(0, size_bytes)],
        expected_bytes: size_bytes,
    })
}

/// The rescue itself, and the question to the drive beside it.
fn read(
    context: &Context<'_>,
    plan: &RescuePlan,
    settings: &RescueSettings,
    medium: &MediumRow,
    paths: Paths,
) -> Result<Record, Error> {
    let mut device = RealDevice::open(plan.source.as_path())?;
    device.refuse_as_target(&paths.all())?;
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let request = Request {
        source: plan.source.to_string(),
        policy: settings.policy.clone(),
        options: settings.options(),
        priority: settings.priority.clone(),
        sha256: false,
        paths,
    };
    let (monitor, watch) = (Monitor::new(), SystemStopwatch::start());
    let mut surveyor = Surveyor::new(
        context.config,
        &context.scan_program,
        context.interrupt,
        &request.paths.image,
        settings.files_first,
    );
    let mut result = None;
    let has_ended = AtomicBool::new(false);
    let asked = std::thread::scope(|scope| {
        let question = scope.spawn(|| {
            let in_time = smart::wait_for_the_edges(&monitor, || has_ended.load(Ordering::Acquire));
            in_time.then(|| ask_drive(context, plan, medium))
        });
        context.observer.attend(&monitor, &watch, &mut || {
            let world = World {
                disk: Arc::clone(&disk),
                device: &mut device,
                clock: &SystemClock,
                watch: &watch,
                monitor: &monitor,
                advisor: Some(&mut surveyor),
            };
            result = Some(session::run(world, &request));
        });
        has_ended.store(true, Ordering::Release);
        question.join().unwrap_or_default()
    });
    let record = result.ok_or_else(|| Error::Refused("the rescue was not begun".to_owned()))??;
    match asked {
        Some(answer) => answer?,
        None if record.outcome == Outcome::DeviceLost => {}
        None => ask_drive(context, plan, medium)?,
    }
    Ok(record)
}

/// What the drive says of itself goes on record at once: it may be the last thing it says.
fn ask_drive(context: &Context<'_>, plan: &RescuePlan, medium: &MediumRow) -> Result<(), Error> {
    let directory = Archive::medium_dir(context.archive.root(), medium.medium.id);
    let found = smart::ask(plan.source.as_path(), plan.class, &directory);
    Ok(context.archive.catalogue().add_evidence(medium.key, &found)?)
}
