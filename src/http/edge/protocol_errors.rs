//! The answers to what is no request: hyper refuses it by itself, with a status alone. They get the
//! body and the headers of every other refusal, on their way to the socket.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use hyper::rt::Write;

use crate::http::wire::problem::{Code, MEDIA_TYPE, Problem};
use crate::http::wire::request_id::{RequestId, X_REQUEST_ID};

/// The beginning of hyper's refusals.
const REFUSAL: &[u8] = b"HTTP/1.1 4";

/// Writes bytes as they are, but for hyper's own refusals.
#[derive(Default)]
pub(super) struct ProtocolErrors {
    replacement: Option<Replacement>,
}

/// An answer that is being written in place of another.
struct Replacement {
    answer: Vec<u8>,
    written: usize,
    /// The length of the other, which counts as written when this is.
    replaced_bytes: usize,
}

impl ProtocolErrors {
    /// Writes the beginning of an answer, or more of it.
    pub(super) fn poll_write<I: Write>(
        &mut self,
        mut io: Pin<&mut I>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.replacement.is_none() {
            self.replacement = replacement_of(bytes);
        }
        let Some(replacement) = &mut self.replacement else { return io.poll_write(cx, bytes) };
        while replacement.written < replacement.answer.len() {
            let rest = &replacement.answer[replacement.written..];
            match ready!(io.as_mut().poll_write(cx, rest))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                written => replacement.written += written,
            }
        }
        let replaced_bytes = replacement.replaced_bytes;
        self.replacement = None;
        Poll::Ready(Ok(replaced_bytes))
    }

    /// Tells whether these bytes are to go through [`Self::poll_write`].
    pub(super) fn concerns(&self, bytes: &[u8]) -> bool {
        self.replacement.is_some() || bytes.starts_with(REFUSAL)
    }
}

/// The answer in place of a refusal of hyper's: it alone has no id of a request.
fn replacement_of(bytes: &[u8]) -> Option<Replacement> {
    if !bytes.starts_with(REFUSAL) || !bytes.ends_with(b"\r\n\r\n") {
        return None;
    }
    let head = std::str::from_utf8(bytes).ok()?.to_ascii_lowercase();
    if head.contains(&format!("\r\n{X_REQUEST_ID}:")) {
        return None;
    }
    let status = head.split(' ').nth(1)?;
    let problem = match status {
        "414" => Problem::new(Code::UriTooLong),
        "431" => Problem::new(Code::HeadersTooLarge),
        _ => Problem::new(Code::BadRequest).detail("This is no request of HTTP/1.1."),
    };
    let id = RequestId::accept_or_make(None);
    let body = id.clone().within(|| problem.body(""));
    let code = problem.code();
    tracing::debug!(code = code.as_str(), request_id = id.as_str(), "no request: {problem}");
    let head = format!(
        "HTTP/1.1 {} {}\r\ncontent-type: {MEDIA_TYPE}\r\ncontent-length: {}\r\n\
         {X_REQUEST_ID}: {id}\r\ncache-control: no-store\r\nx-content-type-options: nosniff\r\n\
         connection: close\r\n\r\n",
        code.status(),
        code.title(),
        body.len()
    );
    let answer = [head.as_bytes(), &body].concat();
    Some(Replacement { answer, written: 0, replaced_bytes: bytes.len() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_no_answer_of_ours_is_replaced() {
        let bare = b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\n\r\n";
        let replacement = replacement_of(bare).expect("it is hyper's");
        let text = String::from_utf8(replacement.answer).expect("it is text");
        assert_eq!(replacement.replaced_bytes, bare.len());
        assert!(text.starts_with("HTTP/1.1 431 ") && text.contains("headers-too-large"), "{text}");
        for ours in [
            &b"HTTP/1.1 404 Not Found\r\nx-request-id: a\r\ncontent-length: 0\r\n\r\n"[..],
            b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
            b"HTTP/1.1 4 of a body",
        ] {
            assert!(replacement_of(ours).is_none());
        }
    }
}
