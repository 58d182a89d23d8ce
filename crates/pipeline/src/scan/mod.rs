//! One enumeration of a volume: from the scan child, or from the walk of a directory, into the catalogue.
//!
//! Rows of a scan are invisible until it is sealed, so an interrupted scan leaves nothing and is begun again. A volume on which several
//! file systems stand gets one scan for each. Scanning again is a new scan (R28): inodes that did not change keep their results.

mod feed;
mod self_test;

use std::collections::{BTreeSet, VecDeque};

use ntt_catalogue::rows::{MediumRow, NewScan, NewVolume, ScanRow, SealReport, VolumeRow};
use ntt_model::entry::ScanCounts;
use ntt_model::{Device, Finding, FindingCode, Layer, ScanEvent, ScanId, Severity};
use serde::{Deserialize, Serialize};

pub(crate) use self_test::self_test;

use crate::content::source_of;
use crate::exclude::{self, Rules, with_labels};
use crate::identify::Source;
use crate::inspect::{self, DIRECTORY, mount_point, recorded_layer};
use crate::stage::{Running, Subject};
use crate::{Context, Error, Event, RunOutcome, Stage};
use feed::{Feed, Reader};
use ntt_report::selector::{current_scans, own_scans};

/// How to scan.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct ScanSettings {
    /// Scan again although there is a scan already; unchanged inodes keep their results.
    pub again: bool,
    /// With `again`: no inode keeps its results, because contents were taken for whole that are not.
    pub afresh: bool,
    /// List deleted entries too.
    pub deleted: bool,
    /// Enter other file systems below a directory source.
    pub cross_file_systems: bool,
}

/// What a scan would do.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ScanPlan {
    /// Volumes that will be scanned, by number.
    pub scan: Vec<u32>,
    /// Volumes that will not, and why.
    pub skip: Vec<(u32, String)>,
    /// How.
    pub settings: ScanSettings,
}

/// What a scan of one volume did.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ScanSummary {
    /// The volume.
    pub volume: u32,
    /// The scan.
    pub scan: ScanId,
    /// Who read it: `fat`, `ext`, `iso9660`, `ntfs`, `directory`.
    pub reader: String,
    /// What was listed.
    pub counts: ScanCounts,
    /// What the catalogue made of it.
    pub sealed: SealReport,
    /// How it ended.
    pub outcome: RunOutcome,
    /// Whether it was cut short and the scan before stays.
    #[serde(skip)]
    pub(crate) is_earlier: bool,
}

/// Decides which volumes of a medium to scan.
///
/// # Errors
///
/// When the catalogue fails.
pub fn plan(
    context: &Context<'_>,
    medium: &MediumRow,
    only: Option<&VolumeRow>,
    settings: ScanSettings,
) -> Result<ScanPlan, Error> {
    let mut plan = ScanPlan {
        scan: Vec::new(),
        skip: Vec::new(),
        settings,
    };
    let cut_short = cut_short(context, medium)?;
    for volume in context.archive.catalogue().volumes(medium.key)? {
        if only.is_some_and(|only| only.key != volume.key) {
            continue;
        }
        let number = volume.volume.number;
        match reason_to_skip(context, &volume, settings, &cut_short)? {
            Some(reason) => plan.skip.push((number, reason)),
            None => plan.scan.push(number),
        }
    }
    Ok(plan)
}

fn reason_to_skip(
    context: &Context<'_>,
    volume: &VolumeRow,
    settings: ScanSettings,
    cut_short: &BTreeSet<ScanId>,
) -> Result<Option<String>, Error> {
    if volume.volume.same_as.is_some() {
        return Ok(Some("a copy of a volume that the archive has".to_owned()));
    }
    if is_mounted(volume) && !settings.cross_file_systems {
        return Ok(Some("another file system, which was not asked for".to_owned()));
    }
    let readers = readers(&volume.volume)?;
    if readers.is_empty() {
        return Ok(Some(format!("not readable: {}", volume.volume.verdict)));
    }
    let scans = current_scans(context.archive.catalogue(), volume)?;
    let all_scanned = readers.iter().all(|reader| {
        scans
            .iter()
            .any(|scan| scan.scan.reader == reader.name() && !cut_short.contains(&scan.id))
    });
    Ok((all_scanned && !settings.again).then(|| "scanned already".to_owned()))
}

/// The scans of a medium whose child ended early, or to which the disk did not give what lists other things. They are made again without being asked for: what they did not list may be
/// had with more memory or time, by another cable or another drive (R22).
fn cut_short(context: &Context<'_>, medium: &MediumRow) -> Result<BTreeSet<ScanId>, Error> {
    let findings = context.archive.catalogue().findings(medium.key)?.into_iter();
    let may_list_more = |finding: &Finding| {
        let is_io = finding.code == FindingCode::Io && finding.severity == Severity::Loss;
        finding.is_cut_short() || is_io && finding.layer != Layer::Content
    };
    Ok(findings
        .filter(|row| may_list_more(&row.finding))
        .filter_map(|row| row.scan)
        .collect())
}

/// Whether the volume is a file system mounted in a directory source.
fn is_mounted(volume: &VolumeRow) -> bool {
    volume.volume.type_name == DIRECTORY && !volume.volume.layer_json.is_empty()
}

/// Who can read a volume: one reader per file system that was opened.
fn readers(volume: &NewVolume) -> Result<Vec<Reader>, Error> {
    if volume.type_name == DIRECTORY {
        let mount_point = mount_point(volume)?;
        return Ok(vec![Reader::Directory { mount_point }]);
    }
    let Some(layer) = recorded_layer(volume)? else {
        return Ok(Vec::new());
    };
    let mapping = layer.mapping.as_ref();
    let device = mapping.and_then(|mapping| Device::of(volume.number, mapping));
    let opened = layer.file_systems.iter().filter_map(|file_system| {
        let facts = file_system.facts.as_ref()?;
        Some(Reader::FileSystem {
            family: file_system.family,
            range: layer.range,
            mapping: layer.mapping.clone(),
            device: device.as_ref().map(|device| device.base),
            root: facts.root,
        })
    });
    Ok(opened.collect())
}

/// Scans the volumes of the plan.
///
/// # Errors
///
/// When the catalogue fails, the source cannot be opened, or the run was interrupted: the scan that was under way is dropped.
pub fn run(context: &Context<'_>, medium: &MediumRow, plan: &ScanPlan) -> Result<Vec<ScanSummary>, Error> {
    let Some(rules) = exclude::given_anew(context, medium)? else {
        return scan_all(context, medium, plan);
    };
    let before = scans_of(context, medium)?;
    let summaries = scan_all(context, medium, plan)?;
    let now = scans_of(context, medium)?;
    if now.is_empty() {
        exclude::tell_reach(context, medium)?;
    } else if !before.is_disjoint(&now) {
        // What was not scanned now has the labels of before.
        exclude::run(context, medium, &rules)?;
    }
    Ok(summaries)
}

/// The current scans of a medium's own volumes.
fn scans_of(context: &Context<'_>, medium: &MediumRow) -> Result<BTreeSet<ScanId>, Error> {
    let scans = own_scans(context.archive.catalogue(), medium)?.into_iter();
    Ok(scans.map(|(_, scan)| scan.id).collect())
}

fn scan_all(context: &Context<'_>, medium: &MediumRow, plan: &ScanPlan) -> Result<Vec<ScanSummary>, Error> {
    let mut summaries = Vec::new();
    if plan.scan.is_empty() {
        return Ok(summaries);
    }
    let rules = exclude::for_scan(context, medium)?;
    let cut_short = cut_short(context, medium)?;
    let feed = Feed::new(context, source_of(context, medium)?, plan.settings);
    let mut waiting = VecDeque::from(context.archive.catalogue().volumes(medium.key)?);
    waiting.retain(|row| plan.scan.contains(&row.volume.number));
    // What is mounted now is told by the scan of what it is mounted in; what was mounted once may be gone.
    if plan.settings.again {
        waiting.retain(|row| !is_mounted(row));
    }
    while let Some(volume) = waiting.pop_front() {
        let job = Job {
            context,
            medium,
            volume: &volume,
            rules: &rules,
            settings: plan.settings,
            cut_short: &cut_short,
        };
        let mounted = job.scan_all(&feed, &mut summaries)?;
        waiting.retain(|row| mounted.iter().all(|found| found.key != row.key));
        waiting.extend(mounted);
    }
    Ok(summaries)
}

/// Hands over what of the content of a volume's files is not what its file system's checksums say, and tells how much that was; `None` if it keeps none.
///
/// # Errors
///
/// When the source cannot be opened, or the run was interrupted; and those of `each`.
pub(crate) fn wrong_content(
    context: &Context<'_>,
    source: &Source,
    volume: &VolumeRow,
    each: &mut dyn FnMut(Finding) -> Result<(), Error>,
) -> Result<Option<u64>, Error> {
    let feed = Feed::verifying(context, source.clone());
    let mut found = None;
    for reader in readers(&volume.volume)? {
        if !reader.keeps_checksums() {
            continue;
        }
        let wrong: &mut u64 = found.get_or_insert_default();
        feed.read(&reader, &mut |events| {
            for event in events {
                if let ScanEvent::Finding(finding) = event
                    && finding.layer == Layer::Content
                {
                    *wrong += 1;
                    each(finding)?;
                }
            }
            context.interrupt.check()
        })?;
    }
    Ok(found)
}

/// One volume to scan.
struct Job<'a> {
    context: &'a Context<'a>,
    medium: &'a MediumRow,
    volume: &'a VolumeRow,
    rules: &'a Rules,
    settings: ScanSettings,
    /// Earlier scans that are to be made again.
    cut_short: &'a BTreeSet<ScanId>,
}

impl Job<'_> {
    /// Scans the volume with every reader that has something to do, and answers with the volumes that were found mounted in it.
    fn scan_all(&self, feed: &Feed<'_>, summaries: &mut Vec<ScanSummary>) -> Result<Vec<VolumeRow>, Error> {
        let scans = current_scans(self.context.archive.catalogue(), self.volume)?;
        let mut mounted = Vec::new();
        for reader in readers(&self.volume.volume)? {
            let previous = scans.iter().find(|scan| scan.scan.reader == reader.name());
            let is_done = previous.is_some_and(|scan| !self.cut_short.contains(&scan.id));
            if is_done && !self.settings.again {
                continue;
            }
            summaries.push(self.scan(feed, &reader, previous, &mut mounted)?);
        }
        Ok(mounted)
    }

    fn scan(
        &self,
        feed: &Feed<'_>,
        reader: &Reader,
        previous: Option<&ScanRow>,
        mounted: &mut Vec<VolumeRow>,
    ) -> Result<ScanSummary, Error> {
        let subject = Subject {
            medium: Some(self.medium),
            volume: Some(self.volume.volume.number),
        };
        let stage = Running::start(self.context.observer, Stage::Scan, subject);
        let catalogue = self.context.archive.catalogue();
        let scan = catalogue.begin_scan(&NewScan {
            volume: self.volume.key,
            reader: reader.name().to_owned(),
            root: feed.root(reader)?,
            previous: previous.filter(|_| !self.settings.afresh).map(|row| row.id),
        })?;
        let result = self.load(feed, reader, (scan, previous), &stage, mounted);
        if result.is_err() {
            // What is dropped here would be dropped by the next begin; the first error matters more.
            let _ = catalogue.abandon_scan(scan);
        }
        stage.settle(catalogue, Some(self.medium), result, |summary| summary.outcome)
    }

    fn load(
        &self,
        feed: &Feed<'_>,
        reader: &Reader,
        (scan, previous): (ScanId, Option<&ScanRow>),
        stage: &Running<'_>,
        mounted: &mut Vec<VolumeRow>,
    ) -> Result<ScanSummary, Error> {
        let catalogue = self.context.archive.catalogue();
        let number = self.volume.volume.number;
        let mut outcome = RunOutcome::Complete;
        let mut ended_early = false;
        let mut told = feed.read(reader, &mut |events| {
            for event in &events {
                if let ScanEvent::Finding(finding) = event {
                    stage.finding(Some(number), finding);
                    ended_early |= finding.is_cut_short();
                    if finding.severity == Severity::Loss {
                        outcome = RunOutcome::Losses;
                    }
                }
            }
            catalogue.append(scan, &events)?;
            stage.add(names(&events), 0);
            Ok(())
        })?;
        if !told.complete {
            outcome = RunOutcome::Losses;
        }
        self.context.interrupt.check()?;
        if let Some(previous) = previous.filter(|row| ended_early && self.is_no_better(row, &told.counts)) {
            return self.keep(previous, scan);
        }
        // Before the seal: a run that ends between the two would take this volume for scanned and never learn of the others.
        if self.settings.cross_file_systems {
            let refused = self.mounts(feed, &told.mount_points, mounted)?;
            for event in &refused {
                told.counts.add(event);
                if let ScanEvent::Finding(finding) = event {
                    stage.finding(Some(number), finding);
                    outcome = RunOutcome::Losses;
                }
            }
            catalogue.append(scan, &refused)?;
        }
        let sealed = with_labels(self.rules, |labels| {
            catalogue.seal_scan(scan, &told.counts, labels)
        })?;
        crate::search::follow(self.context, scan, previous.map(|row| row.id));
        Ok(ScanSummary {
            volume: number,
            scan,
            reader: reader.name().to_owned(),
            counts: told.counts,
            sealed,
            outcome,
            is_earlier: false,
        })
    }

    /// Whether a scan that was cut short lists no more than the one before, which need not have been. What the one before took for whole may not be so, if the scan is made afresh.
    fn is_no_better(&self, previous: &ScanRow, counts: &ScanCounts) -> bool {
        let listed = |counts: &ScanCounts| (counts.names, counts.inodes);
        !self.settings.afresh && listed(counts) <= listed(&previous.counts)
    }

    /// Drops a scan that is no better than the one before: the catalogue does not grow, and nothing that is listed is lost.
    fn keep(&self, previous: &ScanRow, scan: ScanId) -> Result<ScanSummary, Error> {
        let number = self.volume.volume.number;
        self.context.archive.catalogue().abandon_scan(scan)?;
        let again = if self.cut_short.contains(&previous.id) {
            " again"
        } else {
            ""
        };
        self.context.observer.event(&Event::Message {
            severity: Severity::Loss,
            text: format!(
                "the scan of volume {number} was cut short{again} and lists no more than the one before, which stays: \
                 `scan_memory`, `scan_time` and `scan_stall` are the settings that give it more"
            ),
        });
        Ok(ScanSummary {
            volume: number,
            scan: previous.id,
            reader: previous.scan.reader.clone(),
            counts: previous.counts,
            sealed: SealReport::default(),
            outcome: RunOutcome::Losses,
            is_earlier: true,
        })
    }

    /// Makes each file system mounted in the volume a volume of its own. Answers with a finding for each that cannot be entered: one of this scan, because the
    /// next may enter it.
    fn mounts(
        &self,
        feed: &Feed<'_>,
        mount_points: &[Vec<u8>],
        mounted: &mut Vec<VolumeRow>,
    ) -> Result<Vec<ScanEvent>, Error> {
        let mut refused = Vec::new();
        for mount_point in mount_points {
            match feed.can_enter(mount_point) {
                Ok(()) => mounted.push(inspect::mounted(self.context, self.medium, mount_point)?),
                Err(error) => refused.push(ScanEvent::Finding(not_entered(mount_point, &error))),
            }
        }
        Ok(refused)
    }
}

/// A mount point that is no directory, or that nobody may enter.
fn not_entered(mount_point: &[u8], error: &Error) -> Finding {
    let detail = format!(
        "what is mounted at `{}` was not read: {error}",
        ntt_model::name::escape(mount_point)
    );
    Finding::new(
        Severity::Loss,
        Layer::Directory,
        FindingCode::OtherFileSystem,
        detail,
    )
}

fn names(events: &[ScanEvent]) -> u64 {
    let names = events.iter().filter(|event| matches!(event, ScanEvent::Name(_)));
    u64::try_from(names.count()).unwrap_or(0)
}
