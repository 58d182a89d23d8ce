//! What is said of media that are withdrawn.

use ntt_catalogue::Catalogue;
use ntt_catalogue::rows::{MediumRow, Withdrawal};
use ntt_model::name::escape;
use ntt_report::selector::Selector;

use crate::args::Global;
use crate::commands::volume::short;
use crate::output::tell;
use crate::units;

/// When and why: `2026-11-28: the wrong folder`.
pub(super) fn since(withdrawal: &Withdrawal) -> String {
    format!(
        "{}: {}",
        units::date(withdrawal.at),
        escape(withdrawal.reason.as_bytes())
    )
}

/// Says on stderr, where a person named a medium, that it is withdrawn: the answer is about it all the same.
pub(super) fn tell_withdrawn(global: &Global, medium: &MediumRow) {
    let Some(withdrawal) = medium
        .withdrawn
        .as_ref()
        .filter(|_| !global.quiet && !global.json)
    else {
        return;
    };
    let id = medium.medium.id.to_string();
    let id = short(&id);
    tell(&format!(
        "hint: medium {id} was withdrawn on {}; answers about all media leave it out, and `ntt medium reinstate {id}` takes it back",
        since(withdrawal)
    ));
}

/// The same for a place; one that names no medium is told of by whoever looks there.
pub(super) fn tell_place(global: &Global, catalogue: &dyn Catalogue, place: &Selector) {
    if let Ok(medium) = place.find_medium(catalogue) {
        tell_withdrawn(global, &medium);
    }
}
