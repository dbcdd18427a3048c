//! What the tests share. A test file uses some of it.

#![allow(dead_code, unreachable_pub, reason = "each test file uses a part")]

pub mod daemon;
pub mod foreign;
pub mod forms;
pub mod frames;
pub mod ground;
pub mod in_process;
pub mod ledger;
pub mod owned;
pub mod packages;
pub mod redis;
pub mod reference;
pub mod runner;
pub mod script;
pub mod target;
pub mod tls;
pub mod tools;
pub mod wire;
