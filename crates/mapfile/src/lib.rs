//! ddrescue-compatible mapfiles: read, write, merge, query.
