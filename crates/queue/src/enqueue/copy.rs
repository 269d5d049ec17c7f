//! Enqueueing by COPY: the rows go to the server as one stream of text, without a parameter or a
//! plan for each.

use std::fmt::Write as _;
use std::time::Duration;

use sqlx::PgConnection;
use sqlx::postgres::PgCopyIn;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::new_job::NewJob;
use crate::QueueError;
use crate::ids::JobId;
use crate::telemetry::TraceContext;

const STATEMENT: &str = "copy queue.jobs (
    id, queue, kind, priority, max_attempts, run_at, args, trace_context, on_discard, key, hold,
    keeps_history, batch_id, tags, args_key
  ) from stdin";

/// Bytes per chunk that is sent.
const CHUNK: usize = 256 * 1024;

/// Enqueues the jobs; ids in their order.
pub(crate) async fn enqueue(
    conn: &mut PgConnection,
    jobs: &[&NewJob],
    trace_contexts: &[Option<TraceContext>],
) -> Result<Vec<JobId>, QueueError> {
    // The clock is read after the transaction got its id (worker/claim/floor.rs).
    let numbers = sqlx::query!(
        r#"
        select
          pg_current_xact_id()::text as "xid!",
          clock_timestamp() as "now!",
          array(
            select nextval(pg_get_serial_sequence('queue.jobs', 'id'))
            from generate_series(1, $1::int)
          ) as "ids!"
        "#,
        jobs.len() as i32,
    )
    .fetch_one(&mut *conn)
    .await?;

    let mut copy = conn.copy_in_raw(STATEMENT).await?;
    let rows = jobs.iter().zip(trace_contexts).zip(&numbers.ids);
    match send_rows(&mut copy, rows, numbers.now).await {
        Ok(()) => copy.finish().await?,
        Err(error) => {
            // Left as it is, the connection would take the server's answer for that to its next
            // statement.
            copy.abort(crate::chain(&error)).await?;
            return Err(error);
        }
    };
    Ok(numbers.ids.into_iter().map(JobId).collect())
}

async fn send_rows<'a>(
    copy: &mut PgCopyIn<&mut PgConnection>,
    rows: impl Iterator<Item = ((&'a &'a NewJob, &'a Option<TraceContext>), &'a i64)>,
    now: OffsetDateTime,
) -> Result<(), QueueError> {
    let mut chunk = String::with_capacity(CHUNK + 4096);
    for ((job, context), id) in rows {
        write_row(&mut chunk, job, context.as_ref(), *id, now)?;
        if chunk.len() >= CHUNK {
            copy.send(chunk.as_bytes()).await?;
            chunk.clear();
        }
    }
    copy.send(chunk.as_bytes()).await?;
    Ok(())
}

/// One line of COPY's text format: fields between tabs, `\N` for null.
fn write_row(
    out: &mut String,
    job: &NewJob,
    context: Option<&TraceContext>,
    id: i64,
    now: OffsetDateTime,
) -> Result<(), QueueError> {
    let extras = &job.extras;
    let due = match extras.run_at {
        Some(moment) => moment,
        None => after(now, job.delay)?,
    };
    let due = due.max(now);
    let due_text = due.format(&Rfc3339).map_err(|error| sqlx::Error::Encode(error.into()))?;
    let hold = if extras.held {
        Some("dependencies")
    } else {
        (extras.key.is_some() && due > now).then_some("until_due")
    };
    // Writing to a String cannot fail.
    let _ = write!(out, "{id}");
    field(out, Some(&job.queue));
    field(out, Some(&job.kind));
    let _ = write!(out, "\t{}\t{}", job.priority, job.max_attempts);
    field(out, Some(&due_text));
    field(out, Some(&job.args.to_string()));
    field(out, context.map(to_json).transpose()?.as_deref());
    field(out, extras.on_discard.as_ref().map(to_json).transpose()?.as_deref());
    field(out, extras.key.as_deref());
    field(out, hold);
    field(out, Some(if extras.no_history { "f" } else { "t" }));
    field(out, extras.batch_id.map(|id| id.to_string()).as_deref());
    field(out, array(&extras.tags).as_deref());
    field(out, extras.args_key.as_deref());
    out.push('\n');
    Ok(())
}

/// The server cannot say that this is out of range, as it does with an insert.
fn after(now: OffsetDateTime, delay: Duration) -> Result<OffsetDateTime, QueueError> {
    let due = delay.try_into().ok().and_then(|delay| now.checked_add(delay));
    due.ok_or_else(|| sqlx::Error::Encode("the delay is too long".into()).into())
}

fn to_json(value: &impl serde::Serialize) -> Result<String, QueueError> {
    serde_json::to_string(value)
        .map_err(|error| QueueError::Database(sqlx::Error::Encode(error.into())))
}

/// A field with a tab before it.
fn field(out: &mut String, value: Option<&str>) {
    out.push('\t');
    let Some(value) = value else {
        out.push_str("\\N");
        return;
    };
    for character in value.chars() {
        match character {
            '\\' => out.push_str("\\\\"),
            '\t' => out.push_str("\\t"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            other => out.push(other),
        }
    }
}

/// An array of text as PostgreSQL writes it; none for an empty one.
fn array(items: &[String]) -> Option<String> {
    if items.is_empty() {
        return None;
    }
    let quoted: Vec<String> = items
        .iter()
        .map(|item| format!("\"{}\"", item.replace('\\', "\\\\").replace('"', "\\\"")))
        .collect();
    Some(format!("{{{}}}", quoted.join(",")))
}
