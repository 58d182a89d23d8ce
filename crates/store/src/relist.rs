//! Making the list of a sealed pack again when it is damaged. The pack tells all that stands in it, as long as it is whole itself.

use std::path::Path;

use ntt_host::OpenMode;

use crate::error::During;
use crate::pack_list::PackList;
use crate::pack_scan::{PackScan, Part};
use crate::{Error, PackId, Store};

/// How much of a pack is hashed at a time.
const STEP_BYTES: usize = 1 << 20;

impl Store {
    /// Writes the list of a sealed pack again from the pack, if the list is damaged and every member is what its name says; the damaged one is kept in `quarantine/`. Tells whether it did.
    /// A pack that is not whole keeps its list as it is: what it was meant to have stands nowhere else.
    ///
    /// Durable when it returns. A loss of power in between leaves the old list or the new one.
    ///
    /// # Errors
    ///
    /// [`Error::ReadOnly`]; [`Error::Busy`] while somebody else maintains the store; [`Error::Io`], [`Error::Full`].
    pub fn relist(&self, pack: PackId) -> Result<bool, Error> {
        let _lock = self.alone()?;
        // Another one may have done it since it was found.
        if !matches!(self.read_list(pack)?, Some(Err(_))) {
            return Ok(false);
        }
        let Some(list) = self.list_of(pack)? else {
            return Ok(false);
        };
        let (disk, layout) = (self.shared.disk.as_ref(), &self.shared.layout);
        let path = layout.pack_list(pack);
        let kept = layout
            .quarantine()
            .join(format!("{pack}.idx.{}", PackId(self.shared.new_id()?)));
        self.copy_list(&path, &kept)?;
        disk.sync_dir(&layout.quarantine())
            .during("sync", &layout.quarantine())?;
        let temporary = layout.temporary("maintenance", &format!("{pack}.idx"));
        self.write_whole(&temporary, list.to_text().as_bytes())?;
        disk.set_read_only(&temporary)
            .during("change the mode of", &temporary)?;
        disk.rename_over(&temporary, &path).during("rename to", &path)?;
        disk.sync_dir(&layout.packs()).during("sync", &layout.packs())?;
        Ok(true)
    }

    /// What the list of a pack must be; `None` if something in the pack is not as it was written.
    fn list_of(&self, pack: PackId) -> Result<Option<PackList>, Error> {
        let (path, file) = self.uncached_pack(pack)?;
        let mut lines = Vec::new();
        let mut scan = PackScan::new(file.as_ref()).during("read", &path)?;
        while let Some(part) = scan.next().during("read", &path)? {
            let Part::Member(member) = part else {
                return Ok(None);
            };
            let (hash, sha256) = scan.digest(&member).during("read", &path)?;
            if hash != member.hash || !scan.is_padding_clean(&member).during("read", &path)? {
                return Ok(None);
            }
            lines.push(member.line(sha256));
        }
        let pack_bytes = file.len().during("measure", &path)?;
        let (mut digest, mut buffer) = (blake3::Hasher::new(), vec![0; STEP_BYTES]);
        let mut done = 0;
        while done < pack_bytes {
            let len = usize::try_from(pack_bytes - done).map_or(STEP_BYTES, |left| left.min(STEP_BYTES));
            file.read_exact_at(done, &mut buffer[..len])
                .during("read", &path)?;
            digest.update(&buffer[..len]);
            done += len as u64;
        }
        Ok(Some(PackList {
            lines,
            pack_bytes,
            pack_digest: *digest.finalize().as_bytes(),
        }))
    }

    /// Makes a durable copy of a damaged list, however long that is.
    fn copy_list(&self, from: &Path, to: &Path) -> Result<(), Error> {
        let disk = self.shared.disk.as_ref();
        let old = disk.open(from, OpenMode::Read).during("open", from)?;
        let mut kept = disk.open(to, OpenMode::CreateNew).during("create", to)?;
        let (len, mut buffer, mut done) = (old.len().during("measure", from)?, vec![0; STEP_BYTES], 0);
        while done < len {
            let step = usize::try_from(len - done).map_or(STEP_BYTES, |left| left.min(STEP_BYTES));
            old.read_exact_at(done, &mut buffer[..step])
                .during("read", from)?;
            kept.write_all_at(done, &buffer[..step]).during("write", to)?;
            done += step as u64;
        }
        kept.sync_data().during("sync", to)
    }

    /// Makes a durable file.
    fn write_whole(&self, path: &Path, bytes: &[u8]) -> Result<(), Error> {
        let disk = self.shared.disk.as_ref();
        // Left by one that was stopped here.
        crate::maintain::remove(disk, path)?;
        let mut file = disk.open(path, OpenMode::CreateNew).during("create", path)?;
        file.write_all_at(0, bytes).during("write", path)?;
        file.sync_data().during("sync", path)
    }
}
