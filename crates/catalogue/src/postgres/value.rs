//! Values of statements with their types, so that a statement needs no name on the server and no round trip to learn its types: named
//! statements go astray behind a pooler that changes servers between transactions.

use std::borrow::Cow;

use postgres::types::{ToSql, Type};

/// A value whose SQL type is known.
pub(super) trait Value: ToSql + Sync {
    /// Its type.
    fn sql_type(&self) -> Type;
}

trait Typed: ToSql + Sync {
    const TYPE: Type;
}

impl<T: Typed> Value for T {
    fn sql_type(&self) -> Type {
        T::TYPE
    }
}

macro_rules! typed {
    ($($rust:ty => $sql:ident),* $(,)?) => {
        $(impl Typed for $rust { const TYPE: Type = Type::$sql; })*
    };
}

typed! {
    bool => BOOL, i16 => INT2, i32 => INT4, i64 => INT8, &str => TEXT, String => TEXT, Cow<'_, str> => TEXT, &[u8] => BYTEA, Vec<u8> => BYTEA,
    &[i32] => INT4_ARRAY, &[i64] => INT8_ARRAY, Vec<i32> => INT4_ARRAY, Vec<i64> => INT8_ARRAY, Vec<&[u8]> => BYTEA_ARRAY,
    Vec<Option<&[u8]>> => BYTEA_ARRAY, Vec<Option<&str>> => TEXT_ARRAY, Vec<Option<i64>> => INT8_ARRAY, Vec<bool> => BOOL_ARRAY,
}

impl<T: Typed> Typed for Option<T> {
    const TYPE: Type = T::TYPE;
}

/// A text that the server takes: it refuses the character NUL, which is shown instead. Only words for people pass through here.
pub(super) fn text(words: &str) -> Cow<'_, str> {
    if words.contains('\0') {
        Cow::Owned(words.replace('\0', "\u{2400}"))
    } else {
        Cow::Borrowed(words)
    }
}
