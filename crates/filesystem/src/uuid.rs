//! UUIDs as text.

/// The form that `blkid` shows; `None` if all bytes are 0.
pub(crate) fn uuid_text(uuid: &[u8; 16]) -> Option<String> {
    if *uuid == [0; 16] {
        return None;
    }
    let hex = ntt_model::blob::hex(uuid);
    let part = |from: usize, to: usize| hex.get(from..to).unwrap_or_default();
    let parts = [part(0, 8), part(8, 12), part(12, 16), part(16, 20), part(20, 32)];
    Some(parts.join("-"))
}
