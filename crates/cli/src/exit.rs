//! Exit codes (R44) and how errors are told.

use std::error::Error as StdError;
use std::process::ExitCode;

use ntt_pipeline::{ErrorKind, RunOutcome};

use crate::args::Global;
use crate::output::tell;

/// What a finished command says to the shell.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Exit {
    /// All was done.
    Done,
    /// Finished, but something is recorded as lost, damaged or unread.
    Losses,
    /// A source is a medium that is withdrawn, and was not taken in.
    Withdrawn,
    /// Verification or comparison found damage.
    Damage,
    /// What was asked for is not there: the answer is no.
    NotFound,
    /// Interrupted; the state is saved and the run can be resumed.
    Interrupted,
    /// Could not be done; what failed has been told already.
    Failed,
}

impl From<RunOutcome> for Exit {
    fn from(outcome: RunOutcome) -> Self {
        match outcome {
            RunOutcome::Complete => Self::Done,
            RunOutcome::Losses => Self::Losses,
            RunOutcome::Withdrawn => Self::Withdrawn,
            RunOutcome::DamageFound => Self::Damage,
            RunOutcome::Interrupted => Self::Interrupted,
            RunOutcome::Failed => Self::Failed,
        }
    }
}

/// Why a command did not finish.
#[derive(Debug)]
pub(crate) struct Failure {
    kind: FailureKind,
    error: Box<dyn StdError + Send + Sync>,
    hints: Vec<String>,
}

/// Kinds of failure that a script can tell apart.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum FailureKind {
    /// Anything else.
    Failed,
    /// A source is a medium that is withdrawn.
    Withdrawn,
    /// The arguments do not make sense.
    Usage,
    /// Catalogue or store cannot be reached.
    Unreachable,
    /// Another run holds the archive.
    Held,
    /// Interrupted; the state is saved and the same command goes on.
    Interrupted,
    /// The reader of stdout went away: not an error.
    ClosedPipe,
}

/// What every command returns.
pub(crate) type CommandResult = Result<Exit, Failure>;

impl Failure {
    /// A failure of a kind.
    pub(crate) fn new(kind: FailureKind, error: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self {
            kind,
            error: error.into(),
            hints: Vec::new(),
        }
    }

    /// Bad usage.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(FailureKind::Usage, message.into())
    }

    /// Whether nothing else that was asked for can be done either.
    pub(crate) fn ends_all(&self) -> bool {
        matches!(
            self.kind,
            FailureKind::Interrupted | FailureKind::ClosedPipe | FailureKind::Unreachable
        )
    }

    /// The same failure with advice.
    #[must_use]
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        let closed = error.kind() == std::io::ErrorKind::BrokenPipe;
        Self::new(
            if closed {
                FailureKind::ClosedPipe
            } else {
                FailureKind::Failed
            },
            error,
        )
    }
}

impl From<ntt_catalogue::Error> for Failure {
    fn from(error: ntt_catalogue::Error) -> Self {
        // What a question meets is told as what a use case meets.
        ntt_pipeline::Error::from(error).into()
    }
}

impl From<ntt_report::Error> for Failure {
    fn from(error: ntt_report::Error) -> Self {
        match error {
            ntt_report::Error::Catalogue(error) => error.into(),
            ntt_report::Error::Usage(message) => Self::usage(message),
            ntt_report::Error::Output(error) => error.into(),
            ntt_report::Error::NotFound { what, .. } => {
                let failure = Self::new(FailureKind::Failed, error);
                match place_to_look(what) {
                    Some(hint) => failure.hint(hint),
                    None => failure,
                }
            }
            ntt_report::Error::Ambiguous { .. } => {
                Self::new(FailureKind::Failed, error).hint("give more digits of the id")
            }
            other => Self::new(FailureKind::Failed, other),
        }
    }
}

/// Where a user finds the right name of what is not there.
fn place_to_look(what: &str) -> Option<&'static str> {
    match what {
        "medium" => Some("`ntt medium list` shows all media"),
        "volume" => Some("`ntt medium show MEDIUM` shows its volumes"),
        "path" => Some("`ntt tree MEDIUM/VOLUME` shows all paths, and `ntt find` looks on all media"),
        "directory" => Some("`ntt ls` lists directories; `ntt cat` and `ntt where` take files"),
        _ => None,
    }
}

/// Prints a failure, if there is one, and gives the exit code.
pub(crate) fn report(global: &Global, outcome: CommandResult) -> ExitCode {
    let code = match outcome {
        Ok(Exit::Done) => RunOutcome::Complete.exit_code(),
        Ok(Exit::NotFound | Exit::Failed) => RunOutcome::Failed.exit_code(),
        Ok(Exit::Losses) => RunOutcome::Losses.exit_code(),
        Ok(Exit::Withdrawn) => RunOutcome::Withdrawn.exit_code(),
        Ok(Exit::Damage) => RunOutcome::DamageFound.exit_code(),
        Ok(Exit::Interrupted) => RunOutcome::Interrupted.exit_code(),
        Err(failure) => {
            tell_failure(global, &failure);
            match failure.kind {
                FailureKind::ClosedPipe => 0,
                FailureKind::Failed => ErrorKind::Failed.exit_code(),
                FailureKind::Withdrawn => ErrorKind::Withdrawn.exit_code(),
                FailureKind::Usage => ErrorKind::Usage.exit_code(),
                FailureKind::Unreachable => ErrorKind::Unreachable.exit_code(),
                FailureKind::Held => ErrorKind::Held.exit_code(),
                FailureKind::Interrupted => ErrorKind::Interrupted.exit_code(),
            }
        }
    };
    ExitCode::from(code)
}

/// Prints what is wrong with the arguments, or the help or version that they ask for, and gives the exit code. As JSON if one of them says so, whatever
/// else they say.
pub(crate) fn report_arguments(error: &clap::Error) -> ExitCode {
    let is_json = std::env::args_os().any(|argument| argument == "--json");
    if is_json && error.use_stderr() {
        let text = error.to_string();
        let mut paragraphs = text.split("\n\n").map(|lines| {
            let words: Vec<&str> = lines.split_whitespace().collect();
            words.join(" ")
        });
        let message = paragraphs.next().unwrap_or_default();
        let message = message.strip_prefix("error: ").unwrap_or(&message);
        tell_json(message, &[], &paragraphs.collect::<Vec<_>>());
    } else if let Err(closed) = error.print() {
        tracing::debug!("{closed}");
    }
    ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(ErrorKind::Usage.exit_code()))
}

fn tell_json(message: &str, causes: &[String], hints: &[impl serde::Serialize]) {
    let line = serde_json::json!({
        "schema_version": crate::output::SCHEMA_VERSION,
        "message_type": "error",
        "message": message,
        "causes": causes,
        "hints": hints,
    });
    tell(&line.to_string());
}

/// Says on stderr what failed.
pub(crate) fn tell_failure(global: &Global, failure: &Failure) {
    if failure.kind == FailureKind::ClosedPipe {
        return;
    }
    let causes = ntt_pipeline::causes(failure.error.as_ref());
    if global.json {
        tell_json(&causes[0], &causes[1..], &failure.hints);
    } else {
        // Servers say some things in several lines.
        tell(&format!("ntt: {}", causes.join(": ").replace('\n', "; ")));
        failure
            .hints
            .iter()
            .for_each(|hint| tell(&format!("hint: {hint}")));
    }
}
