//! What a person installs beside the binary: completions, manual pages, a health check.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use sqlx::PgPool;
use tokio::net::TcpListener;
use tokio::process::Command;

use crate::support::{App, Binary as _, TestDb, eventually_async, scratch_dir};

/// In the password of every database URL here.
const MARKER: &str = "Hunter2Marker";
const SHELLS: [&str; 5] = ["bash", "zsh", "fish", "powershell", "elvish"];
/// Longer than a shell is kept waiting, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(10);

fn app() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_app"))
}

/// Completes a command line in bash, as its line editor does it, on this database: what is offered,
/// and what is said beside it.
async fn completed_in_bash(database_url: &str, words: &[&str]) -> (Vec<String>, String) {
    let script = r#"
        source <(app completions bash) || exit 1
        complete -p app >/dev/null || exit 1
        COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)) COMP_TYPE=9
        function=$(complete -p app | sed 's/.*-F \([^ ]*\) .*/\1/')
        "$function" app "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
        for word in "${COMPREPLY[@]}"; do printf '%s\n' "$word"; done
    "#;
    let path = format!("{}:/usr/local/bin:/usr/bin:/bin", app().parent().unwrap().display());
    let output = Command::new("bash")
        .args(["--norc", "--noprofile", "-c", script, "bash"])
        .args(words)
        .current_dir("/")
        .env_clear()
        .env("PATH", path)
        .env("HOME", "/nonexistent")
        .env("DATABASE_URL", database_url)
        .stdin(Stdio::null())
        .output()
        .await
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    let offered = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{words:?}: {offered}{said}");
    (offered.lines().map(|word| word.trim_end().to_owned()).collect(), said)
}

async fn enqueue(pool: &PgPool, kind: &str, queue: &str) -> String {
    let job = "select job_id::text from queue.enqueue($1, '{}', $2)";
    sqlx::query_scalar(job).bind(kind).bind(queue).fetch_one(pool).await.unwrap()
}

#[tokio::test]
async fn bash_completes_commands_queues_kinds_and_ids() {
    let db = TestDb::new().await;
    let fax = enqueue(&db.pool, "send_fax", "faxes").await;
    let done = enqueue(&db.pool, "send_fax", "faxes").await;
    let cancelled = App::command(["jobs", "cancel", &done, "--yes", "--reason", "a test"]);
    let (status, output) = cancelled.env("DATABASE_URL", &db.url).run().await;
    assert!(status.success(), "{output}");
    for (words, expected) in [
        (&["app", "jo"][..], &["jobs"][..]),
        (&["app", "jobs", "sh"], &["show"]),
        (&["app", "queues", "pause", "fa"], &["faxes"]),
        (&["app", "jobs", "list", "--queue", "fax"], &["faxes"]),
        (&["app", "jobs", "list", "--kind", "settle_t"], &["settle_transaction"]),
        (&["app", "jobs", "list", "--output", "tab"], &["table"]),
    ] {
        let (offered, said) = completed_in_bash(&db.url, words).await;
        assert_eq!((offered.as_slice(), &*said), (&expected.map_to_owned()[..], ""), "{words:?}");
    }
    let (shown, _) = completed_in_bash(&db.url, &["app", "jobs", "show", ""]).await;
    assert!(shown.contains(&fax) && shown.contains(&done), "{shown:?}");
    let (cancellable, _) = completed_in_bash(&db.url, &["app", "jobs", "cancel", ""]).await;
    assert!(cancellable.contains(&fax) && !cancellable.contains(&done), "{cancellable:?}");
}

/// Words as a program gives them.
trait MapToOwned {
    fn map_to_owned(&self) -> Vec<String>;
}

impl MapToOwned for [&str] {
    fn map_to_owned(&self) -> Vec<String> {
        self.iter().map(|word| (*word).to_owned()).collect()
    }
}

#[tokio::test]
async fn a_name_that_a_shell_would_act_on_is_not_completed() {
    let db = TestDb::new().await;
    for queue in ["ok", "$(touch hit)", "`touch hit`", "a b", "-rf", "*"] {
        enqueue(&db.pool, "send_fax", queue).await;
    }
    let (offered, said) = completed_in_bash(&db.url, &["app", "queues", "show", ""]).await;
    assert!(offered.contains(&"ok".to_owned()), "{offered:?}");
    let has_more = |it: &String| it.contains(['$', '`', ' ', '*']) || it.starts_with("-rf");
    assert!(!offered.iter().any(has_more), "{offered:?}");
    assert_eq!(said, "");
}

#[tokio::test]
async fn a_database_that_is_away_costs_a_shell_its_candidates_and_nothing_else() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = silent.local_addr().unwrap().port();
    for url in [
        format!("postgres://app:{MARKER}@127.0.0.1:1/none"),
        format!("postgres://app:{MARKER}@127.0.0.1:{port}/silent"),
        format!("no url {MARKER}"),
    ] {
        for words in [&["app", "jobs", "show", "8"][..], &["app", "queues", "pause", "d"]] {
            let begun = Instant::now();
            let (offered, said) = completed_in_bash(&url, words).await;
            assert!(begun.elapsed() < PATIENCE, "{words:?}: {:?}", begun.elapsed());
            assert_eq!((offered.len(), &*said), (0, ""), "{words:?}: {offered:?}");
        }
        let (offered, said) = completed_in_bash(&url, &["app", "jobs", "list", "--li"]).await;
        assert_eq!((offered, &*said), (vec!["--limit".to_owned()], ""));
    }
}

#[tokio::test]
async fn a_broken_env_file_says_nothing_into_a_command_line() {
    let folder = scratch_dir();
    fs::write(folder.join(".env"), format!("DATABASE_URL=\"postgres://u:{MARKER}@h/d\nnonsense"))
        .unwrap();
    let output = Command::new(app())
        .args(["--", "app", "jobs", "show", ""])
        .current_dir(&*folder)
        .env_clear()
        .env("_APP_COMPLETE", "fish")
        .output()
        .await
        .unwrap();
    assert!(output.status.success());
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.contains("--output") && !said.contains(MARKER), "{said}");
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "");
}

#[tokio::test]
async fn every_shell_has_a_script_that_it_can_read() {
    let folder = scratch_dir();
    for shell in SHELLS {
        let (status, script) = App::command(["completions", shell]).run().await;
        assert!(status.success(), "{shell}: {script}");
        // It asks the app that is installed, and not the one that printed it.
        assert!(script.contains("_APP_COMPLETE"), "{shell}: {script}");
        assert!(!script.contains(&*app().to_string_lossy()), "{shell}: {script}");
        let file = folder.join(shell);
        fs::write(&file, script + "\n").unwrap();
        let check = match shell {
            "bash" | "zsh" => "-n",
            "fish" => "--no-execute",
            // Nothing of theirs reads a script without running it.
            _ => continue,
        };
        let Ok(read) = Command::new(shell).arg(check).arg(&file).output().await else {
            continue;
        };
        assert!(read.status.success(), "{shell}: {}", String::from_utf8_lossy(&read.stderr));
    }
    let (status, refused) = App::command(["completions", "tcsh"]).run().await;
    assert_eq!(status.code(), Some(2), "{refused}");
    assert!(refused.contains("bash"), "{refused}");
}

#[tokio::test]
async fn every_command_has_a_page_that_man_can_show() {
    let folder = scratch_dir();
    let pages = folder.join("man1");
    let (status, said) = App::command(["man", pages.to_str().unwrap()]).run().await;
    assert!(status.success(), "{said}");
    let files: Vec<PathBuf> =
        fs::read_dir(&pages).unwrap().map(|entry| entry.unwrap().path()).collect();
    for command in crate::cli::COMMANDS {
        let file = pages.join(format!("app-{}.1", command.join("-")));
        assert!(files.contains(&file), "{command:?} has no page");
    }
    for file in &files {
        let page = fs::read_to_string(file).unwrap();
        let name = file.file_stem().unwrap().to_str().unwrap();
        for section in [".SH NAME\n", ".SH SYNOPSIS\n", ".SH DESCRIPTION\n", ".SH OPTIONS\n"] {
            assert_eq!(page.matches(section).count(), 1, "{name}: {section}");
        }
        let title = format!(".TH {name} 1 \"\" \"surety {}\" Surety\n", env!("CARGO_PKG_VERSION"));
        assert!(page.contains(&title), "{name}: {page}");
        // The name as `whatis` reads it: on a line of its own, with a word on it.
        let described = format!(".SH NAME\n{} \\- ", name.replace('-', "\\-"));
        assert!(page.contains(&described), "{name}: {page}");
    }
    let groff = Command::new("groff")
        .args(["-man", "-Tutf8", "-K", "utf8", "-ww", "-z"])
        .args(&files)
        .output()
        .await;
    if let Ok(shown) = groff {
        assert_eq!(String::from_utf8_lossy(&shown.stderr), "");
    }
}

async fn probe(settings: &[(&str, &str)], args: &[&str]) -> (Option<i32>, String) {
    let command = App::command([&["probe"][..], args].concat());
    let command = settings.iter().fold(command, |command, (name, value)| command.env(name, value));
    let (status, output) = command.run().await;
    (status.code(), output)
}

#[tokio::test]
async fn a_probe_tells_whether_a_worker_is_ready() {
    let db = TestDb::new().await;
    let mut worker = App::command(["work", "--probe-listen", "127.0.0.1:0"])
        .env("DATABASE_URL", &db.url)
        .spawn();
    let line = worker.wait_for_line("metrics at http://").await;
    let address = line.split("http://").nth(1).unwrap().split('/').next().unwrap().to_owned();
    let url = format!("http://{address}");

    let (code, said) = probe(&[], &[&url]).await;
    assert_eq!((code, said), (Some(0), format!("{url}/readyz answers 200")));
    let (code, said) = probe(&[("APP_PROBE_LISTEN", &address)], &["--alive"]).await;
    assert_eq!((code, said), (Some(0), format!("{url}/healthz answers 200")));
    // Nobody listens at the first.
    let settings = [("APP_PROBE_LISTEN", "127.0.0.1:1"), ("APP_LISTEN", &*address)];
    assert_eq!(probe(&settings, &[]).await.0, Some(0));
    let (code, said) = probe(&[], &[&format!("{url}/nothing")]).await;
    assert_eq!(code, Some(1), "{said}");

    // The schema of another release.
    sqlx::query("drop table queue.schema_migrations").execute(&db.pool).await.unwrap();
    eventually_async("it is not ready", async || probe(&[], &[&url]).await.0 == Some(1)).await;
    let (code, said) = probe(&[], &[&url]).await;
    assert_eq!((code, said.lines().count()), (Some(1), 1), "{said}");
    assert!(said.starts_with(&format!("error: {url}/readyz answers 503: ")), "{said}");
    assert_eq!(probe(&[], &[&url, "--alive"]).await.0, Some(0), "it lives");
}

#[tokio::test]
async fn a_probe_ends_in_time_whoever_does_not_answer() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let silent = format!("http://{}", silent.local_addr().unwrap());
    let begun = Instant::now();
    let (code, said) = probe(&[], &[&silent, "--timeout", "200ms"]).await;
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("within 200ms"), "{said}");
    let nobody = [("APP_PROBE_LISTEN", "0.0.0.0:1"), ("APP_LISTEN", "127.0.0.1:2")];
    let (code, said) = probe(&nobody, &[]).await;
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("127.0.0.1:1") && said.contains("127.0.0.1:2"), "{said}");
    assert!(begun.elapsed() < PATIENCE, "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_probe_refuses_what_it_cannot_ask() {
    let secret = format!("http://user:{MARKER}@127.0.0.1/");
    let (code, said) = probe(&[("APP_PROBE_LISTEN", MARKER)], &[]).await;
    assert_eq!(code, Some(78), "{said}");
    assert!(said.contains("APP_PROBE_LISTEN") && !said.contains(MARKER), "{said}");
    let (code, said) = probe(&[], &[&secret]).await;
    assert_eq!(code, Some(2), "{said}");
    let (code, said) = probe(&[], &["https://127.0.0.1/"]).await;
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("http://HOST:PORT"), "{said}");
}
