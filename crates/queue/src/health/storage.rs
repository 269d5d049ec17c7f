//! Storage under the tables: partitions for the days to come, the indexes and storage settings that
//! the migrations make, and vacuum.

use std::collections::BTreeMap;

use sqlx::PgConnection;

use super::{Finding, Level, span};

pub(super) const PARTITIONS: &str = "partitions";
pub(super) const RELATIONS: &str = "indexes-and-settings";
pub(super) const DEAD_ROWS: &str = "dead-rows";

/// Workers make partitions a week ahead, every few minutes.
const PARTITIONS_DAYS_AHEAD: i32 = 6;
/// Fewer days than this, and nobody has made any for days.
const PARTITIONS_DAYS_NEEDED: i32 = 3;

/// A table whose dead rows are so many times what should have called autovacuum.
const LATE_FACTOR: f64 = 10.0;
/// Fewer dead rows than this harm nobody.
const FEW_DEAD_ROWS: f64 = 50_000.0;
/// Vacuum was there so lately that it is not late; a busy queue makes many dead rows a minute.
const LATELY_SECS: f64 = 300.0;
/// Dead rows that are too many, however lately vacuum was there.
const MANY_DEAD_ROWS: f64 = 5_000_000.0;

/// Checks that jobs which finish tomorrow have a partition to go to.
pub(super) async fn partitions(conn: &mut PgConnection) -> Result<Vec<Finding>, sqlx::Error> {
    let missing = sqlx::query_file!("src/sql/health_missing_partitions.sql", PARTITIONS_DAYS_AHEAD)
        .fetch_all(conn)
        .await?;
    let findings: Vec<Finding> = missing
        .iter()
        .filter(|parent| parent.first_missing <= PARTITIONS_DAYS_NEEDED)
        .map(|parent| {
            let when = match parent.first_missing {
                0 => "today".to_owned(),
                1 => "tomorrow".to_owned(),
                days => format!("the day in {days} days"),
            };
            Finding::new(
                PARTITIONS,
                if parent.first_missing <= 1 { Level::Fail } else { Level::Warn },
                format!("{} has no partition for {when} (UTC)", parent.parent),
                format!(
                    "a running worker makes them; or: select queue.ensure_partitions('{}', 7)",
                    parent.parent
                ),
            )
        })
        .collect();
    if findings.is_empty() {
        return Ok(vec![Finding::ok(PARTITIONS, "there is one for each of the coming days")]);
    }
    Ok(findings)
}

/// The indexes and storage options that the migrations make, as `.ci/sqlx-prepare` writes them: one
/// line for each, its table, its name and its definition separated by tabs.
#[derive(Clone, Copy, Debug)]
pub struct ExpectedRelations(pub &'static str);

/// Of the queue.
pub(super) const EXPECTED: ExpectedRelations = ExpectedRelations(include_str!("relations.txt"));

impl ExpectedRelations {
    fn items(self) -> impl Iterator<Item = (&'static str, &'static str, &'static str)> {
        self.0.lines().filter_map(|line| {
            let (relation, rest) = line.split_once('\t')?;
            let (item, definition) = rest.split_once('\t')?;
            Some((relation, item, definition))
        })
    }

    fn schemas(self) -> String {
        let mut schemas: Vec<&str> =
            self.items().filter_map(|(relation, _, _)| relation.split('.').next()).collect();
        schemas.dedup();
        schemas.join(", ")
    }
}

/// Compares the indexes and storage options of a database with those that the migrations make. What
/// somebody has added to them is none of our business.
///
/// # Errors
///
/// When the database refuses.
pub async fn compare_relations(
    conn: &mut PgConnection,
    expected: ExpectedRelations,
) -> Result<Vec<Finding>, sqlx::Error> {
    let rows = sqlx::query_file!("src/sql/health_relations.sql").fetch_all(conn).await?;
    let actual: BTreeMap<(&str, &str), &str> = rows
        .iter()
        .map(|row| ((row.relation.as_str(), row.item.as_str()), row.definition.as_str()))
        .collect();
    let findings: Vec<Finding> = expected
        .items()
        .filter_map(|(relation, item, definition)| {
            difference(relation, item, definition, actual.get(&(relation, item)).copied())
        })
        .collect();
    if findings.is_empty() {
        let found = format!(
            "all {} of {} are as the migrations make them",
            expected.items().count(),
            expected.schemas()
        );
        return Ok(vec![Finding::ok(RELATIONS, found)]);
    }
    Ok(findings)
}

fn difference(relation: &str, item: &str, expected: &str, actual: Option<&str>) -> Option<Finding> {
    let finding =
        |level, found: String, fix: String| Some(Finding::new(RELATIONS, level, found, fix));
    let schema = relation.split('.').next().unwrap_or_default();
    match (item.split_once(' ')?, actual) {
        (_, Some(actual)) if actual == expected => None,
        (("index", name), None) => finding(
            Level::Fail,
            format!("{relation} has lost its index {name}"),
            expected.to_owned(),
        ),
        (("index", name), Some(actual)) if actual.ends_with(" INVALID") => finding(
            Level::Fail,
            format!("the index {name} of {relation} is invalid, and no query uses it"),
            format!("reindex index concurrently {schema}.{name}"),
        ),
        (("index", name), Some(actual)) => finding(
            Level::Warn,
            format!("the index {name} of {relation} is another one: {actual}"),
            format!("drop index {schema}.{name}; {expected}"),
        ),
        ((_, option), actual) => finding(
            Level::Warn,
            format!("{relation}: {option} is {}", actual.unwrap_or("not set")),
            format!("alter table {relation} set ({option} = {expected})"),
        ),
    }
}

/// Checks that vacuum keeps up with the tables of these schemas.
///
/// # Errors
///
/// When the database refuses.
pub async fn dead_rows(
    conn: &mut PgConnection,
    schemas: &[&str],
) -> Result<Vec<Finding>, sqlx::Error> {
    let schemas: Vec<String> = schemas.iter().map(|&schema| schema.to_owned()).collect();
    let tables =
        sqlx::query_file!("src/sql/health_dead_rows.sql", &schemas).fetch_all(conn).await?;
    let mut findings = Vec::new();
    for table in &tables {
        let dead = table.dead as f64;
        let name = &table.name;
        let vacuumed = match table.vacuumed_secs_ago {
            Some(secs) => format!("last vacuumed {} ago", span(secs)),
            None => "never vacuumed".to_owned(),
        };
        if !table.is_autovacuumed {
            findings.push(Finding::new(
                DEAD_ROWS,
                Level::Fail,
                format!("{name} is never vacuumed by itself: {dead} dead rows, {vacuumed}"),
                format!("alter table {name} reset (autovacuum_enabled)"),
            ));
        } else if let Some(level) = judge_dead_rows(dead, table.threshold, table.vacuumed_secs_ago)
        {
            findings.push(Finding::new(
                DEAD_ROWS,
                level,
                format!("{name} has {dead} dead rows, {vacuumed}"),
                format!("end what holds vacuum back (see oldest-transaction), then: vacuum {name}"),
            ));
        }
    }
    if findings.is_empty() {
        let found = match tables.first().filter(|table| table.dead > 0) {
            Some(most) => {
                format!("{}: at most {}, in {}", schemas.join(", "), most.dead, most.name)
            }
            None => format!("{}: none", schemas.join(", ")),
        };
        findings.push(Finding::ok(DEAD_ROWS, found));
    }
    Ok(findings)
}

/// Nothing when there are few, or vacuum was there lately.
fn judge_dead_rows(dead: f64, threshold: f64, vacuumed_secs_ago: Option<f64>) -> Option<Level> {
    let late = threshold * LATE_FACTOR + FEW_DEAD_ROWS;
    let lately = vacuumed_secs_ago.is_some_and(|secs| secs < LATELY_SECS);
    match dead {
        MANY_DEAD_ROWS.. => Some(Level::Fail),
        dead if dead >= late && !lately => Some(Level::Warn),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dead_rows_are_too_many_when_vacuum_was_not_there_lately() {
        assert_eq!(judge_dead_rows(60_000.0, 2000.0, None), None);
        assert_eq!(judge_dead_rows(80_000.0, 2000.0, None), Some(Level::Warn));
        assert_eq!(judge_dead_rows(80_000.0, 2000.0, Some(301.0)), Some(Level::Warn));
        assert_eq!(judge_dead_rows(2_000_000.0, 2000.0, Some(40.0)), None);
        assert_eq!(judge_dead_rows(6_000_000.0, 2000.0, Some(40.0)), Some(Level::Fail));
    }

    #[test]
    fn an_index_is_lost_invalid_or_another_one() {
        let about = |actual| difference("queue.jobs", "index a", "CREATE INDEX a", actual);
        assert_eq!(about(Some("CREATE INDEX a")), None);
        let lost = about(None).unwrap();
        assert_eq!((lost.level, lost.fix), (Level::Fail, Some("CREATE INDEX a".into())));
        let invalid = about(Some("CREATE INDEX a INVALID")).unwrap();
        assert_eq!(invalid.fix, Some("reindex index concurrently queue.a".into()));
        assert_eq!(about(Some("CREATE INDEX a ON b")).unwrap().level, Level::Warn);
    }
}
