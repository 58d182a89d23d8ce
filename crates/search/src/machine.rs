//! A regular expression that is run over the path of a directory once, and from there over each of its names.

use regex_automata::Anchored;
use regex_automata::hybrid::LazyStateID;
use regex_automata::hybrid::dfa::{Cache, DFA};
use regex_automata::nfa::thompson;
use regex_automata::util::start;
use regex_automata::util::syntax;

use crate::lazy::Lazy;
use crate::table::{DEAD, SURE, State, Table};

/// States of one run take no more; an expression that needs more is matched whole.
const CACHE_BYTES: usize = 4 << 20;

/// The expression, made ready. Each thread has a [`Run`] of its own.
#[derive(Debug)]
pub(crate) enum Machine {
    /// All its states.
    Written(Table),
    /// What makes them.
    Lazy(Box<DFA>),
}

/// Where a text has led.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Stand {
    /// Whatever follows, the text matches.
    Sure,
    /// Whatever follows, it does not.
    Dead,
    /// It depends on what follows: a state of the table.
    At(State),
    /// The same where states are made when they are met.
    Met(LazyStateID),
    /// The machine cannot tell: the expression itself must be asked.
    Unknown,
}

impl From<State> for Stand {
    #[inline]
    fn from(state: State) -> Self {
        match state {
            DEAD => Self::Dead,
            SURE => Self::Sure,
            state => Self::At(state),
        }
    }
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
        let dfa = built.ok()?;
        let (mut cache, begin) = start(&dfa);
        let table = begin.and_then(|begin| Table::new(&dfa, &mut cache, begin));
        Some(table.map_or_else(|| Self::Lazy(Box::new(dfa)), Self::Written))
    }

    /// A run for one thread.
    pub(crate) fn run(&self) -> Run<'_> {
        match self {
            Self::Written(table) => Run::Written(table),
            Self::Lazy(dfa) => {
                let (cache, begin) = start(dfa);
                Run::Lazy(Box::new(Lazy::new(dfa, cache, begin)))
            }
        }
    }
}

/// An empty store of states, and the one before the first byte.
fn start(dfa: &DFA) -> (Cache, Option<LazyStateID>) {
    let mut cache = dfa.create_cache();
    let begin = start::Config::new().anchored(Anchored::No);
    let begin = dfa.start_state(&mut cache, &begin).ok();
    (cache, begin)
}

/// A machine as one thread runs it.
pub(crate) enum Run<'m> {
    Written(&'m Table),
    Lazy(Box<Lazy<'m>>),
}

impl Run<'_> {
    /// Before the first byte.
    #[inline]
    pub(crate) fn begin(&self) -> Stand {
        match self {
            Self::Written(table) => table.begin().into(),
            Self::Lazy(lazy) => lazy.begin(),
        }
    }

    /// Goes on over further bytes.
    #[inline]
    pub(crate) fn over(&mut self, from: Stand, bytes: &[u8]) -> Stand {
        match (self, from) {
            (Self::Written(table), Stand::At(state)) => table.over(state, bytes).into(),
            (Self::Lazy(lazy), Stand::Met(state)) => lazy.over(state, bytes),
            _ => from,
        }
    }

    /// Goes on over a name that ends the text. Names hold a `/` only where `slashes` says so.
    #[inline]
    pub(crate) fn over_name(&mut self, from: Stand, name: &[u8], slashes: bool) -> Stand {
        match (&self, from) {
            (Self::Written(table), Stand::At(state)) if !slashes => table.over_name(state, name).into(),
            _ => self.over(from, name),
        }
    }

    /// Whether a name, or a path with this last component, can match by its end.
    #[inline]
    pub(crate) fn can_end(&self, name: &[u8]) -> bool {
        match self {
            Self::Written(table) => table.can_end(name),
            Self::Lazy(_) => true,
        }
    }

    /// Whether the text matches if it ends here; `None` if the machine cannot tell.
    #[inline]
    pub(crate) fn ends(&mut self, at: Stand) -> Option<bool> {
        match (self, at) {
            (_, Stand::Sure) => Some(true),
            (_, Stand::Dead) => Some(false),
            (Self::Written(table), Stand::At(state)) => Some(table.ends(state)),
            (Self::Lazy(lazy), Stand::Met(state)) => lazy.ends(state),
            _ => None,
        }
    }

    /// [`Stand::Sure`] or [`Stand::Dead`] if the text matches, or fails, with any name behind it: so it is with a directory that a glob's last `*` or `**`
    /// follows, and with one where the glob wants a further directory. Names hold a `/` only where `slashes` says so.
    pub(crate) fn before_names(&self, at: Stand, slashes: bool) -> Stand {
        match (self, at) {
            (Self::Written(table), Stand::At(state)) if !slashes => table.before_names(state).into(),
            _ => at,
        }
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
    fn a_directory_whose_names_all_match_or_all_fail_is_known() {
        let before = |pattern: &str, path: &[u8], slashes: bool| {
            let machine = Machine::new(pattern, false).expect("no bounds of words");
            let mut run = machine.run();
            let at = run.over(run.begin(), path);
            match run.before_names(at, slashes) {
                Stand::Sure => Some(true),
                Stand::Dead => Some(false),
                _ => None,
            }
        };
        assert_eq!(before("(?s-u)^a/.*$", b"a/", true), Some(true));
        assert_eq!(before("(?s-u)^a/.*$", b"a", true), None);
        assert_eq!(before("(?s-u)^a/.*$", b"a", false), Some(false));
        assert_eq!(before("(?-u)^a/[^/]*$", b"a/", false), Some(true));
        assert_eq!(
            before("(?-u)^a/[^/]*$", b"a/", true),
            None,
            "a name may hold a slash"
        );
        assert_eq!(
            before("(?-u)^a/.*$", b"a/", true),
            None,
            "a name may hold a newline"
        );
        assert_eq!(before("(?-u)^a/[^/]*c$", b"a/", false), None);
        let glob = "(?s-u)^(?:/?|.*/)report[^/]*(?:/|/.*/)[^/]*$";
        assert_eq!(before(glob, b"a/report 1/b/", false), Some(true));
        assert_eq!(before(glob, b"a/b/", false), Some(false));
        assert_eq!(
            before(glob, b"a/b/", true),
            None,
            "a name may be several directories"
        );
        assert_eq!(before(glob, b"a/report 1", false), Some(false));
        assert_eq!(before("abc", b"xab", false), None);
        assert_eq!(before("abc", b"abc", true), Some(true));
    }

    #[test]
    fn ends_that_no_match_has_are_known() {
        let can_end = |pattern: &str, name: &[u8]| {
            let machine = Machine::new(pattern, false).expect("no bounds of words");
            machine.run().can_end(name)
        };
        assert!(can_end("[0-9]{4}[a-f]$", b"x1234a") && can_end("[0-9]{4}[a-f]$", b"4a"));
        assert!(!can_end("[0-9]{4}[a-f]$", b"x123a") && !can_end("[0-9]{4}[a-f]$", b"1234g"));
        let glob = "(?s-u)^(?:/?|.*/)x[^/]*\\.tar\\.gz$";
        assert!(can_end(glob, b"x.tar.gz") && can_end(glob, b"x") == can_end(glob, b"y"));
        assert!(!can_end(glob, b"x.targz") && !can_end(glob, b"x.tar.gz/"));
        assert!(can_end("a", b"b") && can_end("", b"b") && can_end("a$", b""));
        assert!(!can_end("[^\\s\\S]", b"b"));
    }

    #[test]
    fn what_a_name_without_slashes_leads_to_is_told_early() {
        let machine = Machine::new("/budget", false).expect("no bounds of words");
        let mut run = machine.run();
        let at = run.over(run.begin(), b"home/");
        assert_eq!(run.over_name(at, b"x", false), Stand::Dead);
        assert!(matches!(run.over_name(at, b"x", true), Stand::At(_)));
        assert_eq!(run.over_name(at, b"budget 1", false), Stand::Sure);
    }

    /// What is written out answers as what is made when it is met.
    #[test]
    fn both_kinds_of_machine_tell_the_same() {
        let texts: [&[u8]; 6] = [
            b"",
            b"ab\ncd",
            b"home/x/report 1/y.doc",
            b"\xff\xc3\xa9",
            b"aab",
            b"abcabd",
        ];
        for pattern in [
            "ab+",
            "(?s-u)^(?:/?|.*/)report[^/]*(?:/|/.*/)[^/]*\\.doc$",
            "(?m)^cd$",
            "\u{e9}|abd$",
            "^$",
        ] {
            let machine = Machine::new(pattern, true).expect("no bounds of words");
            assert!(matches!(machine, Machine::Written(_)), "{pattern}");
            let dfa = DFA::builder()
                .syntax(syntax::Config::new().utf8(false).case_insensitive(true))
                .thompson(thompson::Config::new().utf8(false))
                .build(pattern)
                .expect("no bounds of words");
            let lazy = Machine::Lazy(Box::new(dfa));
            for text in texts {
                let told = |machine: &Machine| {
                    let mut run = machine.run();
                    let end = run.over(run.begin(), text);
                    run.ends(end)
                };
                assert!(told(&lazy).is_some());
                assert_eq!(told(&machine), told(&lazy), "{pattern} {text:?}");
            }
        }
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
