//! A regular expression that is run over the path of a directory once, and from there over each of its names.

use std::collections::HashMap;

use regex_automata::Anchored;
use regex_automata::hybrid::LazyStateID;
use regex_automata::hybrid::dfa::{Cache, DFA};
use regex_automata::nfa::thompson;
use regex_automata::util::start;
use regex_automata::util::syntax;

/// States of one run take no more; an expression that needs more is matched whole.
const CACHE_BYTES: usize = 4 << 20;
/// So many states are looked at to tell whether any name may follow: those of a glob with a few literals.
const REACHED_MAX: usize = 64;

/// The expression, made ready. Each thread has a [`Run`] of its own.
#[derive(Debug)]
pub(crate) struct Machine(DFA);

/// Where a text has led.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Stand {
    /// Whatever follows, the text matches.
    Sure,
    /// Whatever follows, it does not.
    Dead,
    /// It depends on what follows.
    At(LazyStateID),
    /// The machine cannot tell: the expression itself must be asked.
    Unknown,
}

impl Machine {
    /// `None` for an expression that no such machine can be made of: one that asks for the bounds of words in Unicode.
    pub(crate) fn new(pattern: &str, ignore_case: bool) -> Option<Self> {
        let syntax = syntax::Config::new()
            .unicode(true)
            .utf8(false)
            .case_insensitive(ignore_case);
        // A state is valid as long as none is ever thrown away.
        let config = DFA::config()
            .cache_capacity(CACHE_BYTES)
            .skip_cache_capacity_check(true)
            .minimum_cache_clear_count(Some(0));
        let built = DFA::builder()
            .configure(config)
            .syntax(syntax)
            .thompson(thompson::Config::new().utf8(false))
            .build(pattern);
        built.ok().map(Self)
    }

    /// A run for one thread.
    pub(crate) fn run(&self) -> Run<'_> {
        let mut cache = self.0.create_cache();
        let begin = start::Config::new().anchored(Anchored::No);
        let begin = self.0.start_state(&mut cache, &begin);
        let mut run = Run {
            dfa: &self.0,
            cache,
            begin: Stand::Unknown,
            welcoming: HashMap::new(),
        };
        if let Ok(state) = begin {
            run.begin = run.stand(state);
        }
        run
    }
}

/// The states that one thread has met.
pub(crate) struct Run<'m> {
    dfa: &'m DFA,
    cache: Cache,
    begin: Stand,
    /// Of states that were asked about: whether any name may follow.
    welcoming: HashMap<LazyStateID, bool>,
}

impl Run<'_> {
    /// Before the first byte.
    pub(crate) const fn begin(&self) -> Stand {
        self.begin
    }

    fn stand(&self, state: LazyStateID) -> Stand {
        if !state.is_tagged() || state.is_start() {
            Stand::At(state)
        } else if state.is_match() {
            Stand::Sure
        } else if state.is_dead() {
            Stand::Dead
        } else {
            Stand::Unknown
        }
    }

    /// Goes on over further bytes.
    #[inline]
    pub(crate) fn over(&mut self, from: Stand, bytes: &[u8]) -> Stand {
        let Stand::At(mut state) = from else {
            return from;
        };
        for byte in bytes {
            match self.dfa.next_state(&mut self.cache, state, *byte) {
                Ok(next) => state = next,
                Err(_) => return self.give_up(),
            }
            if state.is_tagged() {
                match self.stand(state) {
                    Stand::At(_) => {}
                    told => return told,
                }
            }
        }
        Stand::At(state)
    }

    /// Whether the text matches if it ends here; `None` if the machine cannot tell.
    #[inline]
    pub(crate) fn ends(&mut self, at: Stand) -> Option<bool> {
        match at {
            Stand::Sure => Some(true),
            Stand::Dead => Some(false),
            Stand::Unknown => None,
            Stand::At(state) => match self.dfa.next_eoi_state(&mut self.cache, state) {
                Ok(end) => Some(end.is_match()),
                Err(_) => {
                    self.give_up();
                    None
                }
            },
        }
    }

    /// [`Stand::Sure`] if the text matches with any name behind it, as a directory does that a glob's last `*` or `**` follows. Names hold a `/` only
    /// where `slashes` says so.
    pub(crate) fn before_names(&mut self, at: Stand, slashes: bool) -> Stand {
        let Stand::At(state) = at else {
            return at;
        };
        let is_sure = match self.welcoming.get(&state) {
            Some(known) => *known,
            None => {
                let is_sure = self.takes_any(state, slashes) == Some(true);
                self.welcoming.insert(state, is_sure);
                is_sure
            }
        };
        if is_sure { Stand::Sure } else { at }
    }

    /// Whether the text matches wherever it ends from here on: all states that bytes lead to do.
    fn takes_any(&mut self, state: LazyStateID, slashes: bool) -> Option<bool> {
        let mut reached = vec![state];
        let mut looked_at = 0;
        while let Some(state) = reached.get(looked_at).copied() {
            looked_at += 1;
            if !self.ends(Stand::At(state))? {
                return Some(false);
            }
            for byte in (0..=u8::MAX).filter(|byte| slashes || *byte != b'/') {
                match self.over(Stand::At(state), &[byte]) {
                    Stand::At(next) if reached.contains(&next) => {}
                    Stand::At(_) if reached.len() >= REACHED_MAX => return Some(false),
                    Stand::At(next) => reached.push(next),
                    Stand::Sure => {}
                    Stand::Dead => return Some(false),
                    Stand::Unknown => return None,
                }
            }
        }
        Some(true)
    }

    /// The states are too many: from here on nothing is told.
    fn give_up(&mut self) -> Stand {
        self.begin = Stand::Unknown;
        Stand::Unknown
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(pattern: &str, parts: &[&[u8]]) -> Option<bool> {
        let machine = Machine::new(pattern, false).expect("no bounds of words");
        let mut run = machine.run();
        let end = parts.iter().fold(run.begin(), |at, part| run.over(at, part));
        run.ends(end)
    }

    #[test]
    fn a_text_in_parts_matches_as_a_whole_one() {
        for (pattern, text) in [
            ("^a/b.*c$", &b"a/bxxc"[..]),
            ("b", b"a/b"),
            ("", b""),
            ("^$", b""),
            ("b$", b"ab\n"),
            ("(?m)b$", b"ab\nc"),
            ("(?-u)\\xff", b"a\xffb"),
            ("(?-u)^(?:/?|.*/)x[^/]*$", b"q/xy"),
        ] {
            let whole = regex::bytes::Regex::new(pattern)
                .expect("well-formed")
                .is_match(text);
            for at in 0..=text.len() {
                let (one, other) = text.split_at(at);
                assert_eq!(parts(pattern, &[one, other]), Some(whole), "{pattern} {at}");
            }
        }
    }

    #[test]
    fn what_can_be_told_early_is() {
        let machine = Machine::new("^home/(x|y)", false).expect("no bounds of words");
        let mut run = machine.run();
        assert_eq!(run.over(run.begin(), b"var"), Stand::Dead);
        assert_eq!(run.over(run.begin(), b"home/x/"), Stand::Sure);
        assert!(matches!(run.over(run.begin(), b"home/"), Stand::At(_)));
        assert!(Machine::new("\\bword", false).is_none());
    }

    #[test]
    fn a_directory_whose_names_all_match_is_known() {
        let before = |pattern: &str, path: &[u8], slashes: bool| {
            let machine = Machine::new(pattern, false).expect("no bounds of words");
            let mut run = machine.run();
            let at = run.over(run.begin(), path);
            let told = run.before_names(at, slashes);
            assert_eq!(told, run.before_names(at, slashes));
            told == Stand::Sure
        };
        assert!(before("(?s-u)^a/.*$", b"a/", true));
        assert!(!before("(?s-u)^a/.*$", b"a", true));
        assert!(before("(?-u)^a/[^/]*$", b"a/", false));
        assert!(!before("(?-u)^a/[^/]*$", b"a/", true), "a name may hold a slash");
        assert!(!before("(?-u)^a/.*$", b"a/", true), "a name may hold a newline");
        assert!(!before("(?-u)^a/[^/]*c$", b"a/", false));
        let glob = "(?s-u)^(?:/?|.*/)report[^/]*(?:/|/.*/)[^/]*$";
        assert!(before(glob, b"a/report 1/b/", false));
        assert!(!before(glob, b"a/report 1", false));
    }

    #[test]
    fn too_many_states_are_no_wrong_answer() {
        let machine = Machine::new("(?s-u)a.{20}b", false).expect("no bounds of words");
        let mut run = machine.run();
        let mut noise = 1_u32;
        let text: Vec<u8> = (0..2_000_000)
            .map(|_| {
                noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                if noise >> 31 == 0 { b'a' } else { b'c' }
            })
            .collect();
        assert_eq!(run.over(run.begin(), &text), Stand::Unknown);
        assert_eq!(run.begin(), Stand::Unknown);
        assert_eq!(run.ends(Stand::Unknown), None);
    }
}
