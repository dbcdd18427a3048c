//! A database of two rows that share a guard, a memory tier, a writer and readers.
//!
//! What must hold: what one reader sees of a key never goes back, and at the end the tier has the newest row
//! or none.

use std::sync::Arc;

use loom::sync::Mutex;
use loom::thread;

use crate::explore;
use crate::guards::Guards;

const A: usize = 0;
const B: usize = 1;

struct World {
    guards: Guards,
    /// What is committed, all at once.
    database: Mutex<[u32; 2]>,
    tier: [Mutex<Option<u32>>; 2],
}

impl World {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            guards: Guards::new(1),
            database: Mutex::new([1, 1]),
            tier: [Mutex::new(None), Mutex::new(None)],
        })
    }

    fn committed(&self) -> [u32; 2] {
        *self.database.lock().expect("nobody panics here")
    }

    fn commit(&self, rows: [u32; 2]) {
        *self.database.lock().expect("nobody panics here") = rows;
    }

    fn put(&self, key: usize, row: Option<u32>) {
        *self.tier[key].lock().expect("nobody panics here") = row;
    }

    fn in_memory(&self, key: usize) -> Option<u32> {
        *self.tier[key].lock().expect("nobody panics here")
    }

    /// As `Session::fetch`.
    fn get(&self, key: usize) -> u32 {
        if let Some(row) = self.in_memory(key) {
            return row;
        }
        let epoch = self.guards.epoch();
        let row = self.committed()[key];
        self.guards.fill(0, epoch, || self.put(key, Some(row)));
        row
    }

    /// As `Writer::end`.
    fn set(&self, rows: [u32; 2]) {
        for key in [A, B] {
            self.guards.close(0, || self.put(key, None));
        }
        self.commit(rows);
        let epoch = self.guards.committed();
        for key in [A, B] {
            self.guards.finish(0, epoch, || self.put(key, Some(rows[key])));
        }
    }

    fn at_the_end(&self) {
        let newest = self.committed();
        for key in [A, B] {
            let row = self.in_memory(key);
            assert!(row.is_none_or(|row| row == newest[key]), "an old row stayed: {row:?}");
        }
    }
}

fn does_not_go_back(world: &World, key: usize) {
    let first = world.get(key);
    let second = world.get(key);
    assert!(second >= first, "it went back");
}

/// A writer of one transaction by `set`, and readers of either key.
fn write_and_read(readers: &'static [usize], set: fn(&World)) -> impl Fn() + Send + Sync {
    move || {
        let world = World::new();
        let readers: Vec<_> = readers
            .iter()
            .map(|&key| {
                let world = Arc::clone(&world);
                thread::spawn(move || does_not_go_back(&world, key))
            })
            .collect();
        set(&world);
        readers.into_iter().for_each(|reader| reader.join().expect("it went back"));
        world.at_the_end();
    }
}

#[test]
fn what_a_reader_sees_never_goes_back() {
    explore(write_and_read(&[A, A], |world| world.set([2, 2])));
}

#[test]
fn keys_that_share_a_guard_do_not_open_it_for_each_other() {
    explore(write_and_read(&[A, B], |world| world.set([2, 2])));
}

#[test]
fn nor_with_several_commits() {
    explore(write_and_read(&[B], |world| {
        world.set([2, 2]);
        world.set([3, 3]);
    }));
}

#[test]
fn a_transaction_that_does_not_commit_leaves_what_was_there() {
    explore(write_and_read(&[A, B], |world| {
        for key in [A, B] {
            world.guards.close(0, || world.put(key, None));
        }
        for key in [A, B] {
            world.guards.reopen(0, || world.put(key, None));
        }
        world.set([2, 2]);
    }));
}

#[test]
fn nothing_from_before_another_programs_commit_stays() {
    explore(|| {
        let world = World::new();
        world.put(A, Some(1));
        let reader = {
            let world = Arc::clone(&world);
            thread::spawn(move || {
                world.get(B);
            })
        };
        world.commit([2, 2]);
        world.guards.distrust(|| [A, B].into_iter().for_each(|key| world.put(key, None)));
        assert_eq!((world.get(A), world.get(B)), (2, 2));
        reader.join().expect("it only reads");
        world.at_the_end();
    });
}

/// A reader that did not find the row in memory, and another put it there just then: it has seen the
/// database, and looks again.
fn missed_before(set: fn(&World)) -> impl Fn() + Send + Sync {
    move || {
        let world = World::new();
        world.put(A, Some(1));
        let reader = {
            let world = Arc::clone(&world);
            thread::spawn(move || {
                let first = world.committed()[A];
                assert!(world.get(A) >= first, "it went back");
            })
        };
        set(&world);
        reader.join().expect("it went back");
        world.at_the_end();
    }
}

#[test]
fn who_saw_the_new_row_does_not_find_the_old_one() {
    explore(missed_before(|world| world.set([2, 2])));
}

/// One that has read the old row long ago fills while the new one is being committed.
#[test]
fn a_late_reader_does_not_fill_while_others_see_the_new_row() {
    explore(|| {
        let world = World::new();
        let (epoch, row) = (world.guards.epoch(), world.committed()[A]);
        let late = {
            let world = Arc::clone(&world);
            thread::spawn(move || world.guards.fill(0, epoch, || world.put(A, Some(row))))
        };
        let writer = {
            let world = Arc::clone(&world);
            thread::spawn(move || world.set([2, 2]))
        };
        let first = world.committed()[A];
        assert!(world.get(A) >= first, "it went back");
        [late, writer].into_iter().for_each(|thread| thread.join().expect("it ends"));
        world.at_the_end();
    });
}

/// Guards that are closed after the commit.
#[test]
#[should_panic(expected = "it went back")]
fn closing_late_is_found() {
    explore(missed_before(|world| {
        world.commit([2, 2]);
        for key in [A, B] {
            world.guards.close(0, || world.put(key, None));
        }
        let epoch = world.guards.committed();
        for key in [A, B] {
            world.guards.finish(0, epoch, || world.put(key, Some(2)));
        }
    }));
}

/// A commit that is counted before it is one.
#[test]
#[should_panic(expected = "an old row stayed")]
fn counting_early_is_found() {
    explore(write_and_read(&[A, B], |world| {
        let epoch = world.guards.committed();
        for key in [A, B] {
            world.guards.close(0, || world.put(key, None));
        }
        world.commit([2, 2]);
        for key in [A, B] {
            world.guards.finish(0, epoch, || world.put(key, None));
        }
    }));
}

/// A reader that notes the epoch when its snapshot has begun.
#[test]
#[should_panic(expected = "an old row stayed")]
fn a_late_epoch_is_found() {
    explore(|| {
        let world = World::new();
        let reader = {
            let world = Arc::clone(&world);
            thread::spawn(move || {
                let row = world.committed()[A];
                let epoch = world.guards.epoch();
                world.guards.fill(0, epoch, || world.put(A, Some(row)));
            })
        };
        world.set([2, 2]);
        reader.join().expect("it only reads");
        world.at_the_end();
    });
}
