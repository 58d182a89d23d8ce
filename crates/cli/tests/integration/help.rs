//! The reference of the command line is a snapshot, so that it cannot go stale.

use crate::environment::{Environment, Run};

#[test]
fn the_command_line_reference_is_current() {
    let environment = Environment::new();
    // The help shows the value that a variable has just now.
    let help = |arguments: &[&str]| {
        let mut command = environment.command(arguments);
        command.env_remove("NTT_ARCHIVE");
        Run::of(command).code(0)
    };
    let overview = help(&["--help"]);
    let commands: Vec<&str> = overview
        .lines()
        .skip_while(|line| *line != "Commands:")
        .skip(1)
        .take_while(|line| !line.is_empty())
        .filter_map(|line| {
            line.strip_prefix("  ")?
                .split(' ')
                .next()
                .filter(|name| !name.is_empty())
        })
        .filter(|name| *name != "help")
        .collect();
    assert!(commands.len() > 10, "{commands:?}");
    let mut reference = overview.clone();
    for command in commands {
        reference.push_str(&format!("\n\n--- ntt {command} ---\n"));
        reference.push_str(&help(&[command, "--help"]));
    }
    insta::assert_snapshot!(reference);
}

#[test]
fn wrong_arguments_exit_with_2() {
    let environment = Environment::new();
    for arguments in [
        &["frobnicate"][..],
        &["ingest"],
        &["find", "--kind", "nonsense"],
        &["ls", ""],
    ] {
        let _ = environment
            .ntt(arguments)
            .stderr(if arguments == ["ls", ""] { 10 } else { 2 });
    }
}

#[test]
fn completions_and_manual_pages_are_generated() {
    let environment = Environment::new();
    for shell in ["bash", "zsh", "fish"] {
        assert!(environment.ntt(["completions", shell]).code(0).contains("ingest"));
    }
    let _ = environment.ntt(["man", "pages"]).code(0);
    let page = std::fs::read_to_string(environment.work().join("pages/ntt-ingest.1")).expect("a page");
    assert!(page.contains("mapfile"));
}
