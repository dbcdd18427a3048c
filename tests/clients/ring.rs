//! Two servers behind twemproxy, and behind a client's ketama ring: each gets the keys that a memcached
//! in its place would get, and all come back after both were killed.

use std::collections::BTreeSet;
use std::fs;
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};

use crate::common::foreign::{Server, converse, script_client};
use crate::common::ground::{PATIENCE, needs, until};
use crate::common::wire::Client;

/// Keys over both servers; the scripts use the same.
const KEYS: usize = 2000;

fn keys() -> impl Iterator<Item = String> {
    (0..KEYS).map(|number| format!("ring:{number}"))
}

/// The keys that each server has.
fn spread(servers: &[Server; 2]) -> [BTreeSet<String>; 2] {
    servers.each_ref().map(|server| {
        let mut client = server.client();
        keys().filter(|key| client.get(key).is_some()).collect()
    })
}

/// Both have a good part, and none has what the other has.
fn assert_shared(spread: &[BTreeSet<String>; 2]) {
    let [first, second] = spread;
    assert_eq!(first.len() + second.len(), KEYS);
    assert!(first.is_disjoint(second));
    assert!(first.len().min(second.len()) > KEYS / 4, "{} and {}", first.len(), second.len());
}

#[test]
fn twemproxy() {
    if !needs("nutcracker") {
        return;
    }
    let mut servers = [Server::start(), Server::start()];
    let proxy = Proxy::start(&servers);
    let mut client = Client::connect(proxy.port);
    for key in keys() {
        client.set(&key, key.as_bytes());
    }
    // One line of many keys, which the proxy asks of both.
    let every: Vec<String> = keys().collect();
    assert_eq!(found(&mut client, &every), KEYS);
    let ours = spread(&servers);
    assert_shared(&ours);
    if let (Some(first), Some(second)) = (Server::memcached(), Server::memcached()) {
        let memcacheds = [first, second];
        let beside = Proxy::start(&memcacheds);
        let mut client = Client::connect(beside.port);
        for key in keys() {
            client.set(&key, key.as_bytes());
        }
        assert!(ours == spread(&memcacheds), "the keys are spread as with memcached");
    }

    for (command, reply) in [
        ("add ring:0 0 0 1\r\nx\r\n", "NOT_STORED"),
        ("set counted 0 0 1\r\n5\r\n", "STORED"),
        ("incr counted 10\r\n", "15"),
        ("touch counted 1000\r\n", "TOUCHED"),
        ("delete counted\r\n", "DELETED"),
        ("delete counted\r\n", "NOT_FOUND"),
    ] {
        assert_eq!(client.ask(command), reply, "{command:?} through the proxy");
    }

    for server in &mut servers {
        server.restart();
    }
    // The proxy's connections are dead; it says so to a request of each and makes new ones.
    if servers[0].keeps() == "keeps" {
        until("the proxy is connected again", PATIENCE, || {
            let mut client = Client::connect(proxy.port);
            spread(&servers)
                .iter()
                .all(|keys| {
                    let key = keys.first().expect("each server has some");
                    let reply = client.ask(format!("get {key}\r\n"));
                    reply.starts_with("VALUE ") && client.line() == *key && client.line() == "END"
                })
                .then_some(())
        });
        let mut client = Client::connect(proxy.port);
        assert_eq!(found(&mut client, &every), KEYS, "nothing is lost");
        assert!(spread(&servers) == ours, "and all is where it was");
    }
}

/// How many of these keys a get of all of them finds; each has itself as its value.
fn found(client: &mut Client, keys: &[String]) -> usize {
    // twemproxy's own limit of a line is below what these keys need together.
    keys.chunks(200)
        .map(|some| {
            client.send(format!("get {}\r\n", some.join(" ")));
            let values = client.try_values().expect("the proxy answers");
            assert!(values.iter().all(|found| found.key.as_bytes() == found.value), "mixed up");
            values.len()
        })
        .sum()
}

#[test]
fn ketama_in_a_client() {
    let Some(mut client) = script_client("ring_client.py") else {
        return;
    };
    let mut servers = [Server::start(), Server::start()];
    let addresses = servers.each_ref().map(|server| format!("127.0.0.1:{}", server.port()));
    let [first, second] = &addresses;
    client.args([first, second, servers[0].keeps()]);
    let said = converse(&mut client, || servers.iter_mut().for_each(Server::restart));
    assert!(said.contains("passed: "), "{said}");
    let ours = spread(&servers);
    assert_shared(&ours);

    // The places on the ring are made from the addresses, so memcached has to stand there.
    let [first, second] = servers;
    let (Some(first), Some(second)) =
        (first.replaced_by_memcached(), second.replaced_by_memcached())
    else {
        return;
    };
    let mut memcacheds = [first, second];
    let mut client = script_client("ring_client.py").expect("it was there before");
    client.args(&addresses).arg(memcacheds[0].keeps());
    converse(&mut client, || memcacheds.iter_mut().for_each(Server::restart));
    assert!(ours == spread(&memcacheds), "the keys are spread as with memcached");
}

/// A twemproxy before two servers. It ends with the test.
struct Proxy {
    child: Child,
    port: u16,
    _folder: tempfile::TempDir,
}

impl Proxy {
    fn start(servers: &[Server; 2]) -> Self {
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))
            .expect("the target directory can be written");
        // It cannot choose ports itself: these are free now, and it refuses to start if they are not.
        let [port, stats_port] = free_ports();
        let [first, second] = servers.each_ref().map(Server::port);
        // Names give the places on the ring, so that ports do not matter.
        let configuration = format!(
            "pool:\n  listen: 127.0.0.1:{port}\n  hash: fnv1a_64\n  distribution: ketama\n  \
             auto_eject_hosts: false\n  timeout: 20000\n  servers:\n  \
             - 127.0.0.1:{first}:1 first\n  - 127.0.0.1:{second}:1 second\n"
        );
        let file = folder.path().join("nutcracker.yml");
        fs::write(&file, configuration).expect("the folder can be written");
        let log = folder.path().join("log");
        let mut child = Command::new("nutcracker")
            .arg("--conf-file")
            .arg(&file)
            .arg("--output")
            .arg(&log)
            .args(["--stats-addr=127.0.0.1", "--stats-port", &stats_port.to_string()])
            .stdin(Stdio::null())
            .spawn()
            .expect("nutcracker is installed");
        until("twemproxy listens", PATIENCE, || {
            let ended = child.try_wait().expect("a child can be waited for");
            assert!(ended.is_none(), "{}", fs::read_to_string(&log).unwrap_or_default());
            Client::try_connect(port).is_ok().then_some(())
        });
        Self { child, port, _folder: folder }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.child.kill().and_then(|()| self.child.wait()).expect("a child can be ended");
    }
}

fn free_ports() -> [u16; 2] {
    // Both are held until both are known, so that they differ.
    let held = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").expect("there is a free port"));
    held.map(|listener| listener.local_addr().expect("a bound socket has an address").port())
}
