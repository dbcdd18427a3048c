//! Every bound of the daemon: its name, its unit, its reason.
//!
//! Nothing grows because a stranger wishes it. Where a bound is an option, the constant here is its
//! default or its edge.

/// Longest key, as in memcached (`KEY_MAX_LENGTH`).
pub const KEY_BYTES_MAX: usize = 250;

/// A command line without a newline in this many bytes closes the connection, as in memcached. Lines
/// that begin with `get`, `gets`, `gat` or `gats` are exempt.
pub const LINE_BYTES_MAX: usize = 2_048;

/// Accounts of a password file (`-Y`), as in memcached. Each login is compared with all of them.
pub const ACCOUNTS_MAX: usize = 8;

/// A line of that file without its end: memcached reads it and its `\n` into 255 bytes. No user and no
/// password is longer, so no more of what a client sends as one is kept.
pub const ACCOUNT_BYTES_MAX: usize = 254;

/// Prefixes of keys in a user's rights: each key of his is compared with all of them.
pub const RIGHTS_PREFIXES_MAX: usize = 16;

/// A password file: room for all that its users may have.
pub const AUTH_FILE_BYTES_MAX: u64 = 64 << 10;
const _: () = assert!(
    AUTH_FILE_BYTES_MAX
        > (ACCOUNTS_MAX * (3 * ACCOUNT_BYTES_MAX + RIGHTS_PREFIXES_MAX * (KEY_BYTES_MAX + 1)))
            as u64
);

/// Wrong passwords from one address that are answered at once: who mistypes is not to wait.
pub const FREE_GUESSES: u32 = 4;

/// Seconds that a further one takes, at most. They grow from one.
pub const GUESS_SECONDS_MAX: u32 = 4;

/// Seconds that a login waits behind wrong ones from its address, at most: so long may one wait who is right. Where it
/// would have to wait longer it is turned away, unjudged.
pub const LOGIN_WAIT_SECONDS_MAX: u32 = 20;

/// Seconds without a wrong password after which those of an address are forgotten.
pub const GUESSES_REMEMBERED_SECONDS: u32 = 60;
const _: () = assert!(GUESSES_REMEMBERED_SECONDS > FREE_GUESSES * GUESS_SECONDS_MAX);

/// Addresses whose wrong passwords are remembered, some tens of bytes each. Beyond it the one is forgotten that may
/// log in soonest.
pub const GUESSERS_MAX: usize = 1_024;

/// What a client may announce as its login, as in memcached; beyond it `auth token too long`.
pub const LOGIN_BYTES_MAX: u32 = 16 << 10;

/// A line before the login, with its newline: memcached closes on a shorter one.
pub const LOGIN_LINE_BYTES_LEAST: usize = 6;

/// What memcached counts against `-I` beside key and value: its item header with a cas id, the line
/// end, and rounding. With a key of 1 byte the largest value of the default size is 1,048,516 there.
pub const ITEM_HEADER_BYTES: usize = 59;

/// A SASL message. A login names a user twice and a password, of 250 bytes or so each; a longer message is
/// dropped.
pub const SASL_BYTES_MAX: usize = 1 << 10;

/// Default of `-I`: the largest item, key and header included.
pub const ITEM_BYTES_DEFAULT: u64 = 1 << 20;
/// Least `-I`, as in memcached.
pub const ITEM_BYTES_LEAST: u64 = 1 << 10;
/// Greatest `-I`, as in memcached. SQLite's own limit for one value is just below 1 GiB.
pub const ITEM_BYTES_MAX: u64 = 1 << 30;

/// A value's length beyond this is a malformed number to memcached, and nothing is swallowed.
pub const VALUE_LENGTH_READABLE_MAX: u64 = (1 << 31) - 3;

/// Default of `-m`: bytes of items kept in memory.
pub const MEMORY_BYTES_DEFAULT: u64 = 64 << 20;

/// Default of `--max-disk`: bytes of items kept in the database.
pub const DISK_BYTES_DEFAULT: u64 = 10 << 30;

/// Default of `--wal-max`: beyond it writes are refused until a checkpoint succeeds. 256 MiB is
/// eight checkpoints' worth.
pub const WAL_BYTES_DEFAULT: u64 = 256 << 20;
/// Least `--wal-max`: room for the largest default item several times over.
pub const WAL_BYTES_LEAST: u64 = 16 << 20;

/// Least `--compress-from`: a frame's header and checks take about 20 bytes.
pub const COMPRESS_FROM_LEAST: u64 = 64;

/// Default of `-c`.
pub const CONNECTIONS_DEFAULT: usize = 1_024;

/// Default of `--request-timeout`, in seconds: ample for a person who types a request in two lines, and for a
/// client that was held up; no client leaves a request unfinished.
pub const REQUEST_SECONDS_DEFAULT: u32 = 60;

/// A client that sends or takes so many bytes in that time may go on with a longer request or reply: with the
/// default a kilobyte a second, slower than any line.
pub const PROGRESS_BYTES: u64 = 64 << 10;

/// A client whose request has come in part keeps no more than so many bytes of it beside a whole read buffer,
/// from the next look on.
pub const SHRUNK_BYTES_MAX: usize = 2 << 10;
const _: () = assert!(SHRUNK_BYTES_MAX < READ_BUFFER_BYTES);

/// Default of `-t`, lowered to the number of cores.
pub const THREADS_DEFAULT: usize = 4;
/// Greatest `-t`: beyond it threads only wait for each other.
pub const THREADS_MAX: usize = 64;

/// Default of `-b`: connections that wait to be accepted.
pub const BACKLOG_DEFAULT: u32 = 1_024;

/// Clients that are accepted, or turned away, at one listener before the next has its turn.
pub const ACCEPTS_PER_TURN_MAX: usize = 64;

/// Default port. The Python server that came before listened there.
pub const PORT_DEFAULT: u16 = 60_000;

/// Port of `--http` where none is given.
pub const HTTP_PORT_DEFAULT: u16 = 60_080;

/// Web clients at once. One more takes the place of the one that dawdles longest.
pub const HTTP_CLIENTS_MAX: usize = 32;

/// The head of a web client's request. A browser's is below 2 KiB, but for its cookies.
pub const HTTP_HEAD_BYTES_MAX: usize = 8 << 10;

/// Bytes that TLS has sealed for one client and its socket has not taken: four records, so that a large value
/// goes out in large writes. It stands beside what waits unsealed.
pub const TLS_UNSENT_BYTES_MAX: usize = 64 << 10;

/// Reads of a client's socket in one turn that bring nothing to read: a handshake needs three or four.
pub const TLS_READS_PER_TURN_MAX: usize = 16;

/// A file of certificates: the largest bundles of authorities have a quarter of it.
pub const TLS_FILE_BYTES_MAX: u64 = 4 << 20;

/// Sessions that clients may take up again (`-o ssl_session_cache`): a few kilobytes each.
pub const TLS_SESSIONS_MAX: usize = 4 << 10;

/// Default of `-R`: requests of one connection that are answered before its neighbours have their
/// turn.
pub const REQUESTS_PER_TURN_DEFAULT: usize = 64;

/// A connection that had more requests than this in its last turn, or more bytes of replies than the next, waits
/// behind those that had fewer: who asks one thing at a time is not to wait for who asks a thousand.
pub const LIGHT_REQUESTS_MAX: usize = 8;
/// See above.
pub const LIGHT_REPLY_BYTES_MAX: usize = 64 << 10;

/// It has to ask for less so many times before it is one of them again.
pub const LIGHT_TURNS: usize = 8;

/// Such connections that have a turn together while there are others, who wait for that long when they come
/// meanwhile.
pub const HEAVY_PER_ROUND_MAX: usize = 1;

/// While so many operations of a loop wait for their commit, no heavy connection has its turn: what comes behind
/// waits for all of them, and each is half a kilobyte.
pub const HEAVY_WAITING_MAX: usize = 8 * BATCH_OPS_MAX;
/// The same while there are others.
pub const HEAVY_WAITING_AMONG_LIGHT_MAX: usize = 32;

/// A connection's read buffer, taken from the loop's pool while bytes are pending and given back.
pub const READ_BUFFER_BYTES: usize = 16 << 10;

/// Read buffers that a loop keeps for reuse.
pub const READ_BUFFERS_KEPT_MAX: usize = 64;

/// A connection with this many unsent bytes is not read from until its client has taken some.
pub const OUTPUT_BYTES_HIGH: usize = 256 << 10;

/// A buffer that grew beyond this while it was full is given back when it is empty.
pub const OUTPUT_BYTES_KEPT_MAX: usize = 1 << 10;

/// Bytes of a value that is still arriving: the buffer grows with what came, not with what was
/// announced, in steps of at least this.
pub const VALUE_STEP_BYTES: usize = 64 << 10;

/// What is held for clients on all connections together: values that are arriving, values that wait
/// for their commit, replies that are not sent. Beyond it a value that is arriving is swallowed and
/// refused, and a client that does not take its replies is let go. No value in pieces is held whole.
pub const HELD_BYTES_MAX: u64 = 512 << 20;

/// Values of one connection that wait for their commit. Beyond it its further requests wait unread.
pub const PENDING_BYTES_MAX: usize = 4 << 20;

/// A value over so many bytes is stored in pieces, and received and sent piece by piece. With the default
/// `-I` there is none.
pub const LARGE_VALUE_BYTES: u64 = 1 << 20;

/// A piece: one transaction, which small requests may have to wait for.
pub const PIECE_BYTES: usize = 64 << 10;

/// Pieces of one connection that wait to be written. Beyond it its client waits, so that an upload takes
/// no more memory than these and the piece that is arriving.
pub const PIECES_WAITING_MAX: usize = 4;

/// Bytes of a value in pieces that wait for one client, the piece that goes beyond them aside.
pub const SENDING_BYTES_MAX: usize = 192 << 10;
const _: () = assert!(SENDING_BYTES_MAX < OUTPUT_BYTES_HIGH);

/// Threads that read pieces for clients.
pub const SENDERS: usize = 2;

/// Old versions that clients are still being sent, all together, may take one part in so many of the budget
/// beside it: no eviction makes room for them. Beyond it those who hold the oldest are let go.
pub const HELD_DIVISOR: u64 = 4;

/// A client that is sent an old version and takes nothing for so long is let go.
pub const OLD_VERSION_WAIT_SECONDS: u64 = 30;

/// Values in pieces that are arriving, all together, may take one part in so many of the budget, or be one
/// item of the largest size: they cannot be evicted, and all else would be before none of them fits.
pub const ARRIVING_DIVISOR: u64 = 2;

/// Loose pieces that are removed in one transaction, which small requests may have to wait for.
pub const SWEEP_PIECES_MAX: i64 = 4;

/// Rows of `loose` that are looked at in one step.
pub const SWEEP_LISTS_MAX: i64 = 64;

/// Operations that one transaction commits: enough that one commit serves many clients, few enough
/// that it ends within milliseconds.
pub const BATCH_OPS_MAX: usize = 1_024;

/// Bytes of values that one transaction commits before it takes no further batch.
pub const BATCH_BYTES_MAX: usize = 8 << 20;

/// Prefixes of keys that `stats detail` counts: their dump stays within about a megabyte. Keys with
/// further ones are not counted.
pub const PREFIXES_MAX: usize = 4_096;
/// Listings of all keys at once, each on a thread of its own. One more is told that the lister is busy.
pub const LISTINGS_MAX: usize = 4;

/// How long a listing may take: until then it holds a snapshot, which keeps the WAL from starting over.
/// 200,000 small items take two seconds in a build without optimisation beside busy writers; the rest is
/// for clients that read slowly, and for tables that are long.
pub const LISTING_SECONDS_MAX: u64 = 600;

/// There is no listing while more of the WAL is in use than this part of its limit: what is left must
/// do until a checkpoint has had its turn.
pub const LISTING_WAL_DIVISOR: u64 = 2;

/// Rows that a listing reads between two looks at its bounds: with the longest keys 110 KiB of lines.
pub const LISTING_ROWS_MAX: i64 = 128;

/// Bytes of a listing that wait for one client, its last piece aside. A listing is read from the
/// database as fast as its client takes it.
pub const LISTING_BYTES_MAX: usize = 256 << 10;

/// A piece of a listing is sent when it has so many bytes; the rows that fill it may be more.
pub const LISTING_PIECE_BYTES: usize = 32 << 10;
const _: () = assert!(2 * LISTING_PIECE_BYTES <= LISTING_BYTES_MAX);

/// The longest reply to `stats cachedump`, as in memcached.
pub const CACHEDUMP_BYTES_MAX: usize = 2 << 20;

/// Rows that the sweeper looks at or removes in one transaction: about half a millisecond.
pub const SWEEP_ROWS_MAX: i64 = 64;

/// Keys that share one 61-bit hash. A ninth is refused; with a seeded hash nobody has seen a second.
pub const KEYS_PER_BUCKET: i64 = 8;

const _: () = assert!(KEYS_PER_BUCKET.count_ones() == 1);
const _: () = assert!(READ_BUFFER_BYTES > 2 * LINE_BYTES_MAX + KEY_BYTES_MAX);
const _: () = assert!(READ_BUFFER_BYTES > SASL_BYTES_MAX + 2 * KEY_BYTES_MAX);
const _: () = assert!(WAL_BYTES_LEAST <= WAL_BYTES_DEFAULT);
const _: () = assert!(BATCH_BYTES_MAX as u64 <= WAL_BYTES_LEAST);

/// Replies of one connection that wait for a commit. Beyond it its further requests wait unread.
pub const PENDING_REPLIES_MAX: usize = 1_024;

/// Of these, replies that carry a value, whose size nobody knows yet.
pub const PENDING_VALUES_MAX: usize = 8;

/// What is remembered of fetches until it is written down, 16 bytes a key: this part of `-m`, beside it.
/// The default has room for 524,288 keys.
pub const RECENCY_DIVISOR: u64 = 8;
/// However small `-m` is: 65,536 keys.
pub const RECENCY_BYTES_LEAST: u64 = 1 << 20;
/// However large: 16 million keys.
pub const RECENCY_BYTES_MAX: u64 = 256 << 20;
/// Of it, what is written to the file in one transaction: a commit that waits for it does not notice.
pub const RECENCY_PART_BYTES: usize = 64 << 10;
/// How soon all that has changed of it is written down, about: what a crash loses of it. The default `-m`
/// costs 30 KB/s by that, where all of it changes.
pub const RECENCY_WRITE_SECONDS: u64 = 300;
/// But one part at least in so many: a small one is written the more often.
pub const RECENCY_PART_SECONDS_MAX: u64 = 10;
/// How long a start may take to read it, whatever the size; the rest is read beside requests.
pub const RECENCY_READ_MS_MAX: u64 = 50;

/// How much of SQLite's own check a start makes, whatever the size of the file: what is damaged most often is
/// its beginning, and a restart is to cost the same at 1 MB and at 100 GB.
pub const START_CHECK_MS_MAX: u64 = 25;

/// What is remembered of evicted keys, two bytes each: this part of `-m`, beside it. The default has
/// room for a million.
pub const GHOSTS_DIVISOR: u64 = 32;
/// However small `-m` is: 131,072 keys.
pub const GHOSTS_BYTES_LEAST: u64 = 256 << 10;
/// However large: 32 million keys.
pub const GHOSTS_BYTES_MAX: u64 = 64 << 20;

/// Rows that eviction looks at together.
pub const STRETCH_ROWS: usize = 128;

/// Of these, one in so many is evicted.
pub const STRETCH_SHARE: usize = 8;
/// The same in a hurry, that is in a commit: more deletes share a page, for 1 % more misses.
pub const STRETCH_SHARE_IN_COMMIT: usize = 4;

/// Stretches that a commit evicts at most, beside one for each eighth operation in it: its replies wait
/// for no more. A stretch is a fraction of a millisecond.
pub const STRETCHES_PER_COMMIT: usize = 32;

/// Bytes of values that a transaction which needs room removes before it removes no more: their pages
/// are freed one by one, a megabyte in some milliseconds.
pub const REMOVED_BYTES_PER_COMMIT: u64 = 8 << 20;
/// The same of one transaction of housekeeping, which nobody needs at once: a value of full size.
pub const REMOVED_BYTES_PER_STEP: u64 = 1 << 20;

/// Evictions that one transaction of housekeeping makes before others have their turn, in stretches.
pub const STRETCHES_PER_STEP: usize = 8;

/// Pages that a vacuum gives back in one transaction, where its time suffices for so many.
pub const VACUUM_PAGES: u64 = 128;

/// Free space that is left in the file, however small the rest is.
pub const VACUUM_FREE_BYTES_LEAST: u64 = 8 << 20;

/// The budget may be exceeded by this part of itself.
pub const BUDGET_SLACK_DIVISOR: u64 = 64;
/// But by so much at least where that is not a quarter of it.
pub const BUDGET_SLACK_BYTES_LEAST: u64 = 1 << 20;
/// The same in items: what one stretch gives, twice.
pub const BUDGET_SLACK_ITEMS_LEAST: u64 = 64;
/// And at most by this.
pub const BUDGET_SLACK_BYTES_MAX: u64 = 256 << 20;

/// What a file has beside its items is not charged to the budget.
pub const FILE_BYTES_FREE_OF_CHARGE: u64 = 64 << 10;

/// An item whose last fetch is written down when the file is closed has a value of at most so many bytes:
/// its row is written anew, the value too.
pub const ACCESSED_VALUE_BYTES_MAX: i64 = 4 << 10;

/// How long that may take, whatever the disk: a restart is not to be felt.
pub const ACCESSED_WRITE_MS_MAX: u64 = 500;

/// Fetches of which that is tried, the latest: about what that time has room for.
pub const ACCESSED_FETCHES_MAX: usize = 1 << 17;

/// Rows of it in one transaction, before the WAL's limit is looked at again.
pub const ACCESSED_ROWS_MAX: usize = 512;
const _: () = assert!(
    ACCESSED_ROWS_MAX as u64 * ACCESSED_VALUE_BYTES_MAX.cast_unsigned() <= WAL_BYTES_LEAST / 4
);

/// Connections that a loop reads from before it answers them: their reads share a snapshot.
pub const CONNECTIONS_PER_ROUND_MAX: usize = 64;

/// Clients that watch at once, as in memcached (`WATCHER_LIMIT`).
pub const WATCHERS_MAX: usize = 20;

/// What a thread has noted for watchers and nobody has taken, as in memcached (`worker_logbuf_size`).
/// Beyond it what happens is not told, and counted (`log_worker_dropped`).
pub const WATCH_LANE_BYTES_MAX: usize = 64 << 10;

/// Lines that wait to be sent to one watcher, as in memcached (`watcher_logbuf_size`). Beyond it lines
/// are left out, and counted (`log_watcher_skipped`).
pub const WATCH_OUTPUT_BYTES_MAX: usize = 256 << 10;

/// A line of a server's reply, as our own client reads it. The longest are those of `stats`.
pub const REPLY_LINE_BYTES_MAX: usize = 64 << 10;

/// What our own client reads from a socket at once.
pub const REPLY_BUFFER_BYTES: usize = 128 << 10;
const _: () = assert!(REPLY_BUFFER_BYTES > REPLY_LINE_BYTES_MAX);

/// A line of a script for our own client, a value in it included.
pub const SCRIPT_LINE_BYTES_MAX: usize = 8 << 20;

/// How much of a value is shown on a terminal; all of it goes to a file or a pipe.
pub const SHOWN_BYTES_MAX: usize = 16 << 10;

/// The same for a value that is shown as hex, which needs about five characters a byte.
pub const SHOWN_HEX_BYTES_MAX: usize = 1 << 10;

/// A value that is pretty-printed or put into a JSON document, which is done in memory.
pub const DOCUMENT_VALUE_BYTES_MAX: usize = 64 << 20;

/// Keys that the prompt completes: those seen last.
pub const KEYS_REMEMBERED_MAX: usize = 1_000;

/// How long a script waits for a server that went away while it ran: a restart takes that long.
pub const COMEBACK_SECONDS: u64 = 10;

/// Between two attempts to reach it: the first wait, and the longest.
pub const RECONNECT_WAIT_MS_MIN: u64 = 20;
/// The longest of these waits.
pub const RECONNECT_WAIT_MS_MAX: u64 = 500;
const _: () = assert!(RECONNECT_WAIT_MS_MIN < RECONNECT_WAIT_MS_MAX);

/// Lines that the prompt remembers, in this session and from earlier ones.
pub const HISTORY_LINES_MAX: usize = 1_000;

/// Connections of `bench`: descriptors, and memory for what each has in flight.
pub const BENCH_CONNECTIONS_MAX: u64 = 10_000;

/// Requests that a connection of `bench` sends at once.
pub const BENCH_DEPTH_MAX: u64 = 1_000;

/// Keys in one get of `bench`.
pub const BENCH_KEYS_PER_GET_MAX: u64 = 1_000;

/// Keys of `bench`: their numbers fit ten digits and 32 bits.
pub const BENCH_KEYS_MAX: u64 = 1_000_000_000;

/// A page that `inspect report` takes as the earlier one, in bytes. Those it writes have at most a third of that,
/// with the longest keys, of bytes that are all escaped.
pub const REPORT_BYTES_MAX: u64 = 16 << 20;

/// Earlier reports of which `inspect report` draws a point: one a day for more than a year.
pub const REPORT_POINTS_MAX: usize = 400;

/// A value of `bench`, in bytes.
pub const BENCH_VALUE_BYTES_MAX: u32 = 64 << 20;

/// What the requests of `bench` may need while they are in flight: sets are built in memory.
pub const BENCH_BUFFER_BYTES_MAX: u64 = 1 << 30;

/// What one set of the phase that fills a server brings in flight, all connections together.
pub const BENCH_FILL_BYTES_MAX: u64 = 64 << 20;
const _: () = assert!(BENCH_FILL_BYTES_MAX >= BENCH_VALUE_BYTES_MAX as u64);

/// What a thread of `bench` reads from a socket at once.
pub const BENCH_READ_BYTES: usize = 256 << 10;

/// Lines of a trace for `bench`, which it holds in memory: eight bytes each, and its keys.
pub const BENCH_TRACE_LINES_MAX: usize = 50_000_000;

/// Requests a second that `bench` may be asked for; more than any client can send.
pub const BENCH_RATE_MAX: u64 = 10_000_000;

/// Requests that `bench` may be asked to measure.
pub const BENCH_REQUESTS_MAX: u64 = 100_000_000_000;

/// How long `bench` may measure, in seconds: a day.
pub const BENCH_SECONDS_MAX: u64 = 86_400;

/// Measurements of one run of `bench`.
pub const BENCH_ROUNDS_MAX: u64 = 1_000;
