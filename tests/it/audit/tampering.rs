//! What a superuser does to the log, who can switch every trigger off, is found.

use surety::jobs::audit_keeper::seal_all;
use surety::operations::audit::Finding;

use super::{app, findings, sealed, tamper, verify, write};
use crate::support::{TestDb, scratch_dir};

#[tokio::test]
async fn a_log_that_nobody_changed_is_what_it_was() {
    let db = TestDb::new().await;
    let heads = sealed(&db, 40).await;
    write(&db.pool, 1000, 3).await;
    let report = verify(&db, &heads).await;
    assert_eq!(report.findings, []);
    assert_eq!((report.sealed, report.unsealed), (400, 3));
    assert_eq!((report.heads, report.exported_heads), (40, 40));
    let empty = TestDb::new().await;
    assert_eq!(verify(&empty, &[]).await.violations, 0);
}

#[tokio::test]
async fn an_altered_row_is_named() {
    for change in [
        "update audit.entries set after = replace(after, '12.50', '12.51') where seq = 17",
        "update audit.entries set at = at + interval '1 microsecond' where seq = 17",
        "update audit.entries set actor = 'system ' where seq = 17",
        "update audit.entries set reason = '' where seq = 17",
        "alter table audit.entries drop constraint entries_at_is_a_moment;
         update audit.entries set at = 'infinity' where seq = 17",
    ] {
        let db = TestDb::new().await;
        sealed(&db, 3).await;
        tamper(&db, change).await;
        let expected = [Finding::Altered { seq: 17, position: 16 }];
        assert_eq!(findings(&db, &[]).await, expected, "{change}");
    }
}

#[tokio::test]
async fn the_command_names_the_altered_row_and_exits_with_1() {
    let db = TestDb::new().await;
    sealed(&db, 2).await;
    assert_eq!(app(&db, &["audit", "verify"]).await.0, Some(0));
    tamper(&db, "update audit.entries set actor = 'cli:eve' where seq = 7").await;
    let (code, output) = app(&db, &["audit", "verify"]).await;
    assert_eq!(code, Some(1), "{output}");
    assert!(output.contains("FAIL  entry 7, at position 6, was altered"), "{output}");
    let (code, output) = app(&db, &["audit", "verify", "-o", "json"]).await;
    assert_eq!(code, Some(1));
    assert!(output.contains("\"finding\":\"altered\",\"seq\":7,\"position\":6"), "{output}");
}

#[tokio::test]
async fn a_row_that_was_altered_with_its_leaf_contradicts_the_heads() {
    let db = TestDb::new().await;
    sealed(&db, 3).await;
    tamper(
        &db,
        "update audit.leaves set leaf_hash = sha256('any other') where position = 16;
         delete from audit.entries where seq = 17",
    )
    .await;
    let found = findings(&db, &[]).await;
    assert!(found.contains(&Finding::Removed { seq: 17, position: 16 }), "{found:?}");
    assert!(found.contains(&Finding::HeadRoot { agreed: 10, size: 20 }), "{found:?}");
}

#[tokio::test]
async fn removed_rows_are_named() {
    let db = TestDb::new().await;
    sealed(&db, 3).await;
    tamper(&db, "delete from audit.entries where seq = 5").await;
    assert_eq!(findings(&db, &[]).await, [Finding::Removed { seq: 5, position: 4 }]);

    let db = TestDb::new().await;
    sealed(&db, 3).await;
    tamper(
        &db,
        "delete from audit.entries where seq = 5; delete from audit.leaves where entry_seq = 5",
    )
    .await;
    let found = findings(&db, &[]).await;
    assert_eq!(found[0], Finding::LeafRemoved { position: 4 });
    assert!(found.contains(&Finding::HeadRoot { agreed: 0, size: 10 }), "{found:?}");

    let db = TestDb::new().await;
    sealed(&db, 3).await;
    tamper(&db, "delete from audit.leaves where entry_seq = 5").await;
    assert!(findings(&db, &[]).await.contains(&Finding::NeverSealed { seq: 5 }));
}

#[tokio::test]
async fn reordered_rows_are_found() {
    // The contents of two rows.
    let db = TestDb::new().await;
    sealed(&db, 3).await;
    tamper(
        &db,
        "update audit.entries as entry set subject_id = other.subject_id
         from audit.entries as other
         where (entry.seq, other.seq) in ((3, 4), (4, 3))",
    )
    .await;
    let swapped = [(3, 2), (4, 3)].map(|(seq, position)| Finding::Altered { seq, position });
    assert_eq!(findings(&db, &[]).await, swapped);

    // Two leaves that still fit their entries.
    let db = TestDb::new().await;
    sealed(&db, 3).await;
    tamper(
        &db,
        "update audit.leaves set position = 1000 + position where position in (12, 13);
         update audit.leaves set position = 1025 - position where position > 1000",
    )
    .await;
    let found = findings(&db, &[]).await;
    assert_eq!(found[0], Finding::HeadRoot { agreed: 10, size: 20 });
}

#[tokio::test]
async fn a_tail_that_was_cut_off_is_found() {
    let db = TestDb::new().await;
    let heads = sealed(&db, 3).await;
    tamper(
        &db,
        "delete from audit.entries where seq > 20; delete from audit.leaves where position >= 20",
    )
    .await;
    let found = findings(&db, &[]).await;
    assert!(found.contains(&Finding::Truncated { sealed: 20, had: 30 }), "{found:?}");

    // With its head, and the sealer's note of how far it was: only the exported head is left.
    tamper(&db, "delete from audit.heads where size > 20; update audit.sealer set top = 20").await;
    assert_eq!(findings(&db, &[]).await, []);
    let found = findings(&db, &heads).await;
    let at = heads[2].at.clone();
    assert_eq!(found, [Finding::ExportedTruncated { at, sealed: 20, had: 30 }]);

    // All of it.
    tamper(
        &db,
        "truncate audit.entries, audit.leaves, audit.heads; update audit.sealer set top = 0",
    )
    .await;
    assert_eq!(findings(&db, &[]).await, []);
    let found = findings(&db, &heads[..1]).await;
    let at = heads[0].at.clone();
    assert_eq!(found, [Finding::ExportedTruncated { at, sealed: 0, had: 10 }]);
}

#[tokio::test]
async fn an_altered_or_removed_head_is_found() {
    for (change, expected) in [
        (
            "update audit.heads set root = sha256('any') where size = 20",
            vec![Finding::HeadRoot { agreed: 10, size: 20 }, Finding::HeadChain { size: 30 }],
        ),
        (
            "update audit.heads set at = at - interval '1 year' where size = 20",
            vec![Finding::HeadChain { size: 30 }],
        ),
        ("delete from audit.heads where size = 20", vec![Finding::HeadChain { size: 30 }]),
        ("delete from audit.heads where size = 30", vec![Finding::Headless { position: 20 }]),
    ] {
        let db = TestDb::new().await;
        sealed(&db, 3).await;
        tamper(&db, change).await;
        assert_eq!(findings(&db, &[]).await, expected, "{change}");
    }
}

#[tokio::test]
async fn an_altered_inner_node_is_found() {
    let db = TestDb::new().await;
    sealed(&db, 60).await;
    let alter = "update audit.subtrees set hash = sha256('any') where level = 8 and index = 1";
    tamper(&db, alter).await;
    assert_eq!(findings(&db, &[]).await, [Finding::Subtree { first: 256, last: 511 }]);
    tamper(&db, "delete from audit.subtrees where level = 8 and index = 1").await;
    assert_eq!(findings(&db, &[]).await, [Finding::Subtree { first: 256, last: 511 }]);
}

#[tokio::test]
async fn a_log_that_was_made_anew_contradicts_the_heads_that_were_exported() {
    let db = TestDb::new().await;
    let heads = sealed(&db, 3).await;
    // As the sealer itself would do it, had the entry always been like that.
    tamper(
        &db,
        "update audit.entries set actor = 'cli:bob' where seq = 25;
         truncate audit.leaves, audit.heads, audit.subtrees; update audit.sealer set top = 0",
    )
    .await;
    seal_all(&db.pool).await.unwrap();
    assert_eq!(findings(&db, &[]).await, []);
    let at = heads[2].at.clone();
    let expected = [Finding::Exported { at, agreed: 20, size: 30 }];
    assert_eq!(findings(&db, &heads).await, expected);

    // The same by the command, with a file in which one line was cut short.
    let folder = scratch_dir();
    let file = folder.join("heads.jsonl");
    let lines: Vec<String> = heads.iter().map(|head| head.line()).collect();
    std::fs::write(&file, format!("{{\"at\":\n{}\n", lines.join("\n"))).unwrap();
    let (code, output) = app(&db, &["audit", "verify", "--head", file.to_str().unwrap()]).await;
    assert_eq!(code, Some(1), "{output}");
    assert!(output.contains("positions 20 to 30"), "{output}");
    assert!(output.contains("line 1 of the file of heads is none"), "{output}");
}

#[tokio::test]
async fn an_entry_that_was_put_in_below_the_sealed_ones_is_found() {
    let db = TestDb::new().await;
    sealed(&db, 2).await;
    tamper(
        &db,
        "delete from audit.entries where seq = 4;
         insert into audit.entries (seq, actor, action, subject_kind, subject_id)
         values (4, 'cli:eve', 'queue.pause', 'queue', 'bank')",
    )
    .await;
    assert_eq!(findings(&db, &[]).await, [Finding::Altered { seq: 4, position: 3 }]);
    tamper(
        &db,
        "update audit.sealer set top = 100;
         insert into audit.entries (seq, actor, action, subject_kind, subject_id)
         values (50, 'cli:eve', 'queue.pause', 'queue', 'bank')",
    )
    .await;
    let found = findings(&db, &[]).await;
    assert!(found.contains(&Finding::NeverSealed { seq: 50 }), "{found:?}");
    assert!(found.contains(&Finding::LastRemoved { seq: 100 }), "{found:?}");
}
