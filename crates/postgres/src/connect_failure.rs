//! The causes for which a connection cannot be made, told apart: each has another way out.

use std::io;

/// The cause for which a connection cannot be made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ConnectFailure {
    /// The server refuses this user, or the password.
    Credentials,
    /// The server has no database of this name.
    NoDatabase,
    /// The server takes encrypted connections only.
    TlsNeeded,
    /// The server takes no connections from here.
    NotAdmitted,
    /// TLS was asked for and did not come about.
    Tls,
    /// The host has no address.
    HostUnknown,
    /// There is nobody at the port or the socket.
    NobodyListens,
    /// The server has as many connections as it takes.
    Full,
    /// The server is starting or stopping.
    Starting,
    /// Somebody answers who does not speak PostgreSQL.
    NotPostgres,
    /// Nobody answered in time.
    NoAnswer,
    /// Anything else.
    Other,
}

impl ConnectFailure {
    /// The cause that an error of the driver's tells of.
    #[must_use]
    pub fn of(error: &sqlx::Error) -> Self {
        match error {
            sqlx::Error::Database(refusal) => {
                Self::of_refusal(refusal.code().as_deref().unwrap_or_default(), refusal.message())
            }
            sqlx::Error::Io(error) => Self::of_io(error),
            sqlx::Error::Tls(_) => Self::Tls,
            sqlx::Error::Protocol(_) => Self::NotPostgres,
            sqlx::Error::PoolTimedOut => Self::NoAnswer,
            _ => Self::Other,
        }
    }

    fn of_refusal(code: &str, message: &str) -> Self {
        match code {
            // Of an entry that is missing in pg_hba.conf PostgreSQL says for which connections, in
            // every language by these words of the file.
            "28000" if message.contains("pg_hba.conf") => match message.contains("no encryption") {
                true => Self::TlsNeeded,
                false => Self::NotAdmitted,
            },
            "28P01" | "28000" => Self::Credentials,
            "3D000" => Self::NoDatabase,
            "53300" => Self::Full,
            "57P01" | "57P02" | "57P03" => Self::Starting,
            _ => Self::Other,
        }
    }

    fn of_io(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound => Self::NobodyListens,
            io::ErrorKind::TimedOut
            | io::ErrorKind::HostUnreachable
            | io::ErrorKind::NetworkUnreachable => Self::NoAnswer,
            // What was no PostgreSQL ends the connection, or answers with something else.
            io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData => Self::NotPostgres,
            // Only the resolver fails without a number of the system.
            _ if error.raw_os_error().is_none() && error.to_string().contains("lookup") => {
                Self::HostUnknown
            }
            _ => Self::Other,
        }
    }
}
