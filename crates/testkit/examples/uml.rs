//! Makes an image by a driver of Linux that runs as a process: `uml minix|reiserfs|jfs IMAGE FOLDER` formats it and puts the files of the folder in it.

use std::fs;
use std::path::Path;
use std::process::Command;

use ntt_testkit::lab::make::run;
use ntt_testkit::lab::uml;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [driver, image, folder] = &arguments[..] else {
        panic!("usage: uml minix|reiserfs|jfs IMAGE FOLDER");
    };
    let (program, options, bytes): (&str, &[&str], u64) = match driver.as_str() {
        "minix" => ("mkfs.minix", &["-3", "-i", "64"], 2 << 20),
        "reiserfs" => ("mkreiserfs", &["-q", "-f", "-f", "-s", "513"], 4 << 20),
        "jfs" => ("mkfs.jfs", &["-q"], 16 << 20),
        other => panic!("no driver for {other}"),
    };
    let format = |path: &Path| {
        let file = fs::File::create(path).expect("a new file");
        file.set_len(bytes).expect("a length");
        let path = path.to_str().expect("a plain path");
        run(program, &[options, &[path]].concat(), Path::new("/"));
    };
    let fill = |tree: &Path| {
        let status = Command::new("cp")
            .args(["-a", &format!("{folder}/.")])
            .arg(tree)
            .status();
        assert!(status.expect("cp starts").success());
    };
    let made = uml::made(driver, (driver, ""), format, fill, "true").expect("linux.uml is installed");
    fs::copy(made.path(), image).expect("a copy");
}
