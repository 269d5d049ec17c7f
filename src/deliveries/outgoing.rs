//! Reading for an attempt, and recording it. Both are done for many deliveries by a few statements,
//! whatever their number.

use std::time::Duration;

use serde_json::Value;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::ids::{EndpointId, EventId};

/// A delivery: one event for one endpoint.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct DeliveryKey {
    /// The number of the event.
    pub event: i64,
    /// The endpoint.
    pub endpoint: EndpointId,
}

/// The state of a delivery.
#[derive(Clone, Copy, PartialEq, Eq, Debug, sqlx::Type)]
#[sqlx(type_name = "deliveries.state", rename_all = "lowercase")]
pub enum DeliveryState {
    /// Its job will try, or try again.
    Pending,
    /// The endpoint has answered with a 2xx.
    Delivered,
    /// The last attempt of the schedule failed, or the endpoint is gone or disabled.
    Failed,
}

impl DeliveryState {
    /// The name, as it is stored and shown.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Delivered => "delivered",
            Self::Failed => "failed",
        }
    }
}

/// A delivery with all that an attempt of it needs.
#[derive(Clone, Debug)]
pub struct Outgoing {
    /// The delivery.
    pub key: DeliveryKey,
    /// The state of the delivery.
    pub state: DeliveryState,
    /// The failed attempts since it was made or asked for again.
    pub attempts: i32,
    /// By which the receiver knows the event: its `webhook-id`.
    pub event_id: EventId,
    /// The JSON to be sent, byte by byte.
    pub body: String,
    /// The address to send it to.
    pub url: String,
    /// Names and values of the owner's own headers, each value a text, or sealed.
    pub headers: Value,
    /// The time for an attempt.
    pub timeout: Duration,
    /// The most deliveries in a second.
    pub rate: Option<i32>,
    /// The secrets that sign it, the current one first, each in plain or sealed.
    pub secrets: Vec<String>,
    /// The seed of the ed25519 key that signs it, too, in plain or sealed.
    pub signing_key: Option<String>,
    /// The endpoint is disabled or deleted.
    pub is_off: bool,
    /// Failed attempts of the endpoint since its last success.
    pub failures: i32,
    /// The endpoint is to be left alone for so long.
    pub rest: Option<Duration>,
}

/// Reads these deliveries, those of them that exist, in any order.
///
/// # Errors
///
/// When the database refuses.
pub async fn load(conn: &mut PgConnection, keys: &[DeliveryKey]) -> sqlx::Result<Vec<Outgoing>> {
    let (events, endpoints) = columns(keys);
    let rows = sqlx::query!(
        r#"
        select
          delivery.event_seq, delivery.endpoint_id as "endpoint: EndpointId",
          delivery.state as "state: DeliveryState", delivery.attempts,
          event.id as "event_id: EventId", event.body, endpoint.url, endpoint.headers,
          endpoint.timeout_ms, endpoint.rate, endpoint.signing_key,
          coalesce(endpoint.disabled_at, endpoint.deleted_at) is not null as "is_off!",
          health.failures,
          extract(epoch from health.open_until - clock_timestamp())::float8 as rest,
          array(
            select secret.secret
            from deliveries.secrets as secret
            where secret.endpoint_id = endpoint.id
              and (secret.expires_at is null or secret.expires_at > clock_timestamp())
            order by secret.number desc
          ) as "secrets!"
        from unnest($1::bigint[], $2::uuid[]) as wanted (event_seq, endpoint_id)
        -- One by one: before the first analyze, all of the endpoint's would seem to be few.
        cross join lateral (
          select deliveries.*
          from deliveries.deliveries
          where deliveries.event_seq = wanted.event_seq
            and deliveries.endpoint_id = wanted.endpoint_id
          limit 1
        ) as delivery
        join events.events as event on event.seq = delivery.event_seq
        join deliveries.endpoints as endpoint on endpoint.id = delivery.endpoint_id
        join deliveries.health as health on health.endpoint_id = delivery.endpoint_id
        "#,
        &events,
        &endpoints,
    )
    .fetch_all(conn)
    .await?;
    let outgoing = rows.into_iter().map(|row| Outgoing {
        key: DeliveryKey { event: row.event_seq, endpoint: row.endpoint },
        state: row.state,
        attempts: row.attempts,
        event_id: row.event_id,
        body: row.body,
        url: row.url,
        headers: row.headers,
        timeout: Duration::from_millis(u64::try_from(row.timeout_ms).unwrap_or_default()),
        rate: row.rate,
        secrets: row.secrets,
        signing_key: row.signing_key,
        is_off: row.is_off,
        failures: row.failures,
        rest: row.rest.and_then(|rest| Duration::try_from_secs_f64(rest).ok()),
    });
    Ok(outgoing.collect())
}

/// An attempt with its result, to be kept.
#[derive(Clone, Debug)]
pub struct AttemptRecord {
    /// The delivery.
    pub key: DeliveryKey,
    /// The status of the answer.
    pub status: Option<u16>,
    /// The trouble, as a stable code; there is one, or a status.
    pub error: Option<&'static str>,
    /// The trouble in more words.
    pub detail: Option<String>,
    /// The time that it took.
    pub duration: Duration,
    /// The address that was connected to.
    pub address: Option<String>,
    /// The beginning of the answer.
    pub answer: String,
}

/// Keeps these attempts.
///
/// # Errors
///
/// When the database refuses.
pub async fn record_attempts(
    conn: &mut PgConnection,
    attempts: &[AttemptRecord],
) -> sqlx::Result<()> {
    let keys: Vec<DeliveryKey> = attempts.iter().map(|attempt| attempt.key).collect();
    let (events, endpoints) = columns(&keys);
    let statuses: Vec<Option<i32>> =
        attempts.iter().map(|attempt| attempt.status.map(i32::from)).collect();
    let errors: Vec<Option<&str>> = attempts.iter().map(|attempt| attempt.error).collect();
    let details: Vec<Option<&str>> =
        attempts.iter().map(|attempt| attempt.detail.as_deref()).collect();
    let durations: Vec<i32> = attempts
        .iter()
        .map(|attempt| i32::try_from(attempt.duration.as_millis()).unwrap_or(i32::MAX))
        .collect();
    let addresses: Vec<Option<&str>> =
        attempts.iter().map(|attempt| attempt.address.as_deref()).collect();
    let answers: Vec<&str> = attempts.iter().map(|attempt| attempt.answer.as_str()).collect();
    sqlx::query!(
        "
        insert into deliveries.attempts
          (event_seq, endpoint_id, status, error, detail, duration_ms, address, answer)
        select event_seq, endpoint_id, status, error, detail, duration_ms, address, answer
        from unnest(
          $1::bigint[], $2::uuid[], $3::int[], $4::text[], $5::text[], $6::int[], $7::text[],
          $8::text[]
        ) with ordinality as attempt (
          event_seq, endpoint_id, status, error, detail, duration_ms, address, answer, position
        )
        order by position
        ",
        &events,
        &endpoints,
        &statuses as &[Option<i32>],
        &errors as &[Option<&str>],
        &details as &[Option<&str>],
        &durations,
        &addresses as &[Option<&str>],
        &answers as &[&str],
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// The next state of a delivery, after an attempt or without one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Progress {
    /// The endpoint has answered with a 2xx.
    Delivered,
    /// The attempt failed, and there will be another one.
    FailedOnce,
    /// There will be no other attempt, for this reason, a stable code.
    Failed(&'static str),
}

/// Moves these deliveries on; one that has its end is left as it is.
///
/// # Errors
///
/// When the database refuses.
pub async fn progress(
    conn: &mut PgConnection,
    changes: &[(DeliveryKey, Progress)],
) -> sqlx::Result<()> {
    let keys: Vec<DeliveryKey> = changes.iter().map(|(key, _)| *key).collect();
    let (events, endpoints) = columns(&keys);
    let (states, reasons): (Vec<DeliveryState>, Vec<Option<&str>>) = changes
        .iter()
        .map(|(_, progress)| match progress {
            Progress::Delivered => (DeliveryState::Delivered, None),
            Progress::FailedOnce => (DeliveryState::Pending, None),
            Progress::Failed(reason) => (DeliveryState::Failed, Some(*reason)),
        })
        .unzip();
    sqlx::query!(
        "
        with change as materialized (
          select told.event_seq, told.endpoint_id, told.state, told.reason
          from unnest($1::bigint[], $2::uuid[], $3::deliveries.state[], $4::text[])
            as told (event_seq, endpoint_id, state, reason)
          join deliveries.deliveries as delivery using (event_seq, endpoint_id)
          where delivery.state = 'pending'
          order by told.event_seq, told.endpoint_id
          for no key update of delivery
        )
        update deliveries.deliveries as delivery
        set
          attempts = delivery.attempts + 1,
          state = change.state,
          reason = change.reason,
          finished_at = case when change.state <> 'pending' then clock_timestamp() end
        from change
        where delivery.event_seq = change.event_seq
          and delivery.endpoint_id = change.endpoint_id
        ",
        &events,
        &endpoints,
        &states as &[DeliveryState],
        &reasons as &[Option<&str>],
    )
    .execute(conn)
    .await?;
    Ok(())
}

fn columns(keys: &[DeliveryKey]) -> (Vec<i64>, Vec<Uuid>) {
    keys.iter().map(|key| (key.event, key.endpoint.0)).unzip()
}
