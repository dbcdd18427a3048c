//! One line per event, on stderr.
//!
//! Under systemd's journal a line is an entry with fields (see `journal`), or begins with its priority
//! (`<4>`), and has no time, as the journal stamps it; elsewhere it begins with the time in UTC. Whatever an event says, it stays one line,
//! and nothing unprintable reaches a terminal. What a client wrote goes through `Client`; lines that
//! a client can provoke at will go through a `Limited`.

mod journal;
mod levels;

use std::fmt::{self, Write as _};
use std::io::{self, LineWriter};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};

use log::{Level, LevelFilter, Log, Metadata, Record};
use simplelog::{ConfigBuilder, LevelPadding, WriteLogger};

use journal::Journal;

pub(crate) use levels::{AREAS, Levels, requests, telling};

/// The target of lines that report one command each; they are written at `Trace`.
pub(crate) const REQUEST: &str = "litecached::request";

/// Bytes of a client's text that a line shows.
pub(crate) const CLIENT_BYTES_MAX: usize = 128;

/// Bytes gathered before a line is written: a longer line takes two writes.
const LINE_BYTES: usize = 4096;

/// Starts logging. Later calls only change how much.
pub(crate) fn start(verbosity: u8) {
    // A process has one logger, and the first one stays.
    drop(log::set_boxed_logger(Box::new(Aside::new(Lines::to_stderr()))));
    set_verbosity(verbosity);
}

/// Changes what is logged of each area.
pub(crate) fn set_levels(levels: &Levels) {
    levels::set(Some(levels.clone()), None);
}

/// 0: what an operator needs. 1 (`-v`): errors of clients, too. 2 and more (`-vv`): every command.
pub(crate) fn set_verbosity(verbosity: u8) {
    levels::set(None, Some(verbosity));
}

/// Whether stderr is the journal's own stream: systemd names its device and inode.
pub(crate) fn to_journal() -> bool {
    let named = std::env::var("JOURNAL_STREAM").ok();
    let stderr = nix::sys::stat::fstat(io::stderr()).ok();
    named
        .zip(stderr)
        .is_some_and(|(named, stat)| named == format!("{}:{}", stat.st_dev, stat.st_ino))
}

/// The prefix that gives a line its priority in the journal.
pub(crate) fn priority(level: Level) -> &'static str {
    match level {
        Level::Error => "<3>",
        Level::Warn => "<4>",
        Level::Info => "<6>",
        Level::Debug | Level::Trace => "<7>",
    }
}

/// Lines about single requests that wait to be written. What comes beyond is left out and counted.
const WAITING_LINES_MAX: usize = 4_096;

/// Writes what clients cause (`Debug`, `Trace`) on a thread of its own: where stderr takes nothing, such
/// lines are left out, and nobody waits for them. What an operator needs is written at once.
struct Aside {
    lines: Arc<Lines>,
    waiting: SyncSender<Waiting>,
    left_out: Arc<AtomicU64>,
}

/// A line that waits, with what the journal would have as fields.
struct Waiting {
    level: Level,
    target: String,
    module: Option<&'static str>,
    file: Option<&'static str>,
    line: Option<u32>,
    text: String,
}

impl Aside {
    fn new(lines: Lines) -> Self {
        let (waiting, written) = sync_channel::<Waiting>(WAITING_LINES_MAX);
        let aside = Self { lines: Arc::new(lines), waiting, left_out: Arc::new(AtomicU64::new(0)) };
        let (lines, left_out) = (Arc::clone(&aside.lines), Arc::clone(&aside.left_out));
        let write = move || {
            for Waiting { level, target, module, file, line, text } in written {
                lines.log(
                    &Record::builder()
                        .level(level)
                        .target(&target)
                        .module_path_static(module)
                        .file_static(file)
                        .line(line)
                        .args(format_args!("{text}"))
                        .build(),
                );
                let count = left_out.swap(0, Ordering::Relaxed);
                if count > 0 {
                    lines.write(Level::Debug, format_args!("{count} lines like these left out"));
                }
            }
        };
        if let Err(error) = std::thread::Builder::new().name("log".into()).spawn(write) {
            let why = format_args!("commands are not logged: no thread for it: {error}");
            aside.lines.write(Level::Warn, why);
        }
        aside
    }
}

impl Log for Aside {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        levels::wants(metadata)
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        if record.level() <= Level::Info {
            self.lines.log(record);
            return;
        }
        let waiting = Waiting {
            level: record.level(),
            target: record.target().to_owned(),
            module: record.module_path_static(),
            file: record.file_static(),
            line: record.line(),
            text: record.args().to_string(),
        };
        if self.waiting.try_send(waiting).is_err() {
            self.left_out.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn flush(&self) {
        self.lines.flush();
    }
}

/// Makes one line of each record, and leaves the rest to simplelog.
struct Lines {
    inner: Box<dyn Log>,
    has_priorities: bool,
    journal: Option<Journal>,
}

impl Lines {
    fn to_stderr() -> Self {
        let to_journal = to_journal();
        let lines = Self::new(LineWriter::with_capacity(LINE_BYTES, io::stderr()), to_journal);
        let journal = if to_journal { Journal::connect() } else { None };
        Self { journal, ..lines }
    }

    fn new(writer: impl io::Write + Send + 'static, has_priorities: bool) -> Self {
        let mut config = ConfigBuilder::new();
        config
            .set_thread_level(LevelFilter::Off)
            .set_target_level(LevelFilter::Off)
            .set_location_level(LevelFilter::Off)
            .set_level_padding(LevelPadding::Off);
        if has_priorities {
            config.set_time_level(LevelFilter::Off).set_max_level(LevelFilter::Off);
        } else {
            config.set_time_format_rfc3339();
        }
        let inner = WriteLogger::new(LevelFilter::Trace, config.build(), writer);
        Self { inner, has_priorities, journal: None }
    }

    fn write(&self, level: Level, line: std::fmt::Arguments<'_>) {
        self.log(&Record::builder().level(level).target(REQUEST).args(line).build());
    }
}

impl Log for Lines {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        self.inner.enabled(metadata)
    }

    fn log(&self, record: &Record<'_>) {
        let line = OneLine(record.args());
        let is_taken = |journal: &Journal| journal.send(record, format_args!("{line}"));
        if self.journal.as_ref().is_some_and(is_taken) {
            return;
        }
        let prefix = if self.has_priorities { priority(record.level()) } else { "" };
        self.inner.log(
            &Record::builder()
                .metadata(record.metadata().clone())
                .args(format_args!("{prefix}{line}"))
                .build(),
        );
    }

    fn flush(&self) {
        self.inner.flush();
    }
}

/// A text with every control character escaped, so that it cannot end a line or begin an escape
/// sequence.
#[derive(Debug)]
pub(crate) struct OneLine<T>(pub(crate) T);

impl<T: fmt::Display> fmt::Display for OneLine<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(Escaping(f), "{}", self.0)
    }
}

struct Escaping<'f, 'w>(&'f mut fmt::Formatter<'w>);

impl fmt::Write for Escaping<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut rest = text;
        while let Some(at) = rest.find(unprintable) {
            let (printable, from) = rest.split_at(at);
            self.0.write_str(printable)?;
            let mut chars = from.chars();
            if let Some(c) = chars.next() {
                write!(self.0, "{}", c.escape_default())?;
            }
            rest = chars.as_str();
        }
        self.0.write_str(rest)
    }
}

/// Control characters, and those that end a line or turn its direction in a terminal.
fn unprintable(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// What a client wrote, fit for a line: only printable ASCII, all else escaped, at most
/// [`CLIENT_BYTES_MAX`] bytes of it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Client<'b>(pub(crate) &'b [u8]);

impl fmt::Display for Client<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = self.0.len().min(CLIENT_BYTES_MAX);
        write!(f, "{}", self.0[..shown].escape_ascii())?;
        match self.0.len() - shown {
            0 => Ok(()),
            hidden => write!(f, "... ({hidden} bytes more)"),
        }
    }
}

/// Bounds how often a line is written that a client can provoke.
///
/// At most so many lines in each window; the first line of a later window says how many were left
/// out. Time is an argument, and may come from any clock that does not go far back.
#[derive(Debug)]
pub(crate) struct Limited {
    lines_max: u32,
    window_ms: u64,
    /// The number of the window above, the lines written in it below.
    window: AtomicU64,
    left_out: AtomicU64,
}

/// Lines written in a window are counted in this many bits.
const USED_BITS: u32 = 24;
const USED_MASK: u64 = (1 << USED_BITS) - 1;

impl Limited {
    /// At most `lines_max` lines (fewer than 2^24) in each `window_ms` milliseconds (1 or more).
    pub(crate) const fn new(lines_max: u32, window_ms: u64) -> Self {
        assert!((lines_max as u64) < USED_MASK && window_ms > 0);
        Self { lines_max, window_ms, window: AtomicU64::new(0), left_out: AtomicU64::new(0) }
    }

    /// Whether the line may be written at `now_ms`, and if so, how many were left out before it.
    pub(crate) fn admit(&self, now_ms: u64) -> Option<LeftOut> {
        let now = now_ms / self.window_ms;
        // Nothing else is published by these counters, so no ordering is needed.
        let admitted = self.window.try_update(Ordering::Relaxed, Ordering::Relaxed, |state| {
            let (window, used) = (state >> USED_BITS, state & USED_MASK);
            match used {
                _ if now > window => Some((now << USED_BITS) | 1),
                _ if used < u64::from(self.lines_max) => Some(state + 1),
                _ => None,
            }
        });
        if admitted.is_ok() {
            return Some(LeftOut(self.left_out.swap(0, Ordering::Relaxed)));
        }
        self.left_out.fetch_add(1, Ordering::Relaxed);
        None
    }
}

/// How many lines were left out before this one: ` (12 more left out)`, or nothing if none was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LeftOut(u64);

impl fmt::Display for LeftOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => Ok(()),
            lines => write!(f, " ({lines} more left out)"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};

    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("sink").extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(has_priorities: bool, level: Level, text: &str) -> String {
        let sink = Sink::default();
        let lines = Lines::new(sink.clone(), has_priorities);
        let line = format_args!("{text}");
        lines.log(&Record::builder().target("litecached::test").level(level).args(line).build());
        let bytes = sink.0.lock().expect("sink").clone();
        String::from_utf8(bytes).expect("UTF-8")
    }

    #[test]
    fn in_the_journal_a_line_has_a_priority_and_no_time() {
        let cases = [
            (Level::Error, "<3>bad\n"),
            (Level::Warn, "<4>bad\n"),
            (Level::Info, "<6>bad\n"),
            (Level::Debug, "<7>bad\n"),
            (Level::Trace, "<7>bad\n"),
        ];
        for (level, line) in cases {
            assert_eq!(logged(true, level, "bad"), line);
        }
    }

    #[test]
    fn elsewhere_a_line_has_a_time_and_a_level() {
        let line = logged(false, Level::Warn, "full");
        let (time, rest) = line.split_once(' ').expect("a time");
        assert_eq!(rest, "[WARN] full\n");
        assert!(time.len() > "2026-01-01T00:00:00".len() && time.ends_with('Z'), "{time}");
    }

    #[test]
    fn an_event_is_one_line() {
        let cases = [
            ("a\nb", "a\\nb"),
            ("a\r\n<0>b\n", "a\\r\\n<0>b\\n"),
            ("\u{1b}[2J", "\\u{1b}[2J"),
            ("\u{9b}2J\u{202e}x\u{2028}", "\\u{9b}2J\\u{202e}x\\u{2028}"),
            ("Käse \"x\" \\n", "Käse \"x\" \\n"),
        ];
        for (text, line) in cases {
            assert_eq!(logged(true, Level::Info, text), format!("<6>{line}\n"));
        }
    }

    #[test]
    fn a_client_cannot_forge() {
        let cases: [(&[u8], &str); 5] = [
            (b"get key", "get key"),
            (b"a\r\nb\0", "a\\r\\nb\\x00"),
            (b"\x1b[31m", "\\x1b[31m"),
            (b"\xff\xc3\xa4", "\\xff\\xc3\\xa4"),
            (b"\\n", "\\\\n"),
        ];
        for (bytes, text) in cases {
            assert_eq!(Client(bytes).to_string(), text);
        }
        assert_eq!(Client(&[b'x'; CLIENT_BYTES_MAX]).to_string().len(), CLIENT_BYTES_MAX);
        assert!(Client(&vec![0; 1 << 20]).to_string().ends_with("... (1048448 bytes more)"));
    }

    #[test]
    fn a_flood_is_counted() {
        static LIMITED: Limited = Limited::new(2, 1_000);
        let lines = [
            (5_000, Some(0)),
            (5_001, Some(0)),
            (5_002, None),
            (5_999, None),
            (4_999, None),
            (6_000, Some(3)),
            (5_999, Some(0)),
            (6_999, None),
            (60_000, Some(1)),
        ];
        for (now_ms, left_out) in lines {
            assert_eq!(LIMITED.admit(now_ms), left_out.map(LeftOut), "{now_ms}");
        }
        assert_eq!(LeftOut(0).to_string(), "");
        assert_eq!(LeftOut(12).to_string(), " (12 more left out)");
    }

    #[test]
    fn the_first_window_is_bounded_too() {
        let limited = Limited::new(1, 1_000);
        assert_eq!(limited.admit(0), Some(LeftOut(0)));
        assert_eq!(limited.admit(1), None);
    }
}
