//! The simulator's connections and routes, and the answers that no honest server would give.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, Limited, StreamBody};
use hyper::body::{Bytes, Frame, Incoming};
use hyper::header::CONTENT_LENGTH;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{HeaderMap, Method, Request, Response, StatusCode};
use serde::Serialize;
use serde_json::json;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::TaskTracker;
use url::Url;

use super::behaviour::{Behaviour, BehaviourSettings};
use super::books::Period;
use super::treatment::{Reply, SimulatorState};
use super::twice_io::TwiceIo;
use crate::bank::client::IDEMPOTENCY_KEY;
use crate::bank::wire::{Answer, PaymentRequest};
use crate::bank::{BankInstruction, EffectKey};

/// The most bytes of a request's body.
const MAX_REQUEST_BYTES: usize = 64 << 10;
/// Bookings on a page of the statement, unless fewer are asked for.
const MAX_PAGE: usize = 100;
/// Between the first half of an answer and the end of the connection: the half must get out.
const CUT_PAUSE: Duration = Duration::from_millis(20);
/// The pause of the accept loop when the system refuses it a connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

type Body = BoxBody<Bytes, io::Error>;

/// The connection is to be closed without an answer.
#[derive(Debug, thiserror::Error)]
#[error("no answer")]
struct Disconnect;

/// Serves until the shutdown.
pub(super) async fn serve(listener: TcpListener, bank: Arc<SimulatorState>) {
    let connections = TaskTracker::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(serve_connection(Arc::clone(&bank), stream));
                }
                Err(error) => {
                    tracing::warn!("connections cannot be accepted at the moment: {error}");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
            () = bank.shutdown.cancelled() => break,
        }
    }
    connections.close();
    connections.wait().await;
}

async fn serve_connection(bank: Arc<SimulatorState>, stream: TcpStream) {
    let _ = stream.set_nodelay(true);
    let twice = Arc::new(AtomicBool::new(false));
    let io = TwiceIo::new(stream, Arc::clone(&twice));
    let service = service_fn(|request| {
        let (bank, twice) = (Arc::clone(&bank), Arc::clone(&twice));
        async move { bank.answer(request, &twice).await }
    });
    let connection = http1::Builder::new().header_read_timeout(None).serve_connection(io, service);
    tokio::select! {
        _ = connection => {}
        () = bank.shutdown.cancelled() => {}
    }
}

impl SimulatorState {
    async fn answer(
        &self,
        request: Request<Incoming>,
        twice: &AtomicBool,
    ) -> Result<Response<Body>, Disconnect> {
        let path = request.uri().path().to_owned();
        let key = path.strip_prefix("/payments/").map(str::to_owned);
        match (request.method(), path.as_str(), key) {
            (&Method::POST, "/payments", _) => self.pay(request, twice).await,
            (&Method::GET, _, Some(key)) => Ok(self.enquire(&key)),
            (&Method::GET, "/statement", _) => Ok(self.statement(request.uri().query())),
            (&Method::GET, "/dials", _) => {
                Ok(json_response(StatusCode::OK, self.behaviour().settings()))
            }
            (&Method::PUT, "/dials", _) => Ok(self.change_behaviour(request).await),
            _ => Ok(refused(StatusCode::NOT_FOUND, "no such route")),
        }
    }

    async fn pay(
        &self,
        request: Request<Incoming>,
        twice: &AtomicBool,
    ) -> Result<Response<Body>, Disconnect> {
        let instruction = match read_instruction(request).await {
            Ok(instruction) => instruction,
            Err(response) => return Ok(response),
        };
        let treatment = match self.react(&instruction) {
            Ok(treatment) => treatment,
            Err(error) => {
                tracing::error!("the data file cannot be written: {error}");
                return Ok(refused(StatusCode::INTERNAL_SERVER_ERROR, "the books cannot be kept"));
            }
        };
        let effect_key = instruction.effect_key.as_str();
        match treatment.behaviour {
            Some(behaviour) => tracing::info!(effect_key, "{effect_key}: {behaviour:?}"),
            None => tracing::info!(effect_key, "{effect_key}: sent again"),
        }
        tokio::time::sleep(treatment.after).await;
        match treatment.say {
            Reply::Nothing => Err(Disconnect),
            Reply::Conflict => {
                Ok(refused(StatusCode::CONFLICT, "the key is taken by another payment"))
            }
            Reply::Answer(status, answer) => match treatment.behaviour {
                Some(Behaviour::CutBody) => Ok(cut_response(status, &answer)),
                Some(Behaviour::AnswerTwice) => {
                    twice.store(true, Ordering::Relaxed);
                    Ok(json_response(status, &answer))
                }
                Some(_) | None => Ok(json_response(status, &answer)),
            },
        }
    }

    fn enquire(&self, key: &str) -> Response<Body> {
        let Ok(effect_key) = EffectKey::parse(key) else {
            return refused(StatusCode::BAD_REQUEST, "the key in the path is none");
        };
        let found =
            self.books().find(&effect_key).map(|entry| entry.answer(OffsetDateTime::now_utc()));
        match found {
            Some(answer) => json_response(StatusCode::OK, &answer),
            None => json_response(StatusCode::NOT_FOUND, &Answer::Unknown { effect_key }),
        }
    }

    fn statement(&self, query: Option<&str>) -> Response<Body> {
        let Some((period, after, limit)) = read_statement_query(query.unwrap_or_default()) else {
            let detail = "a statement takes from and until in RFC 3339, after, and limit";
            return refused(StatusCode::BAD_REQUEST, detail);
        };
        let now = OffsetDateTime::now_utc();
        let statement = self.books().statement(period, after, limit, now);
        json_response(StatusCode::OK, &statement)
    }

    async fn change_behaviour(&self, request: Request<Incoming>) -> Response<Body> {
        let settings: BehaviourSettings = match read_json(request).await {
            Ok(settings) => settings,
            Err(response) => return response,
        };
        let mut behaviour = self.behaviour();
        match behaviour.with(&settings) {
            Ok(changed) => {
                *behaviour = changed;
                json_response(StatusCode::OK, behaviour.settings())
            }
            Err(error) => refused(StatusCode::UNPROCESSABLE_ENTITY, &error.to_string()),
        }
    }
}

async fn read_instruction(request: Request<Incoming>) -> Result<BankInstruction, Response<Body>> {
    let Some(effect_key) = effect_key(request.headers()) else {
        return Err(refused(
            StatusCode::BAD_REQUEST,
            "the header Idempotency-Key is missing or bad",
        ));
    };
    let payment: PaymentRequest = read_json(request).await?;
    payment
        .instruction(effect_key)
        .ok_or_else(|| refused(StatusCode::UNPROCESSABLE_ENTITY, "this is not money"))
}

fn effect_key(headers: &HeaderMap) -> Option<EffectKey> {
    EffectKey::parse(headers.get(IDEMPOTENCY_KEY)?.to_str().ok()?).ok()
}

async fn read_json<T: serde::de::DeserializeOwned>(
    request: Request<Incoming>,
) -> Result<T, Response<Body>> {
    let body = Limited::new(request.into_body(), MAX_REQUEST_BYTES)
        .collect()
        .await
        .map_err(|error| refused(StatusCode::PAYLOAD_TOO_LARGE, &error.to_string()))?
        .to_bytes();
    serde_json::from_slice(&body)
        .map_err(|error| refused(StatusCode::BAD_REQUEST, &error.to_string()))
}

/// `from`, `until`, `after` and `limit`, each with what holds without it.
fn read_statement_query(query: &str) -> Option<(Period, usize, usize)> {
    let mut period = Period {
        from: OffsetDateTime::UNIX_EPOCH,
        until: time::macros::datetime!(9999-01-01 0:00 UTC),
    };
    let (mut after, mut limit) = (0, MAX_PAGE);
    let url = Url::parse(&format!("http://bank/?{query}")).ok()?;
    for (name, value) in url.query_pairs() {
        match name.as_ref() {
            "from" => period.from = OffsetDateTime::parse(&value, &Rfc3339).ok()?,
            "until" => period.until = OffsetDateTime::parse(&value, &Rfc3339).ok()?,
            "after" => after = value.parse().ok()?,
            "limit" => limit = value.parse().ok().filter(|limit| (1..=MAX_PAGE).contains(limit))?,
            _ => return None,
        }
    }
    Some((period, after, limit))
}

fn refused(status: StatusCode, detail: &str) -> Response<Body> {
    json_response(status, &json!({ "status": "refused", "detail": detail }))
}

fn json_bytes(value: &impl Serialize) -> Bytes {
    serde_json::to_vec(value).expect("it is plain data with text as keys").into()
}

fn json_response(status: StatusCode, value: &impl Serialize) -> Response<Body> {
    let body = Full::new(json_bytes(value)).map_err(|never: Infallible| match never {}).boxed();
    response(status, body)
}

/// Half an answer that announces the whole.
fn cut_response(status: StatusCode, answer: &Answer) -> Response<Body> {
    let whole = json_bytes(answer);
    let half = Frame::data(whole.slice(..whole.len() / 2));
    let end = stream::once(async {
        tokio::time::sleep(CUT_PAUSE).await;
        Err(io::Error::other("cut"))
    });
    let body = BodyExt::boxed(StreamBody::new(stream::iter([Ok(half)]).chain(end)));
    let mut response = response(status, body);
    response.headers_mut().insert(CONTENT_LENGTH, whole.len().into());
    response
}

fn response(status: StatusCode, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let json = hyper::header::HeaderValue::from_static("application/json");
    response.headers_mut().insert(hyper::header::CONTENT_TYPE, json);
    response
}
