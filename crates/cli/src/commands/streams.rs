//! What is said of the streams that an entry has beside its data.

use ntt_catalogue::rows::State;
use ntt_report::export::state_name;
use ntt_report::listing::ListedStream;

use crate::units;

/// Streams that are named; of more it is only said that there are more.
const NAMED_MAX: usize = 3;

/// ` [+2 streams: Icon\r damaged]` behind an entry: how many there are, and those whose state is not that of the data; else nothing.
pub(crate) fn note(data: Option<&State>, streams: &[ListedStream]) -> String {
    let Ok(count @ 1..) = u64::try_from(streams.len()) else {
        return String::new();
    };
    // What has no data has nothing to worry about but that its streams are stored.
    let expected = data.map_or("stored", state_name);
    let odd = streams.iter().filter_map(|stream| {
        let state = state_name(&stream.content);
        (state != expected).then(|| format!("{} {state}", stream.name.escaped()))
    });
    let mut odd: Vec<String> = odd.take(NAMED_MAX + 1).collect();
    if let Some(more) = odd.get_mut(NAMED_MAX) {
        "...".clone_into(more);
    }
    let (count, colon) = (
        units::counted(count, "stream", "streams"),
        if odd.is_empty() { "" } else { ": " },
    );
    format!(" [+{count}{colon}{}]", odd.join(", "))
}
