//! The relay with real brokers: none of the events is lost and their order is kept, whoever is
//! killed when.
//!
//! A test target of its own, because these need NATS and RabbitMQ, which nothing else does:
//! `cargo test --test brokers`.

// A test that unwraps wrongly fails, which is what it is for.
#![allow(clippy::unwrap_used)]

#[path = "../it/support/mod.rs"]
mod support;

mod amqp;
mod nats;
mod nats_server;
mod rabbitmq;
mod told;
mod writers;
