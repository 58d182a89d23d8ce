//! A simulated disk that loses unsynced writes and renames.
