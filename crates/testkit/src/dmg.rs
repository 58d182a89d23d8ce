//! Builds Apple disk images (UDIF) in every form that chunks are stored in.
//!
//! What makes the stored bytes is given by whoever builds one; [`xz`] is one such.

use std::io::{Read, Write};
use std::process::{Command, Stdio};

use base64::Engine;

const SECTOR: usize = 512;
/// Sectors of a chunk.
pub const CHUNK_SECTORS: usize = 512;

/// What makes the stored bytes of a chunk.
pub type Pack = fn(&[u8]) -> Vec<u8>;

/// An image of two partitions, each a block table of its own.
pub fn dmg(raw: &[u8], kind: u32, pack: Pack) -> Vec<u8> {
    let mut file = Vec::new();
    let half = raw.len() / SECTOR / 2;
    let tables: Vec<Vec<u8>> = [(0, half), (half, raw.len() / SECTOR)]
        .into_iter()
        .map(|(first, end)| table(raw, first, end, (kind, pack), &mut file))
        .collect();
    let dicts: String = tables
        .iter()
        .map(|table| {
            let data = base64::engine::general_purpose::STANDARD.encode(table);
            format!(
                "<dict><key>Data</key>\n<data>\n{data}\n</data><key>Name</key><string>part</string></dict>"
            )
        })
        .collect();
    let plist = format!(
        "<plist><dict><key>resource-fork</key><dict><key>blkx</key><array>{dicts}</array></dict></dict></plist>"
    );
    let mut trailer = vec![0; 512];
    trailer[..4].copy_from_slice(b"koly");
    let data_len = number(file.len());
    trailer[32..40].copy_from_slice(&data_len.to_be_bytes());
    trailer[60..64].copy_from_slice(&1_u32.to_be_bytes());
    trailer[216..224].copy_from_slice(&data_len.to_be_bytes());
    trailer[224..232].copy_from_slice(&number(plist.len()).to_be_bytes());
    // The master checksum: CRC-32 over those of the tables.
    let sums: Vec<u8> = tables.iter().flat_map(|table| table[72..76].to_vec()).collect();
    trailer[352..356].copy_from_slice(&2_u32.to_be_bytes());
    trailer[356..360].copy_from_slice(&32_u32.to_be_bytes());
    trailer[360..364].copy_from_slice(&crc32fast::hash(&sums).to_be_bytes());
    trailer[492..500].copy_from_slice(&number(raw.len() / SECTOR).to_be_bytes());
    file.extend(plist.bytes());
    file.extend(trailer);
    file
}

fn table(raw: &[u8], first: usize, end: usize, (kind, pack): (u32, Pack), file: &mut Vec<u8>) -> Vec<u8> {
    let mut table = vec![0; 204];
    table[..4].copy_from_slice(b"mish");
    table[8..16].copy_from_slice(&number(first).to_be_bytes());
    table[16..24].copy_from_slice(&number(end - first).to_be_bytes());
    table[64..68].copy_from_slice(&2_u32.to_be_bytes());
    let sum = crc32fast::hash(&raw[first * SECTOR..end * SECTOR]);
    table[72..76].copy_from_slice(&sum.to_be_bytes());
    let mut count = 1_u32;
    for start in (first..end).step_by(CHUNK_SECTORS) {
        let sectors = CHUNK_SECTORS.min(end - start);
        let bytes = &raw[start * SECTOR..(start + sectors) * SECTOR];
        let (kind, stored) = if bytes.iter().all(|byte| *byte == 0) {
            (0, Vec::new())
        } else {
            (kind, pack(bytes))
        };
        let numbers = [start - first, sectors, file.len(), stored.len()].map(number);
        table.extend(kind.to_be_bytes());
        table.extend([0; 4]);
        numbers
            .iter()
            .for_each(|number| table.extend(number.to_be_bytes()));
        file.extend(stored);
        count += 1;
    }
    table.extend(u32::MAX.to_be_bytes());
    table.extend([0; 36]);
    table[200..204].copy_from_slice(&count.to_be_bytes());
    table
}

fn number(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}

/// What the program `xz` makes of bytes; `None` where it is missing.
pub fn xz(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut child = Command::new("xz")
        .args(["-1", "-c"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .ok()?;
    let mut input = child.stdin.take()?;
    let bytes = bytes.to_vec();
    let writer = std::thread::spawn(move || input.write_all(&bytes));
    let mut packed = Vec::new();
    child.stdout.take()?.read_to_end(&mut packed).ok()?;
    let is_written = writer.join().is_ok_and(|written| written.is_ok());
    (is_written && child.wait().ok()?.success()).then_some(packed)
}
