//! Loops that hand each other their batches: each is committed once, in its owner's order, and none is left
//! lying. A batch that nobody commits keeps its loop waiting for ever, which loom finds.

use std::collections::VecDeque;

use std::sync::Arc;

use loom::sync::{Condvar, Mutex};
use loom::thread;

use crate::explore;
use crate::post::{Post, Waiting};

/// What a loop is told.
#[derive(Default)]
struct Inbox {
    told: Mutex<Told>,
    wake: Condvar,
}

#[derive(Default)]
struct Told {
    completed: Vec<u32>,
    to_lead: bool,
}

impl Inbox {
    fn tell(&self, what: impl FnOnce(&mut Told)) {
        what(&mut self.told.lock().expect("nobody panics here"));
        self.wake.notify_one();
    }
}

struct Batch {
    owner: Arc<Inbox>,
    number: u32,
}

#[derive(Default)]
struct Queue(VecDeque<Batch>);

impl Waiting for Queue {
    type Owner = Arc<Inbox>;

    fn next(&self) -> Option<Arc<Inbox>> {
        Some(Arc::clone(&self.0.front()?.owner))
    }

    fn call(owner: Arc<Inbox>) {
        owner.tell(|told| told.to_lead = true);
    }
}

/// The writer counts what it commits.
type World = Post<u32, Queue>;

/// As `Committer::commit`, one batch at a time.
fn commit(world: &World, committed: &mut u32) {
    let Some(batch) = world.queue().0.pop_front() else { return };
    *committed += 1;
    batch.owner.tell(|told| told.completed.push(batch.number));
}

/// A loop's life: it submits so many batches and waits until they have come back.
fn submit_and_wait(world: &World, submit: fn(&World, Batch), batches: u32) {
    let inbox = Arc::new(Inbox::default());
    for number in 0..batches {
        submit(world, Batch { owner: Arc::clone(&inbox), number });
    }
    loop {
        let mut told = inbox.told.lock().expect("nobody panics here");
        while !told.to_lead && told.completed.len() < batches as usize {
            told = inbox.wake.wait(told).expect("nobody panics here");
        }
        let to_lead = std::mem::take(&mut told.to_lead);
        let done = told.completed.len() == batches as usize;
        if done {
            assert!(told.completed.is_sorted(), "out of order: {:?}", told.completed);
        }
        drop(told);
        // A loop that is asked to lead does, whether or not it has anything itself.
        if to_lead {
            let _: Result<(), _> = world.try_lead(|committed| commit(world, committed));
        }
        if done {
            return;
        }
    }
}

fn submit(world: &World, batch: Batch) {
    world.queue().0.push_back(batch);
    let _: Result<(), _> = world.try_lead(|committed| commit(world, committed));
}

fn loops(
    each: &'static [u32],
    submit: fn(&World, Batch),
    housekeeping: fn(&World),
) -> impl Fn() + Send + Sync {
    move || {
        let world = Arc::new(World::new(0, Queue::default()));
        let threads: Vec<_> = each
            .iter()
            .map(|&batches| {
                let world = Arc::clone(&world);
                thread::spawn(move || submit_and_wait(&world, submit, batches))
            })
            .collect();
        housekeeping(&world);
        threads.into_iter().for_each(|thread| thread.join().expect("a loop has ended well"));
        assert!(world.queue().0.is_empty(), "something is left lying");
        assert_eq!(world.lead(|committed| *committed), each.iter().sum::<u32>());
    }
}

#[test]
fn two_loops_hand_over() {
    explore(loops(&[1, 1], submit, |_| ()));
}

#[test]
fn one_that_submits_twice_keeps_its_order() {
    explore(loops(&[2, 1], submit, |_| ()));
}

/// A step of housekeeping: what comes while it has the writer finds it taken.
#[test]
fn a_step_in_between_leaves_nothing_lying() {
    fn step(world: &World) {
        world.lead(|_| drop(world.queue()));
    }
    explore(loops(&[1], submit, step));
    explore(loops(&[1, 1], submit, step));
}

/// A leader that does not look again: what came while it had the writer is left lying.
#[test]
#[should_panic(expected = "deadlock")]
fn not_passing_on_is_found() {
    struct Deaf(Queue);
    impl Waiting for Deaf {
        type Owner = ();
        fn next(&self) -> Option<()> {
            None
        }
        fn call((): ()) {}
    }
    fn work(world: &Post<u32, Deaf>, number: u32) {
        let inbox = Arc::new(Inbox::default());
        world.queue().0.0.push_back(Batch { owner: Arc::clone(&inbox), number });
        let _: Result<(), _> = world.try_lead(|_| {
            let batch = world.queue().0.0.pop_front();
            batch
                .iter()
                .for_each(|batch| batch.owner.tell(|told| told.completed.push(batch.number)));
        });
        let mut told = inbox.told.lock().expect("nobody panics here");
        while told.completed.is_empty() {
            told = inbox.wake.wait(told).expect("nobody panics here");
        }
    }
    explore(|| {
        let world = Arc::new(Post::new(0, Deaf(Queue::default())));
        let other = {
            let world = Arc::clone(&world);
            thread::spawn(move || work(&world, 1))
        };
        work(&world, 2);
        other.join().expect("deadlock");
    });
}

/// Trying for the writer before the batch is in the queue.
#[test]
#[should_panic(expected = "deadlock")]
fn queueing_late_is_found() {
    explore(loops(
        &[1, 1],
        |world, batch| {
            let led = world.try_lead(|committed| commit(world, committed));
            world.queue().0.push_back(batch);
            if led.is_ok() {
                let _: Result<(), _> = world.try_lead(|committed| commit(world, committed));
            }
        },
        |_| (),
    ));
}
