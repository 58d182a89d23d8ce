//! Containers that other programs made, against the raw image that they were made of; damaged ones; the real ones of the corpus.

#![allow(clippy::print_stderr, reason = "a skipped test says so")]

mod apple;
mod damage;
mod discs;
mod disks;
mod evidence;
mod made;
mod maps;
mod parts;
