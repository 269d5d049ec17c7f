//! Proofs: over HTTP, by the command, and checked by others' code.

use std::process::Command;

use serde_json::{Value, json};
use surety::jobs::audit_keeper::seal_all;
use surety::operations::audit::{self, Proof, ProofError, Subject};

use super::{app, sealed, write};
use crate::support::{ScratchDir, TestApi, TestDb, event, scratch_dir};

async fn proof(db: &TestDb, transaction: &str, size: Option<u64>) -> Option<Proof> {
    let mut conn = db.pool.acquire().await.unwrap();
    audit::prove(&mut conn, &Subject::transaction(transaction), size).await.unwrap()
}

fn file(folder: &ScratchDir, name: &str, text: &str) -> String {
    let path = folder.join(name);
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

/// The program in the documentation, in a file.
fn documented_program(folder: &ScratchDir) -> String {
    let text = include_str!("../../../docs/audit.md");
    let program = text.split("```python\n").nth(1).unwrap().split("```").next().unwrap();
    assert!(program.lines().count() <= 32, "about thirty lines are promised");
    file(folder, "check.py", program)
}

/// Python's exit code and output; none where there is no Python, which is said.
fn python(args: &[&str]) -> Option<(i32, String)> {
    match Command::new("python3").args(args).env("PYTHONUTF8", "1").output() {
        Ok(ran) => {
            let said = [ran.stdout, ran.stderr].concat();
            Some((ran.status.code().unwrap(), String::from_utf8(said).unwrap()))
        }
        Err(error) => {
            // `.ci/clients/run` sets it, where a Python must be.
            assert!(std::env::var_os("SURETY_REQUIRE_PYTHON").is_none(), "python3: {error}");
            eprintln!("NOT CHECKED by Python: there is no python3 on this machine ({error})");
            None
        }
    }
}

#[tokio::test]
async fn python_checks_proofs_of_ten_thousand_entries_without_our_code() {
    let db = TestDb::new().await;
    let folder = scratch_dir();
    let program = documented_program(&folder);
    let mut heads = Vec::new();
    for batch in 0..4 {
        write(&db.pool, batch * 2_500, 2_500).await;
        heads.push(seal_all(&db.pool).await.unwrap().unwrap());
    }
    assert_eq!(heads[3].size, 10_000);
    let lines: Vec<String> = heads.iter().map(|head| head.line()).collect();
    let exported = file(&folder, "heads.jsonl", &lines.join("\n"));
    for (number, size) in [(0, None), (255, None), (256, None), (4_999, Some(5_000)), (9_999, None)]
    {
        let id = format!("txn_{number}");
        let proof = proof(&db, &id, size).await.unwrap();
        assert_eq!(proof.check(Some(&heads)), Ok(()), "{id}");
        let text = serde_json::to_string(&proof).unwrap();
        let proven = file(&folder, "proof.json", &text);
        let Some((code, said)) = python(&[&program, &proven, &exported]) else { return };
        assert_eq!((code, said.trim_end()), (0, proof.entries[0].entry.as_str()), "{id}");

        let forged = file(&folder, "forged.json", &text.replace("COMPLETED", "FAILED"));
        let (code, said) = python(&[&program, &forged, &exported]).unwrap();
        assert_eq!(code, 1);
        assert!(said.contains("is not in the log"), "{said}");
    }
    // A proof that leads to a head of one's own making.
    let other = file(&folder, "other.jsonl", &lines[..3].join("\n"));
    let (code, said) =
        python(&[&program, folder.join("proof.json").to_str().unwrap(), &other]).unwrap();
    assert_eq!(code, 1);
    assert!(said.contains("none of those that were exported"), "{said}");
}

#[tokio::test]
async fn a_proof_is_for_a_size_and_proves_nothing_else() {
    let db = TestDb::new().await;
    let heads = sealed(&db, 3).await;
    let newest = proof(&db, "txn_12", None).await.unwrap();
    let older = proof(&db, "txn_12", Some(20)).await.unwrap();
    assert_eq!((&newest.head, &older.head), (&heads[2], &heads[1]));
    assert_eq!(proof(&db, "txn_12", Some(10)).await, None, "it was not in that tree yet");
    assert_eq!(proof(&db, "txn_12", Some(15)).await, None, "no head has that size");
    assert_eq!(newest.check(Some(&heads[..2])), Err(ProofError::NotExported(30)));
    let mut moved = newest.clone();
    moved.entries[0].position += 1;
    assert_eq!(moved.check(None), Err(ProofError::NotIncluded(13)));
    let mut other_head = newest.clone();
    other_head.head = older.head.clone();
    assert_eq!(other_head.check(None), Err(ProofError::NotIncluded(12)));
    let empty = Proof { entries: Vec::new(), head: heads[2].clone() };
    assert_eq!(empty.check(None), Err(ProofError::Empty));
}

#[tokio::test]
async fn a_transaction_is_proven_over_http_and_checked_by_the_command() {
    let api = TestApi::start().await;
    let db = api.db.as_ref().unwrap();
    let path = "/v1/transactions/txn%2F1/proof";
    assert_eq!(api.get(path).await.code(), "transaction-not-found");
    assert_eq!(api.post(event("txn/1")).await.status, 202);
    assert_eq!(api.get(path).await.code(), "not-sealed");
    let mut conn = db.pool.acquire().await.unwrap();
    for status in ["PROCESSING", "COMPLETED"] {
        let data = json!({ "status": status });
        surety::audit::log_transaction(&mut conn, "txn/1", &data).await.unwrap();
    }
    assert_eq!(api.get(path).await.code(), "not-sealed");
    write(&db.pool, 0, 5).await;
    let head = seal_all(&db.pool).await.unwrap().unwrap();

    let answer = api.get(path).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let proof: Value = answer.json();
    assert_eq!(proof["head"]["size"], 7);
    assert_eq!(proof["entries"].as_array().unwrap().len(), 2);
    assert_eq!(api.get(&format!("{path}?size=6")).await.code(), "not-sealed");
    assert_eq!(api.get(&format!("{path}?size=7")).await.json(), proof);
    assert_eq!(api.get(&format!("{path}?size=0")).await.code(), "invalid-parameter");

    let folder = scratch_dir();
    let proven = file(&folder, "proof.json", &answer.text);
    let heads = file(&folder, "heads.jsonl", &head.line());
    let (code, output) = app(db, &["audit", "check-proof", &proven, "--head", &heads]).await;
    assert_eq!(code, Some(0), "{output}");
    assert!(output.contains("ok: 2 of the 7 entries"), "{output}");
    let forged = file(&folder, "forged.json", &answer.text.replace("COMPLETED", "FAILED"));
    let (code, output) = app(db, &["audit", "check-proof", &forged]).await;
    assert_eq!(code, Some(1), "{output}");
    assert!(output.contains("is not in the tree"), "{output}");

    let (code, output) = app(db, &["audit", "proof", "transaction/txn/1"]).await;
    assert_eq!(code, Some(0), "{output}");
    assert_eq!(serde_json::from_str::<Value>(&output).unwrap(), proof);
    assert_eq!(app(db, &["audit", "proof", "transaction/nobody"]).await.0, Some(3));
    let (code, output) = app(db, &["audit", "head"]).await;
    assert_eq!((code, output.trim_end()), (Some(0), head.line().as_str()));
}
