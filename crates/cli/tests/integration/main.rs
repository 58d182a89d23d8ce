//! The program as a user meets it: its arguments, its output, its exit codes.

mod arrows;
mod environment;
mod help;
mod thirty_years;
