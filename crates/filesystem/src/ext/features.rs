//! Feature bits of the superblock and their names as `dumpe2fs` shows them (Linux `fs/ext4/ext4.h`, e2fsprogs `feature.c`).

/// `s_feature_compat`.
pub(super) mod compat {
    pub(in super::super) const HAS_JOURNAL: u32 = 0x4;
    pub(in super::super) const SPARSE_SUPER2: u32 = 0x200;
}

/// `s_feature_incompat`.
pub(super) mod incompat {
    pub(in super::super) const FILETYPE: u32 = 0x2;
    pub(in super::super) const RECOVER: u32 = 0x4;
    pub(in super::super) const JOURNAL_DEV: u32 = 0x8;
    pub(in super::super) const META_BG: u32 = 0x10;
    pub(in super::super) const SIXTY_FOUR_BIT: u32 = 0x80;
    pub(in super::super) const FLEX_BG: u32 = 0x200;
    pub(in super::super) const EA_INODE: u32 = 0x400;
    pub(in super::super) const CSUM_SEED: u32 = 0x2000;
    pub(in super::super) const LARGE_DIR: u32 = 0x4000;
    /// What this reader knows how to read.
    pub(in super::super) const KNOWN: u32 = 0x2
        | 0x4
        | 0x10
        | 0x40
        | 0x80
        | 0x100
        | 0x200
        | 0x400
        | 0x2000
        | 0x4000
        | 0x8000
        | 0x1_0000
        | 0x2_0000;
    /// What blkid calls ext3 at most.
    pub(in super::super) const EXT3: u32 = FILETYPE | RECOVER | META_BG;
    /// What blkid calls ext2 at most.
    pub(in super::super) const EXT2: u32 = FILETYPE | META_BG;
}

/// `s_feature_ro_compat`.
pub(super) mod ro_compat {
    pub(in super::super) const SPARSE_SUPER: u32 = 0x1;
    pub(in super::super) const HUGE_FILE: u32 = 0x8;
    pub(in super::super) const GDT_CSUM: u32 = 0x10;
    pub(in super::super) const BIGALLOC: u32 = 0x200;
    pub(in super::super) const METADATA_CSUM: u32 = 0x400;
    /// What blkid calls ext2 or ext3 at most.
    pub(in super::super) const EXT3: u32 = 0x1 | 0x2 | 0x4;
}

const COMPAT_NAMES: [(u32, &str); 12] = [
    (0x1, "dir_prealloc"),
    (0x2, "imagic_inodes"),
    (0x4, "has_journal"),
    (0x8, "ext_attr"),
    (0x10, "resize_inode"),
    (0x20, "dir_index"),
    (0x40, "lazy_bg"),
    (0x100, "snapshot_bitmap"),
    (0x200, "sparse_super2"),
    (0x400, "fast_commit"),
    (0x800, "stable_inodes"),
    (0x1000, "orphan_file"),
];

const INCOMPAT_NAMES: [(u32, &str); 16] = [
    (0x1, "compression"),
    (0x2, "filetype"),
    (0x4, "needs_recovery"),
    (0x8, "journal_dev"),
    (0x10, "meta_bg"),
    (0x40, "extent"),
    (0x80, "64bit"),
    (0x100, "mmp"),
    (0x200, "flex_bg"),
    (0x400, "ea_inode"),
    (0x1000, "dirdata"),
    (0x2000, "metadata_csum_seed"),
    (0x4000, "large_dir"),
    (0x8000, "inline_data"),
    (0x1_0000, "encrypt"),
    (0x2_0000, "casefold"),
];

const RO_COMPAT_NAMES: [(u32, &str); 16] = [
    (0x1, "sparse_super"),
    (0x2, "large_file"),
    (0x8, "huge_file"),
    (0x10, "uninit_bg"),
    (0x20, "dir_nlink"),
    (0x40, "extra_isize"),
    (0x80, "snapshot"),
    (0x100, "quota"),
    (0x200, "bigalloc"),
    (0x400, "metadata_csum"),
    (0x800, "replica"),
    (0x1000, "read-only"),
    (0x2000, "project"),
    (0x4000, "shared_blocks"),
    (0x8000, "verity"),
    (0x1_0000, "orphan_present"),
];

/// Names of all bits of the three words, comma separated; a bit without a name shows as `C6`, `I11`, `R17`.
pub(super) fn names(compat: u32, incompat: u32, ro_compat: u32) -> String {
    let mut all = word_names(compat, &COMPAT_NAMES, 'C');
    all.extend(word_names(incompat, &INCOMPAT_NAMES, 'I'));
    all.extend(word_names(ro_compat, &RO_COMPAT_NAMES, 'R'));
    all.join(", ")
}

/// Names of the incompatible features in `bits`.
pub(super) fn incompat_names(bits: u32) -> String {
    word_names(bits, &INCOMPAT_NAMES, 'I').join(", ")
}

fn word_names(word: u32, known: &[(u32, &str)], letter: char) -> Vec<String> {
    (0..u32::BITS)
        .filter(|bit| word & 1_u32.wrapping_shl(*bit) != 0)
        .map(|bit| {
            let named = known.iter().find(|(mask, _)| *mask == 1_u32.wrapping_shl(bit));
            named.map_or_else(|| format!("{letter}{bit}"), |(_, name)| (*name).to_owned())
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_bits_are_shown_by_number() {
        assert_eq!(names(4, 0x40, 1 << 31), "has_journal, extent, R31");
        assert_eq!(incompat_names(0x800), "I11");
    }
}
