//! Bytes to requests, outcomes to bytes.
//!
//! Does no I/O, asks nobody for the time, logs and counts nothing, and has never heard of the store.
//! [`Decoder`] turns what a client sent into [`Request`]s; [`encode`] turns what became of them into
//! replies; [`reply`] is the client's side of them. `classic` holds memcached's text commands, `meta` those
//! of one letter per flag, `listing` those that list all keys, `admin` those that tune memcached, `simple`
//! the dialect of the Python server that came before; [`login`] what may be said before a login.

mod admin;
mod classic;
mod decoder;
pub mod encode;
mod form;
mod listing;
pub mod login;
mod meta;
mod reject;
pub mod reply;
mod simple;
mod tokens;

pub use admin::Admin;
pub use decoder::{Decoder, Request, Session, Step};
pub use form::Form;
pub use listing::{Dump, List, Scope};
pub use reject::Reject;
