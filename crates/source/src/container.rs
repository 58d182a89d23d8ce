//! Containers: files that hold the bytes of a medium in a form of their own.

pub mod cd;
