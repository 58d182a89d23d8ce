//! Compact discs behind sheets.

use std::fs;

use ntt_model::FindingCode;

use crate::made::{Compared, folder, opened};

/// Sectors of the data track.
const SECTORS: usize = 700;

/// Whole sectors of mode 1, without error correction, which nobody looks at here.
fn raw_sectors(user: &[u8]) -> Vec<u8> {
    let sector = |user: &[u8]| {
        let mut sector = vec![0; 2352];
        sector[1..11].fill(0xff);
        sector[15] = 1;
        sector[16..16 + user.len()].copy_from_slice(user);
        sector
    };
    user.chunks(2048).flat_map(sector).collect()
}

#[test]
fn the_data_track_is_the_image_and_sound_is_told_of() {
    let (folder, raw) = folder();
    let user = &raw[..SECTORS * 2048];
    let mut bin = raw_sectors(user);
    bin.extend(vec![0x33; 300 * 2352]);
    fs::write(folder.path().join("disc one.bin"), bin).expect("written");
    let minutes = |sector: usize| {
        format!(
            "{:02}:{:02}:{:02}",
            sector / 75 / 60,
            sector / 75 % 60,
            sector % 75
        )
    };
    let cue = format!(
        "FILE \"disc one.bin\" BINARY\r\n  TRACK 01 MODE1/2352\r\n    INDEX 01 00:00:00\r\n  TRACK 02 AUDIO\r\n    INDEX 01 {}\r\n",
        minutes(SECTORS)
    );
    let path = folder.path().join("disc.cue");
    fs::write(&path, cue).expect("written");
    let found = opened(&path);
    assert_eq!(found.layers[0].format, "CD cue");
    assert_eq!(found.layers[0].files, ["disc.cue", "disc one.bin"]);
    assert_eq!(found.findings.len(), 1);
    assert_eq!(found.findings[0].code, FindingCode::Unsupported);
    assert_eq!(found.image.len(), (SECTORS as u64 + 300) * 2048);
    let mut compared = Compared::made_by("the test");
    compared.equal("CD cue", &found.image, user);
    compared.contribute();
    fs::remove_file(folder.path().join("disc one.bin")).expect("removed");
    let found = opened(&path);
    assert_eq!(found.layers[0].missing, ["disc one.bin"]);
    assert!(
        found
            .findings
            .iter()
            .any(|finding| finding.code == FindingCode::BeyondEnd)
    );
}
