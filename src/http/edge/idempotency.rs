//! The `Idempotency-Key`: a request that moves money is done once, however often it is sent
//! (draft-ietf-httpapi-idempotency-key-header-07).
//!
//! The user, the operation and the key together name one request, whichever of his sessions or API
//! keys it comes by. The first to be taken is
//! done, and its answer stored in the same database transaction as the work; every later one gets
//! the stored answer, for 72 hours. Stored is what would come out again: successes, and refusals
//! for reasons of business such as insufficient funds. Not stored are requests that never got so
//! far (malformed, unauthorised, limited), those that are to be sent again later (a refund of a
//! transfer that is not completed yet), and those of which nobody knows the outcome (503).
//!
//! Two requests with one key at the same moment, on whatever nodes: each takes an advisory lock on
//! the key for its database transaction; whoever does not get it is told 409 at once, instead of
//! waiting for the other.

use std::collections::HashSet;
use std::time::Duration;

use bytes::Bytes;
use poem::http::HeaderMap;
use poem::{Request, RequestBody};
use poem_openapi::registry::{MetaParamIn, MetaSchema, MetaSchemaRef};
use poem_openapi::{ApiExtractor, ApiExtractorType, ExtractParamOptions};
use sha2::{Digest, Sha256};
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use crate::http::wire::problem::{Code, Problem};
use crate::ids::OrderId;
use crate::queue::deadline::within_long;

/// The header.
pub const IDEMPOTENCY_KEY: &str = "Idempotency-Key";
/// The time that an answer is kept.
pub const KEPT_FOR: Duration = Duration::from_secs(72 * 60 * 60);

const MAX_KEY_CHARS: usize = 255;
/// The header's value, bare or as a quoted string. That a key has at most 255 characters counts
/// without the quotes and what they need.
pub const KEY_PATTERN: &str = r#"^([!#-+\--~]+|"([!#-\[\]-~]|\\["\\])+")$"#;
/// The interval at which old answers are deleted, and the number that one statement deletes.
const PRUNE_EVERY: Duration = Duration::from_secs(60);
const PRUNE_BATCH: i64 = 1000;

/// The codes that an operation refuses with because it takes an [`IdempotencyKey`].
pub const REFUSALS: &[Code] = &[
    Code::IdempotencyKeyMissing,
    Code::InvalidIdempotencyKey,
    Code::IdempotencyKeyInUse,
    Code::IdempotencyKeyReused,
];

/// The key of a request, with the caller, the route and the meaning that it stands for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Claim {
    /// The user: `user:<uuid>`.
    pub caller: String,
    /// The method and the path.
    pub route: String,
    /// The key, as the client chose it.
    pub key: String,
    /// SHA-256 of the meaning of the request: two spellings of one amount are the same request.
    pub fingerprint: [u8; 32],
}

/// The answer to a request, kept to be given again.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StoredAnswer {
    /// The HTTP status.
    pub status: u16,
    /// The `Location` header, if there was one.
    pub location: Option<String>,
    /// The media type of the body.
    pub content_type: String,
    /// The body.
    pub body: Bytes,
}

/// The result of claiming a key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Claimed {
    /// Yes: nobody has done it, and nobody else can until the transaction ends.
    Fresh,
    /// No: it was done before, with this answer.
    Done(StoredAnswer),
    /// No: the key was used for another request.
    OtherRequest,
    /// No: the same request is being done at this moment.
    InFlight,
}

/// The key of a request, as an operation takes it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct IdempotencyKey(pub String);

impl<'a> ApiExtractor<'a> for IdempotencyKey {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::Parameter];
    const PARAM_IS_REQUIRED: bool = true;

    type ParamType = ();
    type ParamRawType = ();

    fn param_in() -> Option<MetaParamIn> {
        Some(MetaParamIn::Header)
    }

    fn param_schema_ref() -> Option<MetaSchemaRef> {
        Some(MetaSchemaRef::Inline(Box::new(MetaSchema {
            min_length: Some(1),
            pattern: Some(KEY_PATTERN.to_owned()),
            ..MetaSchema::new("string")
        })))
    }

    async fn from_request(
        request: &'a Request,
        _: &mut RequestBody,
        _: ExtractParamOptions<()>,
    ) -> poem::Result<Self> {
        Ok(Self(key_of(request.headers())?))
    }
}

/// The key of a request: the header's value, bare or as a quoted string (RFC 9651, 3.3.3).
///
/// # Errors
///
/// [`Code::IdempotencyKeyMissing`]; [`Code::InvalidIdempotencyKey`] when there are several, or it
/// is not 1 to 255 visible ASCII characters.
fn key_of(headers: &HeaderMap) -> Result<String, Problem> {
    let invalid = |detail: &'static str| Problem::new(Code::InvalidIdempotencyKey).detail(detail);
    let mut values = headers.get_all(IDEMPOTENCY_KEY).iter();
    let value = values.next().ok_or_else(|| Problem::new(Code::IdempotencyKeyMissing))?;
    if values.next().is_some() {
        return Err(invalid("The request has several Idempotency-Key headers."));
    }
    let text = value.to_str().map_err(|_| invalid("The key must be visible ASCII."))?.trim();
    let key = match text.strip_prefix('"') {
        Some(quoted) => unquoted(quoted).ok_or_else(|| invalid("The quoted key is malformed."))?,
        None if text.contains(['"', ',']) => {
            return Err(invalid("A key with a quote or a comma must be a quoted string."));
        }
        None => text.to_owned(),
    };
    if key.is_empty() {
        return Err(invalid("The key is empty."));
    }
    if key.len() > MAX_KEY_CHARS {
        return Err(invalid("The key has more than 255 characters."));
    }
    if !key.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(invalid("The key must be visible ASCII without spaces."));
    }
    Ok(key)
}

/// The text between the quotes; none when they do not match or something follows them.
fn unquoted(rest: &str) -> Option<String> {
    let mut key = String::with_capacity(rest.len());
    let mut chars = rest.chars();
    loop {
        match chars.next()? {
            '"' => return chars.as_str().is_empty().then_some(key),
            '\\' => key.push(chars.next().filter(|char| matches!(char, '"' | '\\'))?),
            char => key.push(char),
        }
    }
}

impl Claim {
    /// The number that is locked while the request is done. Two claims that share it by accident
    /// only make one of them be told to come again.
    fn lock(&self) -> i64 {
        let name = format!("{}\n{}\n{}", self.caller, self.route, self.key);
        let hash: [u8; 32] = Sha256::digest(name).into();
        i64::from_be_bytes(*hash.first_chunk().expect("32 bytes hold 8"))
    }
}

/// Claims these requests for the caller's transaction, and says of each whether it is to be done.
///
/// # Errors
///
/// When the database refuses.
pub async fn claim_many(
    conn: &mut PgConnection,
    claims: &[&Claim],
) -> Result<Vec<Claimed>, sqlx::Error> {
    let locks: Vec<i64> = claims.iter().map(|claim| claim.lock()).collect();
    let locked = sqlx::query_scalar!(
        r#"
        select pg_try_advisory_xact_lock(lock) as "locked!"
        from unnest($1::bigint[]) with ordinality as wanted (lock, position)
        order by position
        "#,
        &locks,
    )
    .fetch_all(&mut *conn)
    .await?;
    // Only now, in a statement of its own: what was committed by whoever had the lock before is
    // seen by a snapshot that is taken after the lock.
    let mut stored = find_stored(conn, claims).await?;
    // A session may take its own lock again; the second of two here comes too early all the same.
    let mut taken = HashSet::new();
    let decide = |(position, (claim, locked)): (usize, (&&Claim, bool))| match stored[position]
        .take()
    {
        Some((fingerprint, answer)) if fingerprint == claim.fingerprint => Claimed::Done(answer),
        Some(_) => Claimed::OtherRequest,
        None if locked && taken.insert(claim.lock()) => Claimed::Fresh,
        None => Claimed::InFlight,
    };
    Ok(claims.iter().zip(locked).enumerate().map(decide).collect())
}

type Stored = Option<(Vec<u8>, StoredAnswer)>;

async fn find_stored(
    conn: &mut PgConnection,
    claims: &[&Claim],
) -> Result<Vec<Stored>, sqlx::Error> {
    let callers: Vec<&str> = claims.iter().map(|claim| claim.caller.as_str()).collect();
    let routes: Vec<&str> = claims.iter().map(|claim| claim.route.as_str()).collect();
    let keys: Vec<&str> = claims.iter().map(|claim| claim.key.as_str()).collect();
    let rows = sqlx::query!(
        r#"
        select
          wanted.position as "position!", stored.fingerprint, stored.status, stored.location,
          stored.content_type, stored.body
        from unnest($1::text[], $2::text[], $3::text[])
          with ordinality as wanted (caller, route, key, position)
        join api.idempotency_keys as stored using (caller, route, key)
        "#,
        &callers as &[&str],
        &routes as &[&str],
        &keys as &[&str],
    )
    .fetch_all(conn)
    .await?;
    let mut stored: Vec<Stored> = claims.iter().map(|_| None).collect();
    for row in rows {
        let position = usize::try_from(row.position - 1).expect("ordinality counts from 1");
        let answer = StoredAnswer {
            status: u16::try_from(row.status).expect("statuses are stored by store_many"),
            location: row.location,
            content_type: row.content_type,
            body: row.body.into(),
        };
        stored[position] = Some((row.fingerprint, answer));
    }
    Ok(stored)
}

/// Stores what these requests were answered, with the order that was made, if one was.
///
/// # Errors
///
/// When the database refuses.
pub async fn store_many(
    conn: &mut PgConnection,
    answers: &[(&Claim, &StoredAnswer, Option<OrderId>)],
) -> Result<(), sqlx::Error> {
    if answers.is_empty() {
        return Ok(());
    }
    let callers: Vec<&str> = answers.iter().map(|it| it.0.caller.as_str()).collect();
    let routes: Vec<&str> = answers.iter().map(|it| it.0.route.as_str()).collect();
    let keys: Vec<&str> = answers.iter().map(|it| it.0.key.as_str()).collect();
    let fingerprints: Vec<&[u8]> = answers.iter().map(|it| it.0.fingerprint.as_slice()).collect();
    let statuses: Vec<i16> = answers.iter().map(|it| it.1.status.cast_signed()).collect();
    let locations: Vec<Option<&str>> = answers.iter().map(|it| it.1.location.as_deref()).collect();
    let types: Vec<&str> = answers.iter().map(|it| it.1.content_type.as_str()).collect();
    let bodies: Vec<&[u8]> = answers.iter().map(|it| it.1.body.as_ref()).collect();
    let orders: Vec<Option<Uuid>> = answers.iter().map(|it| it.2.map(|id| id.0)).collect();
    sqlx::query!(
        "
        insert into api.idempotency_keys
          (caller, route, key, fingerprint, status, location, content_type, body, order_id)
        select *
        from unnest(
          $1::text[], $2::text[], $3::text[], $4::bytea[], $5::smallint[], $6::text[], $7::text[],
          $8::bytea[], $9::uuid[]
        )
        ",
        &callers as &[&str],
        &routes as &[&str],
        &keys as &[&str],
        &fingerprints as &[&[u8]],
        &statuses,
        &locations as &[Option<&str>],
        &types as &[&str],
        &bodies as &[&[u8]],
        &orders as &[Option<Uuid>],
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Deletes answers that are older than [`KEPT_FOR`], in batches, for as long as the process serves.
/// Several processes at once share the work.
pub async fn prune_for_ever(pool: PgPool) {
    let mut clock = tokio::time::interval(PRUNE_EVERY);
    loop {
        clock.tick().await;
        loop {
            match within_long(prune(&pool)).await {
                Ok(pruned) if pruned.cast_signed() == PRUNE_BATCH => {}
                Ok(_) => break,
                Err(error) => {
                    tracing::debug!("old idempotency keys could not be pruned: {error:#}");
                    break;
                }
            }
        }
    }
}

/// Deletes up to a thousand old answers, and says how many.
///
/// # Errors
///
/// When the database refuses.
pub async fn prune(pool: &PgPool) -> Result<u64, sqlx::Error> {
    let pruned = sqlx::query!(
        "
        delete from api.idempotency_keys
        where ctid = any (array(
          select ctid from api.idempotency_keys
          where created_at < clock_timestamp() - make_interval(secs => $1)
          limit $2
          for update skip locked
        ))
        ",
        KEPT_FOR.as_secs_f64(),
        PRUNE_BATCH,
    )
    .execute(pool)
    .await?;
    Ok(pruned.rows_affected())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(values: &[&'static [u8]]) -> Result<String, Code> {
        let mut headers = HeaderMap::new();
        for value in values {
            let value = poem::http::HeaderValue::from_bytes(value).expect("a header's value");
            headers.append(IDEMPOTENCY_KEY, value);
        }
        key_of(&headers).map_err(|problem| problem.code())
    }

    #[test]
    fn a_quoted_key_is_the_same_as_a_bare_one() {
        let uuid = b"8e03978e-40d5-43e8-bc93-6894a57f9324";
        assert_eq!(key(&[uuid]), key(&[b"\"8e03978e-40d5-43e8-bc93-6894a57f9324\""]));
        assert_eq!(key(&[b"  bare  "]).as_deref(), Ok("bare"));
        assert_eq!(key(&[br#""a\"b\\c,d""#]).as_deref(), Ok(r#"a"b\c,d"#));
    }

    #[test]
    fn what_is_no_key_is_refused() {
        assert_eq!(key(&[]), Err(Code::IdempotencyKeyMissing));
        let too_long: &[u8] = &[b'k'; 256];
        let bad: [&[&'static [u8]]; 11] = [
            &[b"one", b"two"],
            &[b"one, two"],
            &[b"one,two"],
            &[b""],
            &[b"\"\""],
            &[b"\"open"],
            &[b"\"shut\" and more"],
            &[br#""\x""#],
            &[b"with space"],
            &["caf\u{e9}".as_bytes()],
            &[too_long],
        ];
        for values in bad {
            assert_eq!(key(values), Err(Code::InvalidIdempotencyKey), "{values:?}");
        }
        assert!(key(&[&[b'k'; 255]]).is_ok());
    }
}
