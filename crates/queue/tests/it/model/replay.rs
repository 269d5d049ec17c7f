//! The same steps on PostgreSQL, by the statements that workers use.

use std::collections::HashMap;

use proptest::prelude::*;
use serde_json::json;
use sqlx::{PgConnection, Row as _};
use surety_queue::AttemptOutcome;
use uuid::Uuid;

use super::machine::{Ended, FOLLOW_UP, MAX_CRASHES, Model, QUEUES, WORKERS, kinds_of, queues_of};
use super::steps::{NewJob, Step};
use crate::statements::{self, Claim, FinishedState};

/// The model's unit of time. A sequence takes far less than half of it, so every moment in the
/// database is nearest to the one that the model says.
const UNIT_SECS: i64 = 1000;

const KINDS: [&str; 2] = ["model_a", "model_b"];

/// All jobs that are there, with everything that the model knows of them. The last column changes
/// with every write.
const ROWS: &str = "
    select
      id, state, attempt, max_attempts, crash_count, prior_attempts, fence, worker_id, wait_reason,
      progress, checkpoint, output, cancel_reason is not null as to_be_cancelled,
      round(extract(epoch from run_at - clock_timestamp()) / $2)::bigint as due,
      round(extract(epoch from lease_expires_at - clock_timestamp()) / $2)::bigint as lease,
      array(
        select format('%s:%s:%s', attempts.attempt, fence, outcome)
        from queue.attempts where job_id = job.id order by attempts.attempt, fence
      ) as attempts,
      array(
        select format('%s %s', resolutions.attempt, resolution)
        from queue.resolutions where job_id = job.id order by resolutions.attempt
      ) as decisions,
      (select count(*) from queue.interventions where job_id = job.id) as cancels,
      (select format('%s %s', xmin, ctid) from queue.jobs where jobs.id = job.id) as version
    from queue.all_jobs as job
    where id = any ($1)
    order by id";

/// A sequence under way, in queues of its own.
pub(super) struct Replay<'a> {
    conn: &'a mut PgConnection,
    queues: Vec<String>,
    workers: Vec<Uuid>,
    /// The ids of the model's jobs, and the fences of its claims.
    jobs: Vec<i64>,
    fences: Vec<i64>,
    /// Above all ids of sequences before.
    last_id: i64,
    versions: Vec<Option<String>>,
}

impl<'a> Replay<'a> {
    pub(super) async fn begin(conn: &'a mut PgConnection) -> Self {
        // A rescue and a pause of all queues know no queue: what the sequence before has left must
        // be gone. Its history stays.
        sqlx::raw_sql(
            "delete from queue.jobs; delete from queue.pauses; delete from queue.unique_keys",
        )
        .execute(&mut *conn)
        .await
        .unwrap();
        let last_id =
            sqlx::query_scalar("select nextval(pg_get_serial_sequence('queue.jobs', 'id'))")
                .fetch_one(&mut *conn)
                .await
                .unwrap();
        Self {
            conn,
            queues: (0..QUEUES).map(|queue| format!("model_{queue}")).collect(),
            workers: (0..WORKERS).map(|_| Uuid::new_v4()).collect(),
            jobs: Vec::new(),
            fences: Vec::new(),
            last_id,
            versions: Vec::new(),
        }
    }

    /// Takes the step, after which all must be as the model says.
    pub(super) async fn step(
        &mut self,
        before: &Model,
        step: &Step,
        after: &Model,
    ) -> Result<(), TestCaseError> {
        let said = self.take(before, step).await;
        self.find_new_jobs().await;
        prop_assert_eq!(&said, &after.said, "what {:?} was told", step);
        self.put_in_order(&after.rescued).await;

        let (rows, versions) = self.rows().await;
        prop_assert_eq!(rows, after.rows(), "after {:?}", step);
        let under = step.written_under();
        if !under.is_empty() && !under.iter().any(|claim| before.is_current(*claim)) {
            prop_assert_eq!(&versions, &self.versions, "rows that {:?} wrote in vain", step);
        }
        self.versions = versions;
        Ok(())
    }

    fn claim(&self, model: &Model, claim: usize) -> Claim {
        (self.jobs[model.claims[claim].job], self.fences[claim])
    }

    fn claims(&self, model: &Model, claims: &[usize]) -> Vec<Claim> {
        let mut claims: Vec<Claim> = claims.iter().map(|one| self.claim(model, *one)).collect();
        claims.sort_unstable();
        claims
    }

    fn numbers_of(&self, ids: Vec<i64>) -> Vec<usize> {
        let mut numbers: Vec<usize> = ids.into_iter().map(|id| self.number_of(id)).collect();
        numbers.sort_unstable();
        numbers
    }

    fn number_of(&self, id: i64) -> usize {
        self.jobs.iter().position(|known| *known == id).unwrap()
    }

    async fn take(&mut self, model: &Model, step: &Step) -> String {
        match step {
            Step::Enqueue(job) => self.enqueue(job).await,
            Step::Claim { worker, limit, lease } => {
                self.claim_due(*worker, *limit, secs(*lease)).await
            }
            Step::Heartbeat { claims, lease } => {
                let claims = self.claims(model, claims);
                let renewed = statements::heartbeat(self.conn, &claims, secs(*lease)).await;
                format!("{:?}", self.numbers_of(renewed))
            }
            Step::Complete { claims, output } => {
                let claims = self.claims(model, claims);
                let output = output.map(|output| json!(output));
                let done = statements::complete(self.conn, &claims, output.as_ref()).await;
                format!("{:?}", self.numbers_of(done))
            }
            Step::Fail { claim, delay, outcome } => {
                let is_last_attempt = model.claims[*claim].is_last_attempt();
                let claim = self.claim(model, *claim);
                let outcome = outcome_of(*outcome);
                if is_last_attempt {
                    let state = FinishedState::Discarded;
                    done(statements::finish(self.conn, claim, state, outcome, true).await)
                } else {
                    waits(statements::retry(self.conn, claim, secs(*delay), outcome).await)
                }
            }
            Step::Discard { claim, follow_up } => {
                let claim = self.claim(model, *claim);
                let (state, outcome) = (FinishedState::Discarded, AttemptOutcome::Discarded);
                done(statements::finish(self.conn, claim, state, outcome, *follow_up).await)
            }
            Step::CancelOwn { claim } => {
                let claim = self.claim(model, *claim);
                let (state, outcome) = (FinishedState::Cancelled, AttemptOutcome::Cancelled);
                done(statements::finish(self.conn, claim, state, outcome, true).await)
            }
            Step::HandBack { claim, delay, reason } => {
                let claim = self.claim(model, *claim);
                let reason = reason.map(|reason| reason.to_string());
                let back = statements::hand_back(self.conn, claim, secs(*delay), reason.as_deref());
                waits(back.await)
            }
            Step::Tell { claim, progress, checkpoint } => {
                let claim = self.claim(model, *claim);
                let progress = progress.map(|percent| (percent, "so far"));
                let checkpoint = checkpoint.map(|checkpoint| json!(checkpoint));
                done(
                    statements::record_progress(self.conn, claim, progress, checkpoint.as_ref())
                        .await,
                )
            }
            Step::LockLease { claim } => {
                let claim = self.claim(model, *claim);
                done(statements::lock_lease(self.conn, claim).await)
            }
            Step::AskOutcome { claim } => {
                let claim = self.claim(model, *claim);
                let outcome = statements::attempt_outcome(self.conn, claim).await;
                outcome.map_or("unknown", name_of).to_owned()
            }
            _ => self.take_as_operator(step).await,
        }
    }

    /// The steps that no worker takes for a job that it has.
    async fn take_as_operator(&mut self, step: &Step) -> String {
        match step {
            Step::Rescue { limit } => {
                let limit = i64::try_from(*limit).unwrap();
                let rescued = statements::rescue(self.conn, limit, i32::from(MAX_CRASHES)).await;
                let mut rescued: Vec<(usize, bool)> =
                    rescued.into_iter().map(|(id, poison)| (self.number_of(id), poison)).collect();
                rescued.sort_unstable();
                format!("{rescued:?}")
            }
            Step::Cancel { job } => {
                let said: Option<String> =
                    sqlx::query_scalar("select queue.cancel($1, 'ada', 'x')")
                        .bind(self.jobs[*job])
                        .fetch_one(&mut *self.conn)
                        .await
                        .unwrap();
                said.unwrap_or_else(|| "unknown".to_owned())
            }
            Step::AskCancelRequests { worker } => {
                let asked = statements::cancel_requests(self.conn, self.workers[*worker]).await;
                let mut claims: Vec<usize> =
                    asked.into_iter().map(|(_, fence)| self.claim_number(fence)).collect();
                claims.sort_unstable();
                format!("{claims:?}")
            }
            Step::CancelLeftOver => {
                format!("{}", statements::cancel_left_over(self.conn).await)
            }
            Step::Pause { queue } => {
                let pause = "insert into queue.pauses (queue, paused_by, reason)
                             values ($1, 'ada', 'x') on conflict do nothing";
                self.of_queue(pause, *queue).await
            }
            Step::Resume { queue } => {
                self.of_queue("delete from queue.pauses where queue = $1", *queue).await
            }
            Step::Redrive { job } => {
                format!("{}", statements::redrive(self.conn, self.jobs[*job]).await)
            }
            Step::Dismiss { job } => {
                format!("{}", statements::dismiss(self.conn, self.jobs[*job]).await)
            }
            Step::Pass { units } => self.pass(*units).await,
            _ => unreachable!("a worker's step"),
        }
    }

    async fn of_queue(&mut self, statement: &'static str, queue: Option<usize>) -> String {
        let queue = queue.map_or("*", |queue| &self.queues[queue]);
        sqlx::query(statement).bind(queue).execute(&mut *self.conn).await.unwrap();
        String::new()
    }

    /// Time passes for all that is there: what lies ahead comes nearer.
    async fn pass(&mut self, units: i64) -> String {
        for statement in [
            "update queue.jobs set
               run_at = run_at - make_interval(secs => $1),
               lease_expires_at = lease_expires_at - make_interval(secs => $1)",
            "update queue.unique_keys set expires_at = expires_at - make_interval(secs => $1)",
        ] {
            sqlx::query(statement).bind(secs(units)).execute(&mut *self.conn).await.unwrap();
        }
        String::new()
    }

    async fn enqueue(&mut self, job: &NewJob) -> String {
        let queue = self.queues[job.queue].clone();
        let (priority, max_attempts) = FOLLOW_UP;
        let follow_up = job.is_followed_up.then(|| {
            json!({
                "kind": KINDS[0], "queue": queue, "priority": priority, "max_attempts": max_attempts
            })
        });
        let (id, is_new) = if let Some((value, lasts)) = job.unique {
            sqlx::query_as(
                "select job_id, is_new from queue.enqueue(
                   $1, queue => $2, priority => $3, max_attempts => $4,
                   run_at => clock_timestamp() + make_interval(secs => $5),
                   unique_by => $6, unique_for => make_interval(secs => $7),
                   keeps_history => $8, on_discard => $9
                 )",
            )
            .bind(KINDS[job.kind])
            .bind(&queue)
            .bind(i32::from(job.priority))
            .bind(i32::from(job.max_attempts))
            .bind(secs(job.delay))
            .bind(json!(value))
            .bind(lasts.map(secs))
            .bind(job.keeps_history)
            .bind(follow_up)
            .fetch_one(&mut *self.conn)
            .await
            .unwrap()
        } else {
            let mut extras = serde_json::Map::new();
            if let Some(follow_up) = follow_up {
                extras.insert("on_discard".to_owned(), follow_up);
            }
            if !job.keeps_history {
                extras.insert("no_history".to_owned(), json!(true));
            }
            let extras = (!extras.is_empty()).then(|| extras.into());
            let kind = KINDS[job.kind];
            let (priority, max_attempts) = (job.priority, job.max_attempts);
            let conn = &mut *self.conn;
            let delay = secs(job.delay);
            let id = statements::enqueue(conn, &queue, kind, priority, max_attempts, delay, extras)
                .await;
            (id, true)
        };
        match is_new {
            true => {
                self.jobs.push(id);
                self.last_id = id;
                format!("job {} is new", self.jobs.len() - 1)
            }
            false => format!("job {} is there", self.number_of(id)),
        }
    }

    async fn claim_due(&mut self, worker: usize, limit: usize, lease_secs: f64) -> String {
        let queues: Vec<String> =
            queues_of(worker).iter().map(|queue| self.queues[*queue].clone()).collect();
        let kinds: Vec<String> =
            kinds_of(worker).iter().map(|kind| KINDS[*kind].to_owned()).collect();
        let limit = i32::try_from(limit).unwrap();
        let worker = self.workers[worker];
        let mut claimed =
            statements::claim(self.conn, &queues, &kinds, limit, worker, lease_secs, i64::MAX)
                .await;
        let said: Vec<String> = claimed
            .iter()
            .map(|job| {
                let checkpoint = job.checkpoint.as_ref().and_then(serde_json::Value::as_i64);
                format!(
                    "job {} attempt {} of {} crashes {} prior {} checkpoint {checkpoint:?}",
                    self.number_of(job.id),
                    job.attempt,
                    job.max_attempts,
                    job.crash_count,
                    job.prior_attempts
                )
            })
            .collect();
        // Which of the jobs of one claim has which fence is not promised; each is higher than all
        // before.
        let highest = self.fences.iter().max().copied().unwrap_or(0);
        assert!(claimed.iter().all(|job| job.fence > highest), "{claimed:?} after {highest}");
        self.fences.extend(claimed.drain(..).map(|job| job.fence));
        said.join("; ")
    }

    /// Those that no enqueue of ours has made: follow-ups, in the order of what they follow.
    async fn find_new_jobs(&mut self) {
        let found: Vec<i64> = sqlx::query_scalar(
            "select id from queue.jobs where id > $1 order by (args ->> 'job')::bigint, id",
        )
        .bind(self.last_id)
        .fetch_all(&mut *self.conn)
        .await
        .unwrap();
        self.last_id = found.iter().copied().fold(self.last_id, i64::max);
        self.jobs.extend(found);
    }

    /// In which order one rescue writes its rows is not promised, and which of them is due first
    /// follows from it: the test decides.
    async fn put_in_order(&mut self, rescued: &[usize]) {
        if rescued.len() < 2 {
            return;
        }
        let ids: Vec<i64> = rescued.iter().map(|job| self.jobs[*job]).collect();
        sqlx::query(
            "with clock as materialized (select clock_timestamp() as now)
             update queue.jobs set run_at = now + position * interval '1 microsecond'
             from clock, unnest($1::bigint[]) with ordinality as rescued (rescued_id, position)
             where id = rescued_id",
        )
        .bind(ids)
        .execute(&mut *self.conn)
        .await
        .unwrap();
    }

    fn claim_number(&self, fence: i64) -> usize {
        self.fences.iter().position(|known| *known == fence).unwrap()
    }

    /// What is in the database, in the words of [`Model::rows`], and the versions of the rows.
    async fn rows(&mut self) -> (Vec<String>, Vec<Option<String>>) {
        let rows = sqlx::query(ROWS)
            .bind(&self.jobs)
            .bind(UNIT_SECS)
            .fetch_all(&mut *self.conn)
            .await
            .unwrap();
        let workers: HashMap<Uuid, usize> =
            self.workers.iter().enumerate().map(|(number, id)| (*id, number)).collect();
        let words = rows.iter().map(|row| {
            let state: String = row.get("state");
            let state = match &*state {
                "running" => format!(
                    "running, claim {} worker {} lease {}",
                    self.claim_number(row.get("fence")),
                    workers[&row.get::<Uuid, _>("worker_id")],
                    row.get::<i64, _>("lease")
                ),
                "completed" => format!("completed, output {:?}", number_in(row, "output")),
                "cancelled" | "discarded" => state,
                waiting => format!("{waiting} due {}", row.get::<i64, _>("due")),
            };
            let wait_reason: Option<String> = row.get("wait_reason");
            let wait_reason = wait_reason.map(|reason| reason.parse::<i64>().unwrap());
            let attempts: Vec<String> = row.get("attempts");
            let attempts: Vec<String> = attempts
                .iter()
                .map(|attempt| {
                    let [number, fence, outcome] = attempt.split(':').collect::<Vec<_>>()[..]
                    else {
                        panic!("{attempt}")
                    };
                    format!("{number} {} {outcome}", self.claim_number(fence.parse().unwrap()))
                })
                .collect();
            format!(
                "job {}: {state}, attempt {} of {} crashes {} prior {}, \
                 waits for {wait_reason:?}, progress {:?} checkpoint {:?}, \
                 to be cancelled {}, attempts {attempts:?}, decisions {:?}, cancels {}",
                self.number_of(row.get("id")),
                row.get::<i16, _>("attempt"),
                row.get::<i16, _>("max_attempts"),
                row.get::<i16, _>("crash_count"),
                row.get::<i16, _>("prior_attempts"),
                row.get::<Option<i16>, _>("progress"),
                number_in(row, "checkpoint"),
                row.get::<bool, _>("to_be_cancelled"),
                row.get::<Vec<String>, _>("decisions"),
                row.get::<i64, _>("cancels"),
            )
        });
        let mut words: Vec<(i64, String)> =
            rows.iter().map(|row| row.get("id")).zip(words).collect();
        // In the order of the model's numbers: the ids of several follow-ups at once are not.
        words.sort_by_key(|(id, _)| self.number_of(*id));
        let versions = rows.iter().map(|row| row.get("version")).collect();
        (words.into_iter().map(|(_, words)| words).collect(), versions)
    }
}

fn secs(units: i64) -> f64 {
    (units * UNIT_SECS) as f64
}

fn number_in(row: &sqlx::postgres::PgRow, column: &str) -> Option<i64> {
    row.get::<Option<serde_json::Value>, _>(column).and_then(|value| value.as_i64())
}

fn done(was_ours: bool) -> String {
    if was_ours { "done" } else { "not ours" }.to_owned()
}

fn waits(to_be_cancelled: Option<bool>) -> String {
    match to_be_cancelled {
        None => "not ours",
        Some(false) => "done",
        Some(true) => "to be cancelled",
    }
    .to_owned()
}

fn outcome_of(ended: Ended) -> AttemptOutcome {
    match ended {
        Ended::Completed => AttemptOutcome::Completed,
        Ended::Failed => AttemptOutcome::Failed,
        Ended::TimedOut => AttemptOutcome::TimedOut,
        Ended::Crashed => AttemptOutcome::Crashed,
        Ended::Discarded => AttemptOutcome::Discarded,
        Ended::Cancelled => AttemptOutcome::Cancelled,
    }
}

fn name_of(outcome: AttemptOutcome) -> &'static str {
    match outcome {
        AttemptOutcome::Completed => Ended::Completed,
        AttemptOutcome::Failed => Ended::Failed,
        AttemptOutcome::TimedOut => Ended::TimedOut,
        AttemptOutcome::Crashed => Ended::Crashed,
        AttemptOutcome::Discarded => Ended::Discarded,
        AttemptOutcome::Cancelled => Ended::Cancelled,
    }
    .name()
}
