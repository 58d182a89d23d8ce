//! Rock Ridge (RRIP 1.12; RRIP_1991A is the same on disc but for the serial number in `PX`).

use ntt_model::Kind;
use ntt_model::time::Times;
use ntt_source::field::u8_at;

use super::date;
use super::disc::both_u32;
use super::susp::SystemUseEntry;
use super::zisofs::Zisofs;

/// Longest name and link target that is put together; POSIX systems allow 255 and 4096.
const NAME_BYTES_MAX: usize = 4096;
const TARGET_BYTES_MAX: usize = 65_536;

/// POSIX attributes (`PX`, RRIP 4.1.1).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Attributes {
    /// Type and permission bits.
    pub(super) mode: u32,
    pub(super) links: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    /// File serial number; RRIP_1991A has none.
    pub(super) serial: Option<u32>,
}

/// What the system use entries of one record say.
#[derive(Clone, Debug, Default)]
pub(super) struct RockRidge {
    /// The name put together from `NM` entries.
    pub(super) name: Option<Vec<u8>>,
    pub(super) attributes: Option<Attributes>,
    /// The target put together from `SL` entries.
    pub(super) target: Option<Vec<u8>>,
    pub(super) times: Option<Times>,
    pub(super) device: Option<(u32, u32)>,
    /// Block of the directory that was moved away from here (`CL`, RRIP 4.1.5.1).
    pub(super) child: Option<u32>,
    /// The directory was moved here from elsewhere (`RE`, RRIP 4.1.5.3) and is shown there.
    pub(super) relocated: bool,
    /// The content is compressed (`ZF`).
    pub(super) zisofs: Option<Zisofs>,
    /// The content is a sparse file (`SF`, RRIP 4.1.7), which this reader does not put together.
    pub(super) sparse: bool,
    /// An `SL` component is continued in the next one: no slash between them.
    target_open: bool,
}

impl RockRidge {
    /// Takes one system use entry; others (Apple's `AA`, arbitrary attributes `AL`) are not of Rock Ridge.
    pub(super) fn add(&mut self, entry: SystemUseEntry<'_>) {
        let data = entry.data;
        match &entry.signature {
            b"NM" => self.add_name(data),
            b"PX" => self.attributes = attributes(data).or(self.attributes),
            b"SL" => self.add_target(data),
            b"TF" => self.add_times(data),
            b"PN" => self.device = device(data).or(self.device),
            b"CL" => self.child = both_u32(data, 0).map(|block| block.choose(|_| true)),
            b"RE" => self.relocated = true,
            b"ZF" => self.zisofs = Zisofs::parse(data).or(self.zisofs),
            b"SF" => self.sparse = true,
            _ => {}
        }
    }

    /// `NM` (RRIP 4.1.4): flags, then a piece of the name. Bit 1 and 2 stand for `.` and `..`, whose records are never listed.
    fn add_name(&mut self, data: &[u8]) {
        let (Some(flags), Some(piece)) = (u8_at(data, 0), data.get(1..)) else {
            return;
        };
        if flags & 0x06 != 0 {
            return;
        }
        let name = self.name.get_or_insert_default();
        if name.len().saturating_add(piece.len()) <= NAME_BYTES_MAX {
            name.extend_from_slice(piece);
        }
    }

    /// `SL` (RRIP 4.1.3): flags, then component records of flags, length and content.
    fn add_target(&mut self, data: &[u8]) {
        let mut rest = data.get(1..).unwrap_or_default();
        while let (Some(flags), Some(len)) = (u8_at(rest, 0), u8_at(rest, 1)) {
            let end = usize::from(len).saturating_add(2);
            let Some(content) = rest.get(2..end) else {
                break;
            };
            self.add_component(flags, content);
            rest = rest.get(end..).unwrap_or_default();
        }
    }

    /// Component flags (RRIP 4.1.3.1): bit 0 continued, 1 current, 2 parent, 3 root.
    fn add_component(&mut self, flags: u8, content: &[u8]) {
        let continued = std::mem::replace(&mut self.target_open, flags & 0x01 != 0);
        let target = self.target.get_or_insert_default();
        if target.len().saturating_add(content.len()) > TARGET_BYTES_MAX {
            return;
        }
        if flags & 0x08 != 0 {
            *target = b"/".to_vec();
            return;
        }
        if !continued && !target.is_empty() && target.last() != Some(&b'/') {
            target.push(b'/');
        }
        match flags & 0x06 {
            0x02 => target.push(b'.'),
            0x04 => target.extend_from_slice(b".."),
            _ => target.extend_from_slice(content),
        }
    }

    /// `TF` (RRIP 4.1.6): flags, then the dates that they name, in this order, of 7 bytes or, with bit 7, of 17.
    fn add_times(&mut self, data: &[u8]) {
        let Some(flags) = u8_at(data, 0) else {
            return;
        };
        let mut times = self.times.take().unwrap_or_default();
        let long = flags & 0x80 != 0;
        let mut rest = data.get(1..).unwrap_or_default();
        for bit in 0..7_u32 {
            if flags & 1_u8.wrapping_shl(bit) == 0 {
                continue;
            }
            let Some((date, after)) = rest.split_at_checked(if long { 17 } else { 7 }) else {
                break;
            };
            rest = after;
            let time = if long { date::long(date) } else { date::short(date) };
            match bit {
                0 => times.created = time,
                1 => times.modified = time,
                2 => times.accessed = time,
                3 => times.changed = time,
                4 => times.deleted = time,
                // Expiration and effective dates say nothing of the file's life.
                _ => {}
            }
        }
        self.times = Some(times);
    }

    /// What the type bits of the mode say; `None` without `PX` or for a type that POSIX does not know.
    pub(super) fn kind(&self) -> Option<Kind> {
        let kind = Kind::of_mode(self.attributes?.mode);
        Some(kind).filter(|kind| *kind != Kind::Unknown)
    }
}

fn attributes(data: &[u8]) -> Option<Attributes> {
    let field = |at| both_u32(data, at).map(|value| value.choose(|_| true));
    Some(Attributes {
        mode: field(0)?,
        links: field(8)?,
        uid: field(16)?,
        gid: field(24)?,
        serial: field(32),
    })
}

/// `PN` (RRIP 4.1.2): writers either split the number into major and minor or leave all of it in the low half.
fn device(data: &[u8]) -> Option<(u32, u32)> {
    let high = both_u32(data, 0)?.choose(|_| true);
    let low = both_u32(data, 8)?.choose(|_| true);
    if high == 0 && low > 0xff {
        return Some((low.wrapping_shr(8), low & 0xff));
    }
    Some((high, low))
}

#[cfg(test)]
mod tests {
    use super::super::susp::entries;
    use super::super::susp::tests::{both, entry};
    use super::*;

    fn parsed(area: &[u8]) -> RockRidge {
        let mut rock_ridge = RockRidge::default();
        entries(area).for_each(|entry| rock_ridge.add(entry));
        rock_ridge
    }

    #[test]
    fn names_are_put_together_from_their_pieces() {
        let area = [entry(b"NM", b"\x01long"), entry(b"NM", b"\0 name\xff")].concat();
        assert_eq!(parsed(&area).name.as_deref(), Some(&b"long name\xff"[..]));
        assert_eq!(parsed(&entry(b"NM", b"\x02")).name, None);
    }

    #[test]
    fn link_targets_know_root_parent_current_and_continued_components() {
        let target = |components: &[u8]| {
            parsed(&entry(b"SL", &[b"\0", components].concat()))
                .target
                .unwrap()
        };
        assert_eq!(target(b"\x08\0\0\x03usr\0\x01a"), b"/usr/a");
        assert_eq!(target(b"\x04\0\x04\0\0\x01x"), b"../../x");
        assert_eq!(target(b"\x02\0\0\x01x"), b"./x");
        assert_eq!(target(b"\x01\x02ab\0\x02cd\0\x01e"), b"abcd/e");
        let split = [entry(b"SL", b"\x01\x01\x02ab"), entry(b"SL", b"\0\0\x02cd")].concat();
        assert_eq!(parsed(&split).target.unwrap(), b"abcd");
        assert_eq!(parsed(&entry(b"SL", b"\0\0\x09cut")).target, None);
    }

    #[test]
    fn attributes_with_and_without_serial_number() {
        let fields = [both(0o100_644), both(2), both(1000), both(100)].concat();
        let old = parsed(&entry(b"PX", &fields));
        assert_eq!(
            old.attributes.map(|px| (px.mode, px.links, px.uid, px.gid)),
            Some((0o100_644, 2, 1000, 100))
        );
        assert_eq!(old.attributes.and_then(|px| px.serial), None);
        assert_eq!(old.kind(), Some(Kind::File));
        let new = parsed(&entry(b"PX", &[fields, both(77)].concat()));
        assert_eq!(new.attributes.and_then(|px| px.serial), Some(77));
    }

    #[test]
    fn times_come_in_short_and_long_form() {
        let short = parsed(&entry(
            b"TF",
            &[
                &[0x0a][..],
                &[108, 4, 15, 12, 34, 56, 4],
                &[109, 1, 1, 0, 0, 0, 0],
            ]
            .concat(),
        ));
        let times = short.times.unwrap();
        assert_eq!(times.modified.unwrap().to_string(), "2008-04-15T11:34:56Z");
        assert_eq!(times.changed.unwrap().to_string(), "2009-01-01T00:00:00Z");
        assert_eq!(times.created, None);
        let long = parsed(&entry(b"TF", &[&[0x82][..], b"2008041512345678\0"].concat()));
        assert_eq!(
            long.times.unwrap().modified.unwrap().to_string(),
            "2008-04-15T12:34:56.78Z"
        );
    }

    #[test]
    fn device_numbers_are_split_or_packed() {
        assert_eq!(
            parsed(&entry(b"PN", &[both(8), both(1)].concat())).device,
            Some((8, 1))
        );
        assert_eq!(
            parsed(&entry(b"PN", &[both(0), both(0x801)].concat())).device,
            Some((8, 1))
        );
    }
}
