//! Walks a directory tree of the host.
