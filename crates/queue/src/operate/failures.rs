//! Failures by fingerprint: what has failed and waits for its next attempt or for a decision,
//! grouped by kind and by what the errors say.
//!
//! The fingerprint of a job's last error is kept with the job. It leaves out what differs between
//! failures of one cause, such as numbers, ids and addresses: `schema/functions/failure_text.sql`
//! says what exactly.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sqlx::PgConnection;
use time::OffsetDateTime;

use crate::QueueError;
use crate::ids::JobId;

/// The most groups of one [`list`].
pub const MAX_LISTED: u32 = 200;

/// The most jobs of a group that are counted, waiting ones and discarded ones each.
pub const MAX_COUNTED: i64 = 10_000;

/// The fingerprint of a failure: 16 hexadecimal digits to people.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, sqlx::Type)]
#[sqlx(transparent)]
pub struct Fingerprint(pub i64);

/// The text is not 16 hexadecimal digits in lower case.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("a fingerprint has 16 hexadecimal digits in lower case")]
pub struct InvalidFingerprint;

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl FromStr for Fingerprint {
    type Err = InvalidFingerprint;

    fn from_str(text: &str) -> Result<Self, InvalidFingerprint> {
        let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        if text.len() != 16 || !text.bytes().all(is_digit) {
            return Err(InvalidFingerprint);
        }
        let bits = u64::from_str_radix(text, 16).map_err(|_| InvalidFingerprint)?;
        Ok(Self(bits.cast_signed()))
    }
}

impl Serialize for Fingerprint {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Fingerprint {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// Jobs of one kind whose last errors say the same.
#[derive(Clone, PartialEq, Debug)]
pub struct FailureGroup {
    /// The fingerprint that they share.
    pub fingerprint: Fingerprint,
    /// Their kind.
    pub kind: String,
    /// The common part of their errors, with an ellipsis for the rest; `no error was kept` if
    /// retention has dropped that of the sample.
    pub error: String,
    /// Those of them that wait or run again, counted up to [`MAX_COUNTED`].
    pub waiting: i64,
    /// Those that are discarded, and that nobody has decided over, counted up to [`MAX_COUNTED`].
    pub discarded: i64,
    /// There are more jobs than [`MAX_COUNTED`].
    pub is_capped: bool,
    /// The earliest of these failures.
    pub first_at: OffsetDateTime,
    /// The latest of them.
    pub last_at: OffsetDateTime,
    /// The job of the latest.
    pub sample_job: JobId,
}

/// The groups in which somebody failed last, the latest first: at most `limit`, which is capped at
/// [`MAX_LISTED`], of the 1,000 that are looked at.
///
/// # Errors
///
/// [`QueueError::Database`].
pub async fn list(conn: &mut PgConnection, limit: u32) -> Result<Vec<FailureGroup>, QueueError> {
    read(conn, None, limit.clamp(1, MAX_LISTED)).await
}

/// The group with this fingerprint; none if no job has it any more.
///
/// # Errors
///
/// [`QueueError::Database`].
pub async fn find(
    conn: &mut PgConnection,
    fingerprint: Fingerprint,
) -> Result<Option<FailureGroup>, QueueError> {
    Ok(read(conn, Some(fingerprint), 1).await?.pop())
}

async fn read(
    conn: &mut PgConnection,
    only: Option<Fingerprint>,
    limit: u32,
) -> Result<Vec<FailureGroup>, QueueError> {
    let groups = sqlx::query_as!(
        FailureGroup,
        r#"
        select
          fingerprint as "fingerprint!: Fingerprint", kind as "kind!", error as "error!",
          waiting as "waiting!", discarded as "discarded!", is_capped as "is_capped!",
          first_at as "first_at!", last_at as "last_at!", sample_job as "sample_job!: JobId"
        from queue.failures($1, $2, $3)
        "#,
        only.map(|fingerprint| fingerprint.0),
        i32::try_from(limit).unwrap_or(i32::MAX),
        i32::try_from(MAX_COUNTED).unwrap_or(i32::MAX),
    )
    .fetch_all(conn)
    .await?;
    Ok(groups)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_is_read_as_it_is_written() {
        for number in [0, 1, -1, i64::MIN, i64::MAX] {
            assert_eq!(Fingerprint(number).to_string().parse(), Ok(Fingerprint(number)));
        }
        for wrong in ["", "1", "+000000000000001", "000000000000000G", "00000000000000001"] {
            assert!(wrong.parse::<Fingerprint>().is_err(), "{wrong}");
        }
    }
}
