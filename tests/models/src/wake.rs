//! An event loop that sleeps until it is woken, and those who have something for it. A wake-up that is missing
//! keeps it asleep for ever, which loom finds.

use std::sync::Arc;

use loom::sync::{Condvar, Mutex};
use loom::thread;

use crate::explore;
use crate::mail::Mail;

/// The loop's eventfd.
#[derive(Default)]
struct Event {
    set: Mutex<bool>,
    wake: Condvar,
}

impl Event {
    fn set(&self) {
        *self.set.lock().expect("nobody panics here") = true;
        self.wake.notify_one();
    }

    fn wait(&self) {
        let mut set = self.set.lock().expect("nobody panics here");
        while !*set {
            set = self.wake.wait(set).expect("nobody panics here");
        }
        *set = false;
    }
}

type World = (Mail<u32>, Event);

/// As `Inbox::post`.
fn post(world: &World, message: u32) {
    world.0.put(message);
    if world.0.is_to_be_woken() {
        world.1.set();
    }
}

fn several(post: fn(&World, u32), messages: &'static [&'static [u32]]) -> impl Fn() + Send + Sync {
    move || {
        let world = Arc::new((Mail::new(), Event::default()));
        let senders: Vec<_> = messages
            .iter()
            .map(|messages| {
                let world = Arc::clone(&world);
                thread::spawn(move || messages.iter().for_each(|&message| post(&world, message)))
            })
            .collect();
        let mut seen = Vec::new();
        while seen.len() < messages.iter().map(|messages| messages.len()).sum() {
            world.1.wait();
            seen.extend(world.0.take());
        }
        for messages in messages {
            let of_one: Vec<u32> =
                seen.iter().copied().filter(|message| messages.contains(message)).collect();
            assert_eq!(of_one, **messages, "in the order in which they were sent");
        }
        senders.into_iter().for_each(|sender| sender.join().expect("it only sends"));
    }
}

#[test]
fn no_message_is_slept_through() {
    explore(several(post, &[&[1], &[2]]));
    explore(several(post, &[&[1, 2]]));
}

/// Whoever calls wakes, or somebody else is about to: the loop answers in the end.
#[test]
fn no_call_is_slept_through() {
    explore(|| {
        let world = Arc::new((Mail::<u32>::new(), Event::default()));
        let caller = {
            let world = Arc::clone(&world);
            thread::spawn(move || {
                if world.0.call(7) {
                    world.1.set();
                }
            })
        };
        post(&world, 1);
        world.1.wait();
        let mut seen = world.0.take();
        caller.join().expect("it only calls");
        // It was answered by this look, and this call wakes the loop anew; or there is a wake-up already.
        if world.0.call(8) {
            world.1.set();
        }
        world.1.wait();
        seen.extend(world.0.take());
        assert_eq!((world.0.called(), seen), (0, vec![1]));
    });
}

/// Waking before the message is there.
#[test]
#[should_panic(expected = "deadlock")]
fn waking_early_is_found() {
    explore(several(
        |world, message| {
            if world.0.is_to_be_woken() {
                world.1.set();
            }
            world.0.put(message);
        },
        &[&[1]],
    ));
}
