#![doc = include_str!("ARCHITECTURE.md")]

pub mod auth;
pub mod cache;
pub mod cli;
pub mod clock;
mod config;
pub mod limits;
pub mod logging;
pub mod metrics;
pub mod protocol;
pub mod server;
pub mod stats;
pub mod store;
