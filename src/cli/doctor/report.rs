//! The findings as text and as JSON.

use serde_json::{Value, json};

use super::fixes;
use crate::cli::output::{Output, moment};
use crate::operations::health::{Finding, HealthReport, Level};

/// Prints the report. A reader that stops early, such as `head`, changes nothing.
pub(super) fn print(report: &HealthReport, output: Output) {
    let text = match output {
        Output::Table => to_text(report),
        Output::Json => format!("{:#}\n", to_json(report)),
        Output::Jsonl => {
            report.findings.iter().map(|finding| format!("{}\n", finding_json(finding))).collect()
        }
    };
    print!("{text}");
}

fn to_text(report: &HealthReport) -> String {
    let width = report.findings.iter().map(|finding| finding.check.len()).max().unwrap_or(0);
    let mut text = String::new();
    for Finding { check, level, found, fix } in &report.findings {
        let word = match level {
            Level::Ok => "ok",
            Level::Unseen => "?",
            Level::Warn => "warn",
            Level::Fail => "FAIL",
        };
        text += &format!("{word:<4}  {check:width$}  {found}\n");
        if let Some(fix) = fix {
            text += &format!("{:width$}        fix: {}\n", "", fixes::in_words(fix));
        }
    }
    let number = |level| report.findings.iter().filter(|it| it.level == level).count();
    text += &format!(
        "database {} as role {}, PostgreSQL {}: {} fail, {} warn, {} unseen, {} ok\n",
        report.database,
        report.role,
        report.server_version,
        number(Level::Fail),
        number(Level::Warn),
        number(Level::Unseen),
        number(Level::Ok),
    );
    text
}

fn to_json(report: &HealthReport) -> Value {
    json!({
        "level": report.worst(),
        "database": report.database,
        "role": report.role,
        "server_version": report.server_version,
        "checked_at": moment(Some(report.checked_at)),
        "findings": report.findings.iter().map(finding_json).collect::<Vec<_>>(),
    })
}

fn finding_json(finding: &Finding) -> Value {
    json!({
        "check": finding.check,
        "level": finding.level,
        "found": finding.found,
        "fix": finding.fix.as_ref().map(fixes::in_words),
    })
}
