//! `tracing` to stderr, off unless asked for: progress and findings are told by other means.

use tracing_subscriber::EnvFilter;

use crate::args::Global;

/// Starts logging if a filter was given.
pub(crate) fn start(global: &Global) {
    let Some(filter) = &global.log else { return };
    let filter = EnvFilter::try_new(filter).unwrap_or_else(|_| EnvFilter::new("info"));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(false);
    if global.json {
        builder.json().init();
    } else {
        builder.init();
    }
}
