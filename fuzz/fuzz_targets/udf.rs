#![no_main]

use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;
use ntt_filesystem::Family;
use ntt_fuzz::{Fixture, fixture, patched, walk};
use ntt_testkit::udf::{Layout, Options, build, corpus};

static BRIDGE: OnceLock<Fixture> = OnceLock::new();
static BUILT: OnceLock<Vec<Fixture>> = OnceLock::new();

/// One image of every layout, small so that patches hit structures.
fn built() -> &'static [Fixture] {
    BUILT.get_or_init(|| {
        let small = Options { block_bytes: 512, ..Options::default() };
        let made = |options| build(&corpus(8, 512), options).bytes.into();
        vec![
            made(Options { fragment_blocks: 1, ..small }),
            made(Options { layout: Layout::Spared, embed: true, ..small }),
            made(Options { layout: Layout::Virtual, replaced: true, ..small }),
            made(Options { layout: Layout::Metadata, extended: true, ..small }),
        ]
    })
}

fuzz_target!(|input: &[u8]| {
    let Some((which, patches)) = input.split_first() else { return };
    let image = match built().get(usize::from(*which) % 5) {
        Some(image) => image,
        None => fixture(&BRIDGE, "udf.img"),
    };
    walk(Family::Udf, patched(image, patches));
});
