//! The lab for readers: a format joins with a [`Lab`] (its images, its referees) and gets comparison, damage, loss score and its line in
//! `docs/formats/coverage.md`. The guide is `docs/formats/lab.md`.

pub mod apfs;
pub mod apple;
pub mod compare;
pub mod corpus;
pub mod coverage;
pub mod loss;
pub mod make;
pub mod memory;
pub mod referee;
pub mod structure;
pub mod tree;
pub mod uml;
pub mod variant;
pub mod watch;

use std::collections::BTreeMap;
use std::ops::Range;

use ntt_filesystem::{Family, FileSystem, ScanOptions, open};

use crate::lab::compare::{Aspect, Comparison, Difference, Explained, compare};
use crate::lab::coverage::{Row, contribute, contribute_loss, grouped};
use crate::lab::loss::{Score, score};
use crate::lab::make::Image;
use crate::lab::referee::Referee;
use crate::lab::structure::Structure;
use crate::lab::tree::Tree;
use crate::lab::variant::{Amount, survives};
use crate::lab::watch::Bytes;
use crate::listing::Listing;

/// A set of images of one format, and who else can read them.
#[derive(Debug)]
pub struct Lab {
    /// What the images are of; the name of the line in the table.
    pub name: &'static str,
    /// Who reads them.
    pub family: Family,
    /// The images, intact, each a volume that starts at byte 0.
    pub images: Vec<Image>,
    /// Programs to compare with.
    pub referees: Vec<Referee>,
    /// Differences that are no error of ours.
    pub explained: Vec<Explained>,
}

impl Lab {
    /// Compares every image with its truth and with every referee, and checks the lines of the table. Without a referee that is named the
    /// rest is compared, but the table is not checked.
    ///
    /// # Panics
    ///
    /// On a difference that is not explained, an explanation of nothing, or a stale line.
    pub fn compares(&self) {
        let referees: Vec<_> = self.referees.iter().filter(|referee| referee.is_here()).collect();
        let mut tally = Tally::new(self);
        for image in &self.images {
            let bytes = image.bytes();
            let ours = ours(self.family, &bytes);
            tally.images += 1;
            tally.content_bytes += ours.content_bytes();
            let mut outcomes = Vec::new();
            if let Some(truth) = &image.truth {
                outcomes.push(compare(&ours, truth, "truth", &Aspect::ALL));
            }
            for referee in &referees {
                outcomes.push(self.judged(&ours, image, referee));
            }
            tally.add(&image.name, ours.entries.len(), outcomes);
        }
        let is_complete = referees.len() == self.referees.len();
        tally.finish(is_complete);
    }

    /// What a referee says of our reading. One that says something which nothing explains is asked again: under load a driver once left a
    /// file of a sound image out.
    fn judged(&self, ours: &Tree, image: &Image, referee: &Referee) -> Comparison {
        let ask = || compare(ours, &referee.read(image.path()), referee.name, &referee.judges);
        let first = ask();
        let strange = |difference: &&Difference| self.explanation(difference).is_none();
        let Some(strange) = first.differences.iter().find(strange) else {
            return first;
        };
        eprintln!("{}: {strange}; asked again", image.name);
        ask()
    }

    /// Index of what explains a difference.
    fn explanation(&self, difference: &Difference) -> Option<usize> {
        let explains = |explained: &Explained| explained.explains(difference);
        self.explained.iter().position(explains)
    }

    /// R22: see [`survives`]. The amount is shared between the images.
    ///
    /// # Panics
    ///
    /// If the reader breaks its promise.
    pub fn survives(&self, amount: Amount) {
        let images = u64::try_from(self.images.len()).expect("fits").max(1);
        let share = Amount {
            flipped: amount.flipped.div_ceil(images),
            cut: amount.cut.div_ceil(images),
            punched: amount.punched.div_ceil(images),
        };
        for image in &self.images {
            survives(self.family, &image.bytes(), share);
        }
    }

    /// The loss score over `seeds` for each image, with these referees; checks that none finds more than we do.
    ///
    /// # Panics
    ///
    /// If one does.
    pub fn loses_no_more(&self, referees: &[Referee], seeds: Range<u64>) -> Option<Score> {
        let mut sum: Option<Score> = None;
        for image in &self.images {
            let more = score(self.family, image.path(), referees, seeds.clone());
            match &mut sum {
                Some(sum) => sum.add(&more),
                None => sum = Some(more),
            }
        }
        sum.inspect(Score::check)
    }

    /// The loss score over 100 seeds for each image, written to the table if that is asked for.
    ///
    /// # Panics
    ///
    /// As [`Self::loses_no_more`].
    pub fn loss_of_100_seeds(&self, referees: &[Referee]) {
        let mut sum: Option<Score> = None;
        for image in &self.images {
            let more = score(self.family, image.path(), referees, 0..100);
            match &mut sum {
                Some(sum) => sum.add(&more),
                None => sum = Some(more),
            }
        }
        if let Some(score) = sum {
            contribute_loss(self.name, &score);
            score.check();
        }
    }

    /// R11: a hole in each structure of the first image that `structures` finds.
    ///
    /// # Panics
    ///
    /// If the report does not name what was hit.
    pub fn names_what_is_hit(&self, structures: impl Fn(&[u8], &Listing) -> Vec<Structure>) {
        if let Some(image) = self.images.first() {
            let bytes = image.bytes();
            let listing = Listing::of(&*opened(self.family, &bytes), &ScanOptions::default());
            structure::named(self.family, &bytes, &structures(&bytes, &listing));
        }
    }
}

fn opened(family: Family, image: &[u8]) -> Box<dyn FileSystem + '_> {
    open(family, Box::new(Bytes(image)), 0).expect("the image opens")
}

fn ours(family: Family, image: &[u8]) -> Tree {
    let listing = Listing::of(&*opened(family, image), &ScanOptions::default());
    Tree::of_listing(&listing, &Bytes(image))
}

/// What all comparisons of a lab gave.
struct Tally<'a> {
    lab: &'a Lab,
    images: usize,
    entries: usize,
    content_bytes: u64,
    compared: BTreeMap<Aspect, usize>,
    /// Index of an explanation -> how many differences it explained.
    used: BTreeMap<usize, usize>,
    explained: BTreeMap<Aspect, usize>,
    unexplained: Vec<String>,
}

impl<'a> Tally<'a> {
    fn new(lab: &'a Lab) -> Self {
        Self {
            lab,
            images: 0,
            entries: 0,
            content_bytes: 0,
            compared: BTreeMap::new(),
            used: BTreeMap::new(),
            explained: BTreeMap::new(),
            unexplained: Vec::new(),
        }
    }

    /// The figure of an aspect is that of the judge that agrees in most of it.
    fn add(&mut self, image: &str, entries: usize, outcomes: Vec<Comparison>) {
        self.entries += entries;
        for aspect in Aspect::ALL {
            let most = outcomes.iter().map(|outcome| outcome.agreed(aspect)).max();
            *self.compared.entry(aspect).or_default() += most.unwrap_or(0);
        }
        for difference in outcomes.into_iter().flat_map(|outcome| outcome.differences) {
            self.explain(image, &difference);
        }
    }

    fn explain(&mut self, image: &str, difference: &Difference) {
        match self.lab.explanation(difference) {
            Some(index) => {
                *self.used.entry(index).or_default() += 1;
                *self.explained.entry(difference.aspect).or_default() += 1;
            }
            None => self.unexplained.push(format!("{image}: {difference}")),
        }
    }

    fn finish(self, is_complete: bool) {
        let shown = &self.unexplained[..self.unexplained.len().min(20)];
        assert!(
            shown.is_empty(),
            "{} differences: {shown:#?}",
            self.unexplained.len()
        );
        if !is_complete {
            eprintln!("skipped: without all referees the table is not checked");
            return;
        }
        let idle = (0..self.lab.explained.len()).find(|index| !self.used.contains_key(index));
        assert_eq!(
            idle.map(|index| self.lab.explained[index].why),
            None,
            "explains nothing"
        );
        contribute(&self.row());
    }

    fn row(&self) -> Row {
        let cell = |aspect: &Aspect| {
            let agreed = grouped(self.compared[aspect]);
            self.explained
                .get(aspect)
                .map_or(agreed.clone(), |count| format!("{agreed} + {count}"))
        };
        let mut cells = vec![grouped(self.images), grouped(self.entries)];
        cells.extend(Aspect::ALL.iter().map(cell));
        cells.push(grouped(self.content_bytes));
        let truth = self
            .lab
            .images
            .iter()
            .any(|image| image.truth.is_some())
            .then_some("truth");
        let judges: Vec<_> = truth
            .into_iter()
            .chain(self.lab.referees.iter().map(|referee| referee.name))
            .collect();
        cells.push(judges.join(", "));
        let explained = self.used.iter().map(|(index, count)| {
            let explained = &self.lab.explained[*index];
            format!(
                "{}, {} ({count}): {}",
                explained.judge, explained.aspect, explained.why
            )
        });
        Row {
            name: self.lab.name.to_owned(),
            cells,
            explained: explained.collect(),
        }
    }
}
