//! The language in the middle: what clients ask for and what the store answers.
//!
//! Knows no bytes on a wire, no SQL and no threads. `protocol` turns bytes into an [`Op`] on a
//! [`Key`], the store finds what exists and asks [`decide`] what that means, `protocol` turns the
//! [`Outcome`] into bytes. What `add`, `cas`, `incr` or a negative exptime means is written in
//! `decide`, once.

mod content;
mod decide;
mod exptime;
mod item;
mod key;
mod listed;
mod op;
mod outcome;

pub use content::{Content, Hold, Pieces, Run};
pub use decide::{Context, Decision, Effect, Existing, decide, number_in};
pub use exptime::{Deadline, Exptime};
pub use item::{Head, Item, Marks, Value};
pub use key::{Key, KeyBuf};
pub use listed::Listed;
pub use op::{Arithmetic, Creation, Delete, Direction, Fetch, Mode, Op, Store};
pub use outcome::{Absence, Failure, Hit, Outcome, Written};
