//! Streams through the read child: the same bytes as without it, and what a decoder that goes wrong costs (R19).

use std::convert::Infallible;
use std::fs::File;
use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use ntt_inspect::child::rehearsal::PoisonKind;
use ntt_inspect::protocol::Message;
use ntt_inspect::supervisor::{Cause, ChildImage, Death, StreamError, StreamReader};
use ntt_inspect::{ImageFiles, Supervisor};
use ntt_model::entry::{Encoding, Stream, StreamKind};
use ntt_model::{ByteRange, Codec, Extent, ExtentKind, FailureClass, PackedUnit};
use ntt_source::extents::{Missing, Piece};
use ntt_source::{FileSource, Masked, ReadAt, ReadError};

use crate::scan_child::{supervisor, taken_over};

/// Length of the plain bytes in the image.
const PLAIN: u64 = 700_000;
/// What every packed unit decodes to.
const UNIT: &[u8] = b"no two things are alike";

/// An image: plain bytes, then a unit that is stored as one literal run of LZ4.
fn image(dir: &tempfile::TempDir) -> File {
    let path = dir.path().join("image");
    let mut file = File::create(&path).expect("a file");
    let plain: Vec<u8> = (0..PLAIN)
        .map(|at| at.to_le_bytes()[0] ^ at.to_le_bytes()[1])
        .collect();
    file.write_all(&plain).expect("written");
    file.write_all(&stored()).expect("written");
    File::open(path).expect("for reading")
}

fn stored() -> Vec<u8> {
    let literals = u8::try_from(UNIT.len() - 15).expect("short");
    [&[0xf0, literals], UNIT].concat()
}

fn stream(size_bytes: u64, image_offset: u64, len: u64, encoding: Encoding) -> Stream {
    Stream {
        kind: StreamKind::Data,
        size_bytes,
        extents: vec![Extent {
            logical_offset: 0,
            image_offset,
            len,
            kind: ExtentKind::Data,
        }],
        encoding,
        extents_incomplete: false,
    }
}

fn plain() -> Stream {
    stream(PLAIN + 9, 0, PLAIN, Encoding::Plain)
}

/// Units one behind the other, out of the same stored run; every third is left out.
fn packed() -> Stream {
    let len = u64::try_from(UNIT.len()).expect("short");
    let units: Vec<PackedUnit> = (0..300)
        .filter(|index| index % 3 != 0)
        .map(|index| PackedUnit {
            logical_offset: index * len,
            len,
            stored_offset: 0,
            stored_len: len + 2,
            skip: 0,
            codec: Codec::Lz4,
            is_whole: false,
        })
        .collect();
    stream(300 * len, PLAIN, len + 2, Encoding::Packed(units))
}

fn files(dir: &tempfile::TempDir, unread: &[ByteRange]) -> ImageFiles {
    ImageFiles::raw(Arc::new(image(dir)), unread.to_vec())
}

fn reader(supervisor: Supervisor, unread: &[ByteRange]) -> StreamReader {
    let dir = tempfile::tempdir().expect("a directory");
    StreamReader::new(supervisor, files(&dir, unread))
}

/// Gathers what a sink is given.
fn gather(bytes: &mut Vec<u8>) -> impl FnMut(Piece<'_>) -> Result<(), Infallible> {
    |piece| {
        match piece {
            Piece::Bytes(more) => bytes.extend_from_slice(more),
            Piece::Zeros(len) => bytes.resize(bytes.len() + usize::try_from(len).expect("small"), 0),
        }
        Ok(())
    }
}

fn read(reader: &mut StreamReader, stream: &Stream) -> (Vec<u8>, Missing) {
    let mut bytes = Vec::new();
    let missing = reader.read(stream, &mut gather(&mut bytes)).expect("read");
    (bytes, missing)
}

fn died(reader: &mut StreamReader, stream: &Stream, poison: PoisonKind) -> Death {
    let mut bytes = Vec::new();
    match reader.read_poisoned(stream, Some(poison), &mut gather(&mut bytes)) {
        Err(StreamError::Died(death)) => death,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_child_gives_what_the_stream_holds() {
    let dir = tempfile::tempdir().expect("a directory");
    let unread = vec![ByteRange::new(5120, 1024), ByteRange::new(PLAIN + 10, 1)];
    for unread in [Vec::new(), unread] {
        let mut reader = StreamReader::new(supervisor(), files(&dir, &unread));
        let masked = Masked::new(FileSource::from_file(image(&dir)).expect("a source"), unread);
        for stream in [plain(), packed(), plain()] {
            let mut expected = Vec::new();
            let missing = ntt_codec::read_stream(&masked, &stream, &mut gather(&mut expected));
            let missing = missing.unwrap_or_else(|never| match never {});
            assert!(read(&mut reader, &stream) == (expected, missing));
        }
    }
}

/// R11: unread sectors have exact ranges through the child too.
#[test]
fn r11_unread_ranges_come_through() {
    let mut reader = reader(supervisor(), &[ByteRange::new(5120, 1024)]);
    let (_, missing) = read(&mut reader, &plain());
    assert_eq!(missing.ranges, [ByteRange::new(5120, 1024)]);
    assert_eq!(
        missing.failure.map(|failure| failure.class),
        Some(FailureClass::Unread)
    );
}

/// R19: a decoder that goes wrong costs its stream; the next one is read by a new child.
#[test]
fn r19_a_decoder_that_goes_wrong_costs_its_stream_only() {
    let mut tight = supervisor();
    tight.budgets.memory_bytes = 128 << 20;
    tight.budgets.no_progress = Duration::from_secs(1);
    let mut reader = reader(tight, &[]);
    let sound = read(&mut reader, &packed());
    for (poison, class) in [
        (PoisonKind::Hang, FailureClass::Timeout),
        (PoisonKind::Allocate, FailureClass::Corrupt),
        (PoisonKind::Panic, FailureClass::Corrupt),
        (PoisonKind::Abort, FailureClass::Unknown),
    ] {
        let death = died(&mut reader, &packed(), poison);
        assert_eq!(death.failure().class, class, "{death}");
        assert_eq!(read(&mut reader, &packed()), sound, "after {death}");
    }
}

/// Waits until the kernel has no trace of a thread any more, and so whatever its end brings has been done.
fn see_gone(thread: rustix::thread::Pid) {
    let path = format!("/proc/self/task/{}", thread.as_raw_nonzero());
    while std::path::Path::new(&path).exists() {
        std::thread::yield_now();
    }
}

/// R19: a reader goes from thread to thread, and its child lives on when the thread ends that read with it first, be it in the middle of a stream.
#[test]
fn r19_a_read_child_outlives_the_thread_that_read_first() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut reader = StreamReader::new(supervisor(), files(&dir, &[]));
    let expected = read(&mut reader, &plain());
    let mut reader = StreamReader::new(supervisor(), files(&dir, &[]));
    let (ready, begun) = std::sync::mpsc::channel();
    let (release, held) = std::sync::mpsc::channel::<()>();
    let first = std::thread::spawn(move || {
        read(&mut reader, &packed());
        ready.send((reader, rustix::thread::gettid())).expect("awaited");
        held.recv().ok();
    });
    let (mut reader, thread) = begun.recv().expect("a reader");
    let mut bytes = Vec::new();
    let mut first = Some(first);
    let missing = reader.read::<Infallible>(&plain(), &mut |piece| {
        if let Some(first) = first.take() {
            release.send(()).expect("awaited");
            first.join().expect("no panic");
            see_gone(thread);
        }
        gather(&mut bytes)(piece)
    });
    assert!((bytes, missing.expect("the child lives")) == expected);
}

/// The children of this process that read an image.
fn children_of(image: &std::path::Path) -> Vec<rustix::process::Pid> {
    let processes = std::fs::read_dir("/proc").expect("proc").flatten();
    processes
        .filter(|entry| std::fs::read_link(entry.path().join("fd/0")).is_ok_and(|target| target == image))
        .filter_map(|entry| rustix::process::Pid::from_raw(entry.file_name().to_str()?.parse().ok()?))
        .collect()
}

/// R19: a child that was killed while it waited costs nothing, and one that dies over the stream is not started for ever.
#[test]
fn r19_a_child_that_died_while_it_waited_is_replaced() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut reader = StreamReader::new(supervisor(), files(&dir, &[]));
    let expected = read(&mut reader, &packed());
    let image = dir.path().canonicalize().expect("a path").join("image");
    let children = children_of(&image);
    assert_eq!(children.len(), 1);
    for child in children {
        rustix::process::kill_process(child, rustix::process::Signal::KILL).expect("killed");
    }
    assert_eq!(read(&mut reader, &packed()), expected);
    died(&mut reader, &packed(), PoisonKind::Abort);
}

/// A stream that keeps its child busy for too long is given up even if the child shows signs of life.
#[test]
fn a_stream_has_a_bound_of_time() {
    let mut hasty = supervisor();
    hasty.budgets.stream = Duration::from_millis(300);
    let mut reader = reader(hasty, &[]);
    let death = died(&mut reader, &packed(), PoisonKind::Hang);
    assert!(matches!(death.cause, Cause::Wall(_)), "{death}");
}

/// A terabyte that is only claimed costs no memory and no time.
#[test]
fn a_bomb_is_a_missing_range() {
    let mut reader = reader(supervisor(), &[]);
    let mut bomb = packed();
    bomb.size_bytes = 1 << 40;
    if let Encoding::Packed(units) = &mut bomb.encoding {
        units.truncate(1);
        units[0].len = 1 << 40;
    }
    let mut given = 0;
    let missing = reader.read::<Infallible>(&bomb, &mut |piece| {
        given += match piece {
            Piece::Bytes(bytes) => u64::try_from(bytes.len()).expect("small"),
            Piece::Zeros(len) => len,
        };
        Ok(())
    });
    let missing = missing.expect("read");
    assert_eq!(given, 1 << 40);
    assert_eq!(missing.ranges.len(), 1);
    assert_eq!(
        missing.failure.map(|failure| failure.class),
        Some(FailureClass::Corrupt)
    );
}

#[test]
fn a_sink_that_wants_no_more_ends_the_stream_and_not_the_reader() {
    let mut reader = reader(supervisor(), &[]);
    let result = reader.read(&plain(), &mut |_| Err("enough"));
    assert!(matches!(result, Err(StreamError::Sink("enough"))));
    assert_eq!(read(&mut reader, &packed()).1, Missing::default());
}

/// R20: a child that was taken over gives as many bytes as were asked for, or none that count.
#[test]
fn r20_an_answer_of_another_length_is_no_answer() {
    let dir = tempfile::tempdir().expect("a directory");
    let whole = Message::Read(Missing::default());
    for given in [
        vec![],
        vec![Message::Bytes(vec![1; 99])],
        vec![Message::Bytes(vec![1; 50]), Message::Zeros(49)],
        vec![Message::Bytes(vec![1; 101])],
        vec![Message::Zeros(u64::MAX), Message::Zeros(u64::MAX)],
    ] {
        let says = [given, vec![whole.clone()]].concat();
        let mut reader = StreamReader::new(taken_over(dir.path(), &says), files(&dir, &[]));
        let wanted = stream(100, 0, 100, Encoding::Plain);
        let answer = reader.read(&wanted, &mut |_| Ok::<(), Infallible>(()));
        assert!(
            matches!(&answer, Err(StreamError::Died(death)) if death.cause == Cause::Babble),
            "{says:?}: {answer:?}"
        );
    }
}

/// R20: what such a child says is missing is never believed beyond the bytes that were asked for.
#[test]
fn r20_missing_bytes_of_an_image_are_those_that_were_asked_for() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut missing = Missing::default();
    missing.add(ByteRange::new(0, u64::MAX), FailureClass::Unread, 0, String::new);
    let says = [Message::Zeros(100), Message::Read(missing)];
    let image = ChildImage::new(taken_over(dir.path(), &says), files(&dir, &[]), 1 << 40);
    let read = image.read_exact_at(4096, &mut [0xee; 100]);
    let expected = ByteRange::new(4096, 100);
    assert!(
        matches!(read, Err(ReadError::Unread { range }) if range == expected),
        "{read:?}"
    );
}
