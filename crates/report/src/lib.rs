//! Read-only answers as typed rows: media, listings, occurrences, progress, findings.
