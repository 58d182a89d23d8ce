//! Small integers and words for enums, the same in all back ends. The codes are part of the schemas: append only.

use ntt_model::entry::{Allocation, Encoding, Name, StreamKind};
use ntt_model::{Kind, Namespace, PackedUnit};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::Error;

/// Kinds by their codes.
pub(crate) const KINDS: [Kind; 8] = [
    Kind::File,
    Kind::Directory,
    Kind::Symlink,
    Kind::Fifo,
    Kind::Socket,
    Kind::CharDevice,
    Kind::BlockDevice,
    Kind::Unknown,
];

/// Namespaces by their codes.
pub(crate) const NAMESPACES: [Namespace; 8] = [
    Namespace::Native,
    Namespace::Dos,
    Namespace::Windows,
    Namespace::Iso,
    Namespace::Joliet,
    Namespace::RockRidge,
    Namespace::Lost,
    Namespace::Udf,
];

/// The code of an encoding; the units of a packed stream stand behind its extents.
pub(crate) fn encoding_code(encoding: &Encoding) -> Result<i64, Error> {
    match encoding {
        Encoding::Plain => Ok(0),
        Encoding::Encrypted => Ok(1),
        Encoding::Unsupported => Ok(2),
        Encoding::Packed(_) => Ok(3),
        other => Err(Error::Conflict(format!("this catalogue cannot keep {other:?}"))),
    }
}

/// The encoding of a code; `units` are those that stand behind the extents.
pub(crate) fn encoding(code: i64, units: Vec<PackedUnit>) -> Result<Encoding, Error> {
    match code {
        0 => Ok(Encoding::Plain),
        1 => Ok(Encoding::Encrypted),
        2 => Ok(Encoding::Unsupported),
        3 => Ok(Encoding::Packed(units)),
        _ => Err(Error::Damaged(format!("there is no meaning of code {code}"))),
    }
}

/// The code of a kind of stream, and its name.
pub(crate) fn stream_code(kind: &StreamKind) -> Result<(i64, &[u8]), Error> {
    match kind {
        StreamKind::Data => Ok((0, &[])),
        StreamKind::Named(name) => Ok((1, name)),
        StreamKind::Xattr(name) => Ok((2, name)),
        other => Err(Error::Conflict(format!("this catalogue cannot keep {other:?}"))),
    }
}

/// An inode number as a column has it: they are below [`ntt_model::entry::Inode::NUMBERS`].
pub(crate) fn number(inode: u64) -> Result<i64, Error> {
    i64::try_from(inode).map_err(|_| Error::Conflict(format!("inode number {inode} is not below 2^63")))
}

/// Bit of `path.flags`: a second name.
pub(crate) const ALTERNATE: i64 = 8;
/// Bit of `path.flags`: a deleted entry.
pub(crate) const DELETED_NAME: i64 = 16;

/// The code of a value.
pub(crate) fn code_of<T: PartialEq + std::fmt::Debug>(table: &[T], value: &T) -> Result<i64, Error> {
    table
        .iter()
        .position(|known| known == value)
        .and_then(|index| i64::try_from(index).ok())
        .ok_or_else(|| Error::Conflict(format!("this catalogue cannot keep {value:?}")))
}

/// The value of a code.
pub(crate) fn value_of<T: Clone>(table: &[T], code: i64) -> Result<T, Error> {
    usize::try_from(code)
        .ok()
        .and_then(|index| table.get(index))
        .cloned()
        .ok_or_else(|| Error::Damaged(format!("there is no meaning of code {code}")))
}

/// `path.flags` of a name.
pub(crate) fn name_flags(name: &Name) -> Result<i64, Error> {
    let mut flags = code_of(&NAMESPACES, &name.namespace)?;
    if name.alternate {
        flags |= ALTERNATE;
    }
    if name.allocation == Allocation::Deleted {
        flags |= DELETED_NAME;
    }
    Ok(flags)
}

/// Namespace, alternate and allocation from `path.flags`.
pub(crate) fn name_facts(flags: i64) -> Result<(Namespace, bool, Allocation), Error> {
    let allocation = allocation(flags & DELETED_NAME != 0);
    Ok((
        value_of(&NAMESPACES, flags & 7)?,
        flags & ALTERNATE != 0,
        allocation,
    ))
}

/// Deleted or allocated.
pub(crate) const fn allocation(is_deleted: bool) -> Allocation {
    if is_deleted {
        Allocation::Deleted
    } else {
        Allocation::Allocated
    }
}

/// The word by which serde knows a unit variant.
pub(crate) fn word_of<T: Serialize>(value: &T) -> Result<String, Error> {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => Ok(word),
        _ => Err(Error::Conflict("a value has no word".to_owned())),
    }
}

/// The value of a word.
pub(crate) fn from_word<T: DeserializeOwned>(word: String) -> Result<T, Error> {
    serde_json::from_value(serde_json::Value::String(word)).map_err(|error| Error::Damaged(error.to_string()))
}
