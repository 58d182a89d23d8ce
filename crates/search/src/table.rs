//! An expression whose states are few, all of them written out: one look a byte, and known of each state what can follow.

use std::collections::HashMap;

use regex_automata::hybrid::LazyStateID;
use regex_automata::hybrid::dfa::{Cache, DFA};

/// Of expressions with more, states are made when they are met. So many take 256 KiB.
const STATES_MAX: usize = 256;
/// Followers of each state.
const BYTES: usize = 256;
/// So many last bytes of a text are looked at before the rest.
const TAIL: usize = 8;

/// A state of a table.
pub(crate) type State = u16;
/// Whatever follows, the text does not match.
pub(crate) const DEAD: State = 0;
/// Whatever follows, it matches.
pub(crate) const SURE: State = 1;

/// All states of an expression. May be shared between threads.
#[derive(Debug)]
pub(crate) struct Table {
    begin: State,
    /// For each state the one after each byte.
    next: Vec<State>,
    /// Of each state whether the text matches if it ends there.
    ends: Vec<bool>,
    /// Each state, or what is sure of it if no `/` follows.
    before_names: Vec<State>,
    /// As `next`, where no `/` follows.
    next_in_names: Vec<State>,
    /// Of each byte, a bit for each place from the end where a match can have it; `None` if a match can end with anything.
    tails: Option<Vec<u8>>,
}

impl Table {
    /// Writes out all states from `begin`. `None` if they are too many, or one of them cannot tell.
    pub(crate) fn new(dfa: &DFA, cache: &mut Cache, begin: LazyStateID) -> Option<Self> {
        let mut rows = Rows::default();
        let begin = rows.row(begin)?;
        // The two that are sure lead to themselves.
        let mut next: Vec<State> = [[DEAD; BYTES], [SURE; BYTES]].concat();
        let mut ends = vec![false, true];
        let mut at = 0;
        while let Some(state) = rows.states.get(at).copied() {
            for byte in 0..=u8::MAX {
                next.push(rows.row(dfa.next_state(cache, state, byte).ok()?)?);
            }
            ends.push(dfa.next_eoi_state(cache, state).ok()?.is_match());
            at += 1;
        }
        let sure = told(&next, &ends, |_| true);
        let follow = |state: State| sure.get(usize::from(state)).copied().unwrap_or(state);
        next.iter_mut().for_each(|state| *state = follow(*state));
        let before_names = told(&next, &ends, |byte| byte != b'/');
        let in_names = |state: &State| before_names.get(usize::from(*state)).copied();
        let next_in_names: Option<Vec<State>> = next.iter().map(in_names).collect();
        let begin = follow(begin);
        Some(Self {
            begin,
            tails: tails(begin, &next, &ends),
            next_in_names: next_in_names?,
            before_names,
            next,
            ends,
        })
    }

    /// Before the first byte.
    pub(crate) const fn begin(&self) -> State {
        self.begin
    }

    /// Goes on over further bytes.
    #[inline]
    pub(crate) fn over(&self, state: State, bytes: &[u8]) -> State {
        over(&self.next, state, bytes)
    }

    /// Goes on over a name without a `/` that ends the text.
    #[inline]
    pub(crate) fn over_name(&self, state: State, name: &[u8]) -> State {
        over(&self.next_in_names, state, name)
    }

    /// Whether a text with this end can match: much cheaper than to run over it.
    #[inline]
    pub(crate) fn can_end(&self, text: &[u8]) -> bool {
        let Some(tails) = &self.tails else { return true };
        let mut rest = text;
        for place in 0..TAIL {
            let Some((last, before)) = rest.split_last() else {
                break;
            };
            let places = tails.get(usize::from(*last)).copied().unwrap_or(0);
            if places >> place & 1 == 0 {
                return false;
            }
            rest = before;
        }
        true
    }

    /// Whether the text matches if it ends here.
    #[inline]
    pub(crate) fn ends(&self, state: State) -> bool {
        self.ends.get(usize::from(state)).is_some_and(|ends| *ends)
    }

    /// [`SURE`] or [`DEAD`] if that is so whatever follows without a `/`, as it is after the directories of most globs.
    pub(crate) fn before_names(&self, state: State) -> State {
        self.before_names
            .get(usize::from(state))
            .copied()
            .unwrap_or(state)
    }
}

#[inline]
fn over(next: &[State], mut state: State, bytes: &[u8]) -> State {
    for byte in bytes {
        if state <= SURE {
            break;
        }
        let at = usize::from(state) * BYTES + usize::from(*byte);
        state = next.get(at).copied().unwrap_or(DEAD);
    }
    state
}

/// The numbers that states were given.
#[derive(Default)]
struct Rows {
    states: Vec<LazyStateID>,
    numbers: HashMap<LazyStateID, State>,
}

impl Rows {
    fn row(&mut self, state: LazyStateID) -> Option<State> {
        if let Some(known) = self.numbers.get(&state) {
            return Some(*known);
        }
        let number = if state.is_match() {
            SURE
        } else if state.is_dead() {
            DEAD
        } else if state.is_quit() || self.states.len() >= STATES_MAX {
            return None;
        } else {
            self.states.push(state);
            SURE + State::try_from(self.states.len()).ok()?
        };
        self.numbers.insert(state, number);
        Some(number)
    }
}

/// Each state, or [`SURE`] or [`DEAD`] where it does not matter which of some bytes follow.
fn told(next: &[State], ends: &[bool], can_follow: impl Fn(u8) -> bool) -> Vec<State> {
    let matches = lasting(next, ends.to_vec(), &can_follow);
    let fails = lasting(next, ends.iter().map(|ends| !ends).collect(), &can_follow);
    let tell = |(state, (matches, fails))| match (matches, fails) {
        (true, _) => SURE,
        (_, true) => DEAD,
        _ => State::try_from(state).unwrap_or(State::MAX),
    };
    matches.into_iter().zip(fails).enumerate().map(tell).collect()
}

/// Of the states that are so, those that only lead to ones that are so too.
fn lasting(next: &[State], mut is_so: Vec<bool>, can_follow: &impl Fn(u8) -> bool) -> Vec<bool> {
    loop {
        let mut changed = false;
        for (state, followers) in next.chunks(BYTES).enumerate() {
            let lasts = (0..=u8::MAX)
                .zip(followers)
                .filter(|(byte, _)| can_follow(*byte))
                .all(|(_, next)| is_so[usize::from(*next)]);
            if is_so[state] && !lasts {
                is_so[state] = false;
                changed = true;
            }
        }
        if !changed {
            return is_so;
        }
    }
}

/// Of each byte, a bit for each place from the end where a match can have it; `None` if a match can end with anything.
fn tails(begin: State, next: &[State], ends: &[bool]) -> Option<Vec<u8>> {
    let undecided = || next.chunks(BYTES).skip(usize::from(SURE) + 1);
    if begin == SURE || undecided().flatten().any(|state| *state == SURE) {
        return None;
    }
    let mut tails = vec![0; BYTES];
    // Whether a match can end after so many further bytes.
    let mut can_end = ends.to_vec();
    for place in 0..TAIL {
        for followers in undecided() {
            for (tail, follower) in tails.iter_mut().zip(followers) {
                *tail |= u8::from(can_end[usize::from(*follower)]) << place;
            }
        }
        let leads = |followers: &[State]| followers.iter().any(|state| can_end[usize::from(*state)]);
        can_end = next.chunks(BYTES).map(leads).collect();
    }
    Some(tails)
}
