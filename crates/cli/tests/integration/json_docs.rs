//! The JSON that the commands print is documented, all of it.

use std::collections::BTreeSet;
use std::io::Read;

use serde_json::Value;

use crate::environment::Environment;

const DEMO: &[u8] = include_bytes!("../../../../test_data/demo.img.gz");
const PAGE: &str = include_str!("../../../../docs/json.md");

/// Bytes of the demo image that the incomplete copy of it has; the second volume goes on behind them.
const INCOMPLETE_BYTES: usize = 9_000_000;

#[test]
fn every_message_and_every_key_is_documented() {
    let environment = prepared();
    let mut words = BTreeSet::new();
    for (arguments, code) in COMMANDS {
        let arguments = arguments.iter().chain(&["--json"]);
        for message in environment.ntt(arguments).json(*code) {
            assert_eq!(message["schema_version"], 1, "{message}");
            words.insert(message["message_type"].as_str().expect("a type").to_owned());
            collect_keys(&message, &mut words);
        }
    }
    let error = environment.ntt(["ls", "nowhere", "--json"]).stderr(1);
    collect_keys(
        &serde_json::from_str(&error).expect("an error in JSON"),
        &mut words,
    );
    assert!(words.len() > 100, "{words:?}");
    let undocumented: Vec<&String> = words
        .iter()
        .filter(|word| !PAGE.contains(&format!("`{word}`")))
        .collect();
    assert!(undocumented.is_empty(), "not in docs/json.md: {undocumented:?}");
}

/// Every command with the exit code that it should have, in an order in which each has something to say.
const COMMANDS: &[(&[&str], i32)] = &[
    (&["inspect", "demo.img"], 0),
    (&["inspect", "short.img"], 3),
    (&["ingest", "--dry-run", "demo.img", "empty.img"], 1),
    (&["ingest", "--no-copy", "demo.img"], 3),
    (&["status"], 0),
    (&["copy", "--dry-run", "demo.img"], 0),
    (&["copy", "demo.img"], 0),
    (&["ingest", "demo.img", "short.img", "empty.img"], 1),
    (&["ingest", "--dry-run", "demo.img"], 0),
    (&["medium", "list"], 0),
    (&["medium", "show", "short.img", "--findings"], 0),
    (&["medium", "label", "demo.img", "Box 7"], 0),
    (&["medium", "add", "--unreadable", "drive"], 0),
    (&["identify", "demo.img"], 0),
    (&["ingest", "--rescue", "--dry-run", "demo.img"], 0),
    (&["ingest", "--rescue", "demo.img"], 0),
    (&["ls", "demo.img/1", "--alternates"], 0),
    (&["ls", "short.img/2"], 0),
    (&["tree", "demo.img/2"], 0),
    (&["find"], 0),
    (&["where", "demo.img/1/todo.txt"], 0),
    (&["verify", "--dry-run"], 0),
    (&["verify", "--source", "demo.img"], 0),
    (&["exclude", "--dry-run", "demo.img", "rules.toml"], 0),
    (&["exclude", "demo.img", "rules.toml"], 0),
    (&["find", "--state", "excluded"], 0),
    (&["medium", "show", "demo.img"], 0),
    (&["retry", "short.img"], 3),
    (&["scan", "--dry-run", "demo.img"], 0),
    (&["scan", "--again", "demo.img"], 0),
    (&["restore", "--dry-run", "demo.img", "out"], 0),
    (&["restore", "demo.img/1", "out"], 0),
    (&["restore", "--compare", "demo.img/1", "out"], 0),
    (&["restore", "--compare", "demo.img/1", "empty"], 12),
    (&["rescue", "--dry-run", "demo.img", "--output", "rescued.img"], 0),
    (&["rescue", "demo.img", "--output", "rescued.img", "--sha256"], 0),
    (&["rescue", "--show", "rescued.img"], 0),
    (
        &[
            "rescue",
            "--merge",
            "rescued.img",
            "rescued.img",
            "--output",
            "merged.img",
        ],
        0,
    ),
    (&["worker", "list"], 0),
    (
        &[
            "catalogue",
            "copy",
            "--dry-run",
            "../archive/catalogue.db",
            "copy.db",
        ],
        0,
    ),
    (&["medium", "withdraw", "demo.img", "--reason", "a test"], 0),
    (&["medium", "list", "--all"], 0),
    (&["where", "demo.img/1/todo.txt"], 0),
    (&["identify", "demo.img"], 0),
    (&["ingest", "demo.img"], 4),
    (&["medium", "reinstate", "demo.img"], 0),
    (&["doctor"], 0),
    (&["doctor", "--rebuild-index", "--dry-run"], 0),
    (&["doctor", "--rebuild-index"], 0),
    (&["config", "show"], 0),
];

/// The demo image, an incomplete copy of it, an empty file, and rules.
fn prepared() -> Environment {
    let environment = Environment::new();
    let mut demo = Vec::new();
    let size = flate2::read::GzDecoder::new(DEMO).read_to_end(&mut demo);
    assert_eq!(size.expect("the demo image"), 16 << 20);
    let _ = environment.write("demo.img", &demo);
    let _ = environment.write("short.img", &demo[..INCOMPLETE_BYTES]);
    let _ = environment.write("empty.img", b"");
    let _ = environment.write("empty/nothing", b"");
    let _ = environment.write(
        "rules.toml",
        b"[[rule]]\nname = \"backups\"\nglob = \"*.bak\"\n\n[[rule]]\nname = \"raw\"\nglob = \"*.raw\"\n",
    );
    environment
}

fn collect_keys(value: &Value, keys: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            for (key, value) in fields {
                keys.insert(key.clone());
                collect_keys(value, keys);
            }
        }
        Value::Array(values) => values.iter().for_each(|value| collect_keys(value, keys)),
        _ => {}
    }
}
