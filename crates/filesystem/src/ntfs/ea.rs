//! Extended attributes, as OS/2 introduced them and the Windows Subsystem for Linux uses them (`EA_ATTR` in `layout.h`).

use ntt_model::entry::Xattr;
use ntt_source::field::{le_u16, le_u32, u8_at};

/// What the subsystem for Linux keeps in attributes of its own.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct LinuxMetadata {
    pub(super) uid: Option<u32>,
    pub(super) gid: Option<u32>,
    pub(super) mode: Option<u32>,
    /// Major and minor number.
    pub(super) device: Option<(u32, u32)>,
}

/// The attributes of a value, by their names as stored; `None` in place of those behind a broken one.
pub(super) fn parse(value: &[u8]) -> impl Iterator<Item = Option<Xattr>> {
    let mut rest = Some(value).filter(|value| !value.is_empty());
    std::iter::from_fn(move || {
        let bytes = rest.take()?;
        let Some((xattr, next)) = one(bytes) else {
            return Some(None);
        };
        rest = (next != 0)
            .then(|| bytes.get(next..))
            .flatten()
            .filter(|rest| !rest.is_empty());
        Some(Some(xattr))
    })
}

fn one(bytes: &[u8]) -> Option<(Xattr, usize)> {
    let next = usize::try_from(le_u32(bytes, 0)?).ok()?;
    let name_end = usize::from(u8_at(bytes, 5)?).checked_add(8)?;
    let value_start = name_end.checked_add(1)?;
    let value_end = value_start.checked_add(usize::from(le_u16(bytes, 6)?))?;
    let xattr = Xattr {
        name: bytes.get(8..name_end)?.to_vec(),
        value: bytes.get(value_start..value_end)?.to_vec(),
    };
    (next == 0 || next >= value_end).then_some((xattr, next))
}

impl LinuxMetadata {
    /// Takes what `xattr` says; whether it is one of the subsystem's.
    pub(super) fn take(&mut self, xattr: &Xattr) {
        let number = |at| le_u32(&xattr.value, at);
        match xattr.name.as_slice() {
            b"$LXUID" => self.uid = number(0),
            b"$LXGID" => self.gid = number(0),
            b"$LXMOD" => self.mode = number(0).map(|mode| mode & 0o7777),
            b"$LXDEV" => self.device = number(0).zip(number(4)),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(name: &[u8], value: &[u8], is_last: bool) -> Vec<u8> {
        let len = (9 + name.len() + value.len()).next_multiple_of(4);
        let next = if is_last {
            0
        } else {
            u32::try_from(len).expect("short")
        };
        let sizes = [
            0,
            u8::try_from(name.len()).expect("short"),
            u8::try_from(value.len()).expect("short"),
            0,
        ];
        let mut entry = [&next.to_le_bytes()[..], &sizes, name, b"\0", value].concat();
        entry.resize(len, 0);
        entry
    }

    #[test]
    fn attributes_follow_each_other() {
        let value = [
            entry(b"$LXUID", &1000_u32.to_le_bytes(), false),
            entry(b"user.a", b"x", true),
        ]
        .concat();
        let found: Vec<Xattr> = parse(&value).flatten().collect();
        assert_eq!(found.len(), 2);
        assert_eq!(
            (found[1].name.as_slice(), found[1].value.as_slice()),
            (&b"user.a"[..], &b"x"[..])
        );
        let mut linux = LinuxMetadata::default();
        found.iter().for_each(|xattr| linux.take(xattr));
        assert_eq!(linux.uid, Some(1000));
    }

    #[test]
    fn a_broken_one_ends_the_list_and_is_told() {
        let mut value = entry(b"A", b"1", false);
        value[0] = 4;
        assert_eq!(parse(&value).collect::<Vec<_>>(), [None]);
        assert_eq!(parse(&[]).count(), 0);
        let cut = [entry(b"A", b"1", false), vec![0; 3]].concat();
        assert_eq!(
            parse(&cut).map(|xattr| xattr.is_some()).collect::<Vec<_>>(),
            [true, false]
        );
    }
}
