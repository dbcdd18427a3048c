//! The memory tier: committed rows that were read or written lately.
//!
//! Holds only what the database holds: `guards` decides who may change it and when. The tier's own locks are
//! taken inside those.

use std::hash::{BuildHasher, Hash, Hasher};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use quick_cache::sync::{Cache, DefaultLifecycle};
use quick_cache::{Equivalent, OptionsBuilder, Weighter};

use crate::cache::{Item, Key};
use crate::store::eviction::policy::Mark;
use crate::store::guards::{Epoch, Guards};

/// Guards, each shared by the keys of one hash class: far more than one transaction changes.
const GUARDS: usize = 4_096;

/// What an entry costs beside its key and value: its place in the table and two allocations.
const ENTRY_BYTES: u64 = 160;

/// An entry must leave room for others in its shard.
const ENTRIES_PER_SHARD_LEAST: u64 = 4;

/// A committed row, as far as readers need it.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) generation: i64,
    /// What eviction went by when the row was written.
    pub(super) mark: Mark,
    pub(super) item: Item,
}

/// The memory tier. Without memory it keeps nothing and answers every question with no.
#[derive(Debug)]
pub(super) struct Memory {
    /// Made when there is memory for the first time. Its shards are for that size.
    cache: OnceLock<Tier>,
    bytes_max: AtomicU64,
    guards: Guards,
}

/// `None` is in the place of a row that is being changed.
type Tier = Cache<Name, Option<Entry>, Weight, Hashed, DefaultLifecycle<Name, Option<Entry>>>;

impl Memory {
    pub(super) fn new(bytes: u64) -> Self {
        Self {
            cache: if bytes > 0 { OnceLock::from(tier(bytes)) } else { OnceLock::new() },
            bytes_max: AtomicU64::new(bytes),
            guards: Guards::new(GUARDS),
        }
    }

    /// The row of a key, if it is here.
    pub(super) fn get(&self, hash: u64, key: Key<'_>) -> Option<Entry> {
        self.cache.get()?.get(&Sought { hash, key: key.bytes() }).flatten()
    }

    /// To be called before a snapshot begins.
    pub(super) fn epoch(&self) -> Epoch {
        self.guards.epoch()
    }

    /// Puts in a row that was read in a snapshot begun after `epoch`, unless it may be old by now.
    pub(super) fn fill(&self, hash: u64, key: Key<'_>, entry: Entry, epoch: Epoch) {
        self.guards.fill(hash, epoch, || self.put(hash, key, entry));
    }

    /// Before `COMMIT`: nobody fills this key, or is answered from here, until [`Memory::finish`] has run
    /// for it.
    pub(super) fn close(&self, hash: u64, key: Key<'_>) {
        self.guards.close(hash, || {
            if let Some(cache) = self.cache.get() {
                // It keeps its place among the hot ones. A key that is not here needs nothing.
                let name = Name { hash, key: key.bytes().into() };
                drop(cache.replace(name, None, true));
            }
        });
    }

    /// After `COMMIT`, once for all its keys.
    pub(super) fn committed(&self) -> Epoch {
        self.guards.committed()
    }

    /// After `COMMIT`: the key's new row, or none.
    pub(super) fn finish(&self, hash: u64, key: Key<'_>, entry: Option<Entry>, epoch: Epoch) {
        self.guards.finish(hash, epoch, || match entry {
            Some(entry) => self.put(hash, key, entry),
            None => self.remove(hash, key),
        });
    }

    /// After a transaction that did not commit: the key's row is what it was, and is read again.
    pub(super) fn reopen(&self, hash: u64, key: Key<'_>) {
        self.guards.reopen(hash, || self.remove(hash, key));
    }

    /// Another program may have changed any row: forget everything, whatever is being read now.
    pub(super) fn distrust(&self) {
        self.guards.distrust(|| self.clear());
    }

    /// Forgets everything; the rows are still in the database.
    pub(super) fn clear(&self) {
        if let Some(cache) = self.cache.get() {
            cache.clear();
        }
    }

    /// Gives it another size; 0 turns it off.
    pub(super) fn resize(&self, bytes: u64) {
        // A shard is locked while it evicts: a little at a time, so that no event loop waits long.
        const STEP_BYTES: u64 = 64 << 20;
        let mut now = self.bytes_max.swap(bytes, Ordering::Relaxed);
        if bytes > 0 && self.cache.get().is_none() {
            self.cache.get_or_init(|| tier(bytes));
            return;
        }
        let Some(cache) = self.cache.get() else { return };
        while now > bytes {
            now = now.saturating_sub(STEP_BYTES).max(bytes);
            cache.set_capacity(now);
        }
        cache.set_capacity(bytes);
    }

    /// The size it was given.
    pub(super) fn bytes_max(&self) -> u64 {
        self.bytes_max.load(Ordering::Relaxed)
    }

    /// Entries and their bytes.
    pub(super) fn size(&self) -> (u64, u64) {
        self.cache.get().map_or((0, 0), |cache| (cache.len() as u64, cache.weight()))
    }

    fn put(&self, hash: u64, key: Key<'_>, entry: Entry) {
        let Some(cache) = self.cache.get() else { return };
        let is_large = entry.item.value.whole().is_none();
        if is_large
            || entry_bytes(key.bytes(), Some(&entry)) * ENTRIES_PER_SHARD_LEAST
                > cache.shard_capacity()
        {
            self.remove(hash, key);
        } else {
            cache.insert(Name { hash, key: key.bytes().into() }, Some(entry));
        }
    }

    fn remove(&self, hash: u64, key: Key<'_>) {
        if let Some(cache) = self.cache.get() {
            cache.remove(&Sought { hash, key: key.bytes() });
        }
    }
}

fn tier(bytes: u64) -> Tier {
    const SHARD_BYTES_LEAST: u64 = 8 << 20;
    const SHARDS_MAX: u64 = 16;
    let shards = (bytes / SHARD_BYTES_LEAST).clamp(1, SHARDS_MAX);
    let options = OptionsBuilder::new()
        .shards(usize::try_from(shards).unwrap_or(1))
        .estimated_items_capacity(usize::try_from(bytes / 512).unwrap_or(1 << 20).max(1))
        .weight_capacity(bytes)
        .build()
        .expect("capacity and weight are given");
    Cache::with_options(options, Weight, Hashed, DefaultLifecycle::default())
}

fn entry_bytes(key: &[u8], entry: Option<&Entry>) -> u64 {
    let value_bytes = entry.map_or(0, |entry| entry.item.value.len());
    key.len() as u64 + value_bytes + ENTRY_BYTES
}

/// A key with its hash, which is computed once per request.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Name {
    hash: u64,
    key: Box<[u8]>,
}

struct Sought<'a> {
    hash: u64,
    key: &'a [u8],
}

impl Hash for Name {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}

impl Hash for Sought<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}

impl Equivalent<Name> for Sought<'_> {
    fn equivalent(&self, name: &Name) -> bool {
        self.hash == name.hash && *self.key == *name.key
    }
}

#[derive(Debug, Clone, Copy)]
struct Weight;

impl Weighter<Name, Option<Entry>> for Weight {
    fn weight(&self, name: &Name, entry: &Option<Entry>) -> u64 {
        entry_bytes(&name.key, entry.as_ref())
    }
}

/// The key's hash is a hash already.
#[derive(Debug, Clone, Copy)]
struct Hashed;

impl BuildHasher for Hashed {
    type Hasher = Same;

    fn build_hasher(&self) -> Same {
        Same(0)
    }
}

struct Same(u64);

impl Hasher for Same {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(byte);
        }
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::{Deadline, Head, Marks};
    use crate::clock::Seconds;

    fn entry(value: &str) -> Entry {
        let head = Head {
            flags: 0,
            deadline: Deadline::NEVER,
            cas: 1,
            marks: Marks::default(),
            stored: Seconds(0),
            accessed: Seconds(0),
            value_bytes: value.len() as u64,
        };
        Entry {
            generation: 0,
            mark: Mark::default(),
            item: Item { head, value: value.as_bytes().into() },
        }
    }

    fn key() -> Key<'static> {
        Key::new(b"k").expect("one byte is a key")
    }

    fn value(memory: &Memory) -> Option<Vec<u8>> {
        memory.get(7, key()).map(|entry| entry.item.value.whole().unwrap().bytes().to_vec())
    }

    #[test]
    fn a_late_reader_cannot_put_an_old_row_back() {
        let memory = Memory::new(1 << 20);
        let before = memory.epoch();
        memory.close(7, key());
        memory.fill(7, key(), entry("old, read before the commit"), before);
        assert_eq!(value(&memory), None, "closed");
        let during = memory.epoch();
        let epoch = memory.committed();
        memory.finish(7, key(), Some(entry("new")), epoch);
        for late in [before, during] {
            memory.fill(7, key(), entry("old"), late);
            assert_eq!(value(&memory).as_deref(), Some(&b"new"[..]));
        }
        memory.clear();
        memory.fill(7, key(), entry("old"), during);
        assert_eq!(value(&memory), None, "late though it was cleared");
        memory.fill(7, key(), entry("new"), memory.epoch());
        assert_eq!(value(&memory).as_deref(), Some(&b"new"[..]));
    }

    #[test]
    fn a_foreign_commit_makes_every_reader_late() {
        let memory = Memory::new(1 << 20);
        let before = memory.epoch();
        memory.fill(7, key(), entry("a"), before);
        memory.distrust();
        assert_eq!(value(&memory), None);
        memory.fill(7, key(), entry("a"), before);
        assert_eq!(value(&memory), None);
        memory.fill(7, key(), entry("b"), memory.epoch());
        assert_eq!(value(&memory).as_deref(), Some(&b"b"[..]));
    }

    #[test]
    fn who_saw_the_new_row_does_not_find_the_old_one() {
        let memory = Memory::new(1 << 20);
        // One reader has missed; another fills; then the row is changed. The first now reads the new
        // row in the database, before it is here.
        memory.fill(7, key(), entry("old"), memory.epoch());
        memory.close(7, key());
        assert_eq!(value(&memory), None, "the database may show the new row from here on");
        let epoch = memory.committed();
        memory.finish(7, key(), Some(entry("new")), epoch);
        assert_eq!(value(&memory).as_deref(), Some(&b"new"[..]));
    }

    #[test]
    fn a_transaction_that_fails_leaves_the_row() {
        let memory = Memory::new(1 << 20);
        memory.fill(7, key(), entry("a"), memory.epoch());
        memory.close(7, key());
        memory.reopen(7, key());
        assert_eq!(value(&memory), None, "it is read again");
        memory.fill(7, key(), entry("a"), memory.epoch());
        assert_eq!(value(&memory).as_deref(), Some(&b"a"[..]));
    }

    #[test]
    fn what_is_too_large_replaces_nothing_and_leaves_nothing_old() {
        let memory = Memory::new(4 << 20);
        memory.fill(7, key(), entry("a"), memory.epoch());
        memory.close(7, key());
        let large = "x".repeat(3 << 20);
        let epoch = memory.committed();
        memory.finish(7, key(), Some(entry(&large)), epoch);
        assert_eq!(value(&memory), None);
    }

    fn fill_up(memory: &Memory) {
        for n in 0..10_000u64 {
            let name = format!("key{n}");
            let key = Key::new(name.as_bytes()).expect("short");
            memory.fill(n << 20, key, entry(&"v".repeat(500)), memory.epoch());
        }
    }

    #[test]
    fn another_size_is_kept_to_at_once() {
        const MEGA: u64 = 1 << 20;
        let memory = Memory::new(0);
        for megas in [0, 4, 2, 0, 1, 200, 3, 0, 2] {
            memory.resize(megas * MEGA);
            let (_, bytes) = memory.size();
            assert!(bytes <= megas * MEGA, "{bytes} of {megas} MB");
            fill_up(&memory);
            let (entries, bytes) = memory.size();
            assert!(bytes <= megas * MEGA, "{bytes} of {megas} MB");
            assert_eq!(entries > 0, megas > 0, "{megas} MB");
            assert_eq!(memory.bytes_max(), megas * MEGA);
        }
    }

    #[test]
    fn bounded() {
        let memory = Memory::new(1 << 20);
        fill_up(&memory);
        let (entries, bytes) = memory.size();
        assert!(bytes <= 1 << 20 && entries > 1_000, "{entries} {bytes}");
    }
}
