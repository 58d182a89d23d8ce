//! Tests of the scan child as a process, of the walk over live trees, and of the layer tree of hand-made disks and public images.

mod contained;
mod detect;
mod hand_made;
mod inspection;
mod live;
mod lost_volumes;
mod managers;
mod public_images;
mod readers;
mod reading;
mod scan_child;
mod supervision;
