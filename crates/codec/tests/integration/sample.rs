//! Contents to compress, and independent encoders to compress them with.

use std::io::Write;
use std::process::{Command, Stdio};

use ntt_model::Codec;

/// Contents of every character: empty, tiny, text, runs, noise, far repetitions.
pub(crate) fn contents() -> Vec<Vec<u8>> {
    let text: String = (0..9000)
        .map(|line| format!("line {line} of a text, {}\n", line * line % 977))
        .collect();
    let noise = noise(100_000);
    let far = [noise.as_slice(), &text.as_bytes()[..3000], &noise].concat();
    let steps: Vec<u8> = (0..300_000_u32)
        .map(|at| u8::try_from((at / 7) % 256).unwrap())
        .collect();
    vec![
        Vec::new(),
        b"a".to_vec(),
        b"no two things".to_vec(),
        text.into_bytes(),
        vec![0; 200_000],
        noise,
        far,
        steps,
    ]
}

/// Bytes without a pattern, the same ones every time.
pub(crate) fn noise(len: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    };
    (0..len).map(|_| next()).collect()
}

/// Compresses with a program that reads standard input; `None` if it is not installed.
pub(crate) fn tool(program: &str, arguments: &[&str], content: &[u8]) -> Option<Vec<u8>> {
    let spawned = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn();
    let Ok(mut child) = spawned else {
        eprintln!("skipped: {program} is not installed");
        return None;
    };
    let mut input = child.stdin.take().unwrap();
    let content = content.to_vec();
    let writer = std::thread::spawn(move || input.write_all(&content));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    assert!(output.status.success(), "{program}");
    Some(output.stdout)
}

/// Compresses with an encoder that is not ours; `None` if there is none for the codec.
pub(crate) fn encode(codec: Codec, content: &[u8]) -> Option<Vec<u8>> {
    match codec {
        Codec::Stored => Some(content.to_vec()),
        Codec::Zlib => {
            let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
            encoder.write_all(content).unwrap();
            Some(encoder.finish().unwrap())
        }
        Codec::Zstd => Some(zstd::encode_all(content, 3).unwrap()),
        Codec::Xz => tool("xz", &["-c", "-1"], content),
        Codec::Lzma => tool("xz", &["-c", "-1", "--format=lzma"], content),
        Codec::Bzip2 => tool("bzip2", &["-c", "-1"], content),
        Codec::Lz4 => Some(lz4_flex::block::compress(content)),
        // Of nothing it makes what the original library does not: a first byte of no literals.
        Codec::Lzo if content.is_empty() => None,
        Codec::Lzo => Some(lzokay::compress::compress(content).unwrap()),
        Codec::LzoBtrfs => Some(frame_btrfs(content)),
        Codec::Lzfse => {
            let mut encoded = Vec::new();
            lzfse_rust::encode_bytes(content, &mut encoded).unwrap();
            Some(encoded)
        }
        Codec::Lzvn => lzvn(content),
        // Nothing here writes them; their own tests have known examples.
        _ => None,
    }
}

/// The framing of `fs/btrfs/lzo.c`.
fn frame_btrfs(content: &[u8]) -> Vec<u8> {
    let mut framed = vec![0; 4];
    for page in content.chunks(4096) {
        let segment = lzokay::compress::compress(page).unwrap();
        let left = 4096 - framed.len() % 4096;
        if left < 4 {
            framed.resize(framed.len() + left, 0);
        }
        framed.extend(u32::try_from(segment.len()).unwrap().to_le_bytes());
        framed.extend(segment);
    }
    let total = u32::try_from(framed.len()).unwrap();
    framed[..4].copy_from_slice(&total.to_le_bytes());
    framed
}

/// The payload of the LZVN block that the encoder of LZFSE makes of short contents, if it does.
fn lzvn(content: &[u8]) -> Option<Vec<u8>> {
    let encoded = encode(Codec::Lzfse, content)?;
    encoded.starts_with(b"bvxn").then(|| {
        let len = u32::from_le_bytes(*encoded[8..].first_chunk().unwrap());
        encoded[12..12 + usize::try_from(len).unwrap()].to_vec()
    })
}
