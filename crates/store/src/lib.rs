//! Content-addressed blobs, durable by batch. The format is told in `docs/design/store.md`.
