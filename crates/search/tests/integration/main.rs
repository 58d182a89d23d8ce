//! The search index against naive searches, damage and power cuts.

mod crash;
mod damage;
mod naive;
mod scale;
mod tree;
