//! The circuit breaker: after some failures in a row the bank is left alone for a while, then asked
//! by one call whether it is back.
//!
//! ```text
//!            threshold failures in a row             open_for is over
//!   closed ───────────────────────────────▶ open ──────────────────────▶ half-open
//!     ▲                                      ▲                            │     │
//!     │                                      └──────── the probe fails ───┘     │
//!     └────────────────────────────────────────────── the probe succeeds ───────┘
//! ```
//!
//! Its state is one row, so that all workers share it, and each step is one conditional update by
//! the database's clock. While it is closed and nothing fails, nothing is written.
//!
//! Each of these functions is a transaction of its own, on a connection without one: a probe that
//! is taken inside a longer transaction would hold up everybody who asks meanwhile.

use std::time::Duration;

use sqlx::PgConnection;

use super::BankError;

/// The time that others wait while a probe is under way, at the most: it ends long before its
/// lease.
const PROBE_RECHECK: Duration = Duration::from_secs(5);

/// The settings of a breaker.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BreakerSettings {
    /// The number of failures in a row that open the breaker.
    pub threshold: u16,
    /// The time that the breaker is open before a probe.
    pub open_for: Duration,
    /// A probe that has not reported after so long is taken for dead. Longer than a call.
    pub probe_lease: Duration,
}

/// A circuit breaker, by the name under which all workers share it.
#[derive(Clone, Copy, Debug)]
pub struct Breaker {
    name: &'static str,
    settings: BreakerSettings,
}

/// The breaker's answer to a request for a call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub enum Permit {
    /// The call may be made; report its result with [`Breaker::record`], or give the right back.
    Call(Pass),
    /// The call may not be made now. Ask again after this time.
    Wait(Duration),
}

/// The right to make one call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use = "what came of the call is to be recorded"]
pub enum Pass {
    /// The breaker is closed.
    Go,
    /// The breaker is half-open, and this call, under this number, is the only one.
    Probe(i64),
}

/// The health of the bank, as a call shows it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BankHealth {
    /// The bank answers. To decline is an answer.
    Works,
    /// The bank does not answer.
    Fails,
}

impl BankHealth {
    /// Reads the health of the bank from the result of a call.
    pub fn of<T>(result: &Result<T, BankError>) -> Self {
        match result {
            Err(error) if error.counts_against_breaker() => Self::Fails,
            Ok(_) | Err(_) => Self::Works,
        }
    }
}

/// The state of a breaker.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BreakerState {
    /// The name of the breaker.
    pub name: String,
    /// Closed, open or half-open.
    pub phase: Phase,
    /// Failures in a row so far; while not closed, those that opened it.
    pub failures: i32,
    /// The moment since which the breaker is not closed; `None` while it is.
    pub opened_at: Option<time::OffsetDateTime>,
}

/// The phase of a breaker, which decides the calls that it lets through.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Phase {
    /// Every call passes.
    Closed,
    /// No call passes.
    Open {
        /// The time until a probe.
        probe_in: Duration,
    },
    /// One call passes, as a probe.
    HalfOpen {
        /// The probe is under way.
        probing: bool,
    },
}

impl Phase {
    /// The names that [`as_str`](Self::as_str) gives.
    pub const NAMES: [&str; 3] = ["closed", "open", "half_open"];

    /// The name of the phase, as metrics and people have it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open { .. } => "open",
            Self::HalfOpen { .. } => "half_open",
        }
    }
}

impl Breaker {
    /// The breaker of this name.
    pub fn new(name: &'static str, settings: BreakerSettings) -> Self {
        Self { name, settings }
    }

    /// Asks whether a call may be made now.
    ///
    /// # Errors
    ///
    /// When the database refuses.
    pub async fn permit(&self, conn: &mut PgConnection) -> sqlx::Result<Permit> {
        match self.phase(&mut *conn).await? {
            Phase::Closed => Ok(Permit::Call(Pass::Go)),
            Phase::Open { probe_in } => Ok(Permit::Wait(probe_in)),
            Phase::HalfOpen { probing: true } => Ok(Permit::Wait(PROBE_RECHECK)),
            Phase::HalfOpen { probing: false } => match self.take_probe(conn).await? {
                Some(probe) => Ok(Permit::Call(Pass::Probe(probe))),
                // Somebody else was faster.
                None => Ok(Permit::Wait(PROBE_RECHECK)),
            },
        }
    }

    /// Reports what came of a call.
    ///
    /// # Errors
    ///
    /// When the database refuses.
    pub async fn record(
        &self,
        conn: &mut PgConnection,
        pass: Pass,
        health: BankHealth,
    ) -> sqlx::Result<()> {
        match (pass, health) {
            (Pass::Go, BankHealth::Works) => self.forget_failures(conn).await,
            (Pass::Go, BankHealth::Fails) => self.count_failure(conn).await,
            (Pass::Probe(probe), BankHealth::Works) => self.close(conn, probe).await,
            (Pass::Probe(probe), BankHealth::Fails) => self.open_again(conn, probe).await,
        }
    }

    /// Gives back the right to a call that is not made after all. Whoever dies with it keeps the
    /// others waiting until the probe's lease is over.
    ///
    /// # Errors
    ///
    /// When the database refuses.
    pub async fn give_back(&self, conn: &mut PgConnection, pass: Pass) -> sqlx::Result<()> {
        let Pass::Probe(probe) = pass else { return Ok(()) };
        sqlx::query!(
            "
            update bank.breakers
            set probe_expires_at = null
            where name = $1 and probe = $2 and open_until is not null
            ",
            self.name,
            probe,
        )
        .execute(conn)
        .await?;
        Ok(())
    }

    async fn phase(&self, conn: &mut PgConnection) -> sqlx::Result<Phase> {
        let states = states(conn).await?;
        let state = states.into_iter().find(|state| state.name == self.name);
        Ok(state.map_or(Phase::Closed, |state| state.phase))
    }

    /// Takes the right to probe, unless somebody else has it or the breaker is no longer half-open.
    async fn take_probe(&self, conn: &mut PgConnection) -> sqlx::Result<Option<i64>> {
        sqlx::query_scalar!(
            "
            update bank.breakers
            set
              probe = probe + 1,
              probe_expires_at = clock_timestamp() + make_interval(secs => $2)
            where name = $1
              and open_until <= clock_timestamp()
              and (probe_expires_at is null or probe_expires_at <= clock_timestamp())
            returning probe
            ",
            self.name,
            self.settings.probe_lease.as_secs_f64(),
        )
        .fetch_optional(conn)
        .await
    }

    /// A call that was begun while the breaker was closed, and ends after it opened, says nothing
    /// of the bank as it is now: only a probe closes it.
    async fn forget_failures(&self, conn: &mut PgConnection) -> sqlx::Result<()> {
        sqlx::query!(
            "
            update bank.breakers
            set failures = 0
            where name = $1 and failures > 0 and open_until is null
            ",
            self.name,
        )
        .execute(conn)
        .await?;
        Ok(())
    }

    async fn count_failure(&self, conn: &mut PgConnection) -> sqlx::Result<()> {
        let opened = sqlx::query_scalar!(
            r#"
            insert into bank.breakers as breaker (name, failures, opened_at, open_until)
            values (
              $1,
              1,
              case when $2 <= 1 then clock_timestamp() end,
              case when $2 <= 1 then clock_timestamp() + make_interval(secs => $3) end
            )
            on conflict (name) do update
            set
              failures = breaker.failures + 1,
              opened_at = case when breaker.failures + 1 >= $2 then clock_timestamp() end,
              open_until = case
                when breaker.failures + 1 >= $2
                then clock_timestamp() + make_interval(secs => $3)
              end
            where breaker.open_until is null
            returning open_until is not null as "opened!"
            "#,
            self.name,
            i32::from(self.settings.threshold),
            self.settings.open_for.as_secs_f64(),
        )
        .fetch_optional(conn)
        .await?;
        if opened == Some(true) {
            let breaker = self.name;
            tracing::warn!(breaker, "the circuit breaker {breaker} opens");
        }
        Ok(())
    }

    async fn close(&self, conn: &mut PgConnection, probe: i64) -> sqlx::Result<()> {
        let closed = sqlx::query!(
            "
            update bank.breakers
            set failures = 0, opened_at = null, open_until = null, probe_expires_at = null
            where name = $1 and probe = $2 and open_until is not null
            ",
            self.name,
            probe,
        )
        .execute(conn)
        .await?
        .rows_affected();
        if closed == 1 {
            let breaker = self.name;
            tracing::info!(breaker, "the circuit breaker {breaker} closes");
        }
        Ok(())
    }

    async fn open_again(&self, conn: &mut PgConnection, probe: i64) -> sqlx::Result<()> {
        sqlx::query!(
            "
            update bank.breakers
            set
              open_until = clock_timestamp() + make_interval(secs => $3),
              probe_expires_at = null
            where name = $1 and probe = $2 and open_until is not null
            ",
            self.name,
            probe,
            self.settings.open_for.as_secs_f64(),
        )
        .execute(conn)
        .await?;
        Ok(())
    }
}

/// Reads the phase of the breaker of this name.
///
/// # Errors
///
/// When the database refuses.
pub async fn phase_of(conn: &mut PgConnection, name: &str) -> sqlx::Result<Phase> {
    let states = states(conn).await?;
    let found = states.into_iter().find(|state| state.name == name);
    Ok(found.map_or(Phase::Closed, |state| state.phase))
}

/// The state of every breaker that has ever counted a failure; one that is not here is closed.
///
/// # Errors
///
/// When the database refuses.
pub async fn states(conn: &mut PgConnection) -> sqlx::Result<Vec<BreakerState>> {
    let rows = sqlx::query!(
        r#"
        select
          name,
          failures,
          opened_at,
          extract(epoch from open_until - clock_timestamp())::float8 as open_secs,
          coalesce(probe_expires_at > clock_timestamp(), false) as "probing!"
        from bank.breakers
        order by name
        "#,
    )
    .fetch_all(conn)
    .await?;
    let states = rows.into_iter().map(|row| {
        let phase = match row.open_secs {
            None => Phase::Closed,
            Some(secs) if secs > 0.0 => {
                Phase::Open { probe_in: Duration::try_from_secs_f64(secs).unwrap_or(Duration::MAX) }
            }
            Some(_) => Phase::HalfOpen { probing: row.probing },
        };
        BreakerState { name: row.name, phase, failures: row.failures, opened_at: row.opened_at }
    });
    Ok(states.collect())
}
