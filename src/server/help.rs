//! The answer to `help`.

/// For people in a telnet session.
pub(super) const HELP: &str = "\
get <key>...                                  read items\r\n\
gets <key>...                                 read items with their cas ids\r\n\
gat|gats <exptime> <key>...                   read items and give them a new expiry\r\n\
set <key> <size> [noreply]                    store a value (it follows on the next line)\r\n\
set|add|replace <key> <flags> <exptime> <size> [noreply]   store a value\r\n\
append|prepend <key> <flags> <exptime> <size> [noreply]    add to a value\r\n\
cas <key> <flags> <exptime> <size> <cas> [noreply]         store if the cas id is still that\r\n\
incr|decr <key> <number> [noreply]            change a number\r\n\
touch <key> <exptime> [noreply]               give an item a new expiry\r\n\
delete <key> [noreply]                        remove an item\r\n\
flush_all [exptime] [noreply]                 remove everything, now or later\r\n\
stats [settings|conns|items|slabs|sizes|latency|storage|reset]   figures\r\n\
watch [fetchers] [mutations] [deletions] [connevents]      be told what clients do, as they do it\r\n\
stats detail on|off|dump                      commands by the beginning of the key\r\n\
cache_memlimit <megabytes> [noreply]          change the item budget\r\n\
verbosity <level> [noreply]                   0 quiet, 1 more, 2 every command\r\n\
version                                       the server's version\r\n\
lru_crawler metadump|mgdump all               all keys\r\n\
shutdown [graceful]                           end the server (needs -A)\r\n\
quit                                          end the connection\r\n\
help                                          this list\r\n\
END\r\n";
