//! Commands for parts of memcached that do not exist here, and the counts of `stats detail`.
//!
//! Nothing that is stored depends on them. The crawler's switch is remembered, as tools ask for it.

use std::sync::atomic::Ordering;

use crate::cache::{Key, Outcome};
use crate::metrics::{Access, Prefixes};
use crate::protocol::Admin;
use crate::server::context::Context;
use crate::server::count::Counted;

/// Does what there is to do, and gives the answer.
pub(super) fn perform(context: &Context, command: Admin) -> &'static [u8] {
    let parts = context.options.parts;
    match command {
        Admin::Settled(answer) => answer,
        Admin::Reassign(_) if !parts.slab_reassign => {
            b"CLIENT_ERROR slab reassignment disabled\r\n"
        }
        Admin::Maintain(_) if !parts.lru_maintainer => b"ERROR\r\n",
        Admin::Reassign(answer) | Admin::Maintain(answer) => answer,
        Admin::Crawler { on } => {
            context.crawler.store(on, Ordering::Relaxed);
            b"OK\r\n"
        }
        Admin::Crawl { .. } if !context.crawler.load(Ordering::Relaxed) => {
            b"CLIENT_ERROR lru crawler disabled\r\n"
        }
        Admin::Crawl { known: false } => b"BADCLASS invalid class id\r\n",
        // What has expired is removed within a second, asked for or not.
        Admin::Crawl { known: true } => match context.store.snapshot().items {
            0 => b"NOTSTARTED no items to crawl\r\n",
            _ => b"OK\r\n",
        },
    }
}

/// Counts a command for its key's prefix, where that is asked for. Like memcached it leaves out `incr`,
/// `decr` and `touch`.
pub(super) fn detail(prefixes: &Prefixes, counted: Counted, key: Key<'_>, outcome: &Outcome) {
    if !prefixes.is_on() {
        return;
    }
    let access = match counted {
        Counted::Fetch | Counted::FetchAndTouch | Counted::FetchOrTouch => {
            Access::Get { hit: matches!(outcome, Outcome::Hit(_)) }
        }
        Counted::Store | Counted::CompareAndStore | Counted::TooLarge => Access::Set,
        Counted::Delete => Access::Delete,
        Counted::Up
        | Counted::Down
        | Counted::Touch
        | Counted::Invalidate
        | Counted::Meta
        | Counted::Flush => return,
    };
    prefixes.count(key.bytes(), access);
}
