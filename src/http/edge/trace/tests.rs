use opentelemetry::trace::{SpanContext, SpanKind, Status, TraceFlags};
use poem::http::{HeaderValue, Uri, header};
use poem::web::{Data, Path};
use poem::{EndpointExt, Route, get, handler};

use super::*;
use crate::queue::telemetry::TraceContext;
use crate::queue::telemetry::collected::{attribute, new_trace, spans_of, within};

#[handler]
fn show(Path(_id): Path<String>, request_id: Data<&RequestId>) -> String {
    assert_eq!(RequestId::current().as_ref(), Some(request_id.0));
    TraceContext::current()
        .and_then(|context| context.traceparent().map(str::to_owned))
        .unwrap_or_default()
}

#[handler]
fn fail(Path(status): Path<u16>) -> Result<()> {
    let status = StatusCode::from_u16(status).expect("the tests ask for real ones");
    Err(poem::Error::from_string("as asked for", status))
}

#[handler]
fn note() {
    note_webhook("txn_abc", &"1500.00 INR");
    note_outcome("duplicate");
}

#[handler]
async fn never() {
    std::future::pending::<()>().await;
}

fn app() -> impl Endpoint<Output = Response> {
    Route::new()
        .at("/v1/things/:id", get(show))
        .at("/v1/fail/:status", get(fail))
        .at("/v1/note", get(note))
        .at("/v1/never", get(never))
        .at("/healthz", get(show_health))
        .at("/unnamed/:id", get(show))
        // Turns each error into another response, which forgets its route: as the real application
        // does.
        .catch_all_error(|error| async move { Response::builder().status(error.status()).finish() })
        .with(Trace::new(["/v1/things/{id}", "/v1/fail/{status}", "/v1/note", "/v1/never"]))
}

#[handler]
fn show_health() {}

fn request(path: &'static str) -> Request {
    let uri = Uri::from_static(path);
    Request::builder().uri(uri).header(header::HOST, "pay.example:8443").finish()
}

fn request_in(caller: &SpanContext, path: &'static str) -> Request {
    let context = TraceContext::of(&within(caller)).expect("the caller has a trace");
    let traceparent = context.traceparent().expect("a trace has a parent").to_owned();
    let mut request = request(path);
    request
        .headers_mut()
        .insert("traceparent", HeaderValue::try_from(traceparent).expect("it is ASCII"));
    request
}

async fn answer(request: Request) -> Response {
    app().call(request).await.expect("the middleware makes a response of every error")
}

fn request_id_of(response: &Response) -> &str {
    response.header(X_REQUEST_ID).expect("every answer has an id")
}

#[tokio::test]
async fn every_answer_carries_the_callers_request_id() {
    for path in ["/v1/things/7", "/v1/fail/404", "/v1/fail/503", "/nowhere", "/healthz"] {
        let mut request = request(path);
        request.headers_mut().insert(X_REQUEST_ID, HeaderValue::from_static("mine-1"));
        assert_eq!(request_id_of(&answer(request).await), "mine-1", "{path}");
    }
}

#[tokio::test]
async fn an_id_that_is_not_sane_is_replaced() {
    let mut request = request("/v1/things/7");
    request.headers_mut().insert(X_REQUEST_ID, HeaderValue::from_static("a b\"c"));
    let response = answer(request).await;
    assert!(uuid::Uuid::parse_str(request_id_of(&response)).is_ok());
}

#[tokio::test]
async fn a_request_is_a_server_span_in_the_callers_trace() {
    let caller = new_trace(TraceFlags::SAMPLED);
    let mut request = request_in(&caller, "/v1/things/7?token=secret");
    request.headers_mut().insert(header::USER_AGENT, HeaderValue::from_static("acme/1.0"));
    let mut response = answer(request).await;
    let seen = response.take_body().into_string().await.expect("the body is a traceparent");

    let spans = spans_of(&caller);
    let [span] = spans.as_slice() else { panic!("{spans:?}") };
    assert_eq!(span.name, "GET /v1/things/{id}");
    assert_eq!(span.span_kind, SpanKind::Server);
    assert_eq!(span.parent_span_id, caller.span_id());
    assert!(span.parent_span_is_remote);
    assert!(seen.contains(&span.span_context.span_id().to_string()), "the handler ran in {seen}");
    let expected = [
        ("http.request.method", "GET"),
        ("http.route", "/v1/things/{id}"),
        ("http.response.status_code", "200"),
        ("url.path", "/v1/things/7"),
        ("url.scheme", "http"),
        ("server.address", "pay.example"),
        ("server.port", "8443"),
        ("network.protocol.version", "1.1"),
        ("user_agent.original", "acme/1.0"),
        ("app.request.id", request_id_of(&response)),
    ];
    for (name, value) in expected {
        assert_eq!(attribute(span, name).as_deref(), Some(value), "{name}");
    }
    assert_eq!(attribute(span, "error.type"), None);
    assert_eq!(span.status, Status::Unset);
    assert!(!format!("{span:?}").contains("secret"), "queries stay out of spans");
}

#[tokio::test]
async fn a_client_error_leaves_the_status_unset_and_a_server_error_sets_it() {
    for (path, code) in [("/v1/fail/404", "404"), ("/v1/fail/422", "422")] {
        let caller = new_trace(TraceFlags::SAMPLED);
        answer(request_in(&caller, path)).await;
        let span = &spans_of(&caller)[0];
        assert_eq!(span.name, "GET /v1/fail/{status}");
        assert_eq!(attribute(span, "http.response.status_code").as_deref(), Some(code));
        assert_eq!(attribute(span, "error.type"), None);
        assert_eq!(span.status, Status::Unset);
    }
    for (path, code) in [("/v1/fail/500", "500"), ("/v1/fail/503", "503")] {
        let caller = new_trace(TraceFlags::SAMPLED);
        answer(request_in(&caller, path)).await;
        let span = &spans_of(&caller)[0];
        assert_eq!(attribute(span, "error.type").as_deref(), Some(code));
        assert!(matches!(span.status, Status::Error { .. }));
    }
}

#[tokio::test]
async fn a_path_without_a_route_does_not_name_the_span() {
    let caller = new_trace(TraceFlags::SAMPLED);
    answer(request_in(&caller, "/wp-admin/7.php")).await;
    let span = &spans_of(&caller)[0];
    assert_eq!(span.name, "GET");
    assert_eq!(attribute(span, "http.route"), None);
}

#[tokio::test]
async fn a_method_of_the_callers_invention_does_not_name_the_span() {
    let caller = new_trace(TraceFlags::SAMPLED);
    let mut request = request_in(&caller, "/v1/note");
    request.set_method(Method::from_bytes(b"BREW").expect("it is a token"));
    answer(request).await;
    let span = &spans_of(&caller)[0];
    assert_eq!(span.name, "HTTP /v1/note");
    assert_eq!(attribute(span, "http.request.method").as_deref(), Some("_OTHER"));
    assert_eq!(attribute(span, "http.request.method_original").as_deref(), Some("BREW"));
}

#[tokio::test]
async fn a_route_that_is_in_no_document_has_the_name_that_poem_knows() {
    let caller = new_trace(TraceFlags::SAMPLED);
    answer(request_in(&caller, "/unnamed/7")).await;
    let span = &spans_of(&caller)[0];
    assert_eq!(span.name, "GET /unnamed/:id");
    assert_eq!(attribute(span, "http.route").as_deref(), Some("/unnamed/:id"));
}

#[tokio::test]
async fn probes_leave_no_span() {
    let caller = new_trace(TraceFlags::SAMPLED);
    answer(request_in(&caller, "/healthz")).await;
    assert_eq!(spans_of(&caller), []);
}

#[tokio::test]
async fn what_the_handler_notes_is_on_the_span() {
    let caller = new_trace(TraceFlags::SAMPLED);
    answer(request_in(&caller, "/v1/note")).await;
    let span = &spans_of(&caller)[0];
    assert_eq!(attribute(span, "app.event.id").as_deref(), Some("txn_abc"));
    assert_eq!(attribute(span, "app.event.outcome").as_deref(), Some("duplicate"));
}

#[tokio::test]
async fn a_request_that_its_client_gives_up_ends_its_span() {
    let caller = new_trace(TraceFlags::SAMPLED);
    let app = app();
    let given_up =
        futures_util::FutureExt::now_or_never(app.call(request_in(&caller, "/v1/never")));
    assert!(given_up.is_none());
    let spans = spans_of(&caller);
    assert_eq!(spans.len(), 1);
    assert_eq!(attribute(&spans[0], "error.type").as_deref(), Some("client_disconnected"));
    assert_eq!(attribute(&spans[0], "http.route").as_deref(), Some("/v1/never"));
    assert_eq!(spans[0].status, Status::Unset);
}

#[tokio::test]
async fn an_unsampled_trace_reaches_the_handler_and_leaves_no_span() {
    let caller = new_trace(TraceFlags::NOT_SAMPLED);
    let mut response = answer(request_in(&caller, "/v1/things/7")).await;
    let seen = response.take_body().into_string().await.expect("the body is a traceparent");
    assert!(seen.starts_with(&format!("00-{}-", caller.trace_id())), "{seen}");
    assert!(seen.ends_with("-00"), "{seen}");
    assert_eq!(spans_of(&caller), []);
}
