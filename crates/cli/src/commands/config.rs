//! `ntt config show`.

use clap::{Args, Subcommand};

use crate::args::Global;
use crate::exit::{CommandResult, Exit};
use crate::output::Output;
use crate::session;

/// Show the settings in force, and where each comes from.
#[derive(Debug, Args)]
pub(crate) struct ConfigArgs {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Show every setting.
    Show {
        /// Show where each value comes from: built-in, the user's file, the archive's file, environment, flag.
        #[arg(long)]
        origin: bool,
    },
}

pub(crate) fn run(global: &Global, args: &ConfigArgs) -> CommandResult {
    let Action::Show { origin } = args.action;
    let root = session::archive_root(global)?;
    let config = session::config(global, &root, &[])?;
    let mut out = Output::new(global);
    if out.json() {
        let settings = config.shown();
        out.document(
            "config",
            &serde_json::json!({ "archive": root.display().to_string(), "settings": settings }),
        )?;
        return Ok(Exit::Done);
    }
    out.line(format!("# archive: {}", root.display()))?;
    for setting in config.shown() {
        let line = format!("{} = {}", setting.key, toml_value(&setting.value));
        if origin {
            out.line(format!("{line:<30}  # {}", setting.origin))?;
        } else {
            out.line(line)?;
        }
    }
    out.flush()?;
    Ok(Exit::Done)
}

/// The value as a settings file writes it: numbers bare, the rest in quotes.
fn toml_value(value: &str) -> String {
    match value.parse::<u64>() {
        Ok(number) => number.to_string(),
        Err(_) => toml::Value::from(value).to_string(),
    }
}
