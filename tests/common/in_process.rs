//! The daemon inside the test's own process, on a file of its own, with a clock moved by hand.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use litecached::auth::Accounts;
use litecached::clock::Clock;
use litecached::server::{Listen, Options as ServerOptions, Protocol, Server};
use litecached::store::{Options as StoreOptions, Store};
use tempfile::TempDir;

use super::target::Target;

/// The clock's time when a daemon starts first.
pub const START_TIME: i64 = 1_800_000_000;

/// A running daemon. Dropped, it stops and its file goes.
#[derive(Debug)]
pub struct InProcess {
    clock: Clock,
    now: i64,
    store_options: StoreOptions,
    server_options: ServerOptions,
    running: Option<(Server, Arc<Store>)>,
    address: SocketAddr,
    /// Last, so that it outlives the store.
    _directory: TempDir,
}

impl InProcess {
    /// Starts with the defaults and two event loops.
    pub fn start() -> Self {
        Self::start_with(&[], |_, _| {})
    }

    /// Starts with memcached's `flags`, after `adjust` has changed what it wants of the options.
    pub fn start_with(
        flags: &[String],
        adjust: impl FnOnce(&mut ServerOptions, &mut StoreOptions),
    ) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory can be made");
        let mut store_options = StoreOptions::new(directory.path().join("litecached.db"));
        let mut server_options = ServerOptions {
            listen: vec![Listen::Tcp(SocketAddr::from(([127, 0, 0, 1], 0)))],
            threads: 2,
            ..ServerOptions::default()
        };
        let mut flags = flags.iter();
        while let Some(flag) = flags.next() {
            let mut value = || flags.next().expect("the flag has a value");
            match flag.as_str() {
                "-B" => {
                    server_options.protocol = match value().as_str() {
                        "ascii" => Protocol::Ascii,
                        "binary" => Protocol::Binary,
                        other => panic!("the harness does not know -B {other}"),
                    }
                }
                "-D" => {
                    server_options.prefix_delimiter = value().as_bytes()[0];
                    server_options.prefixes_counted = true;
                }
                "-o" => value().split(',').for_each(|name| extended(name, &mut server_options)),
                "-I" => store_options.item_bytes_max = number(value()),
                "--pieces" => {
                    let (large, piece) = value().split_once(',').expect("two numbers");
                    store_options.large_value_bytes = number(large);
                    store_options.piece_bytes = usize::try_from(number(piece)).expect("small");
                }
                "-A" => server_options.shutdown_enabled = true,
                "-F" => server_options.flush_enabled = false,
                "-X" => server_options.dump_enabled = false,
                "-C" => server_options.cas_enabled = false,
                "-Y" => {
                    let file = value();
                    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
                    let loaded = Accounts::read(&path).unwrap_or_else(|error| panic!("{error}"));
                    server_options.accounts = Some(Arc::new(loaded.accounts));
                }
                "-S" => server_options.sasl = true,
                "-W" => server_options.watch_enabled = false,
                "-M" => store_options.evicts = false,
                "-m" => store_options.disk_bytes_max = number(value()) << 20,
                "--max-items" => store_options.items_max = number(value()),
                other => panic!("the harness does not know the flag {other}"),
            }
        }
        adjust(&mut server_options, &mut store_options);
        let mut daemon = Self {
            clock: Clock::manual(START_TIME),
            now: START_TIME,
            store_options,
            server_options,
            running: None,
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
            _directory: directory,
        };
        daemon.run();
        daemon
    }

    /// The store, for what only it can do.
    pub fn store(&self) -> Arc<Store> {
        let (_, store) = self.running.as_ref().expect("the daemon runs until it is dropped");
        Arc::clone(store)
    }

    /// The server, for what only it can do.
    pub fn server(&self) -> &Server {
        &self.running.as_ref().expect("the daemon runs until it is dropped").0
    }

    fn run(&mut self) {
        let store = Store::open(&self.store_options, &self.clock).expect("the store opens");
        let server = Server::start(&self.server_options, Arc::clone(&store), self.clock.clone())
            .expect("the server starts");
        self.address = server.addresses()[0];
        self.running = Some((server, store));
    }

    fn stop(&mut self) {
        if let Some((server, store)) = self.running.take() {
            server.stop();
            drop(server);
            store.close();
        }
    }
}

fn number(text: &str) -> u64 {
    text.parse().expect("the flag's value is a number")
}

/// A name behind `-o`.
fn extended(name: &str, options: &mut ServerOptions) {
    match name {
        "no_lru_crawler" => options.parts.lru_crawler = false,
        "no_lru_maintainer" => options.parts.lru_maintainer = false,
        "no_slab_reassign" => options.parts.slab_reassign = false,
        "no_maxconns_fast" => options.connections_refused_fast = false,
        "idle_timeout=600" => options.idle_timeout_seconds = 600,
        other => panic!("the harness does not know -o {other}"),
    }
}

impl Target for InProcess {
    fn address(&self) -> SocketAddr {
        self.address
    }

    fn now(&mut self) -> i64 {
        self.now
    }

    fn advance(&mut self, seconds: i64) -> bool {
        self.clock.advance(seconds);
        self.now += seconds;
        true
    }

    fn restart(&mut self) -> bool {
        self.stop();
        self.run();
        true
    }

    fn forget_memory(&mut self) {
        self.store().forget_memory();
    }

    fn memcached_version(&self) -> Option<&str> {
        None
    }
}

impl Drop for InProcess {
    fn drop(&mut self) {
        self.stop();
    }
}
