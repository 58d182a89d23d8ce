//! Readers against images, referees and damage.

mod ext;
mod ext_damage;
mod ext_image;
mod fat;
mod iso9660;
