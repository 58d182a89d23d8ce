//! Integration tests: readers against real images, referees and damage.

mod iso9660;
