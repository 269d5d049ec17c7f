//! Spans, logs and figures by OTLP over HTTP or gRPC, as the standard `OTEL_*` variables say.
//!
//! Read here, of each [`Signal`]: `OTEL_SDK_DISABLED`, `OTEL_{TRACES,LOGS,METRICS}_EXPORTER`
//! (`otlp` or `none`), `OTEL_SERVICE_NAME`, `OTEL_RESOURCE_ATTRIBUTES`, and of
//! `OTEL_EXPORTER_OTLP[_{signal}]_*`: `ENDPOINT`, `PROTOCOL`, `TIMEOUT`, `CERTIFICATE`,
//! `COMPRESSION`. Read by the SDK for spans and logs: the endpoints and `HEADERS` themselves,
//! `OTEL_TRACES_SAMPLER[_ARG]`, `OTEL_BSP_*`, `OTEL_BLRP_*`, `OTEL_SPAN_*_LIMIT`. Spans are
//! exported where an endpoint is named; logs and figures only where their exporter is `otlp`.
//!
//! gRPC is the feature `otlp-grpc` of this crate, and goes the same way as HTTP up to the last
//! step: `grpc`. `OTEL_EXPORTER_OTLP_INSECURE` is not read: the scheme of the endpoint says it.

use std::path::PathBuf;
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry_otlp::{LogExporter, SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::logs::SdkLoggerProvider;
use opentelemetry_sdk::resource::TelemetryResourceDetector;
use opentelemetry_sdk::trace::SdkTracerProvider;
use url::{Position, Url};
use uuid::Uuid;

use super::TelemetryError;
use super::collector_client::CollectorClient;
use super::resource_attributes::FromEnvironment;

/// A sort of telemetry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Signal {
    Traces,
    Logs,
    Metrics,
}

impl Signal {
    fn word(self) -> &'static str {
        match self {
            Self::Traces => "TRACES",
            Self::Logs => "LOGS",
            Self::Metrics => "METRICS",
        }
    }

    /// The method of gRPC that takes it.
    #[cfg(feature = "otlp-grpc")]
    fn method(self) -> &'static str {
        match self {
            Self::Traces => "opentelemetry.proto.collector.trace.v1.TraceService/Export",
            Self::Logs => "opentelemetry.proto.collector.logs.v1.LogsService/Export",
            Self::Metrics => "opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
        }
    }

    /// The variable that names its exporter.
    fn exporter(self) -> String {
        format!("OTEL_{}_EXPORTER", self.word())
    }

    /// The variables of a setting, of which the one for this signal alone wins.
    fn variables(self, setting: &str) -> [String; 2] {
        [
            format!("OTEL_EXPORTER_OTLP_{}_{setting}", self.word()),
            format!("OTEL_EXPORTER_OTLP_{setting}"),
        ]
    }
}

/// A protocol that carries OTLP.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Protocol {
    /// `http/protobuf`.
    Http,
    /// `grpc`.
    #[cfg(feature = "otlp-grpc")]
    Grpc,
}

impl Protocol {
    /// The protocol of this name; none for one that this build lacks.
    fn of(name: &str) -> Option<Self> {
        match name.trim().to_ascii_lowercase().as_str() {
            "http/protobuf" => Some(Self::Http),
            #[cfg(feature = "otlp-grpc")]
            "grpc" => Some(Self::Grpc),
            _ => None,
        }
    }

    /// The collector's address by the standard when nothing names another.
    fn default_endpoint(self) -> &'static str {
        match self {
            Self::Http => "http://localhost:4318",
            #[cfg(feature = "otlp-grpc")]
            Self::Grpc => "http://localhost:4317",
        }
    }

    /// The URL that a signal is sent to at this endpoint.
    fn url(self, signal: Signal, endpoint: &str, is_of_signal: bool) -> String {
        let base = endpoint.trim_end_matches('/');
        match self {
            Self::Http if is_of_signal => endpoint.to_owned(),
            Self::Http => format!("{base}/v1/{}", signal.word().to_lowercase()),
            #[cfg(feature = "otlp-grpc")]
            Self::Grpc => format!("{base}/{}", signal.method()),
        }
    }
}

/// The running export.
#[derive(Debug)]
pub(super) struct Export {
    pub(super) provider: SdkTracerProvider,
    /// The collector's address, for people: without credentials.
    pub(super) collector: String,
}

/// Starts the export of spans if the environment asks for one.
pub(super) fn from_env(resource: Resource) -> Result<Option<Export>, TelemetryError> {
    let Some(way) = Way::of(Signal::Traces, environment)? else { return Ok(None) };
    let exporter = way.lead(SpanExporter::builder().with_http())?;
    let exporter = exporter.build().map_err(|_| TelemetryError::Otlp)?;
    let provider =
        SdkTracerProvider::builder().with_resource(resource).with_batch_exporter(exporter).build();
    Ok(Some(Export { provider, collector: way.collector }))
}

/// Starts the export of log lines if the environment asks for one.
pub(super) fn logs_from_env(
    resource: Resource,
) -> Result<Option<SdkLoggerProvider>, TelemetryError> {
    let Some(way) = Way::of(Signal::Logs, environment)? else { return Ok(None) };
    let exporter = way.lead(LogExporter::builder().with_http())?;
    let exporter = exporter.build().map_err(|_| TelemetryError::Otlp)?;
    let provider = SdkLoggerProvider::builder().with_resource(resource);
    Ok(Some(provider.with_batch_exporter(exporter).build()))
}

/// A variable of this process.
pub(super) fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// The way of a signal to its collector.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Way {
    /// The protocol.
    pub(super) protocol: Protocol,
    /// The URL that bodies are posted to, or the method that is called with them.
    pub(super) url: String,
    /// The collector's address, for people: without credentials.
    pub(super) collector: String,
    /// The time that one export may take.
    pub(super) timeout: Duration,
    /// Headers as they are set: `name=value`, percent-encoded, separated by commas.
    pub(super) headers: String,
    /// Bodies are compressed.
    pub(super) gzip: bool,
    /// A file of certificates, instead of those that the system trusts.
    certificate: Option<PathBuf>,
}

impl Way {
    /// The same builder, of an exporter that goes this way.
    fn lead<B: WithExportConfig + WithHttpConfig>(&self, builder: B) -> Result<B, TelemetryError> {
        Ok(builder
            .with_http_client(self.client()?)
            .with_timeout(self.timeout)
            // Also for gRPC, which the client makes of it.
            .with_protocol(opentelemetry_otlp::Protocol::HttpBinary))
    }

    /// The way that the variables describe; `None` when the signal is not to be sent.
    pub(super) fn of(
        signal: Signal,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Option<Self>, TelemetryError> {
        // The standard: an empty variable is an unset one.
        let given = |name: &str| variable(name).filter(|value| !value.trim().is_empty());
        let first = |setting: &str| {
            let named = signal.variables(setting).into_iter();
            named.filter_map(|name| Some((given(&name)?, name))).next()
        };
        if given("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true")) {
            return Ok(None);
        }
        let protocol = match first("PROTOCOL") {
            Some((name, variable)) => Protocol::of(&name).ok_or(variable),
            None => Ok(Protocol::Http),
        };
        let endpoint = first("ENDPOINT");
        let default = || {
            let endpoint = protocol.as_ref().map_or("", |it| it.default_endpoint()).to_owned();
            (endpoint, signal.variables("ENDPOINT")[1].clone())
        };
        let endpoint = match given(&signal.exporter()).as_deref() {
            Some("none") => None,
            Some("otlp") => endpoint.or_else(|| Some(default())),
            Some(_) => return Err(TelemetryError::Exporter { variable: signal.exporter() }),
            None if signal == Signal::Traces => endpoint,
            None => None,
        };
        let Some((endpoint, named_by)) = endpoint else { return Ok(None) };
        let protocol = protocol.map_err(|variable| TelemetryError::Protocol { variable })?;
        let gzip = match first("COMPRESSION") {
            Some((value, _)) if value.eq_ignore_ascii_case("gzip") => true,
            Some((value, _)) if value.eq_ignore_ascii_case("none") => false,
            Some((_, variable)) => return Err(TelemetryError::Compression { variable }),
            None => false,
        };
        let is_of_signal = named_by == signal.variables("ENDPOINT")[0];
        let timeout = signal.variables("TIMEOUT").iter().find_map(|name| millis(&given(name)?));
        Ok(Some(Self {
            protocol,
            url: protocol.url(signal, &endpoint, is_of_signal),
            collector: without_credentials(&endpoint),
            timeout: timeout.unwrap_or(opentelemetry_otlp::OTEL_EXPORTER_OTLP_TIMEOUT_DEFAULT),
            headers: first("HEADERS").map(|(headers, _)| headers).unwrap_or_default(),
            gzip,
            certificate: first("CERTIFICATE").map(|(file, _)| file.into()),
        }))
    }

    /// A client that takes this way.
    pub(super) fn client(&self) -> Result<CollectorClient, TelemetryError> {
        let pem = self.certificate.as_ref().map(std::fs::read).transpose();
        CollectorClient::new(self, pem.map_err(|_| TelemetryError::Certificate)?.as_deref())
    }
}

fn millis(text: &str) -> Option<Duration> {
    text.trim().parse().ok().map(Duration::from_millis)
}

/// Describes the process; the environment's words win over ours.
pub(super) fn resource(service_name: &'static str) -> Resource {
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

    fn way(signal: Signal, variables: &[(&str, &str)]) -> Result<Option<Way>, TelemetryError> {
        Way::of(signal, |name| {
            let found = variables.iter().find(|(variable, _)| *variable == name);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    fn with(variables: &[(&str, &str)]) -> Result<Option<String>, TelemetryError> {
        Ok(way(Signal::Traces, variables)?.map(|way| way.collector))
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
        assert_eq!(collector.expect("this is allowed").as_deref(), Some("http://localhost:4318"));
    }

    #[test]
    fn a_protocol_that_this_build_lacks_is_refused_in_one_sentence() {
        let lacking = if cfg!(feature = "otlp-grpc") { "http/json" } else { "grpc" };
        let refused = with(&[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4317"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", lacking),
        ]);
        let refused = refused.expect_err("it is not built in").to_string();
        let beginning = "what OTEL_EXPORTER_OTLP_PROTOCOL asks for is not supported";
        assert!(refused.starts_with(beginning), "{refused}");
        assert!(refused.contains("`http/protobuf`"), "{refused}");
        let names_feature = refused.contains("the feature `otlp-grpc`");
        assert_eq!(names_feature, !cfg!(feature = "otlp-grpc"), "{refused}");
    }

    #[test]
    #[cfg(feature = "otlp-grpc")]
    fn grpc_has_an_endpoint_and_methods_of_its_own() {
        let grpc = ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc");
        let of = |variables: &[(&str, &str)]| {
            let way = way(Signal::Traces, variables).expect("it is allowed");
            way.expect("it is exported").url
        };
        let method = "opentelemetry.proto.collector.trace.v1.TraceService/Export";
        let exporter = ("OTEL_TRACES_EXPORTER", "otlp");
        assert_eq!(of(&[grpc, exporter]), format!("http://localhost:4317/{method}"));
        for endpoint in ["OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"] {
            assert_eq!(of(&[grpc, (endpoint, "https://c:1/")]), format!("https://c:1/{method}"));
        }
    }

    #[test]
    fn an_export_may_take_what_the_variables_say_in_milliseconds() {
        let with = |variables: &[(&str, &str)]| {
            let mut all = vec![("OTEL_TRACES_EXPORTER", "otlp")];
            all.extend(variables);
            way(Signal::Traces, &all).expect("it is allowed").expect("it is exported").timeout
        };
        let (all, traces) = ("OTEL_EXPORTER_OTLP_TIMEOUT", "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT");
        assert_eq!(with(&[]), Duration::from_secs(10));
        assert_eq!(with(&[(all, "1500")]), Duration::from_millis(1500));
        assert_eq!(with(&[(all, "1500"), (traces, "20")]), Duration::from_millis(20));
        assert_eq!(with(&[(all, "1500"), (traces, "")]), Duration::from_millis(1500));
        assert_eq!(with(&[(all, "10s")]), Duration::from_secs(10));
    }

    #[test]
    fn figures_and_logs_are_exported_only_where_their_exporter_says_so() {
        let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4318/");
        for (signal, exporter, url) in [
            (Signal::Metrics, "OTEL_METRICS_EXPORTER", "http://c:4318/v1/metrics"),
            (Signal::Logs, "OTEL_LOGS_EXPORTER", "http://c:4318/v1/logs"),
        ] {
            assert_eq!(way(signal, &[endpoint]).expect("it is allowed"), None);
            let way = way(signal, &[endpoint, (exporter, "otlp")]).expect("it is allowed");
            assert_eq!(way.expect("it is exported").url, url);
        }
        let own = ("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "http://m/in");
        let exporter = ("OTEL_METRICS_EXPORTER", "otlp");
        let found = way(Signal::Metrics, &[endpoint, own, exporter]).expect("it is allowed");
        assert_eq!(found.expect("it is exported").url, "http://m/in");
    }

    #[test]
    fn a_compression_that_this_build_lacks_is_refused() {
        let of = |value| {
            let variables =
                [("OTEL_TRACES_EXPORTER", "otlp"), ("OTEL_EXPORTER_OTLP_COMPRESSION", value)];
            way(Signal::Traces, &variables).map(|way| way.expect("it is exported").gzip)
        };
        assert!(of("gzip").expect("it is known"));
        assert!(!of("none").expect("it is known"));
        let refused = of("zstd").expect_err("it is unknown").to_string();
        assert!(refused.contains("OTEL_EXPORTER_OTLP_COMPRESSION"), "{refused}");
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
