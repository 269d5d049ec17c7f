//! Shapes of charts: numbers as points of an SVG. Shapes stretch with the page, and words stand
//! beside them.

use std::fmt::Write as _;

/// The width of each drawing area; its height is [`HEIGHT`].
pub(super) const WIDTH: f64 = 720.0;
/// The height of each drawing area.
pub(super) const HEIGHT: f64 = 160.0;

/// Layers that lie on each other, each a polygon between the one below and its own values.
#[derive(Clone, Debug, Default)]
pub(super) struct Stack {
    /// The layers from the lowest, each with its class and its points.
    pub(super) layers: Vec<(&'static str, String)>,
    /// The words beside the lines, from the top down.
    pub(super) marks: Vec<String>,
}

impl Stack {
    /// A stack of series of the same length.
    pub(super) fn new(series: &[(&'static str, Vec<f64>)]) -> Self {
        let length = series.iter().map(|(_, values)| values.len()).max().unwrap_or(0);
        let total = |at: usize| series.iter().map(|(_, values)| values[at]).sum::<f64>();
        let top = rounded_up((0..length).map(total).fold(0.0, f64::max));
        let mut below = vec![0.0; length];
        let mut layers = Vec::new();
        for (class, values) in series {
            let above: Vec<f64> = below.iter().zip(values).map(|(one, two)| one + two).collect();
            if values.iter().any(|value| *value > 0.0) {
                layers.push((*class, polygon(&below, &above, top)));
            }
            below = above;
        }
        let marks = (0..=4).rev().map(|quarter| mark(top * f64::from(quarter) / 4.0)).collect();
        Self { layers, marks }
    }
}

/// A line through values, for a picture of `width` by `height`; flat for nothing at all.
pub(super) fn line(values: &[f64], width: f64, height: f64) -> String {
    let top = values.iter().copied().fold(0.0, f64::max);
    let mut points = String::new();
    for (at, value) in values.iter().enumerate() {
        let x = position(at, values.len()) * width;
        let y = height - 2.0 - if top > 0.0 { value / top * (height - 4.0) } else { 0.0 };
        let _ = write!(points, "{x:.1},{y:.1} ");
    }
    points.truncate(points.trim_end().len());
    points
}

fn polygon(below: &[f64], above: &[f64], top: f64) -> String {
    let mut points = String::new();
    let mut point = |at: usize, value: f64| {
        let (x, y) = (position(at, above.len()) * WIDTH, HEIGHT - value / top * HEIGHT);
        let _ = write!(points, "{x:.1},{y:.1} ");
    };
    above.iter().enumerate().for_each(|(at, value)| point(at, *value));
    below.iter().enumerate().rev().for_each(|(at, value)| point(at, *value));
    points.truncate(points.trim_end().len());
    points
}

/// The place of a point between the left edge, 0, and the right one, 1.
fn position(at: usize, of: usize) -> f64 {
    if of < 2 { 0.0 } else { at as f64 / (of - 1) as f64 }
}

/// The next number that people like to read at the top of a scale; at least 4, so that its quarters
/// are whole.
fn rounded_up(value: f64) -> f64 {
    let power = 10_f64.powf(value.max(1.0).log10().floor());
    let steps = [1.0, 2.0, 4.0, 6.0, 8.0, 10.0];
    let step = steps.into_iter().map(|step| step * power).find(|step| *step >= value);
    step.unwrap_or(10.0 * power).max(4.0)
}

fn mark(value: f64) -> String {
    match value.fract() {
        0.0 => super::words::count(value as i64),
        _ => format!("{value:.1}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_lie_on_each_other_and_fill_the_scale() {
        let stack =
            Stack::new(&[("ok", vec![2.0, 4.0]), ("warn", vec![0.0; 2]), ("bad", vec![2.0, 0.0])]);
        assert_eq!(stack.marks, ["4", "3", "2", "1", "0"]);
        let points: Vec<&str> = stack.layers.iter().map(|(_, points)| points.as_str()).collect();
        assert_eq!(points[0], "0.0,80.0 720.0,0.0 720.0,160.0 0.0,160.0");
        assert_eq!(points[1], "0.0,0.0 720.0,0.0 720.0,0.0 0.0,80.0");
        assert_eq!(points.len(), 2);
    }

    #[test]
    fn scales_end_at_a_number_that_is_easy_to_read() {
        let tops = [(0.0, 4.0), (3.0, 4.0), (11.0, 20.0), (1_284.0, 2_000.0), (8_001.0, 10_000.0)];
        for (value, top) in tops {
            assert_eq!(rounded_up(value), top, "{value}");
        }
    }

    #[test]
    fn a_line_without_values_is_no_line_and_one_of_zeros_is_flat() {
        assert_eq!(line(&[], 120.0, 24.0), "");
        assert_eq!(line(&[0.0, 0.0], 120.0, 24.0), "0.0,22.0 120.0,22.0");
        assert_eq!(line(&[1.0, 2.0], 120.0, 24.0), "0.0,12.0 120.0,2.0");
    }
}
