//! The last traces, which `app dev` keeps.
//!
//! - [`list`]: the traces, newest first, with a filter in the URL.
//! - [`trace`]: one trace as a waterfall.

pub(in crate::pages) mod list;
pub(in crate::pages) mod trace;

use std::time::Duration;

use crate::pages::words;

/// The path of the list.
const PATH: &str = "/ui/traces";

/// A duration in words, down to microseconds.
fn took(duration: Duration) -> String {
    match duration.as_secs_f64() {
        secs if secs < 0.001 => format!("{:.0} µs", secs * 1e6),
        secs if secs < 0.1 => format!("{:.1} ms", secs * 1e3),
        secs => words::span(secs),
    }
}

/// The class of a trace with so many errors, and their number in words.
fn outcome(errors: usize) -> (&'static str, String) {
    match i64::try_from(errors).unwrap_or(i64::MAX) {
        0 => ("ok", "No error".to_owned()),
        many => ("bad", words::counted(many, "error")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_times_keep_their_digits() {
        let told = [(420, "420 µs"), (4_310, "4.3 ms"), (430_000, "430 ms"), (2_140_000, "2.1 s")];
        for (micros, words) in told {
            assert_eq!(took(Duration::from_micros(micros)), words);
        }
    }
}
