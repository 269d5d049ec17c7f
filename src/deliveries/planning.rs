//! The deliveries of new events.

use sqlx::PgConnection;

use crate::ids::{EndpointId, UserId};

/// A delivery that was made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Planned {
    /// The number of the event.
    pub event: i64,
    /// The endpoint.
    pub endpoint: EndpointId,
    /// The user whose endpoint it is; none when it is the operators'.
    pub owner: Option<UserId>,
    /// The endpoint wants its deliveries one after another.
    pub ordered: bool,
}

/// An event as far as endpoints choose by it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Announced<'a> {
    /// The number of the event.
    pub event: i64,
    /// The name of its type.
    pub event_type: &'a str,
}

/// Makes a delivery of each of these events to each endpoint that wants it, and gives those that
/// are new, in the order of the events. `parties` are the users whom events concern, by the numbers
/// of the events.
///
/// # Errors
///
/// When the database refuses.
pub async fn plan(
    conn: &mut PgConnection,
    events: &[Announced<'_>],
    parties: &[(i64, UserId)],
) -> sqlx::Result<Vec<Planned>> {
    let seqs: Vec<i64> = events.iter().map(|event| event.event).collect();
    let types: Vec<&str> = events.iter().map(|event| event.event_type).collect();
    let (party_seqs, owners): (Vec<i64>, Vec<uuid::Uuid>) =
        parties.iter().map(|(event, user)| (*event, user.0)).unzip();
    sqlx::query_as!(
        Planned,
        r#"
        select
          event_seq as "event!", endpoint_id as "endpoint!: EndpointId", owner as "owner?: UserId",
          ordered as "ordered!"
        from deliveries.plan($1, $2, $3, $4)
        "#,
        &seqs,
        &types as &[&str],
        &party_seqs,
        &owners,
    )
    .fetch_all(conn)
    .await
}

/// The number of endpoints that hear of everybody's events.
///
/// # Errors
///
/// When the database refuses.
pub async fn count_listening_to_all(conn: &mut PgConnection) -> sqlx::Result<i64> {
    let count = sqlx::query_scalar!(
        r#"
        select count(*) as "count!"
        from deliveries.endpoints
        where owner_id is null and deleted_at is null and disabled_at is null
        "#
    );
    count.fetch_one(conn).await
}
