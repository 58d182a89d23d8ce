//! The program as a user meets it: its arguments, its output, its exit codes.

mod arrows;
mod crash;
mod differential;
mod environment;
mod exclude;
mod exit_codes;
mod help;
mod images;
mod ingest_images;
mod json_docs;
mod losses;
mod names;
mod restore;
mod scale_small;
mod thirty_years;
mod trees;
mod volumes;
