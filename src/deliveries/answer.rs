//! The body of an answer, for people: its beginning, as text.

use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::header::{CONTENT_ENCODING, HeaderMap};
use tokio::time::{Instant, timeout_at};

use super::attempt::{AttemptError, MAX_ANSWER_BYTES};
use super::connection::{error_of, root_cause};

/// The most bytes that are read of a body. Beyond what is kept, that is only to keep the
/// connection, and a new one costs less than more.
const MAX_READ_BYTES: usize = 64 << 10;

/// A body as far as it was read.
pub(super) struct Answer {
    pub(super) text: String,
    /// The reason that it ended early, with more words; it never is that it was long.
    pub(super) trouble: Option<(AttemptError, String)>,
    /// All of it was read, so the connection may be kept.
    pub(super) is_whole: bool,
}

/// Reads the beginning of a body until the deadline.
pub(super) async fn read(headers: &HeaderMap, mut body: Incoming, deadline: Instant) -> Answer {
    let mut kept = Vec::new();
    let mut read_bytes = 0;
    let (trouble, is_whole) = loop {
        match timeout_at(deadline, body.frame()).await {
            Ok(None) => break (None, true),
            Ok(Some(Ok(frame))) => {
                let piece = frame.into_data().unwrap_or_else(|_trailers| Bytes::new());
                read_bytes += piece.len();
                let room = MAX_ANSWER_BYTES - kept.len();
                kept.extend_from_slice(&piece[..piece.len().min(room)]);
                if read_bytes > MAX_READ_BYTES {
                    break (None, false);
                }
            }
            Ok(Some(Err(error))) => break (Some((error_of(&error), root_cause(&error))), false),
            Err(_) => {
                let late = "the end of the answer did not come in time".to_owned();
                break (Some((AttemptError::Timeout, late)), false);
            }
        }
    };
    let text = match encoding(headers) {
        None => text(&kept),
        Some(encoding) => {
            let size = if is_whole { "" } else { "more than " };
            format!("({size}{read_bytes} bytes of {encoding}, which is not shown)")
        }
    };
    Answer { text, trouble, is_whole }
}

/// The compression, although we ask for none. To undo it could make gigabytes of a few bytes.
fn encoding(headers: &HeaderMap) -> Option<&'static str> {
    let encoding = headers.get(CONTENT_ENCODING)?.as_bytes();
    let known = ["gzip", "br", "deflate", "zstd"];
    if encoding.is_empty() || encoding.eq_ignore_ascii_case(b"identity") {
        return None;
    }
    let named = known.into_iter().find(|name| encoding.eq_ignore_ascii_case(name.as_bytes()));
    Some(named.unwrap_or("an unknown encoding"))
}

/// Text that PostgreSQL takes, of at most [`MAX_ANSWER_BYTES`].
fn text(bytes: &[u8]) -> String {
    let mut text = String::from_utf8_lossy(bytes).replace('\0', "\u{fffd}");
    // What is replaced gets longer.
    text.truncate(text.floor_char_boundary(MAX_ANSWER_BYTES));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_text_is_replaced_and_still_fits() {
        assert_eq!(text(b"a\0b\xffc"), "a\u{fffd}b\u{fffd}c");
        let long = text(&[0xff; MAX_ANSWER_BYTES]);
        assert!(long.len() <= MAX_ANSWER_BYTES && long.len() > MAX_ANSWER_BYTES - 3);
        // A character that was cut in two.
        let cut = [b"x".repeat(MAX_ANSWER_BYTES - 1).as_slice(), &"é".as_bytes()[..1]].concat();
        assert!(text(&cut).len() <= MAX_ANSWER_BYTES);
    }
}
