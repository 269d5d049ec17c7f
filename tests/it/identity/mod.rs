//! Who calls: users, sessions, tokens, API keys, and who may do what.

mod api_keys;
mod commands;
mod matrix;
mod nodes;
mod sign_in;
mod tokens;
mod users;
