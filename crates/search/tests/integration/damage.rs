//! A damaged segment says so; it never answers wrongly.

use ntt_host::RealDisk;
use ntt_search::{Error, Identity, Pattern, Query, Segment};

use crate::tree::{build, found, identity, large, naive, open};

#[test]
fn every_flipped_bit_is_noticed_or_does_not_matter() {
    let tree = large(40, 5);
    let root = tempfile::tempdir().expect("a folder");
    let folder = build(root.path(), &tree);
    let path = folder.path_of(7);
    let whole = std::fs::read(&path).expect("the segment");
    let patterns = [
        (Pattern::Substring(b"udget_1".to_vec()), false),
        (Pattern::Glob(b"*.c".to_vec()), false),
        (Pattern::Substring(b"photo 3/".to_vec()), true),
    ];
    let compiled: Vec<_> = patterns
        .iter()
        .map(|(pattern, of_path)| (pattern.compile(false).expect("well-formed"), *of_path))
        .collect();
    let mut noticed = 0;
    for at in (0..whole.len()).step_by(7) {
        let mut bytes = whole.clone();
        bytes[at] ^= 1 << (at % 8);
        std::fs::write(&path, &bytes).expect("written");
        let segment = match folder.open(&identity(&tree)) {
            Ok(segment) => segment.expect("there"),
            Err(Error::Damaged { .. } | Error::Stale { .. }) => {
                noticed += 1;
                continue;
            }
            Err(other) => panic!("{other}"),
        };
        noticed += usize::from(segment.verify().is_err());
        for (matcher, of_path) in &compiled {
            let query = if *of_path {
                Query {
                    name: None,
                    path: Some(matcher),
                }
            } else {
                Query {
                    name: Some(matcher),
                    path: None,
                }
            };
            let mut found = Vec::new();
            let answer = segment.search(&query, &mut |more| {
                found.extend_from_slice(more);
                true
            });
            let mut wanted = naive(&tree, &query);
            wanted.retain(|number| *number <= answer.searched as i64);
            assert_eq!(found, wanted, "byte {at}");
            assert_eq!(answer.searched == segment.names(), answer.problem.is_none());
        }
    }
    // A byte that no checksum covers would be one of nothing: there is none.
    assert_eq!(noticed, whole.len().div_ceil(7));
}

#[test]
fn cut_segments_are_not_opened() {
    let tree = large(40, 5);
    let root = tempfile::tempdir().expect("a folder");
    let folder = build(root.path(), &tree);
    let path = folder.path_of(7);
    let whole = std::fs::read(&path).expect("the segment");
    for len in (0..whole.len()).step_by(101).chain([whole.len() - 1]) {
        std::fs::write(&path, &whole[..len]).expect("written");
        let opened = Segment::open(&RealDisk, &path, &identity(&tree));
        assert!(matches!(opened, Err(Error::Damaged { .. })), "{len} bytes");
    }
}

#[test]
fn a_segment_of_another_scan_is_refused_and_replaced() {
    let tree = large(3, 5);
    let root = tempfile::tempdir().expect("a folder");
    let folder = build(root.path(), &tree);
    let right = identity(&tree);
    for wrong in [
        Identity { sealed: 3, ..right },
        Identity { begun: 0, ..right },
        Identity { names: 9, ..right },
    ] {
        assert!(matches!(folder.open(&wrong), Err(Error::Stale { .. })));
    }
    assert!(
        folder
            .open(&Identity { scan: 8, ..right })
            .expect("no failure")
            .is_none()
    );
    let other = large(9, 5);
    let folder = build(root.path(), &other);
    let all = Query::default();
    assert_eq!(found(&open(&folder, &other), &all), naive(&other, &all));
    assert_eq!(folder.list().expect("listed"), (vec![7], Vec::new()));
}

#[test]
fn a_scan_that_gives_fewer_names_than_it_has_leaves_nothing() {
    let tree = large(3, 5);
    let root = tempfile::tempdir().expect("a folder");
    let folder = build(root.path(), &tree);
    let more = Identity {
        scan: 9,
        names: 100,
        ..identity(&tree)
    };
    let short = folder.build(&more, &mut |visit| visit(b"a", b"b"));
    assert!(matches!(short, Err(Error::Limit(_))));
    assert_eq!(folder.list().expect("listed"), (vec![7], Vec::new()));
}
