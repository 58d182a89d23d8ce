//! Rows in the binary format of COPY.
//!
//! Format: <https://www.postgresql.org/docs/current/sql-copy.html>, section "Binary Format".

use postgres::types::Type;

/// What a stream of rows begins with: the signature, no flags, no extension.
pub(super) const HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
/// What it ends with.
pub(super) const TRAILER: &[u8] = &[0xff, 0xff];

/// Rows one after the other, encoded.
#[derive(Debug, Default)]
pub(super) struct Rows {
    bytes: Vec<u8>,
    count: u64,
}

impl Rows {
    /// Begins a row; exactly `columns` values must follow.
    pub(super) fn row(&mut self, columns: i16) -> &mut Self {
        self.count += 1;
        self.bytes.extend_from_slice(&columns.to_be_bytes());
        self
    }

    /// Adds an `int8`.
    pub(super) fn int8(&mut self, value: i64) -> &mut Self {
        self.field(&value.to_be_bytes())
    }

    /// Adds an `int4`.
    pub(super) fn int4(&mut self, value: i32) -> &mut Self {
        self.field(&value.to_be_bytes())
    }

    /// Adds an `int2`.
    pub(super) fn int2(&mut self, value: i16) -> &mut Self {
        self.field(&value.to_be_bytes())
    }

    /// Adds a `boolean`.
    pub(super) fn boolean(&mut self, value: bool) -> &mut Self {
        self.field(&[u8::from(value)])
    }

    /// Adds a `bytea`, or a `text` that is known to be valid.
    pub(super) fn field(&mut self, value: &[u8]) -> &mut Self {
        // No value of a row can be this long: the server refuses more than 1 GB anyway.
        let len = i32::try_from(value.len()).unwrap_or(i32::MAX);
        self.bytes.extend_from_slice(&len.to_be_bytes());
        self.bytes.extend_from_slice(value);
        self
    }

    /// Adds NULL.
    pub(super) fn null(&mut self) -> &mut Self {
        self.bytes.extend_from_slice(&(-1_i32).to_be_bytes());
        self
    }

    /// Adds a value, or NULL.
    pub(super) fn optional<T>(
        &mut self,
        value: Option<T>,
        add: impl FnOnce(&mut Self, T) -> &mut Self,
    ) -> &mut Self {
        match value {
            Some(value) => add(self, value),
            None => self.null(),
        }
    }

    /// The rows so far.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// How many rows.
    pub(super) const fn count(&self) -> u64 {
        self.count
    }
}

/// A value of a composite type, as `record_recv` of the server reads it: the number of its fields, then the type and the value of each.
#[derive(Debug, Default)]
pub(super) struct Composite {
    fields: Rows,
    count: i32,
}

impl Composite {
    /// Adds an `int4`.
    pub(super) fn int4(self, value: Option<i32>) -> Self {
        self.field(&Type::INT4, value, Rows::int4)
    }

    /// Adds a `text`.
    pub(super) fn text(self, value: Option<&str>) -> Self {
        self.field(&Type::TEXT, value.map(str::as_bytes), Rows::field)
    }

    fn field<T>(
        mut self,
        kind: &Type,
        value: Option<T>,
        add: impl FnOnce(&mut Rows, T) -> &mut Rows,
    ) -> Self {
        self.count += 1;
        self.fields.bytes.extend_from_slice(&kind.oid().to_be_bytes());
        self.fields.optional(value, add);
        self
    }

    /// The value.
    pub(super) fn finish(self) -> Vec<u8> {
        let mut bytes = self.count.to_be_bytes().to_vec();
        bytes.extend_from_slice(self.fields.bytes());
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_has_its_count_and_the_length_of_every_value() {
        let mut rows = Rows::default();
        rows.row(4).int2(-2).field(b"ab").null().boolean(true);
        let wanted = [
            &[0, 4, 0, 0, 0, 2, 0xff, 0xfe][..],
            &[0, 0, 0, 2, b'a', b'b'],
            &[0xff, 0xff, 0xff, 0xff],
            &[0, 0, 0, 1, 1],
        ];
        assert_eq!(rows.bytes(), wanted.concat());
        assert_eq!(rows.count(), 1);
    }

    #[test]
    fn a_composite_value_has_the_type_of_every_field() {
        let value = Composite::default().int4(Some(7)).text(None).finish();
        let wanted = [
            &[0, 0, 0, 2][..],
            &[0, 0, 0, 23, 0, 0, 0, 4, 0, 0, 0, 7],
            &[0, 0, 0, 25, 0xff, 0xff, 0xff, 0xff],
        ];
        assert_eq!(value, wanted.concat());
    }
}
