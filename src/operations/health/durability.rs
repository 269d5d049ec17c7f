//! Settings of the server that lose what was answered with a 2xx, or change what the statements of
//! this application rely on.

use sqlx::PgConnection;

use crate::queue::health::{Finding, Level, look};

const SETTINGS: &str = "server-settings";
const OTHER_ROLES: &str = "settings-of-other-roles";
const REPLICATION: &str = "replication";

/// A setting of the server, the values that it may have, and what any other one costs.
struct Setting {
    name: &'static str,
    /// The first is the one to set.
    good: &'static [&'static str],
    otherwise: Level,
    cost: &'static str,
}

/// Settings without which an accepted webhook does not survive a crash (G1), or the queue is not
/// kept clean (G10).
const EXPECTED: [Setting; 10] = [
    Setting {
        name: "fsync",
        good: &["on"],
        otherwise: Level::Fail,
        cost: "a crash of the machine loses or corrupts everything",
    },
    Setting {
        name: "synchronous_commit",
        good: &["on", "remote_apply", "remote_write", "local"],
        otherwise: Level::Fail,
        cost: "a crash loses what was answered with a 2xx",
    },
    Setting {
        name: "full_page_writes",
        good: &["on"],
        otherwise: Level::Fail,
        cost: "a crash in the middle of a page's write corrupts it",
    },
    Setting {
        name: "zero_damaged_pages",
        good: &["off"],
        otherwise: Level::Fail,
        cost: "damaged pages are emptied and nobody is told",
    },
    Setting {
        name: "ignore_checksum_failure",
        good: &["off"],
        otherwise: Level::Fail,
        cost: "damaged pages are read as if they were sound",
    },
    Setting {
        name: "data_checksums",
        good: &["on"],
        otherwise: Level::Warn,
        cost: "a disk that alters data goes unnoticed",
    },
    Setting {
        name: "autovacuum",
        good: &["on"],
        otherwise: Level::Fail,
        cost: "dead rows pile up until the queue stands still",
    },
    Setting {
        name: "track_counts",
        good: &["on"],
        otherwise: Level::Fail,
        cost: "autovacuum does not know where to go",
    },
    Setting {
        name: "default_transaction_read_only",
        good: &["off"],
        otherwise: Level::Fail,
        cost: "nothing can be accepted",
    },
    Setting {
        name: "default_transaction_isolation",
        good: &["read committed"],
        otherwise: Level::Warn,
        cost: "claims and transfers fail that only need to be made one after the other",
    },
];

pub(super) async fn examine(conn: &mut PgConnection) -> Result<Vec<Finding>, sqlx::Error> {
    let mut findings = look(conn, SETTINGS, settings).await?;
    findings.extend(look(conn, OTHER_ROLES, other_roles).await?);
    findings.extend(look(conn, REPLICATION, replication).await?);
    Ok(findings)
}

/// The settings of this connection, which are those that the application gets with the same URL.
async fn settings(conn: &mut PgConnection) -> Result<Vec<Finding>, sqlx::Error> {
    let names: Vec<String> = EXPECTED.iter().map(|setting| setting.name.to_owned()).collect();
    let actual = sqlx::query!(
        r#"
        select
          name as "name!", setting as "value!", source as "source!",
          quote_ident(current_database()) as "database!", quote_ident(current_user) as "role!"
        from pg_settings
        where name = any ($1)
        "#,
        &names,
    )
    .fetch_all(conn)
    .await?;
    let mut findings = Vec::new();
    for expected in &EXPECTED {
        let Some(row) = actual.iter().find(|row| row.name == expected.name) else { continue };
        if expected.good.contains(&row.value.as_str()) {
            continue;
        }
        findings.push(Finding::new(
            SETTINGS,
            expected.otherwise,
            format!("{} is {} (set by: {}): {}", row.name, row.value, row.source, expected.cost),
            expected.fix(&row.source, &row.database, &row.role),
        ));
    }
    if findings.is_empty() {
        let names = names.join(", ");
        findings.push(Finding::ok(SETTINGS, format!("nothing is lost or altered by {names}")));
    }
    Ok(findings)
}

impl Setting {
    /// The command that undoes the setting, which depends on where it was made.
    fn fix(&self, source: &str, database: &str, role: &str) -> String {
        let (name, good) = (self.name, self.good[0]);
        match (name, source) {
            ("data_checksums", _) => "stop the server, and run: pg_checksums --enable".to_owned(),
            (_, "database") => format!("alter database {database} reset {name}"),
            (_, "user") => format!("alter role {role} reset {name}"),
            (_, "database user") => {
                format!("alter role {role} in database {database} reset {name}")
            }
            (_, "client" | "session") => {
                format!("take {name} out of the options in DATABASE_URL or PGOPTIONS")
            }
            (_, "command line") => {
                format!("start the server without -c {name}, or with -c {name}='{good}'")
            }
            _ => format!("alter system set {name} = '{good}'; select pg_reload_conf()"),
        }
    }
}

/// Settings that are made for other roles of this database: `app serve` may be one of them.
async fn other_roles(conn: &mut PgConnection) -> Result<Vec<Finding>, sqlx::Error> {
    let made = sqlx::query!(
        r#"
        select
          role.rolname as "role!", setting as "setting!", database.datname as "database?"
        from pg_db_role_setting
        join pg_roles as role on role.oid = setrole
        left join pg_database as database on database.oid = setdatabase
        cross join unnest(setconfig) as setting
        where (setdatabase = 0 or database.datname = current_database())
          and role.rolname <> current_user
        "#
    )
    .fetch_all(conn)
    .await?;
    let mut findings = Vec::new();
    for row in &made {
        let Some((name, value)) = row.setting.split_once('=') else { continue };
        let Some(expected) = EXPECTED.iter().find(|expected| expected.name == name) else {
            continue;
        };
        if expected.good.contains(&value) {
            continue;
        }
        let scope = row.database.as_ref().map(|name| format!(" in database \"{name}\""));
        findings.push(Finding::new(
            OTHER_ROLES,
            expected.otherwise.min(Level::Warn),
            format!("role {} has {name} = {value}: {}", row.role, expected.cost),
            format!("alter role \"{}\"{} reset {name}", row.role, scope.unwrap_or_default()),
        ));
    }
    Ok(findings)
}

/// Examines whether a commit survives the loss of this server.
async fn replication(conn: &mut PgConnection) -> Result<Vec<Finding>, sqlx::Error> {
    let server = sqlx::query!(
        r#"
        select
          pg_is_in_recovery() as "is_standby!",
          (select count(*) from pg_stat_replication) as "standbys!",
          current_setting('synchronous_standby_names') as "synchronous_names!",
          current_setting('synchronous_commit') as "synchronous_commit!"
        "#
    )
    .fetch_one(conn)
    .await?;
    let is_synchronous = !server.synchronous_names.is_empty();
    let waits = matches!(server.synchronous_commit.as_str(), "on" | "remote_apply");
    Ok(vec![match (server.is_standby, is_synchronous, waits, server.standbys) {
        (true, _, _, _) => Finding::new(
            REPLICATION,
            Level::Fail,
            "this server is a standby: nothing can be written",
            "point DATABASE_URL to the primary, or add target_session_attrs=read-write",
        ),
        (_, true, false, _) => Finding::new(
            REPLICATION,
            Level::Warn,
            format!(
                "there are synchronous standbys, but synchronous_commit = {} does not wait until \
                 they have written: a failover can lose what was answered with a 2xx",
                server.synchronous_commit
            ),
            "alter system set synchronous_commit = 'on'; select pg_reload_conf()",
        ),
        (_, false, _, 1..) => Finding::new(
            REPLICATION,
            Level::Warn,
            format!(
                "{} standbys, none of them synchronous: a failover loses what was answered with a \
                 2xx in the last moments",
                server.standbys
            ),
            "alter system set synchronous_standby_names = 'ANY 1 (*)'; select pg_reload_conf()",
        ),
        (_, true, true, standbys) => {
            Finding::ok(REPLICATION, format!("synchronous, {standbys} standbys connected"))
        }
        (_, false, _, _) => Finding::ok(REPLICATION, "a primary without standbys"),
    }])
}
