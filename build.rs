//! `sqlx::migrate!` reads `migrations/` at compile time; without this line a new file alone would
//! not rebuild it.
fn main() {
    println!("cargo:rerun-if-changed=migrations");
}
