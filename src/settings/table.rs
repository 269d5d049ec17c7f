//! Every setting, in the order of `.env.example`. A setting that is a flag, too, has its help,
//! default and range from the flag; here is what the flag does not say. `app config env` writes the
//! example file from both, and the tests hold it against the flags: a setting that is missing here
//! cannot be built.

use super::setting::{Group, Kind, Reloaded, Setting, file_of, flag, named, number};

/// All settings.
pub(crate) fn all() -> impl Iterator<Item = &'static Setting> {
    GROUPS.iter().flat_map(|group| group.settings)
}

/// The setting of this name.
pub(crate) fn find(name: &str) -> Option<&'static Setting> {
    all().find(|setting| setting.name == name)
}

const EXPORTERS: Kind = Kind::Choice(&["otlp", "none"]);
const SAMPLERS: Kind = Kind::Choice(&[
    "always_on",
    "always_off",
    "traceidratio",
    "parentbased_always_on",
    "parentbased_always_off",
    "parentbased_traceidratio",
]);

/// All settings, in the order of the example file.
pub(crate) const GROUPS: [Group; 13] = [
    Group {
        title: "All commands",
        settings: &[
            flag("DATABASE_URL").place().note(
                "`app dev` does not read it: it runs one of its own, or uses what its flag \
                 --database-url names.",
            ),
            file_of("DATABASE_URL_FILE", "DATABASE_URL"),
            flag("APP_DATABASE_DIRECT_URL").place(),
            file_of("APP_DATABASE_DIRECT_URL_FILE", "APP_DATABASE_DIRECT_URL"),
            flag("APP_THREADS"),
            flag("APP_CONTEXT"),
            named("APP_CONTEXTS", Kind::Text, "").note(
                "The file of contexts: docs/configuration.md [surety/contexts.toml in \
                 $XDG_CONFIG_HOME, else in ~/.config]",
            ),
            named("APP_ENV_FILE", Kind::Text, "").note(
                "A file like this one, read instead of the nearest .env. Only the environment \
                 itself can name it.",
            ),
            flag("APP_LOG_FORMAT"),
            named("APP_LOG", Kind::Text, "info").reloaded(Reloaded::ServeAndWork).note(
                "Which log lines, as tracing filters: info, or warn,surety::http=debug. RUST_LOG \
                 is used when this is not set.",
            ),
            named("APP_PG_BIN", Kind::Text, "").note(
                "Folder of PostgreSQL's binaries, for `app dev` and the tests [found by itself]",
            ),
        ],
    },
    Group {
        title: "The API: app serve, app dev",
        settings: &[
            flag("APP_LISTEN").note("Beyond loopback, secrets are required."),
            flag("APP_WEBHOOK_SECRETS").secret().reloaded(Reloaded::Serve).note(
                "No default: unsigned, and only programs of this machine are answered: what names \
                 another Host or came through a proxy is refused. Make one with: echo \
                 whsec_$(openssl rand -base64 32). `app send` signs with the first. Set and empty \
                 is an error.",
            ),
            flag("APP_WEBHOOK_SECRETS_FILE").reloaded(Reloaded::Serve),
            flag("APP_WEBHOOK_SOURCES"),
            flag("APP_CONFLICT_ANSWER"),
            flag("APP_TRANSACTION_READERS"),
            flag("APP_SETTLE_DELAY"),
            flag("APP_MAX_BODY"),
            flag("APP_HEADER_TIMEOUT"),
            flag("APP_BODY_TIMEOUT"),
            flag("APP_IDLE_TIMEOUT"),
            flag("APP_MAX_CONNECTIONS"),
            flag("APP_DATABASE_CONNECTIONS"),
            flag("APP_DATABASE_READ_URL").place().note("`app serve` alone: docs/scale.md."),
            file_of("APP_DATABASE_READ_URL_FILE", "APP_DATABASE_READ_URL"),
            flag("APP_READ_MAX_AGE"),
            flag("APP_COMMITTERS").note("Each has a connection of its own."),
            flag("APP_LIMIT_BALANCE").reloaded(Reloaded::Serve),
            flag("APP_LIMIT_TRANSACTION_LIST").reloaded(Reloaded::Serve),
            flag("APP_LIMIT_API").reloaded(Reloaded::Serve),
            flag("APP_LIMIT_LOGIN_ACCOUNT").reloaded(Reloaded::Serve),
            flag("APP_LIMIT_LOGIN_ADDRESS").reloaded(Reloaded::Serve),
            flag("APP_LIMIT_INBOUND_WEBHOOKS").reloaded(Reloaded::Serve),
            flag("APP_TRUSTED_PROXIES").note("Such as 10.0.0.0/8. [default: none]"),
            flag("APP_CORS_ORIGINS"),
            flag("APP_DRAIN_DELAY"),
            flag("APP_SERVE_GRACE"),
            flag("APP_ADMIN_LISTEN"),
        ],
    },
    Group { title: "app serve, app work", settings: &[flag("APP_SAMPLE_INTERVAL")] },
    Group {
        title: "app serve, app work, app dev, app endpoints, app rotate-job-keys",
        settings: &[
            flag("APP_JOB_KEYS").secret().note(
                "No default: secrets are stored in plain, and no kind of this program is sealed. \
                 Make one with: echo 2026-11:$(openssl rand -base64 32). Then 'app \
                 rotate-job-keys' seals what is in plain or has an older one. Keep them apart \
                 from backups of the database: what they sealed cannot be read without them.",
            ),
            flag("APP_JOB_KEYS_FILE"),
        ],
    },
    Group { title: "app work, app relay, app bank", settings: &[flag("APP_PROBE_LISTEN")] },
    Group {
        title: "The workers: app work, app dev",
        settings: &[
            flag("APP_WORKER_CONCURRENCY"),
            flag("APP_WORKER_LEASE"),
            flag("APP_WORKER_HEARTBEAT"),
            flag("APP_WORKER_POLL"),
            flag("APP_WORKER_GRACE"),
            flag("APP_WORKER_LEDGER_BATCHES"),
            flag("APP_WORKER_QUEUES").note("Separated by commas."),
            flag("APP_WORKER_VERSION").note("[default: that of the program]"),
            flag("APP_RETENTION_COMPLETED_DAYS"),
            flag("APP_RETENTION_DISCARDED_DAYS").note("A job is kept until it was decided over."),
            flag("APP_RETENTION_DELIVERIES_DAYS").note("At least 7."),
            flag("APP_RETENTION_MAILS_DAYS").note("At least 7."),
            flag("APP_RETENTION_OPERATIONS_DAYS").note("At least 7."),
            flag("APP_RETENTION_EVENTS_DAYS").note("At least 31."),
            flag("APP_RETENTION_BODIES_DAYS").note("At least 31. [default: for good]"),
            flag("APP_RETENTION_BANK_LOG_DAYS").note("At least 31. [default: for good]"),
            flag("APP_AUDIT_EXPORT").place(),
            flag("APP_AUDIT_EXPORT_INTERVAL"),
        ],
    },
    Group {
        title: "The bank, as workers call it",
        settings: &[
            flag("APP_BANK_URL").place().note("As https://bank.example/api."),
            flag("APP_BANK_CONNECT_TIMEOUT"),
            flag("APP_BANK_TIMEOUT"),
            flag("APP_BANK_MAX_ANSWER"),
            flag("APP_BANK_RETRY_DELAY"),
            flag("APP_BANK_LOST_AFTER"),
            flag("APP_BANK_BREAKER_THRESHOLD"),
            flag("APP_BANK_BREAKER_OPEN"),
        ],
    },
    Group {
        title: "Mail, as workers send it",
        settings: &[
            flag("APP_SMTP_URL").place().note(
                "The port is 465, or 587 with STARTTLS; for a relay on this machine \
                 smtp://127.0.0.1?tls=none (25). `app dev` keeps mails as files.",
            ),
            file_of("APP_SMTP_URL_FILE", "APP_SMTP_URL"),
            flag("APP_MAIL_FROM").note("Its domain ends every Message-ID."),
            flag("APP_SMTP_TIMEOUT")
                .note("A server that says too late that it has taken a mail gets it again."),
            flag("APP_SMTP_CONNECTIONS"),
        ],
    },
    Group {
        title: "Webhooks that we send",
        settings: &[
            flag("APP_WEBHOOK_RETRIES").note("After the last it is given up."),
            flag("APP_WEBHOOK_ALLOW_PRIVATE").note("`app dev` sends there."),
        ],
    },
    Group {
        title: "The bank simulator: app bank",
        settings: &[
            flag("APP_BANK_SIMULATOR_LISTEN"),
            flag("APP_BANK_SIMULATOR_SUCCESS_RATE").note("`app bank --help` has the other rates."),
            flag("APP_BANK_SIMULATOR_LATENCY"),
            flag("APP_BANK_SIMULATOR_SEED"),
            flag("APP_BANK_SIMULATOR_DATA"),
        ],
    },
    Group {
        title: "The relay of events to a broker: app relay",
        settings: &[
            flag("APP_RELAY_TO").place().note("No default."),
            file_of("APP_RELAY_TO_FILE", "APP_RELAY_TO"),
            flag("APP_RELAY_NAME"),
            flag("APP_RELAY_SOURCE"),
            flag("APP_RELAY_SUBJECT"),
            flag("APP_RELAY_CREATE_STREAM").note("[default: none]"),
            flag("APP_RELAY_EXCHANGE"),
            flag("APP_RELAY_ROUTING_KEY"),
            flag("APP_RELAY_UNROUTABLE"),
            flag("APP_RELAY_BATCH"),
            flag("APP_RELAY_POLL"),
            flag("APP_RELAY_LEASE"),
        ],
    },
    Group {
        title: "app dev, and tools",
        settings: &[
            flag("APP_DATA_DIR"),
            flag("APP_DEV_WORKERS"),
            flag("APP_SEND_URL").place().note("Of `app send`."),
            flag("APP_SEND_SIGNING_KEY").secret().note("Of `app send`. [default: none]"),
            flag("APP_LISTEN_SECRET").secret().note("Of `app listen`. [default: none]"),
            flag("APP_LISTEN_SECRET_FILE").note("Of `app listen`."),
        ],
    },
    Group {
        title: "Telemetry: the standard variables of OpenTelemetry",
        settings: &[
            named("OTEL_EXPORTER_OTLP_ENDPOINT", Kind::Text, "").place().note(
                "A collector by OTLP, such as http://127.0.0.1:4318. No default: no spans leave \
                 the process. Each OTEL_EXPORTER_OTLP_… here exists for one signal alone, too: \
                 OTEL_EXPORTER_OTLP_TRACES_…, …_LOGS_…, …_METRICS_….",
            ),
            named("OTEL_EXPORTER_OTLP_PROTOCOL", Kind::Text, "").note(
                "http/protobuf or grpc; the port of the latter is usually 4317 [http/protobuf]",
            ),
            named("OTEL_EXPORTER_OTLP_HEADERS", Kind::Text, "").secret().note(
                "Headers of each export, as name=value,name=value; values percent-encoded [none]",
            ),
            named("OTEL_EXPORTER_OTLP_COMPRESSION", Kind::Text, "").note("gzip or none [none]"),
            number("OTEL_EXPORTER_OTLP_TIMEOUT")
                .note("The time that an export may take, in milliseconds [10000]"),
            named("OTEL_EXPORTER_OTLP_CERTIFICATE", Kind::Text, "").note(
                "A file of the authorities (PEM) that the collector's certificate may be of \
                 [those of the system]",
            ),
            named("OTEL_TRACES_EXPORTER", EXPORTERS, "")
                .note("otlp or none [otlp where an endpoint is set]"),
            named("OTEL_LOGS_EXPORTER", EXPORTERS, "").note("The same for log lines [none]"),
            named("OTEL_METRICS_EXPORTER", EXPORTERS, "").note("The same for figures [none]"),
            number("OTEL_METRIC_EXPORT_INTERVAL")
                .note("The time between two exports of figures, in milliseconds [60000]"),
            named("OTEL_TRACES_SAMPLER", SAMPLERS, "")
                .note("Which traces are kept [parentbased_always_on]"),
            named("OTEL_TRACES_SAMPLER_ARG", Kind::Share, "")
                .note("The share of them for the samplers …traceidratio [1]"),
            number("OTEL_BSP_SCHEDULE_DELAY")
                .note("Batches of spans: milliseconds between two [5000]"),
            number("OTEL_BSP_MAX_EXPORT_BATCH_SIZE").note("The most spans in one [512]"),
            number("OTEL_BSP_MAX_QUEUE_SIZE").note("The most spans that wait [2048]"),
            number("OTEL_BLRP_SCHEDULE_DELAY")
                .note("Batches of log lines: milliseconds between two [1000]"),
            number("OTEL_BLRP_MAX_EXPORT_BATCH_SIZE").note("The most lines in one [512]"),
            number("OTEL_BLRP_MAX_QUEUE_SIZE").note("The most lines that wait [2048]"),
            number("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT").note("The most attributes of a span [128]"),
            number("OTEL_SPAN_EVENT_COUNT_LIMIT").note("The most events of a span [128]"),
            number("OTEL_SPAN_LINK_COUNT_LIMIT").note("The most links of a span [128]"),
            named("OTEL_RESOURCE_ATTRIBUTES", Kind::Text, "")
                .secret()
                .note("More that is said of the process, as name=value,name=value [none]"),
            named("OTEL_SDK_DISABLED", Kind::Switch, "")
                .note("true: nothing is exported, whatever else is set [false]"),
            named("OTEL_SERVICE_NAME", Kind::Text, "").note(
                "Name of the process in traces [surety-serve, surety-work, surety-dev, surety-cli]",
            ),
        ],
    },
];

/// Signals that settings of the exporter exist for.
const SIGNALS: [&str; 3] = ["TRACES", "LOGS", "METRICS"];
const EXPORTER: &str = "OTEL_EXPORTER_OTLP_";

/// The setting that a variable of one signal is a special case of: of
/// `OTEL_EXPORTER_OTLP_TRACES_HEADERS`, `OTEL_EXPORTER_OTLP_HEADERS`.
pub(crate) fn general(name: &str) -> Option<&'static Setting> {
    let rest = name.strip_prefix(EXPORTER)?;
    let setting = SIGNALS.iter().find_map(|signal| rest.strip_prefix(signal)?.strip_prefix('_'))?;
    find(&format!("{EXPORTER}{setting}"))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_setting_is_named_twice() {
        let names: BTreeSet<_> = all().map(|setting| setting.name).collect();
        assert_eq!(names.len(), all().count());
    }

    #[test]
    fn what_is_for_one_signal_is_known_by_the_setting_of_all() {
        let general = |name| general(name).map(|setting| setting.name);
        let headers = general("OTEL_EXPORTER_OTLP_TRACES_HEADERS");
        assert_eq!(headers, Some("OTEL_EXPORTER_OTLP_HEADERS"));
        assert_eq!(general("OTEL_EXPORTER_OTLP_HEADERS"), None);
        assert_eq!(general("OTEL_EXPORTER_OTLP_TRACES_NOTHING"), None);
    }
}
