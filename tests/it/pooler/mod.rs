//! Behind PgBouncer in transaction mode: everything works, and nothing depends on which server a
//! statement meets.

mod flow;
mod sessions;
mod statements;
