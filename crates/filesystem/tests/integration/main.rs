//! Integration tests of the readers, one module per family.

mod ext;
mod ext_damage;
mod ext_image;
