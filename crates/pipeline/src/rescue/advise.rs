//! The readers as advisors of the imager: in the confined child, on what is there of the image.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ntt_inspect::{ImageFiles, Supervisor};
use ntt_mapfile::Mapfile;
use ntt_rescue::advisor::{Advice, Advisor};

use crate::{Config, Interrupt, inspect};

/// The rescue waits so long for one survey, or twice as long if the child hangs.
const PATIENCE: Duration = Duration::from_secs(10);

/// Has the scan child say what of a partial image is worth having first.
#[derive(Debug)]
pub struct Surveyor {
    supervisor: Supervisor,
    image: PathBuf,
    is_eager: bool,
    has_failed: bool,
}

impl Surveyor {
    /// For the image that a rescue writes. An eager one is asked from the start on, another once something fails or is slow.
    pub fn new(
        config: &Config,
        scan_program: &Path,
        interrupt: &Interrupt,
        image: &Path,
        is_eager: bool,
    ) -> Self {
        Self {
            supervisor: inspect::supervisor(config, scan_program, interrupt),
            image: image.to_owned(),
            is_eager,
            has_failed: false,
        }
    }

    fn survey(&self, map: &Mapfile) -> Option<Advice> {
        let image = File::open(&self.image).ok()?;
        let unread = map.unread_ranges(map.extent().end());
        let files = ImageFiles::raw(Arc::new(image), unread);
        let survey = self.supervisor.survey(&files, PATIENCE).ok()?;
        Some(Advice {
            needed: survey.needed,
            structures: survey.structures,
            in_use: survey.in_use,
        })
    }
}

impl Advisor for Surveyor {
    /// A child that died or hung once is not asked again: then the order is the plain one.
    fn advise(&mut self, map: &Mapfile) -> Advice {
        if self.has_failed {
            return Advice::default();
        }
        let advice = self.survey(map);
        self.has_failed = advice.is_none();
        advice.unwrap_or_default()
    }

    fn is_eager(&self) -> bool {
        self.is_eager
    }
}
