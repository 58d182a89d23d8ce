//! Apple Data Compression, of disk images of the kind `UDCO`. Never published; as libdmg and The Unarchiver read it.

use crate::input::Input;
use crate::output::{Halt, Output};

/// The format has no end marker. What is stored behind a full output must be padding.
pub(crate) fn decode(input: &mut Input<'_>, output: &mut Output<'_>) -> Result<(), Halt> {
    while !(input.is_empty() || output.room() == 0 && input.is_zero()) {
        let code = input.u8()?;
        let low = usize::from(code & 0x3f);
        if code & 0x80 != 0 {
            let len = usize::from(code & 0x7f).saturating_add(1);
            output.literals(input.take(len)?)?;
        } else if code & 0x40 != 0 {
            let distance = usize::from(input.u16_be()?).saturating_add(1);
            output.copy(distance, low.saturating_add(4))?;
        } else {
            let distance = ((low & 3) << 8 | usize::from(input.u8()?)).saturating_add(1);
            output.copy(distance, (low >> 2).saturating_add(3))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use ntt_model::Codec;

    use crate::{DecodeError, decode};

    #[test]
    fn literals_and_both_kinds_of_copies() {
        let stored = [0x83, b'a', b'b', b'c', b'd', 0x04, 0x03, 0x42, 0x00, 0x01];
        let mut out = Vec::new();
        decode(Codec::Adc, &stored, &mut out, 100).unwrap();
        assert_eq!(out, b"abcdabcdcdcdcd");
        let padded = [&stored[..], &[0; 20]].concat();
        out.clear();
        decode(Codec::Adc, &padded, &mut out, 14).unwrap();
        assert_eq!(out, b"abcdabcdcdcdcd");
        let error = decode(Codec::Adc, &stored, &mut out, 13).unwrap_err();
        assert!(matches!(error, DecodeError::Corrupt(_)), "longer than its block");
        let error = decode(Codec::Adc, &[0x80, b'a', 0x40, 0, 1], &mut out, 100).unwrap_err();
        assert!(matches!(error, DecodeError::Corrupt(_)));
    }
}
