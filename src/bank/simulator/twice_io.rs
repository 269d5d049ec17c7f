//! A connection that can be told to write its next bytes twice.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// The connection. What is written while `twice` is set is written again at the next flush, which
/// hyper does once an answer is complete.
pub(super) struct TwiceIo {
    io: TokioIo<TcpStream>,
    twice: Arc<AtomicBool>,
    again: Vec<u8>,
}

impl TwiceIo {
    pub(super) fn new(stream: TcpStream, twice: Arc<AtomicBool>) -> Self {
        Self { io: TokioIo::new(stream), twice, again: Vec::new() }
    }
}

impl Read for TwiceIo {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buffer)
    }
}

impl Write for TwiceIo {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.io).poll_write(cx, bytes))?;
        if self.twice.load(Ordering::Relaxed) {
            self.again.extend_from_slice(&bytes[..written]);
        }
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        while !this.again.is_empty() {
            let written = ready!(Pin::new(&mut this.io).poll_write(cx, &this.again))?;
            this.again.drain(..written);
            this.twice.store(false, Ordering::Relaxed);
        }
        Pin::new(&mut this.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
