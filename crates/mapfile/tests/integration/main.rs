//! The mapfile against GNU ddrescue's own tools.

#![allow(clippy::print_stderr, reason = "a skipped test says so")]

mod ddrescuelog;
