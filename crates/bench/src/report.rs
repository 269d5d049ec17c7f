//! The report of a form: settings and results as JSON, and the same results as a table.

use std::fmt::{Display, Write as _};

use serde::Serialize;
use serde_json::{Value, json};

/// The column at which the values of a table begin.
const NAME_WIDTH: usize = 26;

/// Settings, results and table of a form.
pub(crate) struct Report {
    pub(crate) settings: Value,
    pub(crate) results: Value,
    pub(crate) table: Table,
}

/// A result of a form, which is a section of its table.
pub(crate) trait Section: Serialize {
    /// The subject that was measured.
    fn title(&self) -> String;
    /// Writes the figures.
    fn write(&self, table: &mut Table);
}

impl Report {
    /// The report of these results, which are medians of so many rounds. `subject` is the form and
    /// what holds for all of it.
    pub(crate) fn new(
        subject: impl Display,
        rounds: u32,
        settings: Value,
        results: &[impl Section],
    ) -> Self {
        let mut table = Table(format!("{subject}; median of {rounds} rounds (min–max)\n"));
        for result in results {
            table.text(format_args!("\n{}", result.title()));
            result.write(&mut table);
        }
        Self { settings, results: json!(results), table }
    }
}

/// Lines for people.
pub(crate) struct Table(String);

impl Table {
    /// A line with a name before its values.
    pub(crate) fn line(&mut self, name: &str, values: impl Display) {
        self.text(format_args!("  {name:NAME_WIDTH$} {values}"));
    }

    /// A line.
    pub(crate) fn text(&mut self, text: impl Display) {
        // Writing to a String cannot fail.
        let _ = writeln!(self.0, "{text}");
    }
}

impl Display for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Serialize)]
    struct Rate {
        of: &'static str,
        rate: u32,
    }

    impl Section for Rate {
        fn title(&self) -> String {
            self.of.to_owned()
        }

        fn write(&self, table: &mut Table) {
            table.line("rate", format_args!("{} jobs/s", self.rate));
        }
    }

    #[test]
    fn each_result_is_a_section_and_an_object() {
        let results = [Rate { of: "one", rate: 1 }, Rate { of: "many", rate: 20 }];
        let report = Report::new("enqueue: fast", 3, json!({ "clients": 2 }), &results);
        assert_eq!(
            report.table.to_string(),
            "enqueue: fast; median of 3 rounds (min–max)\n\
             \none\n  rate                       1 jobs/s\n\
             \nmany\n  rate                       20 jobs/s\n"
        );
        assert_eq!(
            report.results,
            json!([{ "of": "one", "rate": 1 }, { "of": "many", "rate": 20 }])
        );
        assert_eq!(report.settings, json!({ "clients": 2 }));
    }
}
