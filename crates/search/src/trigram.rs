//! Three bytes in a row, the case of ASCII letters folded, as a number below 2^24.
//!
//! A text is indexed with a `/` before and after it, which stands for its start and end: so an exact name of one byte has a trigram, and so has
//! a suffix of two.

/// How many there are.
pub(crate) const COUNT: usize = 1 << 24;
/// Fewer bytes have none.
pub(crate) const BYTES: usize = 3;
/// What stands for the start and the end of a text.
pub(crate) const EDGE: u8 = b'/';

/// Visits the trigrams of a text and its edges, repeated ones again.
#[inline]
pub(crate) fn each_of_text(text: &[u8], mut each: impl FnMut(u32)) {
    let Some((first, rest)) = text.split_first() else {
        return;
    };
    let mut window = u32::from(EDGE) << 8 | u32::from(first.to_ascii_lowercase());
    for byte in rest.iter().chain(&[EDGE]) {
        window = (window << 8 | u32::from(byte.to_ascii_lowercase())) & 0xff_ffff;
        each(window);
    }
}

/// The distinct trigrams of a literal that is folded and has its edges, if it has any.
pub(crate) fn of_literal(literal: &[u8]) -> Vec<u32> {
    let mut trigrams: Vec<u32> = literal
        .windows(BYTES)
        .map(|window| {
            window
                .iter()
                .fold(0, |trigram, byte| trigram << 8 | u32::from(*byte))
        })
        .collect();
    trigrams.sort_unstable();
    trigrams.dedup();
    trigrams
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_text(text: &[u8]) -> Vec<u32> {
        let mut found = Vec::new();
        each_of_text(text, |trigram| found.push(trigram));
        found.sort_unstable();
        found.dedup();
        found
    }

    #[test]
    fn a_text_has_the_trigrams_of_itself_between_its_edges() {
        for text in [b"a".as_slice(), b"ab", b"abc", b"ABba/x\xff\x00"] {
            let with_edges = [b"/".as_slice(), &text.to_ascii_lowercase(), b"/"].concat();
            assert_eq!(of_text(text), of_literal(&with_edges), "{text:?}");
        }
        assert!(of_text(b"").is_empty() && of_literal(b"//").is_empty());
    }
}
