//! Readers against public images, referees and damage.

mod fat;
