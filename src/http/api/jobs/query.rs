//! The parameters of the list of jobs: the filter language of jobs, as one extractor.

use poem::{Request, RequestBody};
use poem_openapi::param::Query;
use poem_openapi::registry::{MetaParamIn, MetaSchema, MetaSchemaRef, Registry};
use poem_openapi::types::{ParseFromParameter, Type};
use poem_openapi::{ApiExtractor, ApiExtractorType, ExtractParamOptions};

use super::bodies::JobStateName;
use crate::http::wire::lists::{DEFAULT_LIMIT, MAX_LIMIT, refuse_other_parameters};
use crate::http::wire::problem::Problem;
use crate::operations::jobs::selection::{InvalidValue, Moment, parse_args_match};
use crate::operations::jobs::{InvalidFingerprint, JobId, JobSelection};

/// The most characters of a value that is compared with names or errors.
const MAX_CHARS: usize = 1_000;

/// The jobs that are wanted, and the page of their list.
///
/// To poem-openapi it is one parameter that is an object; the document's finishing touch
/// ([`crate::http::api::openapi`]) shows each of its properties as a parameter of its own.
#[derive(Clone, Debug)]
pub(super) struct JobQuery {
    /// The filter.
    pub selection: JobSelection,
    /// The number of jobs on a page.
    pub limit: u16,
    /// The `next_cursor` of the page before.
    pub cursor: Option<String>,
}

/// The parameters that may appear several times.
const REPEATABLE: [&str; 7] = ["state", "kind", "queue", "tag", "key", "where", "id"];

/// The others.
const SINGLE: [&str; 11] = [
    "error",
    "attempt_gte",
    "since",
    "until",
    "failed_since",
    "failed_until",
    "decided",
    "fingerprint",
    "transaction_id",
    "limit",
    "cursor",
];

impl<'a> ApiExtractor<'a> for JobQuery {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::Parameter];

    type ParamType = ();
    type ParamRawType = ();

    fn register(registry: &mut Registry) {
        JobStateName::register(registry);
    }

    fn param_in() -> Option<MetaParamIn> {
        Some(MetaParamIn::Query)
    }

    fn param_schema_ref() -> Option<MetaSchemaRef> {
        let properties = described().into_iter().map(|(name, schema, description)| {
            let description = MetaSchema { description: Some(description), ..MetaSchema::ANY };
            (name, schema.merge(description))
        });
        Some(MetaSchemaRef::Inline(Box::new(MetaSchema {
            properties: properties.collect(),
            ..MetaSchema::new("object")
        })))
    }

    async fn from_request(
        request: &'a Request,
        _: &mut RequestBody,
        _: ExtractParamOptions<()>,
    ) -> poem::Result<Self> {
        refuse_other_parameters(request.uri(), &SINGLE, &REPEATABLE)?;
        let limit = parameter(request, "limit").await?.unwrap_or(DEFAULT_LIMIT);
        if !(1..=MAX_LIMIT).contains(&limit) {
            let reason = format!("must be from 1 to {MAX_LIMIT}");
            return Err(Problem::parameter("limit", &reason).into());
        }
        let cursor = parameter(request, "cursor").await?;
        Ok(Self { selection: selection(request).await?, limit, cursor })
    }
}

/// The parameters as the document has them.
fn described() -> Vec<(&'static str, MetaSchemaRef, &'static str)> {
    let text = || pattern(r"^[^\x00]+$", MAX_CHARS);
    let several = || array(text());
    let moment = String::schema_ref;
    let bounded = |schema: MetaSchemaRef, minimum: f64, maximum: Option<f64>| {
        schema.merge(MetaSchema { minimum: Some(minimum), maximum, ..MetaSchema::ANY })
    };
    vec![
        ("state", Vec::<JobStateName>::schema_ref(), "Only jobs in one of these states."),
        ("kind", several(), "Only jobs of one of these kinds."),
        ("queue", several(), "Only jobs in one of these queues."),
        ("tag", several(), "Only jobs with all of these tags."),
        ("key", several(), "Only jobs with one of these keys."),
        ("error", text(), "Only jobs with this text in their last error, whatever its case."),
        (
            "attempt_gte",
            bounded(i16::schema_ref(), 1.0, None),
            "Only jobs that have begun at least this many attempts.",
        ),
        (
            "since",
            moment(),
            "Only jobs enqueued since this time: RFC 3339, or a time ago, such as `2h`.",
        ),
        ("until", moment(), "Only jobs enqueued before this time, written alike."),
        (
            "failed_since",
            moment(),
            "Only jobs that were discarded, or had their last attempt fail, since this time.",
        ),
        ("failed_until", moment(), "Only those that were or had before this time."),
        (
            "decided",
            bool::schema_ref(),
            "Only discarded jobs that somebody has decided over, or with `false` that nobody has.",
        ),
        (
            "fingerprint",
            pattern("^[0-9a-f]{16}$", 16),
            "Only jobs whose last failure has this fingerprint.",
        ),
        (
            "transaction_id",
            text(),
            "Only jobs about the transaction with this id of the provider's.",
        ),
        (
            "where",
            array(pattern(r"^[^\x00=]+=[^\x00]*$", MAX_CHARS)),
            "Only jobs with these values in fields at the top of their arguments: `FIELD=VALUE`.",
        ),
        ("id", Vec::<i64>::schema_ref(), "Only jobs with one of these numbers."),
        (
            "limit",
            bounded(u16::schema_ref(), 1.0, Some(f64::from(MAX_LIMIT))),
            "The most items on a page; 50 when absent.",
        ),
        ("cursor", String::schema_ref(), "The `next_cursor` of the page before."),
    ]
}

/// Text of 1 to `max_chars` characters that keeps to a pattern.
fn pattern(pattern: &str, max_chars: usize) -> MetaSchemaRef {
    MetaSchemaRef::Inline(Box::new(MetaSchema {
        min_length: Some(1),
        max_length: Some(max_chars),
        pattern: Some(pattern.to_owned()),
        ..MetaSchema::new("string")
    }))
}

fn array(items: MetaSchemaRef) -> MetaSchemaRef {
    let items = Some(Box::new(items));
    MetaSchemaRef::Inline(Box::new(MetaSchema { items, ..MetaSchema::new("array") }))
}

async fn selection(request: &Request) -> poem::Result<JobSelection> {
    let states: Vec<JobStateName> = several(request, "state").await?;
    let ids: Option<Vec<i64>> = parameter(request, "id").await?;
    let mut args = Vec::new();
    for text in texts(request, "where").await? {
        args.push(parse_args_match(&text).map_err(|invalid| refuse("where", invalid))?);
    }
    let fingerprint = one_text(request, "fingerprint").await?.map(|text| text.parse()).transpose();
    let fingerprint = fingerprint.map_err(|_: InvalidFingerprint| {
        Problem::parameter("fingerprint", "It is not 16 hexadecimal digits in lower case.")
    })?;
    Ok(JobSelection {
        states: states.into_iter().map(Into::into).collect(),
        kinds: texts(request, "kind").await?,
        queues: texts(request, "queue").await?,
        tags: texts(request, "tag").await?,
        keys: texts(request, "key").await?,
        error: one_text(request, "error").await?,
        min_attempt: match parameter(request, "attempt_gte").await? {
            Some(..1) => return Err(Problem::parameter("attempt_gte", "must be at least 1").into()),
            attempts => attempts,
        },
        since: moment(request, "since").await?,
        until: moment(request, "until").await?,
        failed_since: moment(request, "failed_since").await?,
        failed_until: moment(request, "failed_until").await?,
        decided: parameter(request, "decided").await?,
        args,
        fingerprint,
        transaction: one_text(request, "transaction_id").await?,
        ids: ids.map(|ids| ids.into_iter().map(JobId).collect()),
    })
}

fn refuse(name: &str, invalid: InvalidValue) -> Problem {
    Problem::parameter(name, &format!("It is {invalid}."))
}

async fn moment(request: &Request, name: &'static str) -> poem::Result<Option<Moment>> {
    let Some(text) = one_text(request, name).await? else { return Ok(None) };
    let moment = text.parse().map_err(|invalid| refuse(name, invalid))?;
    Ok(Some(moment))
}

async fn one_text(request: &Request, name: &'static str) -> poem::Result<Option<String>> {
    let Some(text) = parameter::<String>(request, name).await? else { return Ok(None) };
    check(name, &text)?;
    Ok(Some(text))
}

async fn texts(request: &Request, name: &'static str) -> poem::Result<Vec<String>> {
    let texts: Vec<String> = several(request, name).await?;
    for text in &texts {
        check(name, text)?;
    }
    Ok(texts)
}

fn check(name: &str, text: &str) -> Result<(), Problem> {
    if text.contains('\0') {
        return Err(Problem::parameter(name, "Nothing of a job has U+0000."));
    }
    match text.is_empty() || text.chars().count() > MAX_CHARS {
        true => {
            let reason = format!("It must have 1 to {MAX_CHARS} characters.");
            Err(Problem::parameter(name, &reason))
        }
        false => Ok(()),
    }
}

async fn several<T>(request: &Request, name: &'static str) -> poem::Result<Vec<T>>
where
    Vec<T>: ParseFromParameter,
{
    Ok(parameter(request, name).await?.unwrap_or_default())
}

/// A parameter, read as poem-openapi reads one that stands alone.
async fn parameter<T: ParseFromParameter>(
    request: &Request,
    name: &'static str,
) -> poem::Result<Option<T>> {
    let options = ExtractParamOptions { name, explode: true, ..ExtractParamOptions::default() };
    let mut no_body = RequestBody::default();
    Ok(Query::<Option<T>>::from_request(request, &mut no_body, options).await?.0)
}
