//! Integration tests of the readers against real images, referees and damage; one module per family.

mod ext;
mod ext_damage;
mod ext_image;
mod iso9660;
