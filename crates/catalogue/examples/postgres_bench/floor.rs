//! What a drain's rows alone cost the server: the same rows, into tables with the same columns and unique indexes, by COPY of as many at a time, and nothing
//! else. No way that keeps a row for each content and each result can be faster.

use std::thread;

use ntt_model::{BlobHash, ScanId};
use postgres::binary_copy::BinaryCopyInWriter;
use postgres::types::Type;
use postgres::{Client, NoTls};

use crate::synthetic::Result;

/// Rows of one transaction: those of the chunks that a worker completes together.
const ROWS: usize = 8 * 512;

/// Makes the tables that [`fill`] fills.
pub(crate) fn prepare(client: &mut Client, scan: ScanId) -> Result<()> {
    Ok(client.batch_execute(&format!(
        "DROP TABLE IF EXISTS floor_blob, floor_result;
         CREATE TABLE floor_blob (LIKE blob INCLUDING ALL);
         CREATE TABLE floor_result (LIKE result_{scan} INCLUDING CONSTRAINTS);
         CREATE UNIQUE INDEX ON floor_result (ino, stream)"
    ))?)
}

/// Fills them by four sessions: of every inode its result, and with `is_new` its content.
pub(crate) fn fill(url: &str, scan: ScanId, inodes: u64, is_new: bool) -> Result<()> {
    let scan = i32::try_from(scan.0)?;
    let inodes: Vec<u64> = (12..12 + inodes).collect();
    let batches: Vec<&[u64]> = inodes.chunks(ROWS).collect();
    thread::scope(|scope| -> Result<()> {
        let sessions: Vec<_> = (0..4)
            .map(|number| {
                let own = batches.iter().skip(number).step_by(4).copied();
                scope.spawn(move || fill_one(url, scan, own, is_new).map_err(|error| error.to_string()))
            })
            .collect();
        for session in sessions {
            session
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        }
        Ok(())
    })
}

fn fill_one<'b>(url: &str, scan: i32, batches: impl Iterator<Item = &'b [u64]>, is_new: bool) -> Result<()> {
    let mut client = Client::connect(url, NoTls)?;
    for batch in batches {
        let mut contents: Vec<(i64, BlobHash)> = batch
            .iter()
            .map(|inode| {
                let hash = BlobHash::of(&inode.to_le_bytes());
                let first = hash.as_bytes().first_chunk().copied().unwrap_or_default();
                ((u64::from_be_bytes(first) >> 1).cast_signed(), hash)
            })
            .collect();
        let ids: Vec<i64> = contents.iter().map(|(id, _)| *id).collect();
        let mut transaction = client.transaction()?;
        if is_new {
            contents.sort_unstable();
            let into = transaction.copy_in("COPY floor_blob (id, hash, size) FROM STDIN BINARY")?;
            let mut writer = BinaryCopyInWriter::new(into, &[Type::INT8, Type::BYTEA, Type::INT8]);
            for (id, hash) in &contents {
                writer.write(&[id, &hash.as_bytes().as_slice(), &8_i64])?;
            }
            writer.finish()?;
        }
        let into =
            transaction.copy_in("COPY floor_result (ino, blob, scan, stream, state) FROM STDIN BINARY")?;
        let types = [Type::INT8, Type::INT8, Type::INT4, Type::INT4, Type::INT2];
        let mut writer = BinaryCopyInWriter::new(into, &types);
        for (inode, id) in batch.iter().zip(&ids) {
            writer.write(&[&inode.cast_signed(), id, &scan, &0_i32, &1_i16])?;
        }
        writer.finish()?;
        transaction.commit()?;
    }
    Ok(())
}
