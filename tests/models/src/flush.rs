//! A delayed flush is due, and is written down while a reader looks.

use std::sync::Arc;

use loom::thread;

use crate::explore;
use crate::flushes::Flushes;

const NOW: i64 = 10;

/// As `Shared::generation` counts.
fn counted((generation, due_at): (i64, i64)) -> i64 {
    generation + i64::from(due_at != 0 && due_at <= NOW)
}

#[test]
fn a_due_flush_counts_once_before_and_after_it_is_written_down() {
    explore(|| {
        let flushes = Arc::new(Flushes::new(5, NOW));
        let reader = {
            let flushes = Arc::clone(&flushes);
            thread::spawn(move || {
                assert_eq!(counted(flushes.read()), 6);
                assert_eq!(counted(flushes.read()), 6);
            })
        };
        flushes.write(6, 0);
        reader.join().expect("it saw nothing else");
    });
}

#[test]
fn a_reader_that_sleeps_through_several_sees_one_of_them() {
    explore(|| {
        let flushes = Arc::new(Flushes::new(1, 0));
        let reader = {
            let flushes = Arc::clone(&flushes);
            thread::spawn(move || {
                let (generation, due_at) = flushes.read();
                assert_eq!(due_at, if generation == 1 { 0 } else { generation * 100 });
            })
        };
        for generation in 2..=4 {
            flushes.write(generation, generation * 100);
        }
        reader.join().expect("it saw nothing else");
        assert_eq!(flushes.read(), (4, 400));
    });
}

/// Two numbers that are read one after the other, which is what `Flushes` is there for.
#[test]
#[should_panic(expected = "torn")]
fn two_numbers_of_their_own_are_torn() {
    use crate::primitives::{AtomicI64, Ordering};
    explore(|| {
        let both = Arc::new((AtomicI64::new(5), AtomicI64::new(NOW)));
        let reader = {
            let both = Arc::clone(&both);
            thread::spawn(move || {
                let generation = both.0.load(Ordering::Acquire);
                assert_eq!(counted((generation, both.1.load(Ordering::Acquire))), 6, "torn");
            })
        };
        both.0.store(6, Ordering::Release);
        both.1.store(0, Ordering::Release);
        reader.join().expect("torn");
    });
}
