//! The bank, the endpoints of our own webhooks, and the senders of others'; how far back is kept
//! what was told.

use sqlx::PgConnection;

use crate::bank::breaker::{self, Phase};
use crate::jobs::BANK_BREAKER;
use crate::metrics::instruments::{
    BANK_BREAKER as BREAKER, DELIVERIES, ENDPOINTS, HISTORY_OLDEST_AGE, WEBHOOK_LAST_EVENT_AGE,
};
use crate::metrics::{Family, Point};
use crate::operations::activity::{self, ActivityError};
use crate::queue::QueueError;

pub(super) async fn silences(conn: &mut PgConnection) -> Result<Vec<Family>, sqlx::Error> {
    let silences = activity::silences(conn).await.map_err(|error| match error {
        ActivityError::Database(error) | ActivityError::Queue(QueueError::Database(error)) => error,
        ActivityError::Queue(other) => sqlx::Error::AnyDriverError(Box::new(other)),
    })?;
    let point =
        |silence: activity::Silence| Point::of(&[&silence.source], silence.since.as_secs_f64());
    Ok(vec![Family::new(&WEBHOOK_LAST_EVENT_AGE, silences.into_iter().map(point).collect())])
}

pub(super) async fn bank(conn: &mut PgConnection) -> Result<Vec<Family>, sqlx::Error> {
    let phase = breaker::phase_of(conn, BANK_BREAKER).await?;
    let is_in = |state| f64::from(u8::from(phase.as_str() == state));
    let points = Phase::NAMES.map(|state| Point::of(&[state], is_in(state)));
    Ok(vec![Family::new(&BREAKER, points.into())])
}

pub(super) async fn endpoints(conn: &mut PgConnection) -> Result<Vec<Family>, sqlx::Error> {
    let row = sqlx::query!(
        r#"
        select
          count(*) filter (where disabled_at is null and open_until is null) as "healthy!",
          count(*) filter (where disabled_at is null and open_until is not null) as "failing!",
          count(*) filter (where disabled_at is not null) as "disabled!",
          (
            select count(*)
            from (
              select from deliveries.deliveries where state = 'failed' limit 10000
            ) as failed
          ) as "failed_deliveries!"
        from (
          select disabled_at, open_until
          from deliveries.endpoints
          left join deliveries.health on health.endpoint_id = endpoints.id
          where deleted_at is null
          limit 10000
        ) as few
        "#
    )
    .fetch_one(conn)
    .await?;
    let points = vec![
        Point::of(&["healthy"], row.healthy as f64),
        Point::of(&["failing"], row.failing as f64),
        Point::of(&["disabled"], row.disabled as f64),
    ];
    Ok(vec![
        Family::new(&ENDPOINTS, points),
        Family::single(&DELIVERIES, row.failed_deliveries as f64),
    ])
}

/// The age of the first row of each by its primary key, which is about the oldest one.
pub(super) async fn history(conn: &mut PgConnection) -> Result<Vec<Family>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"
        select kept.history as "history!",
          extract(epoch from clock_timestamp() - kept.since)::float8 as "age_secs!"
        from (
          values
            ('events', (select occurred_at from events.events order by seq limit 1)),
            (
              'deliveries',
              (
                select created_at
                from deliveries.deliveries
                order by event_seq, endpoint_id
                limit 1
              )
            ),
            ('mails', (select ended_at from notices.mails order by event_id, user_id limit 1)),
            ('operations', (select created_at from operations.bulk_operations order by id limit 1))
        ) as kept (history, since)
        where kept.since is not null
        "#
    )
    .fetch_all(conn)
    .await?;
    let points = rows.iter().map(|row| Point::of(&[row.history.as_str()], row.age_secs));
    Ok(vec![Family::new(&HISTORY_OLDEST_AGE, points.collect())])
}
