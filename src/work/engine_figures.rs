//! The figures of the workers of this process.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use crate::jobs::Services;
use crate::metrics::instruments::{
    CLAIM_DURATION, CLAIM_JOBS, CLAIMS_EMPTY, CLAIMS_FAILED, COMPLETE_DURATION, COMPLETE_JOBS,
    COMPLETES_FAILED, JOB_ATTEMPTS, JOB_RUN_DURATION, JOB_WAIT_DURATION, JOBS_HANDED_BACK,
    JOBS_RESCUED, LEASES_LOST, RENEWALS_FAILED, WORKER_SLOTS, WRITES_FENCED,
};
use crate::metrics::tallies::OTHER;
use crate::metrics::{Family, Instrument, Kind, Metrics, Point, Value};
use crate::queue::Worker;
use crate::queue::activity::{EngineFigures, Histogram, Outcome, Totals};

/// Queues, and kinds, that are told apart in figures; the others are counted together.
const MAX_NAMES: usize = 50;

/// Outcomes that are shown of every kind, though there be none: an alert sees their first.
const ALWAYS_SHOWN: [Outcome; 3] = [Outcome::Completed, Outcome::Retried, Outcome::Discarded];

/// Shows what a worker does, for as long as it is there.
pub(super) fn show(metrics: &Metrics, worker: &Arc<Worker<Services>>) {
    let worker = Arc::downgrade(worker);
    metrics.collect(move || Weak::upgrade(&worker).map_or_else(Vec::new, |it| families(&it)));
}

fn families(worker: &Worker<Services>) -> Vec<Family> {
    let busy = worker.jobs_in_progress();
    let free = worker.slots().saturating_sub(busy);
    let slots = vec![Point::of(&["busy"], busy as f64), Point::of(&["free"], free as f64)];
    let mut families = vec![Family::new(&WORKER_SLOTS, slots)];
    families.extend(of_engine(&worker.activity().engine_figures()));
    families.extend(of_attempts(&worker.activity().totals()));
    families
}

fn of_engine(engine: &EngineFigures) -> Vec<Family> {
    let count = |instrument, count: u64| Family::single(instrument, count as f64);
    vec![
        distribution(&CLAIM_DURATION, &[(Vec::new(), engine.claims.clone())]),
        count(&CLAIM_JOBS, engine.claimed_jobs),
        count(&CLAIMS_EMPTY, engine.empty_claims),
        count(&CLAIMS_FAILED, engine.failed_claims),
        distribution(&COMPLETE_DURATION, &[(Vec::new(), engine.completions.clone())]),
        count(&COMPLETE_JOBS, engine.completed_jobs),
        count(&COMPLETES_FAILED, engine.failed_completions),
        count(&LEASES_LOST, engine.leases_lost),
        count(&RENEWALS_FAILED, engine.failed_renewals),
        count(&WRITES_FENCED, engine.writes_refused),
        count(&JOBS_HANDED_BACK, engine.handed_back),
        count(&JOBS_RESCUED, engine.rescued),
    ]
}

fn of_attempts(totals: &[Totals]) -> Vec<Family> {
    let (mut queues, mut kinds) = (Names::default(), Names::default());
    let mut attempts: HashMap<[String; 3], f64> = HashMap::new();
    let mut waits: HashMap<String, Histogram> = HashMap::new();
    let mut runs: HashMap<String, Histogram> = HashMap::new();
    for of in totals {
        let (queue, kind) = (queues.bounded(&of.queue), kinds.bounded(&of.kind));
        let labels = |outcome: Outcome| [queue.clone(), kind.clone(), outcome.as_str().to_owned()];
        *attempts.entry(labels(of.outcome)).or_default() += of.jobs as f64;
        for outcome in ALWAYS_SHOWN {
            attempts.entry(labels(outcome)).or_default();
        }
        waits.entry(queue).or_default().merge(&of.wait);
        runs.entry(kind).or_default().merge(&of.run);
    }
    let attempts = attempts
        .into_iter()
        .map(|(labels, jobs)| Point { labels: labels.into(), value: Value::Number(jobs) });
    let labelled = |times: HashMap<String, Histogram>| {
        times.into_iter().map(|(label, times)| (vec![label], times)).collect::<Vec<_>>()
    };
    vec![
        Family::new(&JOB_ATTEMPTS, attempts.collect()),
        distribution(&JOB_WAIT_DURATION, &labelled(waits)),
        distribution(&JOB_RUN_DURATION, &labelled(runs)),
    ]
}

/// The names that are told apart: those that came first.
#[derive(Default)]
struct Names(Vec<String>);

impl Names {
    fn bounded(&mut self, name: &str) -> String {
        if !self.0.iter().any(|known| known == name) {
            if self.0.len() >= MAX_NAMES {
                return OTHER.to_owned();
            }
            self.0.push(name.to_owned());
        }
        name.to_owned()
    }
}

/// The finer buckets of the queue, put together to those of the instrument.
fn distribution(instrument: &'static Instrument, series: &[(Vec<String>, Histogram)]) -> Family {
    let Kind::Histogram(bounds) = instrument.kind else {
        unreachable!("{} is no histogram", instrument.name)
    };
    let point = |(labels, times): &(Vec<String>, Histogram)| {
        let up_to = bounds.iter().map(|bound| times.count_up_to(*bound)).chain([times.count()]);
        let mut below = 0;
        let counts = up_to.map(|count| {
            let counted = count - below;
            below = count;
            counted
        });
        let value = Value::Distribution { counts: counts.collect(), sum: times.sum_secs() };
        Point { labels: labels.clone(), value }
    };
    Family::new(instrument, series.iter().map(point).collect())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn buckets_of_the_queue_add_up_to_those_of_the_instrument() {
        let mut times = Histogram::default();
        for millis in [2, 10, 11, 700, 4_000_000] {
            times.add(Duration::from_millis(millis));
        }
        let family = distribution(&JOB_WAIT_DURATION, &[(vec!["mail".to_owned()], times)]);
        let Value::Distribution { counts, sum } = &family.points[0].value else { panic!() };
        assert_eq!(counts.as_slice(), [2, 1, 0, 0, 1, 0, 0, 0, 0, 0, 1]);
        assert!((sum - 4_000.723).abs() < 1e-6, "{sum}");
    }

    #[test]
    fn the_bounds_of_instruments_are_among_those_of_the_queue() {
        for instrument in
            [&JOB_WAIT_DURATION, &JOB_RUN_DURATION, &CLAIM_DURATION, &COMPLETE_DURATION]
        {
            let Kind::Histogram(bounds) = instrument.kind else { panic!() };
            for bound in bounds {
                let mut times = Histogram::default();
                times.add(Duration::from_secs_f64(*bound));
                assert_eq!(times.count_up_to(*bound), 1, "{} {bound}", instrument.name);
                assert!(times.counts().len() > 1);
            }
        }
    }

    #[test]
    fn kinds_beyond_the_bound_are_counted_together() {
        let totals: Vec<Totals> = (0..MAX_NAMES + 10)
            .map(|number| Totals {
                queue: "default".to_owned(),
                kind: format!("kind-{number}"),
                outcome: Outcome::Completed,
                jobs: 1,
                wait: Histogram::default(),
                run: Histogram::default(),
            })
            .collect();
        let attempts = of_attempts(&totals).swap_remove(0);
        assert_eq!(attempts.points.len(), (MAX_NAMES + 1) * ALWAYS_SHOWN.len());
        assert!(attempts.points.contains(&Point::of(&["default", OTHER, "completed"], 10.0)));
    }
}
