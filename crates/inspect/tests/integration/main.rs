//! The layer tree of hand-made disks and of public images.

mod hand_made;
mod public_images;
