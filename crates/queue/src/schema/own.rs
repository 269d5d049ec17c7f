//! The queue's own schema.

use super::Schema;

/// The schema of the queue, all of it in the PostgreSQL schema `queue`.
pub static QUEUE: Schema = Schema {
    name: "queue",
    release: env!("CARGO_PKG_VERSION"),
    works_from: 8,
    owns: &["queue"],
    records: "queue",
    migrations: crate::schema_migrations![
        "schema/migrations":
        "0001_jobs" guarded,
        "0002_decisions" guarded,
        "0003_flow",
        "0004_groups" guarded,
        "0005_schedules",
        "0006_workers",
        "0007_activity",
        "0008_failures",
    ],
    files: crate::schema_files![
        "schema":
        // Partitions first: what follows may write.
        "functions/ensure_partitions",
        "functions/drop_old_partitions",
        "functions/may_drop_days",
        "functions/kept_undecided",
        "functions/kept_since",
        "functions/old_before",
        "functions/state_of",
        "functions/enqueue",
        "functions/enqueue_many",
        "functions/enqueue_stored",
        "functions/refuse_args",
        "functions/reserve_unique",
        "functions/claim",
        "functions/claim_by_key",
        "functions/room_of_key",
        "functions/room_of_rate",
        "functions/count_starts",
        "functions/pick_without_key",
        "functions/pick_of_key",
        "functions/pick_head",
        "functions/fit_bytes",
        "functions/failure_text",
        "functions/failure_of",
        "functions/failures",
        "functions/end_jobs",
        "functions/rescue",
        "functions/cancel",
        "functions/cancel_waiting",
        "functions/cancel_waiting_jobs",
        "functions/discard_waiting",
        "functions/block_key_of_discarded",
        "functions/unblock_key_of_cancelled",
        "functions/unblock_key_of_resolved",
        "functions/resolve",
        "functions/fates",
        "functions/settle_waiting",
        "functions/settle_batches",
        "functions/batch_has_failures",
        "functions/batch_is_unfinished",
        "functions/sweep_groups",
        "functions/redacted",
        "functions/sealed_key",
        "functions/key_of",
        "functions/hidden",
        "functions/shown_args",
        "functions/page_start",
        "functions/ids_around",
        "functions/add_histograms",
        "functions/record_activity",
        "functions/sample_depths",
        "functions/prune_activity",
        "views/all_jobs",
    ],
};

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::*;

    fn names(folder: &str) -> BTreeSet<String> {
        let schema = Path::new(env!("CARGO_MANIFEST_DIR")).join("schema");
        let entries = std::fs::read_dir(schema.join(folder)).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    #[test]
    fn every_file_of_the_folders_is_in_the_list() {
        let listed: BTreeSet<String> =
            QUEUE.files.iter().map(|file| file.name.to_owned()).collect();
        let there: BTreeSet<String> = ["functions", "views"]
            .iter()
            .flat_map(|folder| {
                names(folder).into_iter().map(move |name| format!("{folder}/{name}"))
            })
            .collect();
        assert_eq!(listed, there);
    }

    #[test]
    fn every_migration_of_the_folder_is_in_the_list() {
        let listed: BTreeSet<String> = QUEUE
            .migrations
            .iter()
            .flat_map(|it| {
                let guard = it.guard.map(|_| format!("{}.guard.sql", it.name));
                [Some(format!("{}.up.sql", it.name)), Some(format!("{}.down.sql", it.name)), guard]
            })
            .flatten()
            .collect();
        assert_eq!(listed, names("migrations"));
    }

    #[test]
    fn versions_count_from_one() {
        let versions: Vec<i64> = QUEUE.migrations.iter().map(|it| it.version()).collect();
        assert_eq!(versions, (1..=versions.len() as i64).collect::<Vec<_>>());
    }
}
