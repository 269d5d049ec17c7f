//! The bound of the bytes of arguments. It is a setting of the database, so it is asked for, before
//! anything is written: a statement that refuses them would end the caller's transaction.

use sqlx::PgConnection;

use super::NewJob;
use super::bounds::MAX_SENT_BYTES;
use crate::QueueError;

/// The least that `queue.settings` may set (`schema/migrations/0001_jobs.up.sql`): what has no more
/// is taken everywhere, and the database is not asked.
const ALWAYS_TAKEN_BYTES: u64 = 1024;

/// Makes sure that the arguments of each job have as few bytes as the settings of the queue allow.
///
/// # Errors
///
/// [`QueueError::ArgsTooLong`], after which the caller's transaction can go on;
/// [`QueueError::Database`].
pub(super) async fn check<'a>(
    conn: &mut PgConnection,
    jobs: impl IntoIterator<Item = &'a NewJob>,
) -> Result<(), QueueError> {
    let is_longer = |job: &NewJob, bytes| most_bytes(job.args.get()) > bytes;
    let jobs = jobs.into_iter().filter(|job| is_longer(job, ALWAYS_TAKEN_BYTES));
    let mut jobs: Vec<&NewJob> = jobs.collect();
    if jobs.is_empty() {
        return Ok(());
    }
    let limit =
        sqlx::query_file_scalar!("src/sql/max_args_bytes.sql").fetch_one(&mut *conn).await?;
    let max_bytes = u64::try_from(limit).unwrap_or_default();
    jobs.retain(|job| is_longer(job, max_bytes));
    // One by one: together they may be more than a statement takes.
    for job in jobs {
        let mut bytes = job.args.get().len() as u64;
        if bytes <= MAX_SENT_BYTES {
            let stored = sqlx::query_file_scalar!("src/sql/args_bytes.sql", &job.args as _)
                .fetch_one(&mut *conn)
                .await?;
            bytes = u64::try_from(stored).unwrap_or_default();
        }
        if bytes > max_bytes {
            let kind = job.kind.clone().into_owned();
            return Err(QueueError::ArgsTooLong { kind, bytes, max_bytes });
        }
    }
    Ok(())
}

/// A bound of the bytes that PostgreSQL has for this JSON, which it writes in a way of its own: a
/// space follows each comma and colon, and exponents are written out.
fn most_bytes(json: &str) -> u64 {
    let bytes = json.as_bytes();
    let mut most = bytes.len() as u64;
    for (position, byte) in bytes.iter().enumerate() {
        match byte {
            b',' | b':' => most += 1,
            b'e' | b'E' => most = most.saturating_add(exponent_at(&bytes[position + 1..])),
            _ => {}
        }
    }
    most
}

/// The size of the exponent whose digits begin here; 0 where none do.
fn exponent_at(bytes: &[u8]) -> u64 {
    let bytes = bytes.strip_prefix(b"-").or(bytes.strip_prefix(b"+")).unwrap_or(bytes);
    let digits = bytes.iter().take_while(|byte| byte.is_ascii_digit());
    digits.fold(0, |sum: u64, digit| sum.saturating_mul(10).saturating_add(u64::from(digit - b'0')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_holds_for_what_is_written_longer_than_it_was_sent() {
        for (json, stored) in [
            (r#"{"a":1,"b":[1,2]}"#, r#"{"a": 1, "b": [1, 2]}"#.len()),
            ("1e300", 301),
            ("[1E+30,-1e-30]", 31 + 2 + 33 + 2),
            (r#"{"a":"\u00e9"}"#, r#"{"a": "é"}"#.len()),
            ("1e99999999999999999999", usize::MAX),
        ] {
            assert!(most_bytes(json) >= stored as u64, "{json}");
        }
    }
}
