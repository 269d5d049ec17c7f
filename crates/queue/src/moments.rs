//! The moments that jobs can have: those of the domain `queue.moment`.
//!
//! Years beyond 9999 cannot be told in RFC 3339 and cannot be read by all programs, and an offset
//! can carry a moment out of any calendar: arithmetic with what comes from outside needs a bound.

use time::OffsetDateTime;
use uuid::Uuid;

/// The first moment.
pub const FIRST: OffsetDateTime = OffsetDateTime::UNIX_EPOCH;

/// The moment after the last one: the beginning of the year 2200.
pub const END: OffsetDateTime = time::macros::datetime!(2200-01-01 0:00 UTC);

/// The nearest moment that a job can have, or the end. In UTC.
#[must_use]
pub fn nearest(moment: OffsetDateTime) -> OffsetDateTime {
    match moment {
        early if early < FIRST => FIRST,
        late if late >= END => END,
        within => within.to_offset(time::UtcOffset::UTC),
    }
}

/// The nearest moment that PostgreSQL can tell, from this one on: it knows microseconds. What
/// happened at it or later is what happened at `moment` or later, and the same holds for "before".
#[must_use]
pub fn to_the_microsecond(moment: OffsetDateTime) -> OffsetDateTime {
    let beyond = moment.nanosecond() % 1_000;
    let missing = i64::from((1_000 - beyond) % 1_000);
    moment.checked_add(time::Duration::nanoseconds(missing)).unwrap_or(moment)
}

/// The least UUID of version 7 of this moment: 48 bits of milliseconds, and zeros.
#[must_use]
pub fn first_uuid_at(moment: OffsetDateTime) -> Uuid {
    let millis = moment.unix_timestamp_nanos().max(0) / 1_000_000;
    Uuid::from_u128(u128::try_from(millis).unwrap_or_default() << 80)
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;
    use uuid::{NoContext, Timestamp};

    use super::*;

    #[test]
    fn whatever_comes_is_brought_to_a_moment_that_can_be_told() {
        for (moment, expected) in [
            (datetime!(9999-12-31 23:59:59 -10), END),
            (datetime!(2200-01-01 0:00 UTC), END),
            (datetime!(0000-01-01 0:00 +10), FIRST),
            (datetime!(-9999-01-01 0:00 +23), FIRST),
            (datetime!(2026-11-29 10:00 +2), datetime!(2026-11-29 8:00 UTC)),
        ] {
            assert_eq!(nearest(moment), expected, "{moment}");
        }
    }

    #[test]
    fn what_is_finer_than_a_microsecond_goes_to_the_next() {
        let second = datetime!(2026-11-29 8:00 UTC);
        for (nanos, micros) in [(0, 0), (1, 1), (999, 1), (1_000, 1), (1_001, 2)] {
            let expected = second + time::Duration::microseconds(micros);
            assert_eq!(to_the_microsecond(second + time::Duration::nanoseconds(nanos)), expected);
        }
    }

    #[test]
    fn ids_of_a_moment_begin_with_the_first_one() {
        let moment = datetime!(2026-11-21 8:00 UTC);
        let secs = u64::try_from(moment.unix_timestamp()).unwrap();
        let id = Uuid::new_v7(Timestamp::from_unix(NoContext, secs, 0));
        assert!(first_uuid_at(moment) < id);
        assert!(first_uuid_at(moment + time::Duration::MILLISECOND) > id);
        assert!(first_uuid_at(datetime!(1960-01-01 0:00 UTC)).is_nil());
    }
}
