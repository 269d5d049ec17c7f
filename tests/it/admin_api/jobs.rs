//! Jobs: lists by every part of the filter language, one with its reasons, and changes.

use std::time::Duration;

use serde_json::{Value, json};
use surety::queue::JobId;
use uuid::Uuid;

use super::{Desk, WHY, ids, refused};
use crate::support::ledger::{accepted, run_jobs};
use crate::support::money::discarded_job;
use crate::support::{event, send};

#[tokio::test]
async fn jobs_are_found_by_every_part_of_the_filter_language_and_page_by_page() {
    let desk = Desk::new().await;
    let JobId(plain) = desk.job(|job| job).await;
    let JobId(mail) =
        desk.job(|job| job.queue("mail").key("ada").tag("nightly").tag("big").priority(4)).await;
    let JobId(later) = desk.job(|job| job.delay(Duration::from_secs(3600))).await;
    let JobId(given_up) = discarded_job(desk.pool()).await;

    for (query, expected) in [
        (String::new(), vec![given_up, later, mail, plain]),
        ("state=available".to_owned(), vec![mail, plain]),
        ("state=scheduled&state=discarded".to_owned(), vec![given_up, later]),
        ("kind=report&queue=mail&queue=other".to_owned(), vec![mail]),
        ("tag=big&tag=nightly".to_owned(), vec![mail]),
        ("tag=big&tag=small".to_owned(), vec![]),
        ("key=ada&key=bob".to_owned(), vec![mail]),
        ("where=pages%3D3&state=scheduled".to_owned(), vec![later]),
        ("error=GIVEN".to_owned(), vec![given_up]),
        ("attempt_gte=1".to_owned(), vec![given_up]),
        ("since=1h&until=2199-01-01T00:00:00Z&queue=mail".to_owned(), vec![mail]),
        ("until=1h".to_owned(), vec![]),
        ("failed_since=1h".to_owned(), vec![given_up]),
        ("failed_until=1h".to_owned(), vec![]),
        ("decided=false".to_owned(), vec![given_up]),
        ("decided=true".to_owned(), vec![]),
        (format!("id={plain}&id={later}&id=99999"), vec![later, plain]),
    ] {
        let page = desk.read(&format!("/v1/jobs?{query}")).await;
        assert_eq!(ids(&page), expected, "{query}");
        assert_eq!(page["next_cursor"], Value::Null, "{query}");
    }

    let (mut seen, mut path) = (Vec::new(), "/v1/jobs?kind=report&limit=1".to_owned());
    let foreign = loop {
        let page = desk.read(&path).await;
        seen.extend(ids(&page));
        let Some(cursor) = page["next_cursor"].as_str() else { break path };
        path = format!("/v1/jobs?kind=report&limit=1&cursor={cursor}");
    };
    assert_eq!(seen, [later, mail, plain]);
    let foreign = foreign.replace("kind=report", "kind=other");
    assert_eq!(refused(&desk.get(&foreign).await), (400, "invalid-cursor".to_owned()));
}

#[tokio::test]
async fn a_parameter_that_makes_no_sense_is_refused_and_never_a_fault_of_ours() {
    let desk = Desk::new().await;
    for query in [
        "stat=available",
        "state=done",
        "attempt_gte=x",
        "attempt_gte=0",
        "attempt_gte=99999",
        "since=yesterday",
        "until=2026-13-01T00:00:00Z",
        "decided=maybe",
        "where=pages",
        "where=%3D3",
        "kind=%00",
        "kind=",
        "error=a&error=b",
        "id=x",
        "limit=0",
        "limit=201",
        "cursor=AAAA",
        // Jobs are of the years from 1970 to 2199.
        "since=9999-12-31T23:59:59Z",
        "until=0001-01-01T00:00:00Z",
        "since=90000y",
    ] {
        let answer = desk.get(&format!("/v1/jobs?{query}")).await;
        assert_eq!(answer.status, 400, "{query}: {answer:?}");
    }
    // No job has such arguments.
    let nul = "where=a%3D%7B%22b%22%3A%22%5Cu0000%22%7D";
    for query in ["since=2199-12-31T23:59:59Z", "until=1970-01-01T00:00:00Z", "since=99y", nul] {
        desk.read(&format!("/v1/jobs?{query}")).await;
    }
    let many = format!("/v1/jobs?{}", vec!["id=1"; 201].join("&"));
    assert_eq!(desk.get(&many).await.status, 400);
}

#[tokio::test]
async fn a_job_tells_why_it_has_not_run_and_what_it_is_about() {
    let desk = Desk::new().await;
    assert_eq!(desk.api.post(event("txn_1")).await.status, 202);
    let listed = desk.read("/v1/jobs?kind=settle_transaction").await;
    let path = format!("/v1/jobs/{}", ids(&listed)[0]);
    let job = desk.read(&path).await;
    assert_eq!(job["transaction"]["transaction_id"], "txn_1");
    assert_eq!(job["causes"][0]["cause"], "no_worker", "{job}");
    assert!(job["explanation"].as_str().unwrap().contains("worker"), "{job}");

    run_jobs(desk.pool()).await;
    let job = desk.read(&path).await;
    assert_eq!(
        (&job["state"], &job["attempts"][0]["outcome"]),
        (&json!("completed"), &json!("completed"))
    );
    assert_eq!(job["transaction"]["status"], "COMPLETED");
    assert_eq!(refused(&desk.get("/v1/jobs/999999").await), (404, "job-not-found".to_owned()));
}

#[tokio::test]
async fn each_change_has_its_effect_and_leaves_one_entry_with_who_and_why() {
    let desk = Desk::new().await;
    let later = async || desk.job(|job| job.delay(Duration::from_secs(3600))).await;
    let result = |answer: &crate::support::Answer| {
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()["result"].as_str().unwrap().to_owned()
    };
    let state = async |id: JobId| desk.read(&format!("/v1/jobs/{id}")).await["state"].clone();

    let job = later().await;
    assert_eq!(result(&desk.post(&format!("/v1/jobs/{job}/run-now")).await), "due_now");
    assert_eq!(state(job).await, "available");
    assert_eq!(desk.audited("job.retry").await, desk.by_operator(job));
    assert_eq!(result(&desk.post(&format!("/v1/jobs/{job}/run-now")).await), "already_due");
    assert_eq!(desk.audited("job.retry").await.len(), 1, "nothing has changed");

    assert_eq!(result(&desk.post(&format!("/v1/jobs/{job}/discard")).await), "discarded");
    assert_eq!(state(job).await, "discarded");
    assert_eq!(desk.audited("job.discard").await, desk.by_operator(job));
    let stays = desk.post(&format!("/v1/jobs/{job}/run-now")).await;
    assert_eq!(refused(&stays), (409, "job-unsuitable".to_owned()));
    assert_eq!(stays.json()["errors"][0]["code"], "discarded");

    // To run again what was given up is for admins.
    let retry = format!("/v1/jobs/{job}/retry");
    assert_eq!(refused(&desk.post(&retry).await), (403, "forbidden".to_owned()));
    assert_eq!(result(&desk.post_as_admin(&retry).await), "redriven");
    assert_eq!(state(job).await, "available");
    assert_eq!(desk.audited("job.retry").await[1..], desk.by_admin(job));

    let job = later().await;
    assert_eq!(result(&desk.post(&format!("/v1/jobs/{job}/cancel")).await), "cancelled");
    assert_eq!(state(job).await, "cancelled");
    assert_eq!(desk.audited("job.cancel").await, desk.by_operator(job));
    assert_eq!(desk.post(&format!("/v1/jobs/{job}/cancel")).await.status, 409);
    assert_eq!(desk.post("/v1/jobs/999999/cancel").await.status, 404);
}

#[tokio::test]
async fn an_edit_is_made_only_to_the_version_that_it_was_meant_for() {
    let desk = Desk::new().await;
    let job = desk.job(|job| job.delay(Duration::from_secs(3600))).await;
    let path = format!("/v1/jobs/{job}");
    let edit = async |if_match: Option<&str>, body: Value| {
        let mut request = desk.api.request("PATCH", &path).bearer_auth(&desk.operator.token);
        if let Some(etag) = if_match {
            request = request.header("if-match", etag);
        }
        send(request.json(&body)).await
    };
    let etag = desk.get(&path).await.header("etag").to_owned();
    let set = |pages: u32| json!({ "reason": WHY, "set": { "pages": pages } });
    assert_eq!(edit(Some(&etag), set(4)).await.status, 200);
    let late = edit(Some(&etag), set(5)).await;
    assert_eq!(refused(&late), (412, "precondition-failed".to_owned()));
    assert_eq!(desk.read(&path).await["args"], json!({ "pages": 4 }));
    assert_eq!(desk.audited("job.edit").await, desk.by_operator(job));

    let replaced = json!({ "reason": WHY, "args": { "sheets": 12345678901234567890_u64 } });
    assert_eq!(edit(None, replaced.clone()).await.status, 200);
    assert_eq!(desk.read(&path).await["args"], replaced["args"]);
    for body in [
        json!({ "reason": WHY }),
        json!({ "reason": WHY, "args": {}, "unset": ["pages"] }),
        json!({ "reason": WHY, "args": [1, 2] }),
        json!({ "reason": WHY, "args": { "a": "\u{0}" } }),
        json!({ "reason": " ", "args": {} }),
    ] {
        let answer = edit(None, body.clone()).await;
        assert!((400..500).contains(&answer.status), "{body}: {answer:?}");
    }
    assert_eq!(refused(&edit(Some("7"), set(6)).await), (400, "invalid-if-match".to_owned()));
}

#[tokio::test]
async fn a_job_about_money_is_neither_cancelled_nor_edited() {
    let desk = Desk::new().await;
    let (_, job) = accepted(desk.pool(), "alice", "bob", "1 USD").await;
    let cancelled = desk.post(&format!("/v1/jobs/{job}/cancel")).await;
    let path = format!("/v1/jobs/{job}");
    let body = json!({ "reason": WHY, "args": { "transaction": 4711 } });
    let edited = desk.operator.send(&desk.api, "PATCH", &path, &body).await;
    for answer in [cancelled, edited] {
        assert_eq!(refused(&answer), (409, "job-unsuitable".to_owned()));
        assert_eq!(answer.json()["errors"][0]["code"], "about-money");
    }
}

#[tokio::test]
async fn what_a_kind_hides_is_revealed_to_admins_alone_and_the_log_knows_of_it() {
    let desk = Desk::new().await;
    desk.execute(
        "insert into queue.kinds (kind, redacted, queue, priority, max_attempts)
         values ('report', '{pages}', 'default', 2, 10)",
    )
    .await;
    let job = desk.job(|job| job).await;
    let (path, reveal) = (format!("/v1/jobs/{job}"), format!("/v1/jobs/{job}/reveal"));
    let hidden = json!({ "pages": "[redacted]" });
    assert_eq!(desk.read(&path).await["args"], hidden);
    assert_eq!(desk.read("/v1/jobs").await["jobs"][0]["args"], hidden);
    assert_eq!(refused(&desk.post(&reveal).await), (403, "forbidden".to_owned()));
    assert_eq!(desk.audited("job.reveal").await, []);

    let revealed = desk.post_as_admin(&reveal).await;
    assert_eq!((revealed.status, &revealed.json()["args"]), (200, &json!({ "pages": 3 })));
    assert_eq!(desk.audited("job.reveal").await, desk.by_admin(job));
    assert_eq!(desk.post_as_admin("/v1/jobs/999999/reveal").await.status, 404);

    // What is sealed stays so: only workers have the keys.
    desk.execute("update queue.jobs set args_key = '2026-11'").await;
    let sealed = desk.post_as_admin(&reveal).await;
    assert_eq!(refused(&sealed), (409, "job-unsuitable".to_owned()));
    assert_eq!(desk.audited("job.reveal").await.len(), 1);
}

#[tokio::test]
async fn an_enqueued_job_runs_and_one_that_cannot_be_is_refused() {
    let desk = Desk::new().await;
    let enqueue = async |body: Value| desk.admin.send(&desk.api, "POST", "/v1/jobs", &body).await;
    let job = json!({
        "reason": WHY, "kind": "announce_outcomes", "args": { "events": 1 }, "tags": ["again"],
    });
    let made = enqueue(job.clone()).await;
    assert_eq!(made.status, 201, "{made:?}");
    let id = made.json()["id"].as_i64().unwrap();
    assert_eq!(made.header("location"), format!("/v1/jobs/{id}"));
    assert_eq!(desk.audited("job.enqueue").await, desk.by_admin(id));
    let found = desk.read(&format!("/v1/jobs/{id}")).await;
    assert_eq!((&found["state"], &found["tags"]), (&json!("available"), &json!(["again"])));
    run_jobs(desk.pool()).await;
    // Its kind keeps no history.
    assert_eq!(desk.get(&format!("/v1/jobs/{id}")).await.status, 404);

    for (field, value) in [
        ("kind", json!("nobody_knows")),
        ("kind", json!("resolve_bank_order")),
        ("args", json!({ "events": "many" })),
        ("args", json!([])),
        ("queue", json!("a\nb")),
        ("priority", json!(7)),
        ("max_attempts", json!(0)),
        ("tags", json!(["a\u{0}b"])),
        ("run_at", json!("2300-01-01T00:00:00Z")),
        ("delay_secs", json!(-1)),
        ("more", json!(1)),
    ] {
        let mut wrong = job.clone();
        wrong[field] = value.clone();
        let answer = enqueue(wrong).await;
        assert!((400..500).contains(&answer.status), "{field} {value}: {answer:?}");
    }
    assert_eq!(desk.audited("job.enqueue").await.len(), 1);
}

/// Whoever counts requests or caches answers by path takes two spellings for two things.
#[tokio::test]
async fn an_id_in_a_path_has_one_spelling() {
    let desk = Desk::new().await;
    let JobId(id) = desk.job(|job| job).await;
    assert_eq!(desk.get(&format!("/v1/jobs/{id}")).await.status, 200);
    for other in [format!("+{id}"), format!("%2B{id}"), format!("0{id}"), format!("{id}%20")] {
        assert_eq!(desk.get(&format!("/v1/jobs/{other}")).await.status, 400, "{other}");
    }
    let user = Uuid::now_v7();
    let usual = [user.to_string(), user.to_string().to_uppercase()];
    for usual in usual {
        assert_eq!(desk.get(&format!("/v1/users/{usual}")).await.status, 404, "{usual}");
    }
    let others = [user.simple().to_string(), user.urn().to_string(), user.braced().to_string()];
    for other in others {
        let path = other.replace('{', "%7B").replace('}', "%7D");
        assert_eq!(desk.get(&format!("/v1/users/{path}")).await.status, 400, "{other}");
    }
}
