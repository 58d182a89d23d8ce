//! Partition tables, volume managers and the signature scan.
