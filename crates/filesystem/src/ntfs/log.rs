//! Whether the log of the file system was closed (`RESTART_PAGE_HEADER` and `RESTART_AREA` in `layout.h`). It is not replayed.

use ntt_source::field::{array, le_u16, le_u32};

use super::record::Fixups;
use super::system;
use super::volume::Volume;

/// Bytes of the log that are looked at: two restart pages.
const PAGES: usize = 2;
/// Bit of a restart area's flags: the volume was closed.
const CLEAN: u16 = 2;
/// "No client": the log is not in use.
const NO_CLIENT: u16 = 0xffff;
/// Sizes of a page that are believed.
const PAGE_BYTES: std::ops::RangeInclusive<usize> = 512..=65536;

/// State of the log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum LogState {
    /// It was closed, or holds nothing.
    Clean,
    /// It may hold changes that were not applied.
    Open,
    /// Its restart pages cannot be read.
    Unreadable,
}

impl LogState {
    /// For people.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Clean => "closed",
            Self::Open => "open: it may hold changes that were not applied",
            Self::Unreadable => "its restart pages cannot be read",
        }
    }
}

/// Looks at the restart pages.
pub(super) fn state(volume: &Volume<'_>) -> LogState {
    let Some((runs, size)) = system::log_file(volume) else {
        return LogState::Unreadable;
    };
    let mut head = [0; 0x20];
    if size < 4096 || volume.read_runs(&runs, 0, &mut head).is_err() {
        return LogState::Unreadable;
    }
    if head == [0xff; 0x20] {
        return LogState::Clean;
    }
    let page_len = le_u32(&head, 0x10).and_then(|len| usize::try_from(len).ok());
    let page_len = page_len
        .filter(|len| PAGE_BYTES.contains(len) && len.is_power_of_two())
        .unwrap_or(4096);
    let newest = (0..PAGES)
        .filter_map(|page| {
            let offset = page.checked_mul(page_len)?;
            let mut bytes = vec![0; page_len];
            volume
                .read_runs(&runs, u64::try_from(offset).ok()?, &mut bytes)
                .ok()?;
            restart(&mut bytes)
        })
        .max_by_key(|(sequence, _)| *sequence);
    match newest {
        Some((_, true)) => LogState::Clean,
        Some((_, false)) => LogState::Open,
        None => LogState::Unreadable,
    }
}

/// Log sequence number of a restart page, and whether it says that the log is closed.
fn restart(bytes: &mut [u8]) -> Option<(u64, bool)> {
    if bytes.get(..4) == Some(b"CHKD") {
        return Some((0, true));
    }
    Fixups::apply_any(bytes, b"RSTR").ok()?;
    let area = bytes.get(usize::from(le_u16(bytes, 0x18)?)..)?;
    let sequence = u64::from_le_bytes(array(area, 0)?);
    let is_closed = le_u16(area, 0x0c)? == NO_CLIENT || le_u16(area, 0x0e)? & CLEAN != 0;
    Some((sequence, is_closed))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(client: u16, flags: u16) -> Vec<u8> {
        let mut page = vec![0; 4096];
        page[..8].copy_from_slice(&[b'R', b'S', b'T', b'R', 0x1e, 0, 9, 0]);
        page[0x18] = 0x30;
        page[0x30] = 77;
        page[0x3c..0x3e].copy_from_slice(&client.to_le_bytes());
        page[0x3e..0x40].copy_from_slice(&flags.to_le_bytes());
        page
    }

    #[test]
    fn a_log_is_closed_without_a_client_or_by_its_flag() {
        assert_eq!(restart(&mut page(0xffff, 0)), Some((77, true)));
        assert_eq!(restart(&mut page(0, 2)), Some((77, true)));
        assert_eq!(restart(&mut page(0, 0)), Some((77, false)));
        assert_eq!(restart(&mut [0; 4096]), None);
    }
}
