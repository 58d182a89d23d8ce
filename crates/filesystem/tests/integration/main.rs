//! Readers against images, referees and damage.

mod ext;
mod ext_damage;
mod ext_image;
mod ext_referee;
mod extremes;
mod fat;
mod fat_laid;
mod fat_made;
mod fat_public;
mod hfs;
mod hfsplus;
mod hfsplus_damage;
mod iso9660;
mod lab_apple;
mod lab_ext;
mod lab_fat;
mod lab_iso9660;
mod lab_ntfs;
mod lab_udf;
mod limits;
mod ntfs;
mod ntfs_damage;
mod ntfs_laid;
mod ntfs_made;
mod udf;
mod udf_referee;
