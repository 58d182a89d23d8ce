//! Who made the image, of what, when and for which case.

/// Names of the fields, by the letters that the text has for them.
const FIELDS: [(&str, &str); 12] = [
    ("c", "case number"),
    ("n", "evidence no"),
    ("a", "description"),
    ("e", "examiner"),
    ("t", "notes"),
    ("av", "made by"),
    ("ov", "system"),
    ("m", "acquired"),
    ("u", "system date"),
    ("md", "model"),
    ("sn", "serial number"),
    ("l", "device label"),
];

/// The facts of a header section: tab-separated, a line of letters and a line of values; UTF-16 in `header2`, one byte a character in `header`.
pub(super) fn facts(bytes: &[u8]) -> Vec<(&'static str, String)> {
    let text = decoded(bytes);
    let mut lines = text.lines().map(|line| line.trim_end_matches('\r'));
    let Some(keys) = lines.find(|line| line.starts_with("c\t") || line.starts_with("a\t")) else {
        return Vec::new();
    };
    let values = lines.next().unwrap_or_default();
    let pairs = keys.split('\t').zip(values.split('\t'));
    let known = pairs.filter_map(|(key, value)| {
        let (_, name) = FIELDS.into_iter().find(|(letter, _)| *letter == key)?;
        if value == "0" {
            return None;
        }
        let value = if matches!(key, "m" | "u") {
            date(value)
        } else {
            value.to_owned()
        };
        let value: String = value.chars().filter(|letter| !letter.is_control()).collect();
        (!value.trim().is_empty()).then_some((name, value))
    });
    known.collect()
}

fn decoded(bytes: &[u8]) -> String {
    let units = |from: fn([u8; 2]) -> u16| -> Vec<u16> {
        let rest = bytes.get(2..).unwrap_or_default().chunks_exact(2);
        rest.filter_map(|pair| pair.try_into().ok().map(from)).collect()
    };
    match bytes {
        [0xff, 0xfe, ..] => String::from_utf16_lossy(&units(u16::from_le_bytes)),
        [0xfe, 0xff, ..] => String::from_utf16_lossy(&units(u16::from_be_bytes)),
        _ => bytes.iter().map(|byte| char::from(*byte)).collect(),
    }
}

/// `2006 4 12 10 3 7` as a date; seconds since 1970 as they are.
fn date(value: &str) -> String {
    let numbers: Vec<u32> = value
        .split(' ')
        .filter_map(|number| number.parse().ok())
        .collect();
    match numbers.as_slice() {
        [year, month, day, hour, minute, second] => {
            format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}")
        }
        [seconds] => crate::text::seconds(i64::from(*seconds)),
        _ => value.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_and_values_stand_in_two_lines() {
        let text = b"1\r\nmain\r\nc\tn\ta\te\tt\tav\tov\tm\tu\tp\r\n7\t\tfloppy\tMe\t\t2012\tLinux\t2006 4 12 10 3 7\t0\t0\r\n\r\n";
        let expected = [
            ("case number", "7".to_owned()),
            ("description", "floppy".to_owned()),
            ("examiner", "Me".to_owned()),
            ("made by", "2012".to_owned()),
            ("system", "Linux".to_owned()),
            ("acquired", "2006-04-12 10:03:07".to_owned()),
        ];
        assert_eq!(facts(text), expected);
        let mut wide = vec![0xff, 0xfe];
        wide.extend(text.iter().flat_map(|byte| [*byte, 0]));
        assert_eq!(facts(&wide), expected);
        assert_eq!(facts(b"nonsense"), []);
    }
}
