//! The load: `litecached bench`, and what it says.

use std::process::{Command, Stdio};

use serde_json::Value;

use crate::Wishes;
use crate::daemon::Daemon;

/// What one load came to. Where nothing was answered in its time, there is only a rate.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Figures {
    /// Requests a second.
    pub(crate) rate: f64,
    pub(crate) p99_ms: Option<f64>,
    /// Of the daemon, a request.
    pub(crate) cpu_us: Option<f64>,
}

impl Figures {
    /// As three cells of a table.
    pub(crate) fn cells(self) -> String {
        let digits = usize::from(self.rate < 100.0);
        let shown = |figure: Option<f64>, digits: usize| {
            figure.map_or_else(|| "-".to_owned(), |figure| format!("{figure:.digits$}"))
        };
        let (p99, cpu) = (shown(self.p99_ms, 2), shown(self.cpu_us, 1));
        format!("{:.digits$} | {p99} | {cpu}", self.rate)
    }
}

/// Stores every key, and waits until the daemon has come to rest.
pub(crate) fn fill(daemon: &Daemon, shape: &str) -> Result<(), String> {
    bench(daemon, &format!("{shape} --fill --mix 1:0 --requests 1")).map(drop)
}

/// Loads it for as long as is wished, and a fifth of it before.
pub(crate) fn measure(wishes: &Wishes, daemon: &Daemon, shape: &str) -> Result<Figures, String> {
    let document = bench(daemon, &format!("{shape} --duration {:.0}ms", wishes.seconds * 1e3))?;
    let figure = |name: &str| document["servers"][0]["median"][name].as_f64();
    let rate = figure("requests_per_second");
    Ok(Figures {
        rate: rate.ok_or_else(|| format!("litecached bench {shape}: nothing was measured"))?,
        p99_ms: figure("all_p99_us").map(|micros| micros / 1e3),
        cpu_us: figure("server_cpu_us_per_request"),
    })
}

fn bench(daemon: &Daemon, words: &str) -> Result<Value, String> {
    let output = Command::new(env!("CARGO_BIN_EXE_litecached"))
        .args(["bench", "--address", &daemon.address.to_string()])
        .args(["--pid", &daemon.pid().to_string(), "--json", "--quiet"])
        .args(words.split_whitespace())
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("cannot run litecached bench: {error}"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(format!("litecached bench {words}: {}; {}", said.trim(), daemon.log()));
    }
    serde_json::from_slice(&output.stdout).map_err(|error| format!("litecached bench: {error}"))
}
