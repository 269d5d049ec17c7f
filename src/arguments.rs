//! Values of flags and settings that many commands take: durations, moments, addresses to listen
//! on, secrets, and files that hold a value. Each is bounded here, and refused with what would be
//! right.
//!
//! What is refused is never repeated: it may be a secret in the wrong variable.

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// The longest duration, 100 years of 365.25 days: it can be added to any moment and deadline.
pub const LONGEST: Duration = Duration::from_secs(100 * 31_557_600);

/// A setting, or a combination of settings, that cannot work.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0}")]
pub struct BadSetting(pub String);

/// A text whose `Debug` does not show it.
#[derive(Clone)]
pub struct SecretText(String);

impl SecretText {
    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<String> for SecretText {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl fmt::Debug for SecretText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretText(..)")
    }
}

/// A text that is no duration.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum InvalidDuration {
    /// It cannot be read.
    #[error("expected a number with its unit, such as 500ms, 45s, 10m, 1h30m or 7d")]
    Unreadable,
    /// It is beyond [`LONGEST`].
    #[error("expected at most 100 years")]
    TooLong,
}

/// A text that is no moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum InvalidMoment {
    /// It cannot be read.
    #[error("not a time like 2026-11-21T08:00:00Z")]
    Unreadable,
    /// It is before 1970 or after 2199.
    #[error("not a time from 1970 to 2199")]
    OutOfRange,
}

/// A text that is no address to listen on.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "expected ADDRESS:PORT, such as 127.0.0.1:8000 or localhost:8000 for this machine only, \
     0.0.0.0:8000 for all its addresses, [::1]:8000; a port alone is one of this machine only"
)]
pub struct InvalidAddress;

/// A duration of at most [`LONGEST`], as people write it.
///
/// # Errors
///
/// [`InvalidDuration`].
pub fn parse_duration(text: &str) -> Result<Duration, InvalidDuration> {
    let duration = humantime::parse_duration(text).map_err(|error| match error {
        humantime::DurationError::NumberOverflow => InvalidDuration::TooLong,
        _ => InvalidDuration::Unreadable,
    })?;
    if duration > LONGEST { Err(InvalidDuration::TooLong) } else { Ok(duration) }
}

/// A moment in RFC 3339 within the years that jobs can have, in UTC.
///
/// # Errors
///
/// [`InvalidMoment`].
pub fn parse_moment(text: &str) -> Result<OffsetDateTime, InvalidMoment> {
    let moment = OffsetDateTime::parse(text, &Rfc3339).map_err(|_| InvalidMoment::Unreadable)?;
    let utc = moment.checked_to_offset(time::UtcOffset::UTC);
    utc.filter(|utc| (1970..2200).contains(&utc.year())).ok_or(InvalidMoment::OutOfRange)
}

/// An address and port to listen on; without an address one of this machine only.
///
/// # Errors
///
/// [`InvalidAddress`].
pub fn parse_listen_address(text: &str) -> Result<SocketAddr, InvalidAddress> {
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    let port = match text.rsplit_once(':') {
        None => text,
        Some((host, port)) if host.eq_ignore_ascii_case("localhost") => port,
        // An empty host means this machine to some programs, and all addresses to others.
        Some(_) => return Err(InvalidAddress),
    };
    let is_number = port.bytes().all(|byte| byte.is_ascii_digit());
    let port = port.parse().ok().filter(|_| is_number).ok_or(InvalidAddress)?;
    Ok((Ipv4Addr::LOCALHOST, port).into())
}

/// The value that a file holds: without the byte order mark that some editors write, and without
/// the white space at its ends.
///
/// # Errors
///
/// When the file cannot be read, or is not UTF-8.
pub fn read_value(file: &Path) -> io::Result<String> {
    let text = std::fs::read_to_string(file)?;
    Ok(text.trim_start_matches('\u{feff}').trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_has_a_unit_and_a_bound() {
        assert_eq!(parse_duration("1h 30m"), Ok(Duration::from_secs(5400)));
        assert_eq!(parse_duration("36525d"), Ok(LONGEST));
        assert_eq!(parse_duration("1.5h"), Ok(Duration::from_secs(5400)));
        for text in ["abc", "", "5", "-1s"] {
            assert_eq!(parse_duration(text), Err(InvalidDuration::Unreadable), "{text:?}");
        }
        for text in ["3000000d", "18446744073709551615s", "99999999999999999999s", "101y"] {
            assert_eq!(parse_duration(text), Err(InvalidDuration::TooLong), "{text:?}");
        }
    }

    #[test]
    fn a_moment_is_within_the_years_of_jobs() {
        let noon = time::macros::datetime!(2026-11-29 12:00 UTC);
        assert_eq!(parse_moment("2026-11-29T14:00:00+02:00"), Ok(noon));
        for text in ["tomorrow", "2026-11-29", "10240-01-01T00:00:00Z", "infinity", ""] {
            assert_eq!(parse_moment(text), Err(InvalidMoment::Unreadable), "{text:?}");
        }
        for text in [
            "1969-12-31T23:59:59Z",
            "2200-01-01T00:00:00Z",
            "0000-01-01T00:00:00+10:00",
            "9999-12-31T23:59:59-10:00",
        ] {
            assert_eq!(parse_moment(text), Err(InvalidMoment::OutOfRange), "{text:?}");
        }
    }

    #[test]
    fn what_stands_for_this_machine_is_an_address_of_it() {
        let here = |port| Ok(SocketAddr::from(([127, 0, 0, 1], port)));
        for (text, expected) in [
            ("8000", here(8000)),
            ("localhost:8000", here(8000)),
            ("LOCALHOST:0", here(0)),
            ("127.0.0.1:8000", here(8000)),
            ("0.0.0.0:80", Ok(([0, 0, 0, 0], 80).into())),
            ("[::1]:8000", Ok(([0, 0, 0, 0, 0, 0, 0, 1], 8000).into())),
        ] {
            assert_eq!(parse_listen_address(text), expected, "{text}");
        }
        for text in ["", ":8000", "localhost", "localhost:", "::1:80", "db:80", "+80", "99999"] {
            assert_eq!(parse_listen_address(text), Err(InvalidAddress), "{text:?}");
        }
    }
}
