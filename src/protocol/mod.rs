//! Bytes to requests, outcomes to bytes.
//!
//! Does no I/O, asks nobody for the time, logs and counts nothing, and has never heard of the store.
//! [`Decoder`] turns what a client sent into [`Request`]s; [`encode`] turns what became of them into
//! replies; [`reply`] is the client's side of them. `classic` holds memcached's text commands, `listing` those
//! that list all keys, `simple` the dialect of the Python server that
//! came before. A decoder is chosen once per connection by its first byte: meta lines have their place
//! beside `classic`, binary frames beside the text decoder.

mod classic;
mod decoder;
pub mod encode;
mod listing;
mod reject;
pub mod reply;
mod simple;
mod tokens;

pub use decoder::{Decoder, Form, Request, Session, Step};
pub use listing::{Dump, List, Scope};
pub use reject::Reject;
