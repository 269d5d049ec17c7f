//! Jobs, queues, workers and schedules.

use std::collections::BTreeMap;

use sqlx::PgConnection;

use crate::metrics::instruments::{
    DEAD_LETTERS, JOBS, KEYS_BLOCKED, OLDEST_READY_AGE, QUEUES_PAUSED, SCHEDULE_LAG, SCHEDULES,
    WORKERS, WORKERS_SLOTS,
};
use crate::metrics::tallies::OTHER;
use crate::metrics::{Family, Point};
use crate::queue::health::figures::{self, Standing, Waiting};

/// Queues that are told apart; the others are counted together.
const MAX_QUEUES: usize = 50;

/// States of jobs with those of a queue.
type OfState = (&'static str, fn(&Waiting) -> i64);
const STATES: [OfState; 4] = [
    ("available", |waiting| waiting.available),
    ("running", |waiting| waiting.running),
    ("scheduled", |waiting| waiting.scheduled),
    ("retryable", |waiting| waiting.retryable),
];

pub(super) async fn waiting(conn: &mut PgConnection) -> Result<Vec<Family>, sqlx::Error> {
    Ok(of_queues(&figures::waiting(conn).await?))
}

fn of_queues(queues: &[Waiting]) -> Vec<Family> {
    let mut jobs: BTreeMap<(&str, &str), i64> = BTreeMap::new();
    let mut oldest: BTreeMap<&str, f64> = BTreeMap::new();
    for (place, waiting) in queues.iter().enumerate() {
        let queue = if place < MAX_QUEUES { waiting.queue.as_str() } else { OTHER };
        for (state, count) in STATES {
            *jobs.entry((queue, state)).or_default() += count(waiting);
        }
        if let Some(secs) = waiting.oldest_secs {
            let of_queue = oldest.entry(queue).or_default();
            *of_queue = of_queue.max(secs);
        }
    }
    // A queue of which nothing waits is not there at all, so zeros say nothing.
    let jobs = jobs.into_iter().filter(|(_, jobs)| *jobs > 0);
    let jobs = jobs.map(|((queue, state), jobs)| Point::of(&[queue, state], jobs as f64));
    let oldest = oldest.into_iter().map(|(queue, secs)| Point::of(&[queue], secs));
    vec![Family::new(&JOBS, jobs.collect()), Family::new(&OLDEST_READY_AGE, oldest.collect())]
}

pub(super) async fn standing(conn: &mut PgConnection) -> Result<Vec<Family>, sqlx::Error> {
    let standing: Standing = figures::standing(conn).await?;
    let count = |number: i64| number as f64;
    let workers = vec![
        Point::of(&["working"], count(standing.working)),
        Point::of(&["draining"], count(standing.draining)),
        Point::of(&["lost"], count(standing.lost)),
    ];
    let slots = vec![
        Point::of(&["busy"], count(standing.busy)),
        Point::of(&["free"], count((standing.slots - standing.busy).max(0))),
    ];
    let schedules = vec![
        Point::of(&["active"], count(standing.active_schedules)),
        Point::of(&["paused"], count(standing.paused_schedules)),
    ];
    Ok(vec![
        Family::single(&DEAD_LETTERS, count(standing.undecided)),
        Family::single(&QUEUES_PAUSED, count(standing.paused)),
        Family::single(&KEYS_BLOCKED, count(standing.blocked_keys)),
        Family::new(&WORKERS, workers),
        Family::new(&WORKERS_SLOTS, slots),
        Family::new(&SCHEDULES, schedules),
        Family::single(&SCHEDULE_LAG, standing.schedule_lag_secs),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queues_beyond_the_bound_are_counted_together() {
        let waiting = |number: usize| Waiting {
            queue: format!("queue-{number:03}"),
            available: 2,
            running: 0,
            scheduled: 1,
            retryable: 0,
            oldest_secs: Some(number as f64),
        };
        let queues: Vec<Waiting> = (0..MAX_QUEUES + 10).map(waiting).collect();
        let [jobs, oldest] = of_queues(&queues).try_into().expect("there are two");
        assert_eq!(jobs.points.len(), 2 * (MAX_QUEUES + 1));
        assert!(jobs.points.contains(&Point::of(&[OTHER, "available"], 20.0)));
        assert!(oldest.points.contains(&Point::of(&[OTHER], (MAX_QUEUES + 9) as f64)));
    }
}
