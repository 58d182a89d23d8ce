//! The SQL of the predecessor, for comparison: its load procedure, its adaptive claim, its completion. Triggers and three of its eleven
//! secondary indexes are left out.

use std::io::Write;
use std::thread;
use std::time::{Duration, Instant};

use ntt_model::ScanId;
use postgres::{Client, NoTls};

use crate::percentiles;
use crate::synthetic::Result;

/// Rows of its raw table as text: inode, kind, links, size, mtime, path.
pub(crate) fn rows_of(client: &mut Client, scan: ScanId) -> Result<Vec<u8>> {
    use std::io::Read;
    let mut rows = Vec::new();
    let sql = format!(
        "COPY (SELECT p.ino, 'f', 1, coalesce(i.size, 0), coalesce(i.mtime / 1000000000, 0), \
         '/mnt/ntt/medium/image/' || encode(ntt_path(p.scan, p.dir, p.name), 'escape') \
         FROM path_{scan} p JOIN inode_{scan} i ON i.ino = p.ino) TO STDOUT"
    );
    client.copy_out(&sql)?.read_to_end(&mut rows)?;
    Ok(rows)
}

const LOAD_TABLES: &str = "
    CREATE UNLOGGED TABLE old_raw (ino bigint, fs_type char(1), nlink int, size bigint, mtime bigint, path text);
    CREATE UNLOGGED TABLE old_work (medium_hash text, ino bigint, fs_type char(1), nlink int, size bigint, mtime bigint, path bytea,
        exclude_reason text);
    CREATE TABLE old_inode (medium_hash text NOT NULL, ino bigint NOT NULL, nlink int, size bigint, mtime bigint, blobid text,
        copied boolean NOT NULL DEFAULT false, claimed_by text, claimed_at timestamptz, by_hash_ref text, fs_type char(1),
        errors text[] DEFAULT '{}', mime_type text, status text DEFAULT 'pending', PRIMARY KEY (medium_hash, ino));
    CREATE INDEX old_inode_1 ON old_inode (medium_hash, copied) WHERE NOT copied;
    CREATE INDEX old_inode_2 ON old_inode (medium_hash, status, ino) WHERE status = 'pending';
    CREATE INDEX old_inode_3 ON old_inode (blobid);
    CREATE INDEX old_inode_4 ON old_inode (claimed_by) WHERE claimed_by IS NOT NULL;
    CREATE TABLE old_path (medium_hash text NOT NULL, ino bigint NOT NULL, path bytea NOT NULL, broken boolean DEFAULT false,
        blobid text, exclude_reason text, PRIMARY KEY (medium_hash, ino, path),
        FOREIGN KEY (medium_hash, ino) REFERENCES old_inode (medium_hash, ino));
    CREATE INDEX old_path_1 ON old_path (medium_hash, path);
    CREATE INDEX old_path_2 ON old_path (ino);
    CREATE INDEX old_path_3 ON old_path (exclude_reason) WHERE exclude_reason IS NOT NULL;
    CREATE INDEX old_path_4 ON old_path (sha256(path));";

const LOAD_STEPS: &str = "
    INSERT INTO old_work SELECT md5('medium'), ino, fs_type, nlink, size, mtime, path::bytea, NULL FROM old_raw;
    UPDATE old_work SET exclude_reason = CASE WHEN encode(path, 'escape') ~ '(\\.Trash|Thumbs\\.db|\\.DS_Store|/tmp/|cache)' THEN 'pattern' END;
    CREATE INDEX old_work_1 ON old_work (ino);
    CREATE INDEX old_work_2 ON old_work (path);
    INSERT INTO old_inode (medium_hash, ino, nlink, size, mtime, fs_type)
        SELECT DISTINCT ON (medium_hash, ino) medium_hash, ino, nlink, size, mtime, fs_type FROM old_work ORDER BY medium_hash, ino
        ON CONFLICT DO NOTHING;
    INSERT INTO old_path (medium_hash, ino, path, exclude_reason) SELECT medium_hash, ino, path, exclude_reason FROM old_work
        ON CONFLICT DO NOTHING;
    UPDATE old_inode i SET status = 'excluded', copied = true FROM old_path p
        WHERE p.medium_hash = i.medium_hash AND p.ino = i.ino AND p.exclude_reason IS NOT NULL;
    ANALYZE old_inode; ANALYZE old_path;
    DROP TABLE old_raw, old_work;";

/// Its load: raw table, work table, patterns by UPDATE, indexes, distinct inodes, paths with a foreign key.
pub(crate) fn load(client: &mut Client, rows: &[u8]) -> Result<()> {
    client.batch_execute(LOAD_TABLES)?;
    let mut into = client.copy_in("COPY old_raw FROM STDIN")?;
    for piece in rows.chunks(1 << 16) {
        into.write_all(piece)?;
    }
    into.finish()?;
    client.batch_execute(LOAD_STEPS)?;
    Ok(())
}

/// Its queue: one row per inode.
pub(crate) fn prepare_queue(client: &mut Client, scan: ScanId) -> Result<()> {
    client.batch_execute(&format!(
        "DROP TABLE IF EXISTS old_queue; CREATE EXTENSION IF NOT EXISTS tsm_system_rows;
         CREATE TABLE old_queue (medium_hash text NOT NULL, ino bigint NOT NULL, nlink int, size bigint, mtime bigint, blobid text,
             copied boolean NOT NULL DEFAULT false, claimed_by text, claimed_at timestamptz, status text NOT NULL DEFAULT 'pending');
         INSERT INTO old_queue (medium_hash, ino, nlink, size, mtime) SELECT md5('medium'), ino, 1, size, mtime FROM inode_{scan};
         ALTER TABLE old_queue ADD PRIMARY KEY (medium_hash, ino);
         CREATE INDEX old_queue_pending ON old_queue (medium_hash, ino) WHERE NOT copied AND claimed_by IS NULL;
         ANALYZE old_queue"
    ))?;
    Ok(())
}

/// The other indexes of its table of inodes, by which it answered where a content stands and who works on what; see [`LOAD_TABLES`].
const QUEUE_INDEXES: &str = "
    CREATE INDEX old_queue_1 ON old_queue (medium_hash, copied) WHERE NOT copied;
    CREATE INDEX old_queue_2 ON old_queue (medium_hash, status, ino) WHERE status = 'pending';
    CREATE INDEX old_queue_3 ON old_queue (blobid);
    CREATE INDEX old_queue_4 ON old_queue (claimed_by) WHERE claimed_by IS NOT NULL;";

/// Gives its queue the indexes that it had in production.
pub(crate) fn index_queue(client: &mut Client) -> Result<()> {
    Ok(client.batch_execute(QUEUE_INDEXES)?)
}

/// Its adaptive claim of one inode: at random up to 5,000 pending, a sample of the table above.
/// The rows that `done` names are done already. Tells the times, and how many inodes a second that gives.
pub(crate) fn claims(client: &mut Client, scan: ScanId, done: &str, claims: usize) -> Result<(String, f64)> {
    prepare_queue(client, scan)?;
    client.batch_execute(&format!("UPDATE old_queue SET copied = true WHERE {done}"))?;
    client.batch_execute("VACUUM ANALYZE old_queue")?;
    let pending: i64 = client
        .query_one(
            "SELECT count(*) FROM old_queue WHERE NOT copied AND claimed_by IS NULL",
            &[],
        )?
        .get(0);
    let from = if pending <= 5000 {
        "old_queue WHERE NOT copied AND claimed_by IS NULL ORDER BY random()"
    } else {
        "old_queue TABLESAMPLE system_rows (1000) WHERE NOT copied AND claimed_by IS NULL"
    };
    let sql = format!(
        "UPDATE old_queue SET claimed_by = 'w', claimed_at = now() WHERE (medium_hash, ino) IN \
         (SELECT medium_hash, ino FROM {from} LIMIT 1 FOR UPDATE SKIP LOCKED) RETURNING ino"
    );
    let (mut walls, mut empty) = (Vec::new(), 0);
    for _ in 0..claims {
        let begun = Instant::now();
        let found = client.query(&sql, &[])?;
        walls.push(begun.elapsed());
        empty += usize::from(found.is_empty());
    }
    let spent: Duration = walls.iter().sum();
    let given = u32::try_from(claims - empty)?;
    let rate = f64::from(given) / spent.as_secs_f64();
    Ok((
        format!("{} ({empty} of {claims} empty)", percentiles(walls)),
        rate,
    ))
}

/// Its later form: claims a batch by UPDATE, and UPDATEs the rows again when they are done.
pub(crate) fn drain(url: &str, batch: u32) -> Result<()> {
    thread::scope(|scope| -> std::result::Result<(), postgres::Error> {
        let workers: Vec<_> = (0..4)
            .map(|number| scope.spawn(move || drain_one(url, batch, number)))
            .collect();
        for worker in workers {
            worker
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        }
        Ok(())
    })?;
    Ok(())
}

fn drain_one(url: &str, batch: u32, number: u32) -> std::result::Result<(), postgres::Error> {
    let mut client = Client::connect(url, NoTls)?;
    client.batch_execute("SET synchronous_commit = off")?;
    let claim = client.prepare(&format!(
        "UPDATE old_queue SET claimed_by = 'w{number}', claimed_at = now() WHERE (medium_hash, ino) IN \
         (SELECT medium_hash, ino FROM old_queue WHERE NOT copied AND claimed_by IS NULL \
          ORDER BY medium_hash, ino LIMIT {batch} FOR UPDATE SKIP LOCKED) RETURNING ino"
    ))?;
    let complete = client.prepare(
        "UPDATE old_queue SET copied = true, status = 'copied', blobid = d.blobid, claimed_by = NULL \
         FROM unnest($1::int8[], $2::text[]) AS d (ino, blobid) \
         WHERE old_queue.medium_hash = md5('medium') AND old_queue.ino = d.ino",
    )?;
    loop {
        let rows = client.query(&claim, &[])?;
        if rows.is_empty() {
            return Ok(());
        }
        let inodes: Vec<i64> = rows.iter().map(|row| row.get(0)).collect();
        let blobs: Vec<String> = inodes
            .iter()
            .map(|inode| ntt_model::BlobHash::of(&inode.to_le_bytes()).to_hex())
            .collect();
        client.execute(&complete, &[&inodes, &blobs])?;
    }
}
