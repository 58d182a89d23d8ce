//! kill -9 at random points: never a claimed byte that is not in the image, and the work of five seconds at most done again.

use std::io;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use ntt_mapfile::{Mapfile, Status};
use ntt_model::ByteRange;
use ntt_testkit::faulty::{Cost, FaultyMedium};
use ntt_testkit::faulty_file::FaultyFile;
use ntt_testkit::sim_disk::SeededRandom;

const SIZE: u64 = 64 << 20;
/// A run is killed after at most so long.
const LONGEST_MS: u64 = 1500;

fn medium() -> FaultyMedium {
    FaultyMedium::new(SIZE, 31)
        .costing(Cost {
            bytes_per_second: 20_000_000,
            per_failure: Duration::from_millis(20),
            ..Cost::default()
        })
        .lone_bad_sectors(40, ByteRange::new(0, SIZE), 512, 32)
}

/// What one life of the program did.
struct Life {
    /// Bytes that came from the medium.
    read_bytes: u64,
    /// Bytes that the map claims in the end.
    claimed_bytes: u64,
    finished: bool,
}

pub(super) fn run(ntt: &str, work: &Path, kills: u32) -> io::Result<()> {
    let random = SeededRandom::new(33);
    super::empty(work)?;
    let (mut killed, mut finished, mut before, mut most_redone) = (0, 0, 0, 0);
    while killed < kills {
        let wait = Duration::from_millis(5 + random.next() % LONGEST_MS);
        let life = live(ntt, work, wait)?;
        let gained = life.claimed_bytes.saturating_sub(before);
        before = life.claimed_bytes;
        if life.finished {
            finished += 1;
            before = 0;
            super::empty(work)?;
        } else {
            killed += 1;
            most_redone = most_redone.max(life.read_bytes.saturating_sub(gained));
        }
    }
    println!(
        "{killed} kills at random points within {LONGEST_MS} ms, {finished} images completed between them: every claimed byte was in the image; \
         at most {:.1} s of reading were lost by one kill ({most_redone} bytes at 20 MB/s).\n",
        most_redone as f64 / 20e6
    );
    Ok(())
}

fn live(ntt: &str, work: &Path, wait: Duration) -> io::Result<Life> {
    let file = FaultyFile::mount(medium(), true).ok_or_else(|| io::Error::other("no FUSE here"))?;
    let image = work.join("image");
    let mut child = Command::new(ntt)
        .args(["--quiet", "rescue"])
        .arg(file.path())
        .arg("--output")
        .arg(&image)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()?;
    std::thread::sleep(wait);
    let finished = child.try_wait()?.is_some_and(|status| status.code() == Some(3));
    child.kill()?;
    let _ = child.wait()?;
    let claimed_bytes = check(&image, &work.join("image.map"), &file)?;
    let medium = file.medium();
    let good = medium.log().iter().filter(|record| record.good);
    Ok(Life {
        read_bytes: good.map(|record| record.range.len).sum(),
        claimed_bytes,
        finished,
    })
}

/// Compares everything that the map claims with the medium.
fn check(image: &Path, map: &Path, file: &FaultyFile) -> io::Result<u64> {
    if !map.exists() {
        return Ok(0);
    }
    let map = Mapfile::parse(&std::fs::read(map)?).map_err(io::Error::other)?;
    let image = std::fs::read(image).unwrap_or_default();
    let mut claimed = 0;
    for run in map.runs(Status::Finished) {
        let mut expected = vec![0; usize::try_from(run.len).map_err(io::Error::other)?];
        file.medium().content(run.offset, &mut expected);
        let start = usize::try_from(run.offset).map_err(io::Error::other)?;
        if image.get(start..start + expected.len()) != Some(expected.as_slice()) {
            return Err(io::Error::other(format!(
                "{run} is claimed, and is not in the image"
            )));
        }
        claimed += run.len;
    }
    Ok(claimed)
}
