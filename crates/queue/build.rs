//! The queries of this crate are checked against the queue's own schema: by what is committed in
//! `.sqlx/`, or, when that is written, by the database that `SURETY_QUEUE_DATABASE_URL` names.
//!
//! Never by `DATABASE_URL`: a program that uses the queue has one of its own, with other tables.
//! (sqlx can be told so in a `sqlx.toml`, too; the feature costs six crates that sqlx waits for.)
fn main() {
    println!("cargo::rerun-if-env-changed=SURETY_QUEUE_DATABASE_URL");
    match std::env::var("SURETY_QUEUE_DATABASE_URL") {
        Ok(url) => {
            println!("cargo::rustc-env=SQLX_OFFLINE=false");
            println!("cargo::rustc-env=DATABASE_URL={url}");
        }
        Err(_) => println!("cargo::rustc-env=SQLX_OFFLINE=true"),
    }
}
