#![no_main]

use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;
use ntt_filesystem::Family;
use ntt_fuzz::{Fixture, patched, walk};
use ntt_testkit::exfat::{Node, volume};

static IMAGE: OnceLock<Fixture> = OnceLock::new();

/// A volume with everything that the format has.
fn image() -> Fixture {
    let many = |fragmented: bool| {
        let files = (0..60).map(|number: u8| Node::file(&format!("a file with number {number}"), &[number; 100]));
        let directory = Node::directory("directory", files.collect());
        if fragmented { directory.fragmented() } else { directory }
    };
    volume(&[
        Node::file("contiguous", &[1; 9000]),
        Node::file("fragmented", &[2; 9000]).fragmented().valid(5000),
        Node::file("vendor", &[3; 10]).vendor(&[4; 10]),
        Node::file("deleted", &[5; 5000]).deleted(),
        many(true),
        Node::directory("outer", vec![many(false)]),
    ])
    .into()
}

fuzz_target!(|patches: &[u8]| {
    walk(Family::ExFat, patched(IMAGE.get_or_init(image), patches));
});
