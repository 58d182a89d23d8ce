//! Tables and signatures of public and freshly made images against mmls, sfdisk and blkid's expectations.

#![allow(clippy::print_stderr, reason = "what is known is shown")]

mod damage;
mod identify;
mod tables;
