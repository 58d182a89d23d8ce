//! Use cases as plan and run: ingest, scan, copy, verify, restore.
