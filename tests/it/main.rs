//! The integration tests: one binary, so that they share one PostgreSQL and link once. One module
//! per feature.

// A test that unwraps wrongly fails, which is what it is for.
#![allow(clippy::unwrap_used)]

mod support;

mod admin_api;
mod archives;
mod audience;
mod audit;
mod bad_bodies;
mod bank;
mod bank_log_retention;
mod bank_orders;
mod bulk;
mod cli;
mod collection;
mod configuration;
mod conflicts;
mod connecting;
mod dead_letters;
mod deliveries;
mod dev;
mod doctor;
mod embedded_postgres;
mod failover;
mod failures;
mod faults;
mod figures;
mod idempotency;
mod identity;
mod inbound_webhooks;
mod installing;
mod jobs_cli;
mod ledger;
mod limits;
mod listings;
mod mail;
mod migrate;
mod money_api;
mod openapi;
mod orders;
pub(crate) mod pages;
mod providers;

mod queues_cli;
mod reconcile;
mod rotate_job_keys;
mod schedules;
mod secrets_in_settings;
mod seed;
mod send;
mod serve;
mod service_manager;
mod settle;
mod show;
mod signatures;
mod sinks;
mod slow_clients;
mod standards;
mod system;
mod telemetry;
mod tidy;
mod timeline;
mod transaction_readers;
mod transactions_api;
mod trigger;
mod verify;
mod webhook_bodies;
mod webhooks;
mod workers_cli;
