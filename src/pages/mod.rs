//! The operator's pages at `/ui`: what [`operations`](crate::operations) knows and does, for a
//! person with a browser.
//!
//! Pages are written on the server and need no script to be read or to act. A small script makes
//! them follow what happens, and gives them keys.
//!
//! # The cast
//!
//! - `routes`: the table of all pages and actions, with the right that each needs.
//! - `visit`: one request, as handlers see it, and the steps around each handler.
//! - `access`: visitors, rights, sign-in, and forms that are ours.
//! - `work`: pages about jobs, queues, failures, schedules and workers.
//! - `money`: transactions, orders, the ledger and conflicts. `told`: endpoints and deliveries.
//!   `system`: the audit log and health.
//! - `filters`: filters of lists that are in their URLs.
//! - `traces`: the last traces, where they are kept.
//! - `frame`, `navigation`, `pulse`: what stands around each page.
//! - `refusals`: problems as pages. `live`: pages that follow what happens.
//! - `words`, `charts`, `json_text`: numbers, times, states, shapes and JSON, the same everywhere.
//! - `assets`, `templates/`: stylesheet, script and icon; the pages. `templates/ui.html` has the
//!   components.
//!
//! # Guarantees
//!
//! - Every value is escaped by its template, and a policy (CSP) forbids whatever would stand in the
//!   page itself: no script, no style, nothing from elsewhere.
//! - Who may see or do something is decided on the server, at each request.
//! - What another site causes is refused; a change needs a form of ours besides.
//! - Each change goes through `operations`, and so is in the audit log with who and why.
//! - Each page asks the database for a bounded number of rows, by an index.
//!
//! Deliberately absent: rules, SQL, and anything that the command line or the API could not do.
//!
//! # Adding a page
//!
//! 1. In `operations`, the function that reads it, if there is none: bounded, and from an index.
//! 2. A file in the folder of its subject, `work/` or a new one: the struct of its template, and a
//!    handler `async fn show(visit: Arc<Visit>) -> Result<Answer, Refusal>` that reads like a list
//!    of steps: check the query (`visit.query.only`), `visit.connect()`, call the operation,
//!    `Answer::page`. The frame is `visit.frame("Title")`.
//! 3. Its template in `templates/`: `{% extends "layout.html" %}`, `{% import "ui.html" as ui %}`,
//!    and the components of `ui.html`. A page with `ui::live()` in its head follows what happens:
//!    each element with `data-live` and an `id` is refreshed, and nothing else. Text stands in
//!    templates, numbers and times come from `words`. Macros take values or references alike.
//! 4. A line in `routes`, with the right; a line in `navigation`, if it is to be listed there.
//! 5. A line in `tests/it/pages`, where each page is asked for empty and full, by every kind of
//!    visitor.
//!
//! An action is the same with a form (`ui::action`), a handler that ends in `visit.done("…")`, and
//! `action` instead of `page` in `routes`. Errors of operations become refusals in `refusals`.

mod access;
mod assets;
mod charts;
mod filters;
mod frame;
mod json_text;
mod live;
mod money;
mod navigation;
mod pulse;
mod refusals;
mod routes;
mod site;
mod system;
mod theme;
mod told;
mod traces;
mod visit;
mod words;
mod work;

pub use self::access::Entry;
pub use self::routes::endpoint;
pub use self::site::SiteParts;
