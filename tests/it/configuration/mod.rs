//! Settings as a whole: `app config`, contexts, and what SIGHUP takes up.

mod check;
mod contexts;
mod reload;
