//! What does a request cost within the process?
//!
//! From bytes read to bytes that are ready to be sent: decoded, looked up in the memory tier, encoded. What the
//! kernel does for a connection, which is most of a request over loopback, is not in it; `benches/compare` has that.
//!
//!     cargo bench --bench request
//!     cargo bench --bench request -- quick        a moment, to see that it runs

use std::hint::black_box;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use criterion::{Criterion, Throughput};
use litecached::cache::{Exptime, Failure, Key, Mode, Op, Outcome, Store as How};
use litecached::clock::Clock;
use litecached::limits::ITEM_BYTES_DEFAULT;
use litecached::protocol::encode::{self, END};
use litecached::protocol::{Decoder, Protocol, Request, Step};
use litecached::store::{Batch, Options, Owner, Session, Source, Store, Task};

/// As many as `benches/compare` asks for, so that they are not all in the processor's caches.
const KEYS: usize = 100_000;
const VALUE_BYTES: usize = 100;

/// Requests in a batch that fills the store.
const BATCH: usize = 500;

/// Keys of the longer `get`.
const MANY: usize = 50;

/// Of the memory tier: all items have room.
const MEMORY_BYTES: u64 = 256 << 20;

/// What the store has for a loop; `None` asks it to lead.
struct Returned(Sender<Option<Batch>>);

impl Owner for Returned {
    fn completed(&self, batch: Batch) {
        self.0.send(Some(batch)).expect("we wait for it");
    }

    fn wrote(&self, _ticket: u64, _upload: i64, _written: Result<(), Failure>) {
        unreachable!("no value here is in pieces");
    }

    fn please_lead(&self) {
        self.0.send(None).expect("we wait for it");
    }
}

fn main() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let options =
        Options { memory_bytes: MEMORY_BYTES, ..Options::new(folder.path().join("request.db")) };
    let clock = Clock::system();
    let store = Store::open(&options, &clock).expect("a new database");
    let (sender, batches) = channel();
    let mut session = store.session(Arc::new(Returned(sender)));
    fill(&store, &mut session, &batches);

    let is_quick = std::env::args().any(|word| word == "quick");
    let (warm_up, measured) = if is_quick { (50, 200) } else { (1_000, 5_000) };
    let mut criterion = Criterion::default()
        .without_plots()
        .sample_size(if is_quick { 10 } else { 100 })
        .warm_up_time(Duration::from_millis(warm_up))
        .measurement_time(Duration::from_millis(measured));
    let mut group = criterion.benchmark_group("hot");
    for (name, keys, requests) in [
        ("get of one key", KEYS, requests(1, |key| format!("get {key}\r\n"))),
        ("get of the same 100 keys", 100, requests(1, |key| format!("get {key}\r\n"))),
        ("mg v", KEYS, requests(1, |key| format!("mg {key} v\r\n"))),
        ("get of 50 keys", KEYS / MANY, requests(MANY, |keys| format!("get {keys}\r\n"))),
    ] {
        let now = clock.now();
        let mut decoder = Decoder::new(Protocol::Auto, ITEM_BYTES_DEFAULT);
        let mut output = Vec::with_capacity(1 << 16);
        // In no order that the processor could foresee.
        let mut rng = fastrand::Rng::with_seed(1);
        group.throughput(Throughput::Elements(1));
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                output.clear();
                let request = &requests[rng.usize(..keys)];
                answer(&mut decoder, &mut session, request.as_bytes(), now, &mut output);
                black_box(output.len())
            });
        });
        assert!(output.len() > VALUE_BYTES, "a hit");
    }
    group.finish();
    criterion.final_summary();
    drop(session);
    store.close();
}

/// One for each key, or each so many.
fn requests(keys: usize, write: impl Fn(&str) -> String) -> Vec<String> {
    let names: Vec<String> = (0..KEYS).map(name).collect();
    names.chunks(keys).map(|names| write(&names.join(" "))).collect()
}

fn name(number: usize) -> String {
    format!("key:{number:012}")
}

/// As an event loop answers a read whose connection waits for nothing.
fn answer(
    decoder: &mut Decoder,
    session: &mut Session,
    mut bytes: &[u8],
    now: litecached::clock::Seconds,
    output: &mut Vec<u8>,
) {
    while !bytes.is_empty() {
        let used = match decoder.decode(bytes) {
            Step::Request {
                request: Request::Operate { key, op: Op::Fetch(fetch), form },
                used,
            } => {
                let key = key.as_key();
                let (outcome, source) = session.fetch(key, fetch, now).expect("it changes nothing");
                assert!(source == Source::Memory && matches!(outcome, Outcome::Hit(_)));
                encode::outcome(&form, key, &outcome, output);
                used
            }
            Step::Request { request: Request::EndOfKeys, used } => {
                output.extend_from_slice(END);
                used
            }
            other => unreachable!("{other:?}"),
        };
        bytes = &bytes[used..];
    }
}

/// Stores all items. What is written is in the memory tier.
fn fill(store: &Store, session: &mut Session, batches: &Receiver<Option<Batch>>) {
    let value = [b'x'; VALUE_BYTES];
    let numbers: Vec<usize> = (0..KEYS).collect();
    for some in numbers.chunks(BATCH) {
        for &number in some {
            let name = name(number);
            let key = Key::new(name.as_bytes()).expect("a name is a key");
            let op = Op::Store(How::plain(Mode::Set, 0, Exptime(0)), value.as_slice().into());
            session.queue(0, Task::Operate { hash: store.hash(key), key: key.to_owned(), op });
        }
        session.submit();
        loop {
            match batches.recv().expect("the store answers") {
                None => store.lead(),
                Some(batch) => break session.recycle(batch),
            }
        }
    }
}
