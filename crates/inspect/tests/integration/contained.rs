//! Images of several files: their descriptors reach the child, and what is in them comes back.

use std::fs::{self, File};
use std::path::Path;
use std::sync::Arc;

use ntt_inspect::ImageFiles;
use ntt_inspect::container::{Answer, Want};
use ntt_inspect::supervisor::{ChildImage, Error, Unpacked};
use ntt_source::ReadAt;

use crate::scan_child::supervisor;

/// More than one message takes.
const PARTS: usize = 150;
const PART: usize = 5000;

fn content() -> Vec<u8> {
    (0..PARTS * PART)
        .map(|at| at.wrapping_mul(at).to_le_bytes()[1])
        .collect()
}

/// The parts of [`content`] as `x.001` and so on.
fn parts(folder: &Path) -> ImageFiles {
    let content = content();
    let mut paths = content.chunks(PART).zip(1..).map(|(part, number)| {
        let name = format!("x.{number:03}");
        fs::write(folder.join(&name), part).expect("written");
        let file = File::open(folder.join(&name)).expect("opened");
        (name.into_bytes(), Arc::new(file))
    });
    let (name, file) = paths.next().expect("a first part");
    let mut files = ImageFiles::contained(file, name, Vec::new());
    files.companions = paths.map(|(name, file)| (name, Some(file))).collect();
    files
}

#[test]
fn many_files_reach_the_child_when_it_asked_for_them() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut files = parts(folder.path());
    let asked = supervisor().look(&files).expect("a survey");
    assert_eq!(asked.answer, Answer::Wants(Want::Following));
    files.series_given = true;
    let survey = supervisor().look(&files).expect("a survey");
    assert_eq!(survey.answer, Answer::Open);
    assert_eq!(survey.layers[0].files.len(), PARTS);
    let expected = content();
    assert_eq!(survey.image_bytes, u64::try_from(expected.len()).expect("small"));
    let image = ChildImage::new(supervisor(), files, survey.image_bytes);
    for (offset, len) in [(0, expected.len()), (PART - 10, 20), (400_000, 100_000)] {
        let mut found = vec![0; len];
        image
            .read_exact_at(u64::try_from(offset).expect("small"), &mut found)
            .expect("read");
        assert!(found == expected[offset..offset + len], "{len} bytes at {offset}");
    }
    assert!(image.read_exact_at(survey.image_bytes, &mut [0]).is_err());
}

/// R21: no file of an image is handed over with the right to write.
#[test]
fn r21_a_companion_open_for_writing_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut files = parts(folder.path());
    let writable = tempfile::tempfile().expect("a file");
    files.companions[3].1 = Some(Arc::new(writable));
    let result = supervisor().look(&files);
    assert!(matches!(result, Err(Error::Writable)), "{result:?}");
}

#[test]
fn what_is_compressed_comes_out_in_order_with_its_zeros_apart() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut expected = content();
    expected[100_000..400_000].fill(0);
    let path = folder.path().join("image");
    fs::write(&path, &expected).expect("written");
    let packed = std::process::Command::new("gzip").arg(&path).status();
    if !packed.is_ok_and(|status| status.success()) {
        eprintln!("skipped: there is no gzip");
        return;
    }
    let file = File::open(folder.path().join("image.gz")).expect("opened");
    let files = ImageFiles::contained(Arc::new(file), b"image.gz".to_vec(), Vec::new());
    let survey = supervisor().look(&files).expect("a survey");
    assert!(matches!(survey.answer, Answer::Packed(_)));
    let (mut found, mut zeros) = (Vec::new(), 0);
    let ended = supervisor().unpack(&files, &mut |piece| {
        match piece {
            Unpacked::Bytes(bytes) => found.extend_from_slice(bytes),
            Unpacked::Zeros(len) => {
                zeros += len;
                found.resize(found.len() + usize::try_from(len).expect("small"), 0);
            }
        }
        Ok(())
    });
    assert_eq!(ended.expect("unpacked"), None);
    assert!(found == expected);
    assert!(zeros > 250_000, "{zeros}");
}
