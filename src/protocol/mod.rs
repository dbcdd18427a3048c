//! Bytes to requests, outcomes to bytes.
//!
//! Does no I/O, asks nobody for the time, logs and counts nothing, and has never heard of the store.
//! [`Decoder`] turns what a client sent into [`Request`]s; [`encode`] turns what became of them into
//! replies; [`reply`] is the client's side of them. `classic` holds memcached's text commands, `meta` those
//! of one letter per flag, `simple` the dialect of the Python server that came before.

mod classic;
mod decoder;
pub mod encode;
mod form;
mod meta;
mod reject;
pub mod reply;
mod simple;
mod tokens;

pub use decoder::{Decoder, Request, Session, Step};
pub use form::Form;
pub use reject::Reject;
