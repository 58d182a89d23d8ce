//! The rules of leases and attempts, shared by all implementations.
