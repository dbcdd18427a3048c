//! What wrong passwords cost those who guess: time, by address.
//!
//! Each address has its turns, one behind the other, and each wrong password puts the next turn off. A login is answered
//! in its turn: one that is right no sooner, or a guesser would open more connections and call wrong what is not
//! answered at once. Holds nobody's thread: it says when, and the loop sees to it (`server/login.rs`). What must stay
//! true: however many connections an address has, it learns of so many guesses in a time; who is right waits for
//! [`LOGIN_WAIT_SECONDS_MAX`] at most; a login that is right takes no wrong ones back, for a guesser may have an
//! account of his own.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};

use crate::clock::Seconds;
use crate::limits::{
    FREE_GUESSES, GUESS_SECONDS_MAX, GUESSERS_MAX, GUESSES_REMEMBERED_SECONDS,
    LOGIN_WAIT_SECONDS_MAX,
};
use crate::server::connection::Address;

/// When a login is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    At(Seconds),
    /// So many wait before it that it is turned away, right or wrong.
    Never,
}

/// Wrong logins of an address that cost it nothing when they are made again: nobody learns from them, and a client
/// whose password has changed makes no others.
const GUESSES_KNOWN: usize = 8;

/// Who guessed lately.
#[derive(Debug, Default)]
pub(super) struct Guesses {
    guessers: Mutex<HashMap<Guesser, Guessed>>,
    /// Of what is remembered of passwords, which are not.
    hasher: RandomState,
}

/// Whom guesses are counted for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Guesser {
    /// Of IPv6 its network: who has one address there has 2^64.
    Ip(IpAddr),
    /// Everybody who is on this machine: each of them has 16 million addresses, and Unix sockets.
    Local,
}

#[derive(Debug, Clone, Copy)]
struct Guessed {
    wrong: u32,
    /// When the next login has its turn.
    next: Seconds,
    /// What it guessed last, the newest last.
    last: [u64; GUESSES_KNOWN],
}

impl Guesses {
    /// The turn of a login by this user and password that came at `now` and was right or not.
    pub(super) fn turn(
        &self,
        from: &Address,
        said: (&[u8], &[u8]),
        is_right: bool,
        now: Seconds,
    ) -> Turn {
        let from = Guesser::of(from);
        let mut guesses = self.guessers.lock().unwrap_or_else(PoisonError::into_inner);
        let known = guesses.get(&from).filter(|guessed| guessed.is_remembered(now));
        let none = Guessed { wrong: 0, next: now, last: [0; GUESSES_KNOWN] };
        let Guessed { wrong, next, mut last } = known.copied().unwrap_or(none);
        let next = next.max(now);
        // By the same measure for both: to be turned away tells nothing.
        if next.0 - now.0 > i64::from(LOGIN_WAIT_SECONDS_MAX - GUESS_SECONDS_MAX) {
            return Turn::Never;
        }
        let guess = self.hasher.hash_one(said);
        if is_right || last.contains(&guess) {
            return Turn::At(next);
        }
        last.rotate_left(1);
        last[GUESSES_KNOWN - 1] = guess;
        let wrong = wrong.saturating_add(1);
        if guesses.len() >= GUESSERS_MAX && !guesses.contains_key(&from) {
            let soonest = guesses.iter().min_by_key(|(_, guessed)| guessed.next);
            if let Some(soonest) = soonest.map(|(guesser, _)| *guesser) {
                guesses.remove(&soonest);
            }
        }
        let next = Seconds(next.0 + i64::from(seconds(wrong)));
        guesses.insert(from, Guessed { wrong, next, last });
        Turn::At(next)
    }
}

impl Guesser {
    fn of(address: &Address) -> Self {
        match address {
            Address::Unix(_) => Self::Local,
            Address::Tcp(address) if address.ip().to_canonical().is_loopback() => Self::Local,
            Address::Tcp(address) => Self::Ip(match address.ip().to_canonical() {
                IpAddr::V6(address) => {
                    const NETWORK: u128 = u128::MAX << 64;
                    IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & NETWORK))
                }
                v4 @ IpAddr::V4(_) => v4,
            }),
        }
    }
}

impl Guessed {
    fn is_remembered(self, now: Seconds) -> bool {
        now.0 - self.next.0 <= i64::from(GUESSES_REMEMBERED_SECONDS)
    }
}

/// What this wrong password costs: nothing, then 1, 2, 4 seconds.
fn seconds(wrong: u32) -> u32 {
    match wrong.checked_sub(FREE_GUESSES + 1) {
        None => 0,
        Some(doublings) => 1_u32.checked_shl(doublings).map_or(GUESS_SECONDS_MAX, |seconds| {
            if seconds == 0 { GUESS_SECONDS_MAX } else { seconds.min(GUESS_SECONDS_MAX) }
        }),
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    fn at(address: &str) -> Address {
        Address::Tcp(address.parse().expect("an address"))
    }

    /// Another guess each time.
    fn wrong(guesses: &Guesses, from: &Address, now: i64) -> Option<i64> {
        thread_local!(static GUESS: Cell<u64> = const { Cell::new(0) });
        let guess = GUESS.replace(GUESS.get() + 1).to_string();
        told(guesses.turn(from, (b"anna", guess.as_bytes()), false, Seconds(now)))
    }

    fn right(guesses: &Guesses, from: &Address, now: i64) -> Option<i64> {
        told(guesses.turn(from, (b"anna", b"right"), true, Seconds(now)))
    }

    fn told(turn: Turn) -> Option<i64> {
        match turn {
            Turn::At(seconds) => Some(seconds.0),
            Turn::Never => None,
        }
    }

    #[test]
    fn guesses_cost_more_and_more() {
        let guesses = Guesses::default();
        let from = at("10.0.0.1:1");
        let mut now = 100;
        let mut costs = Vec::new();
        for _ in 0..10 {
            let turn = wrong(&guesses, &from, now).expect("it has its turn");
            costs.push(turn - now);
            now = turn;
        }
        assert_eq!(costs, [0, 0, 0, 0, 1, 2, 4, 4, 4, 4]);
        assert_eq!(right(&guesses, &from, now), Some(now), "who comes behind them waits no more");
        assert_eq!(wrong(&guesses, &from, now), Some(now + 4), "and takes none of them back");
        let later = now + 4 + i64::from(GUESSES_REMEMBERED_SECONDS);
        assert_eq!(wrong(&guesses, &from, later), Some(later + 4), "they are remembered");
        let later = later + 4 + i64::from(GUESSES_REMEMBERED_SECONDS) + 1;
        assert_eq!(wrong(&guesses, &from, later), Some(later), "but not for ever");
        for wrong in [FREE_GUESSES + 32, FREE_GUESSES + 33, FREE_GUESSES + 34, u32::MAX] {
            assert_eq!(seconds(wrong), GUESS_SECONDS_MAX, "{wrong}");
        }
    }

    #[test]
    fn many_connections_learn_no_more() {
        let guesses = Guesses::default();
        let told: Vec<_> = (0..1_000)
            .map(|port| wrong(&guesses, &at(&format!("10.0.0.1:{port}")), 0))
            .take_while(Option::is_some)
            .flatten()
            .collect();
        assert_eq!(told, [0, 0, 0, 0, 1, 3, 7, 11, 15, 19], "each behind the one before");
        let longest = i64::from(LOGIN_WAIT_SECONDS_MAX);
        assert!(told.iter().all(|turn| *turn <= longest));
        let from = at("10.0.0.1:7");
        assert_eq!((wrong(&guesses, &from, 2), right(&guesses, &from, 2)), (None, None));
        assert_eq!(right(&guesses, &from, 3), Some(19), "behind them, and within the bound");
        assert_eq!(right(&guesses, &at("10.0.0.2:7"), 3), Some(3), "others do not wait");
        assert_eq!(wrong(&guesses, &from, 3), Some(23));
    }

    #[test]
    fn who_says_the_same_again_learns_nothing_and_keeps_nobody_waiting() {
        let guesses = Guesses::default();
        let from = at("10.0.0.1:1");
        let stale = |user: &[u8], now| {
            told(guesses.turn(&from, (user, b"of last year"), false, Seconds(now)))
        };
        for _ in 0..1_000 {
            assert_eq!(stale(b"anna", 0), Some(0));
            assert_eq!(stale(b"bert", 0), Some(0), "it is the pair that counts");
        }
        assert_eq!(right(&guesses, &from, 0), Some(0));
        for guess in 0..8 {
            wrong(&guesses, &from, 10 * guess);
        }
        assert_eq!(stale(b"anna", 80), Some(84), "it is forgotten when others are new");
        assert_eq!(stale(b"anna", 80), Some(84), "in its turn, and no later");
        assert_eq!(right(&guesses, &from, 80), Some(84));
    }

    #[test]
    fn whom_they_are_counted_for() {
        for (one, other, are_same) in [
            ("10.0.0.1:1", "10.0.0.1:2", true),
            ("10.0.0.1:1", "10.0.0.2:1", false),
            ("10.0.0.1:1", "[::ffff:10.0.0.1]:1", true),
            ("[2001:db8::1]:1", "[2001:db8::ffff:1:2:3]:1", true),
            ("[2001:db8::1]:1", "[2001:db8:0:1::1]:1", false),
            ("127.0.0.1:1", "127.9.8.7:1", true),
            ("127.0.0.1:1", "[::1]:1", true),
            ("127.0.0.1:1", "[::ffff:127.0.0.2]:1", true),
        ] {
            let [one, other] = [one, other].map(|address| Guesser::of(&at(address)));
            assert_eq!(one == other, are_same, "{one:?} {other:?}");
        }
        let [one, other] = ["", "x"].map(|path| Guesser::of(&Address::Unix(path.into())));
        assert_eq!(one, other);
        assert_eq!(one, Guesser::of(&at("127.0.0.1:1")));
    }

    #[test]
    fn it_holds_so_many_and_forgets_the_least_of_them() {
        let guesses = Guesses::default();
        let first = at("10.0.0.1:1");
        for _ in 0..8 {
            wrong(&guesses, &first, 0);
        }
        for other in 0..2 * GUESSERS_MAX as u128 {
            let address = Ipv6Addr::from_bits(other << 64);
            wrong(&guesses, &at(&format!("[{address}]:1")), 0);
        }
        assert_eq!(guesses.guessers.lock().expect("nobody panics").len(), GUESSERS_MAX);
        assert_eq!(right(&guesses, &first, 0), Some(11), "who has guessed most stays");
    }
}
