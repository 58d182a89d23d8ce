//! Tells the supervisor of every step of an inspection, so that it knows which one killed the child.

use std::sync::Mutex;

use super::outbox::{Outbox, locked};
use crate::protocol::InspectPlan;
use crate::tree::step::{Step, Watch};

/// Announces steps and leaves out those that killed earlier children.
pub(super) struct Watcher<'a> {
    plan: &'a InspectPlan,
    outbox: &'a Mutex<Outbox>,
}

impl<'a> Watcher<'a> {
    pub(super) fn new(plan: &'a InspectPlan, outbox: &'a Mutex<Outbox>) -> Self {
        Self { plan, outbox }
    }
}

impl Watch for Watcher<'_> {
    fn begin(&self, step: Step) -> bool {
        // A supervisor that is gone wants nothing more.
        if self.plan.avoid.contains(&step) || locked(self.outbox).announce(Some(step)).is_err() {
            return false;
        }
        if let Some((_, poison)) = self.plan.poisons.iter().find(|(poisoned, _)| *poisoned == step) {
            poison.strike();
        }
        true
    }

    fn end(&self) {
        // Should the supervisor be gone, the next step notices.
        locked(self.outbox).announce(None).ok();
    }
}
