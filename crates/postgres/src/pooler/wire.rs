//! Messages of the PostgreSQL protocol, version 3: a tag of one byte, a length of four that counts
//! itself, a body.

use bytes::{Buf, BufMut, Bytes, BytesMut};

/// The largest message that PostgreSQL takes or sends.
const MAX_MESSAGE_BYTES: usize = 1 << 30;
const HEADER_BYTES: usize = 5;

/// A message that is not of the protocol. The connection ends with it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("not the PostgreSQL protocol: {0}")]
pub(super) struct Garbled(pub(super) &'static str);

/// One message, whole.
#[derive(Clone, Debug)]
pub(super) struct Message {
    bytes: Bytes,
}

impl Message {
    /// Takes the next message off the front, if it is there to its end.
    pub(super) fn take(buffer: &mut BytesMut) -> Result<Option<Self>, Garbled> {
        let Some(mut length) = buffer.get(1..HEADER_BYTES) else { return Ok(None) };
        let length = length.get_u32() as usize;
        if !(4..=MAX_MESSAGE_BYTES).contains(&length) {
            return Err(Garbled("a message of an impossible length"));
        }
        if buffer.len() < length + 1 {
            // At once, as the driver sends a thousand rows in one message.
            buffer.reserve(length + 1 - buffer.len());
            return Ok(None);
        }
        Ok(Some(Self { bytes: buffer.split_to(length + 1).freeze() }))
    }

    pub(super) fn tag(&self) -> u8 {
        self.bytes[0]
    }

    pub(super) fn body(&self) -> Bytes {
        self.bytes.slice(HEADER_BYTES..)
    }

    /// As it came.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// Takes a text off the front of a body, which ends with a zero byte.
pub(super) fn take_text(body: &mut Bytes) -> Result<Bytes, Garbled> {
    let end = body.iter().position(|byte| *byte == 0).ok_or(Garbled("a text without an end"))?;
    let text = body.split_to(end);
    body.advance(1);
    Ok(text)
}

/// Appends a message with this body.
pub(super) fn put(out: &mut BytesMut, tag: u8, parts: &[&[u8]]) {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    out.reserve(HEADER_BYTES + length);
    out.put_u8(tag);
    // A body is made of parts of a message that was no longer than MAX_MESSAGE_BYTES, and a little.
    out.put_u32(u32::try_from(length + 4).unwrap_or(u32::MAX));
    for part in parts {
        out.put_slice(part);
    }
}

/// Appends an error as a server would send it.
pub(super) fn put_error(out: &mut BytesMut, severity: &str, code: &str, message: &str) {
    let mut body = BytesMut::new();
    for (field, text) in [(b'S', severity), (b'V', severity), (b'C', code), (b'M', message)] {
        body.put_u8(field);
        body.put_slice(text.as_bytes());
        body.put_u8(0);
    }
    body.put_u8(0);
    put(out, b'E', &[&body]);
}
