//! A standby that follows a test's PostgreSQL, to be promoted.

use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, chown};
use std::path::Path;
use std::str::FromStr as _;

use sqlx::PgPool;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};

use crate::support::{App, ScratchDir, binaries, is_root, scratch_dir};

/// A standby. Ends with this value.
pub(super) struct Standby {
    /// The database of the primary's URL, here.
    pub(super) url: String,
    pub(super) pool: PgPool,
    _process: App,
    _dir: ScratchDir,
}

impl Standby {
    /// Copies the server of this URL and follows it.
    pub(super) async fn of(primary_url: &str) -> Self {
        let primary = PgConnectOptions::from_str(primary_url).unwrap();
        let folder = primary.get_socket().expect("the tests' servers have sockets");
        let owner = folder.metadata().unwrap();
        let (uid, gid) = (owner.uid(), owner.gid());
        let dir = scratch_dir();
        let data = dir.join("data");
        std::fs::DirBuilder::new().mode(0o700).create(&data).unwrap();
        if is_root() {
            chown(&data, Some(uid), Some(gid)).unwrap();
            chown(&*dir, Some(uid), Some(gid)).unwrap();
        }
        let run = |program: &str, args: &[&str]| {
            let command = App::command_of(binaries().dir().join(program), args);
            if is_root() { command.user(uid, gid) } else { command }
        };
        let (port, user) = (primary.get_port().to_string(), primary.get_username());
        let source = ["-h", text(folder), "-p", &port, "-U", user];
        let copy = ["-D", text(&data), "-R", "-X", "stream", "-c", "fast"];
        let (status, said) = run("pg_basebackup", &[&source[..], &copy].concat()).run().await;
        assert!(status.success(), "{said}");
        let sockets = format!("unix_socket_directories={}", text(&dir));
        // It must allow at least as many as its primary.
        let settings = [sockets.as_str(), "listen_addresses=", "max_connections=300", "fsync=off"];
        let settings = settings.iter().flat_map(|setting| ["-c", setting]);
        let args: Vec<&str> =
            ["-D", text(&data), "-p", &port].into_iter().chain(settings).collect();
        let mut process = run("postgres", &args).spawn();
        process.wait_for_line("ready to accept read-only connections").await;
        let database = primary.get_database().unwrap();
        let host = text(&dir).replace('/', "%2F");
        let url = format!("postgres://{user}@{host}:{port}/{database}");
        let options = PgConnectOptions::from_str(&url).unwrap();
        let pool = PgPoolOptions::new().max_connections(3).connect_lazy_with(options);
        Self { url, pool, _process: process, _dir: dir }
    }

    /// Waits until it has all that the primary has, and makes it the primary.
    pub(super) async fn take_over_from(&self, primary: &PgPool) {
        let end: String = sqlx::query_scalar("select pg_current_wal_lsn()::text")
            .fetch_one(primary)
            .await
            .unwrap();
        let caught_up = "select pg_last_wal_replay_lsn() >= $1::pg_lsn";
        crate::support::eventually_async("the standby has caught up", async || {
            sqlx::query_scalar(caught_up).bind(&end).fetch_one(&self.pool).await.unwrap()
        })
        .await;
        let promoted: bool =
            sqlx::query_scalar("select pg_promote()").fetch_one(&self.pool).await.unwrap();
        assert!(promoted);
    }
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}
