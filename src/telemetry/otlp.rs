//! Spans by OTLP over HTTP, as the standard `OTEL_*` variables say.
//!
//! Read here: `OTEL_SDK_DISABLED`, `OTEL_TRACES_EXPORTER` (`otlp` or `none`), `OTEL_SERVICE_NAME`,
//! `OTEL_RESOURCE_ATTRIBUTES`, and whether there is an `OTEL_EXPORTER_OTLP[_TRACES]_ENDPOINT` and a
//! `_PROTOCOL` that this build has, and its `_TIMEOUT`. Read by the SDK: the endpoints and
//! `_HEADERS` themselves, `OTEL_TRACES_SAMPLER[_ARG]`, `OTEL_BSP_*`, `OTEL_SPAN_*_LIMIT`.
//!
//! gRPC is left out: every collector that takes it takes HTTP, too, and it would bring a second
//! HTTP stack with its own TLS.

use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::resource::TelemetryResourceDetector;
use opentelemetry_sdk::trace::SdkTracerProvider;
use url::{Position, Url};
use uuid::Uuid;

use super::TelemetryError;
use super::collector_client::CollectorClient;
use super::resource_attributes::FromEnvironment;

/// The variables of the collector's address, of which the one for traces alone wins.
const ENDPOINTS: [&str; 2] = ["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"];
const PROTOCOLS: [&str; 2] = ["OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"];
const TIMEOUTS: [&str; 2] = [
    opentelemetry_otlp::OTEL_EXPORTER_OTLP_TRACES_TIMEOUT,
    opentelemetry_otlp::OTEL_EXPORTER_OTLP_TIMEOUT,
];
/// The collector's address by the standard when nothing names another.
const DEFAULT_ENDPOINT: &str = "http://localhost:4318";

/// The running export.
#[derive(Debug)]
pub(super) struct Export {
    pub(super) provider: SdkTracerProvider,
    /// The collector's address, for people: without credentials.
    pub(super) collector: String,
}

/// Starts the export if the environment asks for one.
pub(super) fn from_env(service_name: &'static str) -> Result<Option<Export>, TelemetryError> {
    let Some(collector) = collector(|variable| std::env::var(variable).ok())? else {
        return Ok(None);
    };
    let timeout = timeout(|variable| std::env::var(variable).ok());
    let exporter = SpanExporter::builder()
        .with_http()
        .with_http_client(CollectorClient::new(timeout))
        .with_timeout(timeout)
        .with_protocol(Protocol::HttpBinary)
        .build()
        .map_err(|_| TelemetryError::Otlp)?;
    let provider = SdkTracerProvider::builder()
        .with_resource(resource(service_name))
        .with_batch_exporter(exporter)
        .build();
    Ok(Some(Export { provider, collector }))
}

/// The address that spans are to be sent to; `None` when they are not to be sent.
fn collector(variable: impl Fn(&str) -> Option<String>) -> Result<Option<String>, TelemetryError> {
    // The standard: an empty variable is an unset one.
    let given = |name: &str| variable(name).filter(|value| !value.trim().is_empty());
    if given("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true")) {
        return Ok(None);
    }
    let endpoint = ENDPOINTS.into_iter().find_map(given);
    let endpoint = match given("OTEL_TRACES_EXPORTER") {
        Some(exporter) if exporter == "none" => None,
        Some(exporter) if exporter == "otlp" => endpoint.or(Some(DEFAULT_ENDPOINT.to_owned())),
        Some(_) => return Err(TelemetryError::Exporter),
        None => endpoint,
    };
    let Some(endpoint) = endpoint else { return Ok(None) };
    let protocol = PROTOCOLS.into_iter().find_map(|variable| Some((variable, given(variable)?)));
    match protocol {
        Some((variable, value)) if !value.eq_ignore_ascii_case("http/protobuf") => {
            Err(TelemetryError::Protocol { variable })
        }
        _ => Ok(Some(without_credentials(&endpoint))),
    }
}

/// The time that one export may take.
fn timeout(variable: impl Fn(&str) -> Option<String>) -> Duration {
    let given = |name: &str| variable(name)?.parse().ok().map(Duration::from_millis);
    let default = opentelemetry_otlp::OTEL_EXPORTER_OTLP_TIMEOUT_DEFAULT;
    TIMEOUTS.into_iter().find_map(given).unwrap_or(default)
}

/// Describes the process; the environment's words win over ours.
fn resource(service_name: &'static str) -> Resource {
    let named = std::env::var("OTEL_SERVICE_NAME").ok().filter(|name| !name.is_empty());
    let builder = Resource::builder_empty()
        .with_attributes([
            KeyValue::new("service.name", service_name),
            KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
            KeyValue::new("service.instance.id", Uuid::now_v7().to_string()),
        ])
        .with_detector(Box::new(TelemetryResourceDetector))
        .with_detector(Box::new(FromEnvironment));
    match named {
        Some(name) => builder.with_service_name(name).build(),
        None => builder.build(),
    }
}

/// Scheme, host and port: all else may hold a password or a key, and so may a URL that does not end
/// its host where it should.
fn without_credentials(endpoint: &str) -> String {
    let shown = Url::parse(endpoint).ok().and_then(|url| {
        let is_http = ["http", "https"].contains(&url.scheme());
        let is_plain = !url[Position::AfterPort..].contains('@');
        (is_http && is_plain).then(|| {
            let host = &url[Position::BeforeHost..Position::AfterPort];
            format!("{}://{host}", url.scheme())
        })
    });
    shown.unwrap_or_else(|| "that of OTEL_EXPORTER_OTLP_ENDPOINT".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(variables: &[(&str, &str)]) -> Result<Option<String>, TelemetryError> {
        collector(|name| {
            let found = variables.iter().find(|(variable, _)| *variable == name);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn nothing_is_exported_unless_a_collector_is_named() {
        let off: [&[(&str, &str)]; 6] = [
            &[],
            &[("OTEL_EXPORTER_OTLP_ENDPOINT", "")],
            &[("OTEL_SERVICE_NAME", "surety"), ("OTEL_TRACES_SAMPLER", "always_on")],
            &[("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")],
            &[("OTEL_SDK_DISABLED", "TRUE"), ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4318")],
            &[("OTEL_TRACES_EXPORTER", "none"), ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4318")],
        ];
        for variables in off {
            assert_eq!(with(variables).expect("this is allowed"), None, "{variables:?}");
        }
    }

    #[test]
    fn what_is_said_of_traces_alone_wins() {
        let collector = with(&[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://all:4318"),
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://traces:4318/v1/traces"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
            ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/protobuf"),
        ]);
        assert_eq!(collector.expect("this is allowed").as_deref(), Some("http://traces:4318"));
    }

    #[test]
    fn the_exporter_alone_means_the_standard_place() {
        let collector = with(&[("OTEL_TRACES_EXPORTER", "otlp")]);
        assert_eq!(collector.expect("this is allowed").as_deref(), Some(DEFAULT_ENDPOINT));
    }

    #[test]
    fn a_protocol_that_this_build_lacks_is_refused_in_one_sentence() {
        let refused = with(&[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4317"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
        ]);
        assert_eq!(
            refused.expect_err("grpc is not built in").to_string(),
            "what OTEL_EXPORTER_OTLP_PROTOCOL asks for is not supported; set it to `http/protobuf` \
             and the endpoint to the collector's HTTP port, usually 4318"
        );
    }

    #[test]
    fn an_export_may_take_what_the_variables_say_in_milliseconds() {
        let with = |variables: &[(&str, &str)]| {
            timeout(|name| {
                let found = variables.iter().find(|(variable, _)| *variable == name);
                found.map(|(_, value)| (*value).to_owned())
            })
        };
        let (all, traces) = ("OTEL_EXPORTER_OTLP_TIMEOUT", "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT");
        assert_eq!(with(&[]), Duration::from_secs(10));
        assert_eq!(with(&[(all, "1500")]), Duration::from_millis(1500));
        assert_eq!(with(&[(all, "1500"), (traces, "20")]), Duration::from_millis(20));
        assert_eq!(with(&[(all, "1500"), (traces, "")]), Duration::from_millis(1500));
        assert_eq!(with(&[(all, "10s")]), Duration::from_secs(10));
    }

    #[test]
    fn credentials_are_not_shown() {
        let table = [
            ("http://c:4318", "http://c:4318"),
            ("https://user:secret@c/v1/traces?api-key=secret", "https://c"),
            ("https://c/secret", "https://c"),
            ("http://user:12/secret@c", "that of OTEL_EXPORTER_OTLP_ENDPOINT"),
            ("http://user:12?secret@c", "that of OTEL_EXPORTER_OTLP_ENDPOINT"),
            ("user:secret@c:4318", "that of OTEL_EXPORTER_OTLP_ENDPOINT"),
            ("secret", "that of OTEL_EXPORTER_OTLP_ENDPOINT"),
        ];
        for (endpoint, shown) in table {
            assert_eq!(without_credentials(endpoint), shown);
        }
    }
}
