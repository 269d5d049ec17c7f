//! The wire: the forms of requests and answers, for the code and for the OpenAPI document.
//!
//! - [`request_body`]: reads each body whole, within its limit and deadline. [`json_body`]: the
//!   shape of a JSON body, declared once; [`fields`] reads it strictly and reports all errors at
//!   once; [`field_types`] are the types that its fields may have.
//! - [`problem`]: refusals (RFC 9457), and the catch-all that gives every error that form;
//!   [`Code`](problem::Code) is the catalogue of them. [`refused`]: the codes of one operation, as
//!   a type.
//! - [`request_id`]: the id of a request, which every refusal repeats.
//! - [`payload`]: JSON answers, and [`any_json`] in them. [`lists`]: cursors, pages and strict
//!   query parameters. [`if_match`]: the versions that changes are meant for.
//! - [`money`], [`moment`], [`id`]: amounts, currencies, moments, and ids in paths.
//!   [`spreadsheet`]: rows as CSV.
//!
//! Guaranteed: amounts never pass through a float; a key that appears twice or is not known is
//! refused; no refusal shows insides.
//!
//! Deliberately absent: connections, callers and operations. This folder uses neither `edge` nor
//! `api`.

pub mod any_json;
mod codes;
pub mod field_types;
pub mod fields;
pub mod id;
pub mod if_match;
pub mod json_body;
pub mod lists;
pub mod moment;
pub mod money;
pub mod parameter_reason;
pub mod payload;
pub mod problem;
pub mod raw_body;
pub mod refused;
pub mod request_body;
pub mod request_id;
pub mod shown_path;
pub mod spreadsheet;
