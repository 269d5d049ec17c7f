//! Figures of processes and of the whole system, and activity by time.

mod activity;
mod documented;
mod export;
mod imbalance;
mod scrape;

/// The value of the sample that begins with this series, `name{labels}`; none when it is not there.
fn value(scrape: &str, series: &str) -> Option<f64> {
    let line = scrape.lines().find(|line| line.rsplit_once(' ').is_some_and(|it| it.0 == series));
    line.and_then(|line| line.rsplit_once(' ')?.1.parse().ok())
}
