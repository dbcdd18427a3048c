//! What two well-known rules come to on the same requests: the yardsticks, as small simulators.
//!
//! They keep no values, charge sizes alone, and store whatever fits. Both agree with other simulators of
//! these rules to the fourth digit.

use std::collections::{HashMap, VecDeque};

/// Least recently used. A queue of every use, in which all but a key's last are out of date.
pub(crate) fn lru(requests: &[u32], sizes: &[u64], budget: u64) -> u64 {
    let mut queue = VecDeque::new();
    let mut last: Vec<Option<usize>> = vec![None; sizes.len()];
    let (mut used, mut hits) = (0, 0);
    for (at, &key) in requests.iter().enumerate() {
        let size = sizes[key as usize];
        if last[key as usize].is_some() {
            hits += 1;
        } else if size > budget {
            continue;
        } else {
            while used + size > budget {
                let (when, oldest): (usize, u32) = queue.pop_front().expect("something is stored");
                if last[oldest as usize] == Some(when) {
                    last[oldest as usize] = None;
                    used -= sizes[oldest as usize];
                }
            }
            used += size;
        }
        last[key as usize] = Some(at);
        queue.push_back((at, key));
    }
    hits
}

/// S3-FIFO: a small queue of a tenth for newcomers, who move on if they were asked for while in it; a
/// main queue, whose items go round once more for each of up to three uses; and ghosts, as many bytes
/// as the main queue, who come back into it.
pub(crate) fn s3fifo(requests: &[u32], sizes: &[u64], budget: u64) -> u64 {
    let mut cache = S3Fifo { sizes, budget, ..S3Fifo::default() };
    requests.iter().filter(|&&key| cache.ask(key)).count() as u64
}

#[derive(Default)]
struct Queue {
    keys: VecDeque<u32>,
    bytes: u64,
}

#[derive(Default)]
struct S3Fifo<'a> {
    sizes: &'a [u64],
    budget: u64,
    /// Uses since it came into its queue.
    uses: HashMap<u32, u8>,
    small: Queue,
    main: Queue,
    ghosts: VecDeque<(u32, u64)>,
    /// When a key became a ghost, as long as it is one.
    ghost_since: HashMap<u32, u64>,
    ghost_bytes: u64,
    evictions: u64,
}

impl S3Fifo<'_> {
    fn size(&self, key: u32) -> u64 {
        self.sizes[key as usize]
    }

    fn small_max(&self) -> u64 {
        (self.budget / 10).max(1)
    }

    /// Whether it was there; it is afterwards, if it fits.
    fn ask(&mut self, key: u32) -> bool {
        if let Some(uses) = self.uses.get_mut(&key) {
            *uses = (*uses + 1).min(3);
            return true;
        }
        let size = self.size(key);
        let was_ghost = self.ghost_since.remove(&key).is_some();
        if was_ghost {
            self.ghost_bytes -= size;
        }
        let small_max = self.small_max();
        if size > self.budget - small_max || !was_ghost && size >= small_max {
            return false;
        }
        while self.small.bytes + self.main.bytes + size > self.budget {
            self.evict();
        }
        // Until the cache is full the main queue takes what the small one has no room for.
        let fills = self.evictions == 0 && self.small.bytes >= small_max;
        let queue = if was_ghost || fills { &mut self.main } else { &mut self.small };
        queue.keys.push_back(key);
        queue.bytes += size;
        self.uses.insert(key, 0);
        false
    }

    fn evict(&mut self) {
        self.evictions += 1;
        if self.main.bytes > self.budget - self.small_max() || self.small.keys.is_empty() {
            self.evict_from_main();
            return;
        }
        while let Some(key) = self.small.keys.pop_front() {
            let size = self.size(key);
            self.small.bytes -= size;
            if self.uses[&key] > 0 {
                self.uses.insert(key, 0);
                self.main.keys.push_back(key);
                self.main.bytes += size;
            } else {
                self.uses.remove(&key);
                self.remember(key);
                return;
            }
        }
    }

    fn evict_from_main(&mut self) {
        while let Some(key) = self.main.keys.pop_front() {
            let uses = self.uses.get_mut(&key).expect("what is queued is there");
            if *uses == 0 {
                self.uses.remove(&key);
                self.main.bytes -= self.size(key);
                return;
            }
            *uses -= 1;
            self.main.keys.push_back(key);
        }
    }

    fn remember(&mut self, key: u32) {
        let max = self.budget * 9 / 10;
        if self.size(key) > max {
            return;
        }
        self.ghost_since.insert(key, self.evictions);
        self.ghosts.push_back((key, self.evictions));
        self.ghost_bytes += self.size(key);
        while self.ghost_bytes > max {
            let (oldest, since) = self.ghosts.pop_front().expect("the bytes are somebody's");
            if self.ghost_since.get(&oldest) == Some(&since) {
                self.ghost_since.remove(&oldest);
                self.ghost_bytes -= self.size(oldest);
            }
        }
    }
}
