//! HTTP to the server that is measured: plain hyper, which leaves more of the cores to it than any
//! client with comforts would.

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// A connection, which takes one request at a time.
pub(crate) struct HttpConnection {
    sender: SendRequest<Full<Bytes>>,
    address: String,
}

impl HttpConnection {
    /// Connects to a host and port.
    pub(crate) async fn open(address: &str) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(Self { sender, address: address.to_owned() })
    }

    /// The beginning of a request by this connection.
    pub(crate) fn request(&self) -> hyper::http::request::Builder {
        Request::builder().header("host", &self.address)
    }

    /// The answer.
    pub(crate) async fn send(
        &mut self,
        request: Request<Full<Bytes>>,
    ) -> anyhow::Result<(StatusCode, Bytes)> {
        self.sender.ready().await?;
        let response = self.sender.send_request(request).await?;
        let status = response.status();
        Ok((status, response.into_body().collect().await?.to_bytes()))
    }
}
