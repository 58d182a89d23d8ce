//! Tests of the scan child as a process, of the walk over live trees, and of the layer tree of hand-made disks and public images.

<<<<<<< HEAD
mod hand_made;
mod live;
mod public_images;
=======
mod inspection;
mod live;
mod readers;
>>>>>>> child
mod scan_child;
mod supervision;
