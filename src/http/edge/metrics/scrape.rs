//! A scrape: the sources that were registered are read at that moment and written as text.

use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder};
use prometheus_client::metrics::MetricType;
use tokio::time::timeout;

use super::requests::Durations;
use super::{Labels, READ_WITHIN, Source};

/// One line of a scrape, or, of durations, several.
#[derive(Clone, Debug)]
pub(super) enum Point {
    Count(Labels, f64),
    Durations(Labels, Arc<Durations>),
}

impl Source {
    pub(super) async fn read(self) -> Vec<Point> {
        match self {
            Self::Tally(labels, tally) => vec![Point::Count(labels, tally.count() as f64)],
            Self::Durations(labels, durations) => vec![Point::Durations(labels, durations)],
            Self::Read(read) => {
                let readings = timeout(READ_WITHIN, read()).await.unwrap_or_default();
                readings.into_iter().map(|it| Point::Count(it.labels, it.value)).collect()
            }
        }
    }
}

/// The collector of one scrape.
#[derive(Debug)]
pub(super) struct Scrape(pub(super) Vec<Figures>);

/// The points of one name.
#[derive(Debug)]
pub(super) struct Figures {
    pub(super) name: &'static str,
    pub(super) help: &'static str,
    pub(super) kind: MetricType,
    pub(super) points: Vec<Point>,
}

impl Collector for Scrape {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        for Figures { name, help, kind, points } in &self.0 {
            if points.is_empty() {
                continue;
            }
            let mut metric = encoder.encode_descriptor(name, help, None, *kind)?;
            for point in points {
                let (Point::Count(labels, _) | Point::Durations(labels, _)) = point;
                match labels.is_empty() {
                    true => encode_point(&mut metric, *kind, point)?,
                    false => encode_point(&mut metric.encode_family(labels)?, *kind, point)?,
                }
            }
        }
        Ok(())
    }
}

fn encode_point(encoder: &mut MetricEncoder<'_>, kind: MetricType, point: &Point) -> fmt::Result {
    match point {
        Point::Count(_, value) if matches!(kind, MetricType::Counter) => {
            encoder.encode_counter::<Labels, f64, f64>(value, None)
        }
        Point::Count(_, value) => encoder.encode_gauge(value),
        Point::Durations(_, durations) => durations.encode(encoder),
    }
}
