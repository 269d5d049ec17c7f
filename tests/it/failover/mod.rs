//! Connections that are of no use any more and do not say so: to a server that was demoted, cut off
//! without a word, ended while they listened. Everything is back within five seconds, and nothing
//! is started again.

mod half_open;
mod in_doubt;
mod leftovers;
mod listening;
mod replica_reads;
mod standby;
mod switchover;
