//! `stats items` and `stats slabs`: everything that is stored, as memcached's class 1.
//!
//! There are no slabs. What tools compute from these lines comes out true: how many items there are, how
//! many bytes they take, how often they were found. A chunk is the place of one item, a little larger
//! than items are on average. An empty cache has no class, as in memcached.

use super::{Figures, Lines};

/// A memcached page.
const PAGE_BYTES: u64 = 1 << 20;

/// `stats items`. The age of the oldest item is 0: no index knows it, and an event loop scans no table.
pub fn items(figures: &Figures, maintains: bool) -> Lines {
    let Figures { totals, store, storage, .. } = figures;
    let mut lines = Lines::default();
    if store.items == 0 {
        return lines;
    }
    let mut line = |name: &str, value: u64| lines.line(format_args!("items:1:{name}"), value);
    // Hot is what is in memory, cold what is read from the database.
    let hot = store.memory_items.min(store.items);
    line("number", store.items);
    if maintains {
        line("number_hot", hot);
        line("number_warm", 0);
        line("number_cold", store.items - hot);
        line("age_hot", 0);
        line("age_warm", 0);
    }
    line("age", 0);
    line("mem_requested", store.bytes);
    let counted = &storage.counted;
    line("evicted", counted.evicted);
    line("evicted_nonzero", counted.evicted_nonzero);
    line("evicted_time", store.evicted_idle_seconds);
    line("outofmemory", totals.store_no_memory);
    line("tailrepairs", 0);
    line("reclaimed", storage.reclaimed());
    line("expired_unfetched", counted.expired_unfetched);
    line("evicted_unfetched", counted.evicted_unfetched);
    if maintains {
        line("evicted_active", counted.evicted_active);
    }
    line("crawler_reclaimed", storage.swept());
    line("crawler_items_checked", 0);
    line("lrutail_reflocked", 0);
    if maintains {
        line("moves_to_cold", 0);
        line("moves_to_warm", 0);
        line("moves_within_lru", 0);
        line("direct_reclaims", counted.direct_reclaims);
        line("hits_to_hot", totals.memory_hits);
        line("hits_to_warm", 0);
        line("hits_to_cold", totals.get_hits.saturating_sub(totals.memory_hits));
        line("hits_to_temp", 0);
    }
    lines
}

/// `stats slabs`.
pub fn slabs(figures: &Figures) -> Lines {
    let Figures { totals, store, .. } = figures;
    let mut lines = Lines::default();
    let is_active = store.items > 0;
    let pages = if is_active { store.bytes.div_ceil(PAGE_BYTES).max(1) } else { 0 };
    if is_active {
        let chunk_bytes = (store.bytes / store.items + 1).next_multiple_of(8);
        for (name, value) in [
            ("chunk_size", chunk_bytes),
            ("chunks_per_page", (PAGE_BYTES / chunk_bytes).max(1)),
            ("total_pages", pages),
            ("total_chunks", store.items),
            ("used_chunks", store.items),
            ("free_chunks", 0),
            ("free_chunks_end", 0),
            ("get_hits", totals.get_hits),
            ("cmd_set", totals.cmd_set),
            ("delete_hits", totals.delete_hits),
            ("incr_hits", totals.incr_hits),
            ("decr_hits", totals.decr_hits),
            ("cas_hits", totals.cas_hits),
            ("cas_badval", totals.cas_badval),
            ("touch_hits", totals.touch_hits),
        ] {
            lines.line(format_args!("1:{name}"), value);
        }
    }
    lines.line("active_slabs", u8::from(is_active));
    lines.line("total_malloced", pages * PAGE_BYTES);
    lines
}
