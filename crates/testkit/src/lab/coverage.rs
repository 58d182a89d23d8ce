//! The page `docs/formats/coverage.md`: every line of it is written, and checked, by the test that measured it.
//!
//! Each format's tests run in processes of their own, so a line is the unit: a test compares its lines with those of the page, and fails
//! when they differ. With `NTT_COVERAGE=write` it puts them there instead.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, Write};
use std::path::PathBuf;

use crate::lab::loss::{Found, Score};

/// The sections of the page, in order, with what stands above the lines of each.
const SECTIONS: [(&str, &str); 4] = [
    (
        "## Compared",
        "\
Every image is scanned, every file read through its extents, and the outcome compared with the files that the image was made from
(\"truth\") and with other programs. A number is how many were compared and agreed; `+ n` are differences explained below.

| images of | images | entries | names | kinds | sizes | times | targets | contents | content bytes | compared with |
|---|---|---|---|---|---|---|---|---|---|---|
",
    ),
    (
        "## Differences explained",
        "\
Where a judge says otherwise and is wrong, or both are right. A difference that no line explains fails the test, and so does a line that explains
nothing.

",
    ),
    (
        "## Loss scores",
        "\
For each seed up to 16 random blocks of metadata are zeroed. Counted are the files whose content is still listed and read rightly under any name,
and in brackets those under their own, summed over the seeds. `sh scripts/loss.sh` measures them anew.

| images of | seeds | files | ntt | referees |
|---|---|---|---|---|
",
    ),
    (
        "## Containers",
        "\
Each container is made of a raw image, and read in place: from start to end, and in 200 reads of any size at any place. All bytes are equal.

| images in | containers | bytes | made by |
|---|---|---|---|
",
    ),
];

const HEAD: &str = "\
# Coverage

What the tests compare, and with what. This page is written by them: `NTT_COVERAGE=write cargo nextest run -p ntt-filesystem -p ntt-container` where all
referees are installed and `NTT_CORPUS` is set. A test fails when its lines are stale. How it works: [lab.md](lab.md).

";

type Lines = [BTreeMap<String, String>; 4];

/// What a comparison of a set of images found, for the page.
#[derive(Debug, Clone)]
pub struct Row {
    /// What the images are of: `ext4`, `fat16 (public images)`.
    pub name: String,
    /// The cells after the name.
    pub cells: Vec<String>,
    /// What the differences that were explained are, one sentence each.
    pub explained: Vec<String>,
}

/// Checks the lines of a comparison, or writes them.
///
/// # Panics
///
/// If the page says something else.
pub fn contribute(row: &Row) {
    let line = format!("| {} | {} |", row.name, row.cells.join(" | "));
    let explained = row.explained.iter().enumerate();
    let explained = explained.map(|(number, text)| {
        (
            format!("{} {number:02}", row.name),
            format!("- {}: {text}", row.name),
        )
    });
    let ours = [
        BTreeMap::from([(row.name.clone(), line)]),
        explained.collect(),
        BTreeMap::new(),
        BTreeMap::new(),
    ];
    settle(
        |section, key| match section {
            0 => key == row.name,
            1 => key.rsplit_once(' ').is_some_and(|(name, _)| name == row.name),
            _ => false,
        },
        &ours,
    );
}

/// Checks the line of a container format, or writes it: how many containers were read, how many bytes of them, and what made them.
///
/// # Panics
///
/// If the page says something else.
pub fn contribute_container(name: &str, containers: usize, bytes: u64, maker: &str) {
    let line = format!("| {name} | {containers} | {} | {maker} |", grouped(bytes));
    let mut ours = Lines::default();
    ours[3].insert(name.to_owned(), line);
    settle(|section, key| section == 3 && key == name, &ours);
}

/// Writes the lines that belong to somebody, or compares them with the page.
fn settle(belongs: impl Fn(usize, &str) -> bool, ours: &Lines) {
    if is_writing() {
        return rewrite(belongs, ours);
    }
    let mut page = parse(&std::fs::read_to_string(path()).unwrap_or_default());
    for (number, section) in page.iter_mut().enumerate() {
        section.retain(|key, _| belongs(number, key));
    }
    assert!(
        page == *ours,
        "docs/formats/coverage.md is stale: run with NTT_COVERAGE=write.\nthere: {page:#?}\nmeasured: {ours:#?}"
    );
}

/// Writes the loss score of a set of images into the page, if that is asked for.
pub fn contribute_loss(name: &str, score: &Score) {
    let text = |found: &Found| format!("{} ({})", grouped(found.contents), grouped(found.named));
    let referees = score
        .referees
        .iter()
        .map(|(name, found)| format!("{name} {}", text(found)));
    let referees: Vec<String> = referees.collect();
    let line = format!(
        "| {name} | {} | {} | {} | {} |",
        score.seeds,
        grouped(score.whole),
        text(&score.ours),
        referees.join(", ")
    );
    eprintln!("{line}");
    if is_writing() {
        let mut ours = Lines::default();
        ours[2].insert(name.to_owned(), line);
        rewrite(|section, key| section == 2 && key == name, &ours);
    }
}

fn is_writing() -> bool {
    std::env::var_os("NTT_COVERAGE").is_some_and(|value| value == "write")
}

fn path() -> PathBuf {
    PathBuf::from(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../docs/formats/coverage.md"
    ))
}

/// Replaces the lines that belong to somebody by his new ones; tests of other processes wait meanwhile.
fn rewrite(belongs: impl Fn(usize, &str) -> bool, ours: &Lines) {
    let open = File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(path());
    let mut file = open.expect("the page can be written");
    file.lock().expect("the lock");
    let mut text = String::new();
    file.read_to_string(&mut text).expect("read");
    let mut lines = parse(&text);
    for (number, section) in lines.iter_mut().enumerate() {
        section.retain(|key, _| !belongs(number, key));
        section.extend(ours[number].clone());
    }
    let text = render(&lines);
    file.set_len(0).expect("emptied");
    file.rewind().expect("at the start");
    file.write_all(text.as_bytes()).expect("written");
}

fn render(lines: &Lines) -> String {
    let mut text = HEAD.to_owned();
    for ((heading, above), lines) in SECTIONS.iter().zip(lines) {
        text.push_str(&format!("{heading}\n\n{above}"));
        lines
            .values()
            .for_each(|line| text.push_str(&format!("{line}\n")));
        text.push('\n');
    }
    text.truncate(text.trim_end().len());
    text.push('\n');
    text
}

fn parse(text: &str) -> Lines {
    let mut lines = Lines::default();
    let mut section = None;
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    for line in text.lines() {
        if line.starts_with("## ") {
            section = SECTIONS.iter().position(|(heading, _)| *heading == line);
        }
        match section {
            Some(1) => {
                if let Some((name, _)) = line.strip_prefix("- ").and_then(|rest| rest.split_once(": ")) {
                    let number = seen.entry(name).or_default();
                    lines[1].insert(format!("{name} {number:02}"), line.to_owned());
                    *number += 1;
                }
            }
            Some(table) => {
                let name = line.strip_prefix("| ").and_then(|rest| rest.split_once(" |"));
                if let Some((name, _)) = name.filter(|(name, _)| !["images of", "images in"].contains(name)) {
                    lines[table].insert(name.to_owned(), line.to_owned());
                }
            }
            None => {}
        }
    }
    lines
}

/// A number with commas between thousands.
pub fn grouped(number: impl TryInto<u64>) -> String {
    let digits = number.try_into().unwrap_or(u64::MAX).to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_comes_back_as_it_was_rendered() {
        let line = |key: &str, line: &str| (key.to_owned(), line.to_owned());
        let lines = [
            BTreeMap::from([
                line("ext4", "| ext4 | 1 |"),
                line("fat (public)", "| fat (public) | 2 |"),
            ]),
            BTreeMap::from([line("ext4 00", "- ext4: one"), line("ext4 01", "- ext4: two")]),
            BTreeMap::from([line("ext4", "| ext4 | 100 |")]),
            BTreeMap::from([line("EWF", "| EWF | 6 |")]),
        ];
        assert_eq!(parse(&render(&lines)), lines);
        assert_eq!(grouped(1_234_567_usize), "1,234,567");
        assert_eq!(grouped(12_u64), "12");
    }

    /// The page in the repository is one that this code would write.
    #[test]
    fn the_page_is_well_formed() {
        let text = std::fs::read_to_string(path()).expect("the page");
        assert_eq!(render(&parse(&text)), text);
    }
}
