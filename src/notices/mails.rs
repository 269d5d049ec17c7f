//! Records of what became of mails.

use sqlx::PgConnection;
use time::OffsetDateTime;

use super::{MailKey, Subject, SubjectKind};
use crate::ids::{EventId, UserId};

/// The outcome of a mail.
#[derive(Clone, Copy, PartialEq, Eq, Debug, sqlx::Type)]
#[sqlx(type_name = "notices.mail_status", rename_all = "snake_case")]
pub enum MailStatus {
    /// The mail server has taken it, or `app dev` has kept it.
    Sent,
    /// It will not be sent, or somebody has ended its job.
    Failed,
    /// The user wanted no mail when it was to be sent.
    SwitchedOff,
    /// The worker had no mail server.
    NotConfigured,
}

impl MailStatus {
    /// The status in one word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sent => "sent",
            Self::Failed => "failed",
            Self::SwitchedOff => "switched_off",
            Self::NotConfigured => "not_configured",
        }
    }
}

/// A mail that has its outcome, to be recorded.
#[derive(Clone, Debug)]
pub struct NewRecord<'a> {
    /// The effect key.
    pub key: MailKey,
    /// The thing that it is about.
    pub about: &'a Subject,
    /// The address of the recipient.
    pub email: &'a str,
    /// The `Message-ID`, in angle brackets; none when nothing was tried.
    pub message_id: Option<&'a str>,
    /// The outcome.
    pub status: MailStatus,
    /// The reason of a failure, as a code; none otherwise.
    pub reason: Option<&'a str>,
    /// The number of attempts, from 1.
    pub attempts: i16,
}

/// A mail as lists show it: without the address.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MailRecord {
    /// The event that it tells of.
    pub event: EventId,
    /// The recipient.
    pub user: UserId,
    /// The outcome.
    pub status: MailStatus,
    /// The reason of a failure, as a code.
    pub reason: Option<String>,
    /// The `Message-ID`, in angle brackets; none when nothing was tried.
    pub message_id: Option<String>,
    /// The number of attempts; 0 if its job was ended before the first.
    pub attempts: i16,
    /// The moment of the outcome.
    pub ended_at: OffsetDateTime,
}

/// Tells if the mail of this key was sent.
///
/// # Errors
///
/// When the database refuses.
pub async fn is_sent(conn: &mut PgConnection, key: MailKey) -> sqlx::Result<bool> {
    sqlx::query_scalar!(
        r#"
        select exists (
          select from notices.mails where event_id = $1 and user_id = $2 and status = 'sent'
        ) as "is_sent!"
        "#,
        key.event.0,
        key.user.0,
    )
    .fetch_one(conn)
    .await
}

/// Records the outcome of a mail. A later outcome takes the place of an earlier one, unless the
/// mail was sent.
///
/// # Errors
///
/// When the database refuses.
pub async fn record(conn: &mut PgConnection, new: &NewRecord<'_>) -> sqlx::Result<()> {
    sqlx::query!(
        "
        insert into notices.mails (
          event_id, user_id, subject_kind, subject_id, email, message_id, status, reason, attempts
        )
        values ($1, $2, $3, $4, $5, $6, $7, $8, $9)
        on conflict (event_id, user_id) do update
        set
          status = excluded.status,
          reason = excluded.reason,
          message_id = excluded.message_id,
          attempts = excluded.attempts,
          ended_at = excluded.ended_at
        where mails.status <> 'sent'
        ",
        new.key.event.0,
        new.key.user.0,
        new.about.kind as SubjectKind,
        new.about.id,
        new.email,
        new.message_id,
        new.status as MailStatus,
        new.reason,
        new.attempts,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// The mails about one thing that have their outcome, oldest first, at most `limit`: for its
/// timeline.
///
/// # Errors
///
/// When the database refuses.
pub async fn of_subject(
    conn: &mut PgConnection,
    about: &Subject,
    limit: u16,
) -> sqlx::Result<Vec<MailRecord>> {
    sqlx::query_as!(
        MailRecord,
        r#"
        select
          event_id as "event: EventId", user_id as "user: UserId", status as "status: MailStatus",
          reason, message_id, attempts, ended_at
        from notices.mails
        where subject_kind = $1 and subject_id = $2
        order by ended_at, event_id, user_id
        limit $3
        "#,
        about.kind as SubjectKind,
        about.id,
        i64::from(limit),
    )
    .fetch_all(conn)
    .await
}

/// Drops records of mails whose outcome is more than `keep_days` days old, among the next `limit`
/// after this one. While the queue's history is held back because the clock is in doubt, none is
/// dropped. Gives the number of those dropped, and the last mail that was looked at; none when all
/// those behind it are kept.
///
/// # Errors
///
/// When the database refuses.
pub async fn prune(
    conn: &mut PgConnection,
    keep_days: u16,
    after: MailKey,
    limit: u16,
) -> sqlx::Result<(i64, Option<MailKey>)> {
    // Ids of events are in the order of their times, so the oldest mails come first.
    let row = sqlx::query!(
        r#"
        with kept as materialized (select queue.old_before($1) as since),
        looked_at as materialized (
          select event_id, user_id, ended_at
          from notices.mails
          where (event_id, user_id) > ($2, $3)
          order by event_id, user_id
          limit $4
        ),
        pruned as (
          delete from notices.mails
          using looked_at, kept
          where mails.event_id = looked_at.event_id
            and mails.user_id = looked_at.user_id
            and mails.ended_at < kept.since
          returning 1
        ),
        last as (
          select event_id, user_id
          from looked_at
          where exists (
            select from looked_at as any_of_them where ended_at < (select since from kept)
          )
          order by event_id desc, user_id desc
          limit 1
        )
        select
          (select count(*) from pruned) as "pruned!", last.event_id as "event?: EventId",
          last.user_id as "user?: UserId"
        from (values (1)) as one
        left join last on true
        "#,
        i32::from(keep_days),
        after.event.0,
        after.user.0,
        i64::from(limit),
    )
    .fetch_one(conn)
    .await?;
    let last = row.event.zip(row.user).map(|(event, user)| MailKey { event, user });
    Ok((row.pruned, last))
}
