//! Clients that other people wrote, unchanged: of Python, of Node, of Rust; libmemcached's tools; telnet;
//! twemproxy and a ketama ring over two servers.
//!
//! What a client needs is named at its test; where it is missing the test says so and passes, but with
//! `CI=true` it fails. Each client gets a server of its own, for some of them empty it. With
//! `LITECACHED_TEST_SERVER=memcached` the same is asked of memcached, but for what it never answered.

mod common;
#[path = "clients/crate_memcache.rs"]
mod crate_memcache;
#[path = "clients/libmemcached.rs"]
mod libmemcached;
#[path = "clients/ring.rs"]
mod ring;

use common::foreign::{Server, client, script, script_passes, succeeds};
use common::ground::needs;

#[test]
fn pymemcache() {
    script_passes("pymemcache_client.py", &[]);
}

#[test]
fn pylibmc_in_text() {
    script_passes("pylibmc_client.py", &["text"]);
}

#[test]
fn pylibmc_in_binary() {
    script_passes("pylibmc_client.py", &["binary"]);
}

#[test]
fn python_binary_memcached() {
    script_passes("bmemcached_client.py", &[]);
}

#[test]
fn meta_memcache() {
    script_passes("meta_memcache_client.py", &[]);
}

#[test]
fn memjs() {
    script_passes("memjs_client.js", &[]);
}

#[test]
fn node_memcached() {
    script_passes("memcached_client.js", &[]);
}

#[test]
fn telnet() {
    if !(needs("expect") && needs("telnet")) {
        return;
    }
    let server = Server::litecached();
    let mut client = client("expect");
    client.arg(script("telnet.exp"));
    let said = succeeds(client.args(["127.0.0.1", &server.port().to_string()]));
    assert!(said.contains("passed: telnet"), "{said}");
}

/// The scenario that the old server was tried with.
#[test]
fn many_old_clients_one_of_which_pauses() {
    if !needs("python3") {
        return;
    }
    let server = Server::litecached();
    let mut client = client("python3");
    client.arg(script("old_client.py"));
    let said = succeeds(client.args(["127.0.0.1", &server.port().to_string()]));
    assert!(said.contains("passed: 20 clients"), "{said}");
}
