//! Raw images in parts.

use std::fs;

use ntt_container::Opening;
use ntt_model::FindingCode;
use ntt_source::ReadError;

use crate::made::{Compared, assert_equal, folder, lost_bytes, opened, opening};

const PART: usize = 700_001;

#[test]
fn parts_are_joined_by_name_in_order() {
    let (folder, raw) = folder();
    let mut compared = Compared::made_by("the test");
    for names in [
        ["x.001", "x.002", "x.003", "x.004", "x.005"],
        ["y.aa", "y.ab", "y.ac", "y.ad", "y.ae"],
    ] {
        for (name, part) in names.iter().zip(raw.chunks(PART)) {
            fs::write(folder.path().join(name), part).expect("written");
        }
        let found = opened(&folder.path().join(names[0]));
        assert_eq!(found.findings, []);
        assert_eq!(found.layers[0].files, names);
        assert_eq!(found.image.len(), u64::try_from(raw.len()).expect("small"));
        compared.equal("raw parts", &found.image, &raw);
    }
    compared.contribute();
}

#[test]
fn a_part_that_is_missing_between_others_costs_its_own_bytes() {
    let (folder, raw) = folder();
    for (at, part) in raw.chunks(PART).enumerate().filter(|(at, _)| *at != 2) {
        fs::write(folder.path().join(format!("x.{:03}", at + 1)), part).expect("written");
    }
    let found = opened(&folder.path().join("x.001"));
    assert_eq!(found.layers[0].missing, ["x.003"]);
    assert_eq!(found.findings[0].code, FindingCode::BeyondEnd);
    let mut bytes = vec![0; 1000];
    let at = |part: usize| u64::try_from(part * PART).expect("small");
    assert!(matches!(
        found.image.read_exact_at(at(2), &mut bytes),
        Err(ReadError::Corrupt { .. })
    ));
    found.image.read_exact_at(at(3), &mut bytes).expect("read");
    assert!(bytes == raw[3 * PART..3 * PART + 1000]);
}

/// An empty or short part among equal ones moves nothing that follows.
#[test]
fn r22_a_part_that_is_too_short_costs_its_own_bytes() {
    for (at, len) in [(2, 0), (1, PART - 512), (0, 1000)] {
        let (folder, raw) = folder();
        for (number, part) in raw.chunks(PART).enumerate() {
            let kept = if number == at { &part[..len] } else { part };
            fs::write(folder.path().join(format!("x.{:03}", number + 1)), kept).expect("written");
        }
        let found = opened(&folder.path().join("x.001"));
        assert_eq!(found.findings.len(), 1);
        assert_eq!(found.findings[0].code, FindingCode::BeyondEnd);
        let place = u64::try_from(at * PART + len).expect("small");
        assert_eq!(found.findings[0].image_offset, Some(place));
        // Up to two of the pieces that are looked at reach over the edges.
        let lost = lost_bytes(&found.image, &raw, 512);
        assert!(
            (PART - len..PART - len + 1024).contains(&lost),
            "part {at} of {len} bytes: {lost}"
        );
    }
}

/// Where parts differ, nobody knows what is lacking; it is said.
#[test]
fn parts_of_any_length_are_joined_and_told_of() {
    let (folder, raw) = folder();
    let (first, rest) = raw.split_at(100_000);
    for (name, part) in [("x.001", first), ("x.002", rest)] {
        fs::write(folder.path().join(name), part).expect("written");
    }
    let found = opened(&folder.path().join("x.001"));
    assert_eq!(found.findings[0].code, FindingCode::Contradiction);
    assert_equal(&found.image, &raw);
}

#[test]
fn one_part_alone_and_images_of_floppies_are_what_they_are() {
    let (folder, raw) = folder();
    fs::write(folder.path().join("x.001"), &raw).expect("written");
    assert!(matches!(opening(&folder.path().join("x.001")), Opening::Plain));
    for name in ["f.001", "f.002"] {
        fs::write(folder.path().join(name), &raw[..1_474_560]).expect("written");
    }
    assert!(matches!(opening(&folder.path().join("f.001")), Opening::Plain));
}
