//! Bytes to requests, outcomes to bytes.
//!
//! Does no I/O, asks nobody for the time, logs and counts nothing, and has never heard of the store.
//! [`Decoder`] turns what a client sent into [`Request`]s; [`encode`] turns what became of them into
//! replies; [`reply`] is the client's side of them. `negotiate` chooses a connection's protocol. `classic`
//! holds memcached's text commands, `meta` those of one letter per flag, `listing` those that list all keys,
//! `admin` those that tune memcached, `simple` the dialect of the Python server that came before; `binary`
//! holds memcached's frames, [`login`] what may be said before a login.

mod admin;
mod binary;
mod classic;
mod decoder;
pub mod encode;
mod form;
mod gather;
mod listing;
pub mod login;
mod meta;
mod negotiate;
mod reject;
pub mod reply;
mod simple;
mod tokens;

pub use admin::Admin;
pub use decoder::{Request, RequestKey, Session, Step};
pub use form::Form;
pub use gather::Sizes;
pub use listing::{Dump, List, Scope};
pub use negotiate::{Decoder, Protocol};
pub use reject::Reject;
