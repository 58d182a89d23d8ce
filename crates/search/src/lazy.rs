//! An expression with many states, of which each thread makes those that it meets.

use regex_automata::hybrid::LazyStateID;
use regex_automata::hybrid::dfa::{Cache, DFA};

use crate::machine::Stand;

/// The states that one thread has met.
pub(crate) struct Lazy<'m> {
    dfa: &'m DFA,
    cache: Cache,
    begin: Stand,
}

impl<'m> Lazy<'m> {
    pub(crate) fn new(dfa: &'m DFA, cache: Cache, begin: Option<LazyStateID>) -> Self {
        Self {
            dfa,
            cache,
            begin: begin.map_or(Stand::Unknown, stand),
        }
    }

    /// Before the first byte.
    pub(crate) const fn begin(&self) -> Stand {
        self.begin
    }

    /// Goes on over further bytes.
    #[inline]
    pub(crate) fn over(&mut self, mut state: LazyStateID, bytes: &[u8]) -> Stand {
        for byte in bytes {
            match self.dfa.next_state(&mut self.cache, state, *byte) {
                Ok(next) => state = next,
                Err(_) => return self.give_up(),
            }
            if state.is_tagged() {
                match stand(state) {
                    Stand::Met(_) => {}
                    told => return told,
                }
            }
        }
        Stand::Met(state)
    }

    /// Whether the text matches if it ends here; `None` if that cannot be told.
    #[inline]
    pub(crate) fn ends(&mut self, state: LazyStateID) -> Option<bool> {
        match self.dfa.next_eoi_state(&mut self.cache, state) {
            Ok(end) => Some(end.is_match()),
            Err(_) => {
                self.give_up();
                None
            }
        }
    }

    /// The states are too many: from here on nothing is told.
    fn give_up(&mut self) -> Stand {
        self.begin = Stand::Unknown;
        Stand::Unknown
    }
}

fn stand(state: LazyStateID) -> Stand {
    if !state.is_tagged() || state.is_start() {
        Stand::Met(state)
    } else if state.is_match() {
        Stand::Sure
    } else if state.is_dead() {
        Stand::Dead
    } else {
        Stand::Unknown
    }
}
