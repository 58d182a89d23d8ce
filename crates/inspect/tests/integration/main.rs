//! Tests of the scan child as a process and of the walk over live trees.

mod inspection;
mod live;
mod readers;
mod scan_child;
mod supervision;
