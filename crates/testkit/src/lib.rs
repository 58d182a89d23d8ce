//! Test-only tools: the public corpus, referees, the simulated disk, image builders. Never a dependency of the product.

pub mod corpus;
