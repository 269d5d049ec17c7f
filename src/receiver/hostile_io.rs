//! A connection that writes what no HTTP library would.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};

use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::{Sleep, sleep};

use super::misbehaviour::DRIP;

/// An interim answer (RFC 8297), some of them in one write.
const INTERIM: &[u8] = b"HTTP/1.1 103 Early Hints\r\nlink: </>; rel=preload\r\n\r\n\
    HTTP/1.1 103 Early Hints\r\nlink: </>; rel=preload\r\n\r\n\
    HTTP/1.1 103 Early Hints\r\nlink: </>; rel=preload\r\n\r\n\
    HTTP/1.1 103 Early Hints\r\nlink: </>; rel=preload\r\n\r\n";

/// The way in which a connection writes, honest until something else is chosen; shared with
/// whoever chooses.
#[derive(Clone, Debug, Default)]
pub(super) struct Manner(Arc<OnceLock<Hostility>>);

/// A treatment of the other side, from now to the end of the connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Hostility {
    /// Writes a byte a second.
    Slow,
    /// Writes interim answers in place of whatever is to be written.
    Flooding,
    /// Ends with RST.
    Resetting,
}

impl Manner {
    /// Chooses how to be hostile. What was chosen first holds.
    pub(super) fn be(&self, hostility: Hostility) {
        let _ = self.0.set(hostility);
    }

    fn is(&self, hostility: Hostility) -> bool {
        self.0.get() == Some(&hostility)
    }
}

/// A connection with a [`Manner`].
pub(super) struct HostileIo {
    stream: TokioIo<TcpStream>,
    manner: Manner,
    pause: Pin<Box<Sleep>>,
}

impl HostileIo {
    pub(super) fn new(stream: TcpStream, manner: Manner) -> Self {
        Self { stream: TokioIo::new(stream), manner, pause: Box::pin(sleep(DRIP)) }
    }
}

impl Drop for HostileIo {
    fn drop(&mut self) {
        if self.manner.is(Hostility::Resetting) {
            // Without the option it merely ends in good order.
            let _ = self.stream.inner().set_zero_linger();
        }
    }
}

impl Read for HostileIo {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl Write for HostileIo {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.manner.is(Hostility::Flooding) {
            // Until the other side has had enough; a runtime's budget lets others run meanwhile.
            loop {
                if ready!(Pin::new(&mut self.stream).poll_write(cx, INTERIM))? == 0 {
                    return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
                }
            }
        }
        if self.manner.is(Hostility::Slow) && !bytes.is_empty() {
            ready!(self.pause.as_mut().poll(cx));
            self.pause = Box::pin(sleep(DRIP));
            return Pin::new(&mut self.stream).poll_write(cx, &bytes[..1]);
        }
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.manner.is(Hostility::Resetting) {
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
