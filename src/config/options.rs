//! The one table of options.
//!
//! Flags and `--help` are made from these rows; any further place where an option can be written or
//! described belongs here too, so that a name, a default text and a line of help exist once. The
//! values themselves are judged in `settings`. Stays true: `ROWS[id as usize]` is the row of `id`.

use super::row::Group::{Access, Commands, Compatibility, Limits, Listening, Process, Storage};
use super::row::{NO_SHORT, Row, row};

/// An option's name inside the program, in the order of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Id {
    Port,
    Listen,
    UnixSocket,
    UnixMask,
    UdpPort,
    Backlog,
    Http,
    Protocol,
    Db,
    MaxDisk,
    MaxItems,
    WalMax,
    CompressFrom,
    Durability,
    OnCorruption,
    Memory,
    ItemSize,
    NoEvictions,
    Connections,
    Threads,
    RequestsPerTurn,
    RequestTimeout,
    Shutdown,
    NoFlush,
    NoWatch,
    NoDump,
    NoCas,
    PrefixDelimiter,
    User,
    PidFile,
    Verbose,
    LogLevel,
    Extended,
    Config,
    LockMemory,
    LargePages,
    CoreDumps,
    SlabGrowth,
    SlabMinimum,
    NapiIds,
    Daemon,
    Sasl,
    Tls,
    AuthFile,
}

impl Id {
    /// Its row.
    pub(crate) fn row(self) -> &'static Row {
        &ROWS[self as usize]
    }
}

/// Every option, in the order of the help.
pub(crate) const ROWS: [Row; 44] = [
    row(Id::Port, 'p', "port", Listening, "TCP port; 0 is no TCP, -1 any free port")
        .takes("num")
        .or("60000", ""),
    row(Id::Listen, 'l', "listen", Listening, "Addresses, comma-separated or repeated; * is all")
        .list("addr")
        .or("127.0.0.1", ""),
    row(Id::UnixSocket, 's', "unix-socket", Listening, "Unix socket path; turns TCP off")
        .takes("file"),
    row(Id::UnixMask, 'a', "unix-mask", Listening, "Access mode of the Unix socket, in octal")
        .takes("mask")
        .or("700", ""),
    row(Id::UdpPort, 'U', "udp-port", Listening, "Only 0: there is no UDP")
        .takes("num")
        .or("0", ""),
    row(Id::Backlog, 'b', "listen-backlog", Listening, "Connections waiting to be accepted")
        .takes("num")
        .or("1024", ""),
    row(Id::Http, NO_SHORT, "http", Listening, "Serve metrics and health there, over HTTP")
        .takes("addr"),
    row(Id::Protocol, 'B', "protocol", Listening, "auto, ascii or binary")
        .takes("name")
        .words(&["auto", "ascii", "binary"])
        .or("auto", "").more("auto: as a client's first byte says"),
    row(Id::Db, 'e', "db", Storage, "Database file")
        .takes("file")
        .alias("memory-file")
        .or("litecached.db", "in $STATE_DIRECTORY if set").more("A relative path begins at the working directory"),
    row(Id::MaxDisk, NO_SHORT, "max-disk", Storage, "Item budget on disk; 0 is no limit")
        .takes("size")
        .or("10g", "or the flag -m")
        .live().more("Keys, values and 59 bytes each, or the pages that they take in the file, where that is more. Beyond it the items least worth keeping are removed; a reload that lowers it shrinks the cache in the background. The file may be a 64th larger, and --wal-max is beside it"),
    row(Id::MaxItems, NO_SHORT, "max-items", Storage, "Items on disk; 0 is no limit")
        .takes("num")
        .or("0", "")
        .live().more("Beyond it, too, the items least worth keeping are removed"),
    row(Id::WalMax, NO_SHORT, "wal-max", Storage, "WAL size beyond which writes are refused")
        .takes("size")
        .or("256m", "")
        .live().more("Writes wait there for a checkpoint, and are refused while another program's read transaction keeps the log from starting over; one transaction more is the most it grows"),
    row(Id::CompressFrom, NO_SHORT, "compress-from", Storage, "Compress values from this size on; 0 is none")
        .takes("size")
        .or("0", "")
        .live().more("In the file, by Zstandard, where that saves an eighth; the budget counts what is stored. Values over 1m, which are in pieces, are stored as they are. What is in the file stays as it is"),
    row(Id::Durability, NO_SHORT, "durability", Storage, "What a reply survives: process or power")
        .takes("level")
        .words(&["process", "power"])
        .or("process", "").more("process: any crash of the process, and of what a power cut takes all but about the last second. power: a power cut, too, as each reply waits for a sync"),
    row(Id::OnCorruption, NO_SHORT, "on-corruption", Storage, "A damaged file: stop, salvage or reset")
        .takes("what")
        .words(&["stop", "salvage", "reset"])
        .or("stop", "").more("stop: it is left as it is, and nothing is served. salvage: what can be read and verified goes into a new file. reset: the cache begins empty. The damaged file is never removed: salvage and reset give it and its log another name with the time in it, NAME-damaged-TIME"),
    row(Id::Memory, 'm', "memory-limit", Storage, "Items in memory, in megabytes; 0 is none")
        .takes("num")
        .or("64", "")
        .live().more("With a unit, as in 64m or 1g, it is a size like any other. On the command line it is the item budget, too, unless --max-disk is written; in the environment and the file it is not. A reload changes it without losing what fits"),
    row(Id::ItemSize, 'I', "max-item-size", Storage, "Largest item, 1k to 1g")
        .takes("num")
        .or("1m", "")
        .live().more("Key and about 59 bytes of header included; at most half of the item budget. Values over 1m are stored, received and sent in pieces"),
    row(Id::NoEvictions, 'M', "disable-evictions", Storage, "Answer errors when full").more("Nothing is removed to make room: a set beyond --max-disk or --max-items is refused until something is deleted or expires"),
    row(Id::Connections, 'c', "conn-limit", Limits, "Clients at once")
        .takes("num")
        .or("1024", "")
        .live().more("A reload that lowers it drops nobody who is connected"),
    row(Id::Threads, 't', "threads", Limits, "Event loops, 1 to 64")
        .takes("num")
        .or("4", "at most the cores"),
    row(Id::RequestsPerTurn, 'R', "max-reqs-per-event", Limits, "Requests of a client per turn")
        .takes("num")
        .or("64", "")
        .live().more("After so many its neighbours have their turn"),
    row(Id::RequestTimeout, NO_SHORT, "request-timeout", Limits, "Time to end what was begun; 0 is any time")
        .takes("time")
        .or("60s", "")
        .live().more("Clients are let go that leave a request or a login unfinished for so long, or take none of their replies; a value or reply that is longer than 64 KiB has that time for each of them. Silence between requests may last, see idle_timeout of -o"),
    row(Id::Shutdown, 'A', "enable-shutdown", Commands, "Allow the shutdown command").live(),
    row(Id::NoFlush, 'F', "disable-flush-all", Commands, "Refuse flush_all").live(),
    row(Id::NoWatch, 'W', "disable-watch", Commands, "Refuse watch").live().more("Who watches already goes on"),
    row(Id::NoDump, 'X', "disable-dumping", Commands, "Tell no client all keys").live().more("Refuses lru_crawler metadump, lru_crawler mgdump, stats cachedump and stats detail"),
    row(Id::NoCas, 'C', "disable-cas", Commands, "Give out no cas ids"),
    row(Id::PrefixDelimiter, 'D', "prefix-delimiter", Commands, "Count by key prefix, which ends at this character")
        .takes("char").more("Counts are shown by stats detail dump. Without it stats detail on begins to count, and prefixes end at a colon"),
    row(Id::User, 'u', "user", Process, "Become this user (only when started as root)")
        .takes("user"),
    row(Id::PidFile, 'P', "pidfile", Process, "Write the process id there").takes("file"),
    row(Id::Verbose, 'v', "verbose", Process, "-v: clients' errors; -vv: every command")
        .counted()
        .live(),
    row(
        Id::LogLevel,
        NO_SHORT,
        "log-level",
        Process,
        "error, warn, info, debug, trace, or area=level",
    )
    .list("level")
    .words(&["error", "warn", "info", "debug", "trace"])
    .or("info", "")
    .live().more("Several separated by commas: info,store=debug. Areas: cli, config, protocol, request (a line for each command), server, store. -v raises what has no level of its own"),
    row(Id::Extended, 'o', "extended", Process, "idle_timeout=time, [no_]maxconns_fast")
        .list("name")
        .live().more("idle_timeout lets clients go that send nothing for so long; no_maxconns_fast leaves clients above the limit waiting instead of refusing them; the ssl_ names need -Z; memcached's other names have no effect"),
    row(Id::Config, NO_SHORT, "config", Process, "Configuration file").takes("file").not_in_file().more("TOML, with the long names as keys; read only where it is named, and read again on SIGHUP"),
    row(Id::LockMemory, 'k', "lock-memory", Compatibility, "")
        .ignored("the items are in a file, not only in memory"),
    row(Id::LargePages, 'L', "enable-largepages", Compatibility, "")
        .ignored("there is no slab memory to put on large pages"),
    row(Id::CoreDumps, 'r', "enable-coredumps", Compatibility, "")
        .ignored("the core limit stays as it was inherited (ulimit -c, LimitCORE=)"),
    row(Id::SlabGrowth, 'f', "slab-growth-factor", Compatibility, "")
        .takes("num")
        .ignored("there are no slabs"),
    row(Id::SlabMinimum, 'n', "slab-min-size", Compatibility, "")
        .takes("bytes")
        .ignored("there are no slabs"),
    row(Id::NapiIds, 'N', "napi-ids", Compatibility, "")
        .takes("num")
        .ignored("connections are spread without regard to network queues"),
    row(Id::Daemon, 'd', "daemon", Compatibility, "").refused(
        "would return at once, and litecached stays in the foreground; \
         start it from systemd, or with & in a shell",
    ),
    row(Id::Sasl, 'S', "enable-sasl", Access, "Only the binary protocol, with a login by SASL")
        .more("PLAIN, against the users of --auth-file. Clients of the text protocol are ended without a word"),
    row(Id::Tls, 'Z', "enable-ssl", Listening, "TLS for TCP; needs -o ssl_chain_cert=file")
        .more("An address with notls: before it is without, and so are Unix sockets and --http. -o takes ssl_chain_cert=, ssl_key= (else the key is with the certificate), ssl_ca_cert=, ssl_verify_mode= (clients' certificates: 0 none, 1 if they have one, 2 or 3 needed), ssl_min_version= (2 is TLS 1.2, 3 is TLS 1.3) and ssl_session_cache. The files are read again on SIGHUP and by the command refresh_certs; whoever is connected stays"),
    row(Id::AuthFile, 'Y', "auth-file", Access, "Users who may log in, user:password a line")
        .takes("file")
        .more("At most 8, of whom none may have a space or a colon in his name. A line rights USER VERB[,VERB...] [PREFIX ...] narrows what a user may do: read, write, admin, and keys that begin so. Nothing is answered before a login. What is in the file is read again on SIGHUP; another file takes a restart"),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::row::Fate;
    use std::collections::BTreeSet;

    #[test]
    fn rows_stand_where_their_ids_say() {
        for (index, row) in ROWS.iter().enumerate() {
            assert_eq!(row.id as usize, index, "{row}");
        }
        assert_eq!(Id::AuthFile as usize + 1, ROWS.len());
    }

    #[test]
    fn names_are_unique() {
        let mut names = BTreeSet::from(["help", "version", "license"]);
        let mut shorts = BTreeSet::from(['h', 'V', 'i']);
        for row in &ROWS {
            assert!(names.insert(row.name), "{row}");
            assert!(row.alias.is_none_or(|alias| names.insert(alias)), "{row}");
            assert!(row.short.is_none_or(|short| shorts.insert(short)), "{row}");
        }
    }

    #[test]
    fn what_acts_has_a_line_of_help() {
        for row in &ROWS {
            assert_eq!(row.fate == Fate::Acts, !row.help.is_empty(), "{row}");
            assert!(row.help.len() <= 60 && !row.help.ends_with('.'), "{row}");
        }
    }

    #[test]
    fn a_refusal_says_what_to_do() {
        for row in &ROWS {
            if let Fate::Refused(reason) = row.fate {
                assert!(reason.contains("; "), "{row}");
            }
        }
    }
}
