# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_litecached_global_optspecs
    string join \n p/port= l/listen= s/unix-socket= a/unix-mask= U/udp-port= b/listen-backlog= http= B/protocol= e/db= max-disk= max-items= wal-max= compress-from= durability= on-corruption= m/memory-limit= I/max-item-size= M/disable-evictions c/conn-limit= t/threads= R/max-reqs-per-event= request-timeout= A/enable-shutdown F/disable-flush-all W/disable-watch X/disable-dumping C/disable-cas D/prefix-delimiter= u/user= P/pidfile= v/verbose log-level= o/extended= config= k/lock-memory L/enable-largepages r/enable-coredumps f/slab-growth-factor= n/slab-min-size= N/napi-ids= d/daemon S/enable-sasl Z/enable-ssl Y/auth-file= i/license h/help V/version
end

function __fish_litecached_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_litecached_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_litecached_using_subcommand
    set -l cmd (__fish_litecached_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c litecached -n "__fish_litecached_needs_command" -s p -l port -d 'TCP port; 0 is no TCP, -1 any free port [default: 60000]' -r -f
complete -c litecached -n "__fish_litecached_needs_command" -s l -l listen -d 'Addresses, comma-separated or repeated; * is all [default: 127.0.0.1]' -r -f
complete -c litecached -n "__fish_litecached_needs_command" -s s -l unix-socket -d 'Unix socket path; turns TCP off' -r -F
complete -c litecached -n "__fish_litecached_needs_command" -s a -l unix-mask -d 'Access mode of the Unix socket, in octal [default: 700]' -r -f
complete -c litecached -n "__fish_litecached_needs_command" -s U -l udp-port -d 'Only 0: there is no UDP [default: 0]' -r -f
complete -c litecached -n "__fish_litecached_needs_command" -s b -l listen-backlog -d 'Connections waiting to be accepted [default: 1024]' -r -f
complete -c litecached -n "__fish_litecached_needs_command" -l http -d 'Serve metrics and health there, over HTTP' -r -f
complete -c litecached -n "__fish_litecached_needs_command" -s B -l protocol -d 'auto, ascii or binary [default: auto]' -r -f -a "auto\t''
ascii\t''
binary\t''"
complete -c litecached -n "__fish_litecached_needs_command" -s e -l db -d 'Database file [default: litecached.db, in $STATE_DIRECTORY if set]' -r -F
complete -c litecached -n "__fish_litecached_needs_command" -l max-disk -d 'Item budget on disk; 0 is no limit [default: 10g, or the flag -m]' -r -f
complete -c litecached -n "__fish_litecached_needs_command" -l max-items -d 'Items on disk; 0 is no limit [default: 0]' -r -f
complete -c litecached -n "__fish_litecached_needs_command" -l wal-max -d 'WAL size beyond which writes are refused [default: 256m]' -r -f
complete -c litecached -n "__fish_litecached_needs_command" -l compress-from -d 'Compress values from this size on; 0 is none [default: 0]' -r -f
complete -c litecached -n "__fish_litecached_needs_command" -l durability -d 'What a reply survives: process or power [default: process]' -r -f -a "process\t''
power\t''"
complete -c litecached -n "__fish_litecached_needs_command" -l on-corruption -d 'A damaged file: stop, salvage or reset [default: stop]' -r -f -a "stop\t''
salvage\t''
reset\t''"
complete -c litecached -n "__fish_litecached_needs_command" -s m -l memory-limit -d 'Items in memory, in megabytes; 0 is none [default: 64]' -r -f
complete -c litecached -n "__fish_litecached_needs_command" -s I -l max-item-size -d 'Largest item, 1k to 1g [default: 1m]' -r -f
complete -c litecached -n "__fish_litecached_needs_command" -s c -l conn-limit -d 'Clients at once [default: 1024]' -r -f
complete -c litecached -n "__fish_litecached_needs_command" -s t -l threads -d 'Event loops, 1 to 64 [default: 4, at most the cores]' -r -f
complete -c litecached -n "__fish_litecached_needs_command" -s R -l max-reqs-per-event -d 'Requests of a client per turn [default: 64]' -r -f
complete -c litecached -n "__fish_litecached_needs_command" -l request-timeout -d 'Time to end what was begun; 0 is any time [default: 60s]' -r -f
complete -c litecached -n "__fish_litecached_needs_command" -s D -l prefix-delimiter -d 'Count by key prefix, which ends at this character' -r -f
complete -c litecached -n "__fish_litecached_needs_command" -s u -l user -d 'Become this user (only when started as root)' -r -f
complete -c litecached -n "__fish_litecached_needs_command" -s P -l pidfile -d 'Write the process id there' -r -F
complete -c litecached -n "__fish_litecached_needs_command" -l log-level -d 'error, warn, info, debug, trace, or area=level [default: info]' -r -f -a "error\t''
warn\t''
info\t''
debug\t''
trace\t''"
complete -c litecached -n "__fish_litecached_needs_command" -s o -l extended -d 'idle_timeout=time, [no_]maxconns_fast' -r -f
complete -c litecached -n "__fish_litecached_needs_command" -l config -d 'Configuration file' -r -F
complete -c litecached -n "__fish_litecached_needs_command" -s f -l slab-growth-factor -d '' -r -f
complete -c litecached -n "__fish_litecached_needs_command" -s n -l slab-min-size -d '' -r -f
complete -c litecached -n "__fish_litecached_needs_command" -s N -l napi-ids -d '' -r -f
complete -c litecached -n "__fish_litecached_needs_command" -s Y -l auth-file -d 'Users who may log in, user:password a line' -r -F
complete -c litecached -n "__fish_litecached_needs_command" -s M -l disable-evictions -d 'Answer errors when full'
complete -c litecached -n "__fish_litecached_needs_command" -s A -l enable-shutdown -d 'Allow the shutdown command'
complete -c litecached -n "__fish_litecached_needs_command" -s F -l disable-flush-all -d 'Refuse flush_all'
complete -c litecached -n "__fish_litecached_needs_command" -s W -l disable-watch -d 'Refuse watch'
complete -c litecached -n "__fish_litecached_needs_command" -s X -l disable-dumping -d 'Tell no client all keys'
complete -c litecached -n "__fish_litecached_needs_command" -s C -l disable-cas -d 'Give out no cas ids'
complete -c litecached -n "__fish_litecached_needs_command" -s v -l verbose -d '-v: clients\' errors; -vv: every command'
complete -c litecached -n "__fish_litecached_needs_command" -s k -l lock-memory -d ''
complete -c litecached -n "__fish_litecached_needs_command" -s L -l enable-largepages -d ''
complete -c litecached -n "__fish_litecached_needs_command" -s r -l enable-coredumps -d ''
complete -c litecached -n "__fish_litecached_needs_command" -s d -l daemon -d ''
complete -c litecached -n "__fish_litecached_needs_command" -s S -l enable-sasl -d 'Only the binary protocol, with a login by SASL'
complete -c litecached -n "__fish_litecached_needs_command" -s Z -l enable-ssl -d 'TLS for TCP; needs -o ssl_chain_cert=file'
complete -c litecached -n "__fish_litecached_needs_command" -s i -l license -d 'Print the licence'
complete -c litecached -n "__fish_litecached_needs_command" -s h -l help -d 'Print help'
complete -c litecached -n "__fish_litecached_needs_command" -s V -l version -d 'Print version'
complete -c litecached -n "__fish_litecached_needs_command" -f -a "serve" -d 'Serve (the default)'
complete -c litecached -n "__fish_litecached_needs_command" -f -a "config" -d 'Check or show the configuration'
complete -c litecached -n "__fish_litecached_needs_command" -f -a "client" -d 'Talk to a memcached-protocol server: at a prompt, in one command, by a script'
complete -c litecached -n "__fish_litecached_needs_command" -f -a "top" -d 'Show what a memcached-protocol server does, live in the terminal'
complete -c litecached -n "__fish_litecached_needs_command" -f -a "check" -d 'Try a memcached-protocol server with many clients, small and very big values'
complete -c litecached -n "__fish_litecached_needs_command" -f -a "bench" -d 'Load a memcached-protocol server, and measure how it answers'
complete -c litecached -n "__fish_litecached_needs_command" -f -a "inspect" -d 'Look at a database, also while it is served'
complete -c litecached -n "__fish_litecached_needs_command" -f -a "import" -d 'Import items from a file, another cache\'s files, or a live server'
complete -c litecached -n "__fish_litecached_needs_command" -f -a "export" -d 'Export a consistent snapshot of a database, while its daemon goes on'
complete -c litecached -n "__fish_litecached_needs_command" -f -a "backup" -d 'Copy a database to a file, while it is served'
complete -c litecached -n "__fish_litecached_needs_command" -f -a "restore" -d 'Put a backup in a database\'s place'
complete -c litecached -n "__fish_litecached_needs_command" -f -a "migrate" -d 'Show a database\'s schema version, or bring it up to date'
complete -c litecached -n "__fish_litecached_needs_command" -f -a "service" -d 'Install, remove or show litecached as a systemd service'
complete -c litecached -n "__fish_litecached_using_subcommand serve" -s p -l port -d 'TCP port; 0 is no TCP, -1 any free port [default: 60000]' -r -f
complete -c litecached -n "__fish_litecached_using_subcommand serve" -s l -l listen -d 'Addresses, comma-separated or repeated; * is all [default: 127.0.0.1]' -r -f
complete -c litecached -n "__fish_litecached_using_subcommand serve" -s s -l unix-socket -d 'Unix socket path; turns TCP off' -r -F
complete -c litecached -n "__fish_litecached_using_subcommand serve" -s a -l unix-mask -d 'Access mode of the Unix socket, in octal [default: 700]' -r -f
complete -c litecached -n "__fish_litecached_using_subcommand serve" -s U -l udp-port -d 'Only 0: there is no UDP [default: 0]' -r -f
complete -c litecached -n "__fish_litecached_using_subcommand serve" -s b -l listen-backlog -d 'Connections waiting to be accepted [default: 1024]' -r -f
complete -c litecached -n "__fish_litecached_using_subcommand serve" -l http -d 'Serve metrics and health there, over HTTP' -r -f
complete -c litecached -n "__fish_litecached_using_subcommand serve" -s B -l protocol -d 'auto, ascii or binary [default: auto]' -r -f -a "auto\t''
ascii\t''
binary\t''"
complete -c litecached -n "__fish_litecached_using_subcommand serve" -s e -l db -d 'Database file [default: litecached.db, in $STATE_DIRECTORY if set]' -r -F
complete -c litecached -n "__fish_litecached_using_subcommand serve" -l max-disk -d 'Item budget on disk; 0 is no limit [default: 10g, or the flag -m]' -r -f
complete -c litecached -n "__fish_litecached_using_subcommand serve" -l max-items -d 'Items on disk; 0 is no limit [default: 0]' -r -f
complete -c litecached -n "__fish_litecached_using_subcommand serve" -l wal-max -d 'WAL size beyond which writes are refused [default: 256m]' -r -f
complete -c litecached -n "__fish_litecached_using_subcommand serve" -l compress-from -d 'Compress values from this size on; 0 is none [default: 0]' -r -f
complete -c litecached -n "__fish_litecached_using_subcommand serve" -l durability -d 'What a reply survives: process or power [default: process]' -r -f -a "process\t''
power\t''"
complete -c litecached -n "__fish_litecached_using_subcommand serve" -l on-corruption -d 'A damaged file: stop, salvage or reset [default: stop]' -r -f -a "stop\t''
salvage\t''
reset\t''"
complete -c litecached -n "__fish_litecached_using_subcommand serve" -s m -l memory-limit -d 'Items in memory, in megabytes; 0 is none [default: 64]' -r -f
complete -c litecached -n "__fish_litecached_using_subcommand serve" -s I -l max-item-size -d 'Largest item, 1k to 1g [default: 1m]' -r -f
complete -c litecached -n "__fish_litecached_using_subcommand serve" -s c -l conn-limit -d 'Clients at once [default: 1024]' -r -f
complete -c litecached -n "__fish_litecached_using_subcommand serve" -s t -l threads -d 'Event loops, 1 to 64 [default: 4, at most the cores]' -r -f
complete -c litecached -n "__fish_litecached_using_subcommand serve" -s R -l max-reqs-per-event -d 'Requests of a client per turn [default: 64]' -r -f
complete -c litecached -n "__fish_litecached_using_subcommand serve" -l request-timeout -d 'Time to end what was begun; 0 is any time [default: 60s]' -r -f
complete -c litecached -n "__fish_litecached_using_subcommand serve" -s D -l prefix-delimiter -d 'Count by key prefix, which ends at this character' -r -f
complete -c litecached -n "__fish_litecached_using_subcommand serve" -s u -l user -d 'Become this user (only when started as root)' -r -f
complete -c litecached -n "__fish_litecached_using_subcommand serve" -s P -l pidfile -d 'Write the process id there' -r -F
complete -c litecached -n "__fish_litecached_using_subcommand serve" -l log-level -d 'error, warn, info, debug, trace, or area=level [default: info]' -r -f -a "error\t''
warn\t''
info\t''
debug\t''
trace\t''"
complete -c litecached -n "__fish_litecached_using_subcommand serve" -s o -l extended -d 'idle_timeout=time, [no_]maxconns_fast' -r -f
complete -c litecached -n "__fish_litecached_using_subcommand serve" -l config -d 'Configuration file' -r -F
complete -c litecached -n "__fish_litecached_using_subcommand serve" -s f -l slab-growth-factor -d '' -r -f
complete -c litecached -n "__fish_litecached_using_subcommand serve" -s n -l slab-min-size -d '' -r -f
complete -c litecached -n "__fish_litecached_using_subcommand serve" -s N -l napi-ids -d '' -r -f
complete -c litecached -n "__fish_litecached_using_subcommand serve" -s Y -l auth-file -d 'Users who may log in, user:password a line' -r -F
complete -c litecached -n "__fish_litecached_using_subcommand serve" -s M -l disable-evictions -d 'Answer errors when full'
complete -c litecached -n "__fish_litecached_using_subcommand serve" -s A -l enable-shutdown -d 'Allow the shutdown command'
complete -c litecached -n "__fish_litecached_using_subcommand serve" -s F -l disable-flush-all -d 'Refuse flush_all'
complete -c litecached -n "__fish_litecached_using_subcommand serve" -s W -l disable-watch -d 'Refuse watch'
complete -c litecached -n "__fish_litecached_using_subcommand serve" -s X -l disable-dumping -d 'Tell no client all keys'
complete -c litecached -n "__fish_litecached_using_subcommand serve" -s C -l disable-cas -d 'Give out no cas ids'
complete -c litecached -n "__fish_litecached_using_subcommand serve" -s v -l verbose -d '-v: clients\' errors; -vv: every command'
complete -c litecached -n "__fish_litecached_using_subcommand serve" -s k -l lock-memory -d ''
complete -c litecached -n "__fish_litecached_using_subcommand serve" -s L -l enable-largepages -d ''
complete -c litecached -n "__fish_litecached_using_subcommand serve" -s r -l enable-coredumps -d ''
complete -c litecached -n "__fish_litecached_using_subcommand serve" -s d -l daemon -d ''
complete -c litecached -n "__fish_litecached_using_subcommand serve" -s S -l enable-sasl -d 'Only the binary protocol, with a login by SASL'
complete -c litecached -n "__fish_litecached_using_subcommand serve" -s Z -l enable-ssl -d 'TLS for TCP; needs -o ssl_chain_cert=file'
complete -c litecached -n "__fish_litecached_using_subcommand serve" -s i -l license -d 'Print the licence'
complete -c litecached -n "__fish_litecached_using_subcommand serve" -s h -l help -d 'Print help'
complete -c litecached -n "__fish_litecached_using_subcommand serve" -s V -l version -d 'Print version'
complete -c litecached -n "__fish_litecached_using_subcommand config; and not __fish_seen_subcommand_from check show" -s h -l help -d 'Print help'
complete -c litecached -n "__fish_litecached_using_subcommand config; and not __fish_seen_subcommand_from check show" -s V -l version -d 'Print version'
complete -c litecached -n "__fish_litecached_using_subcommand config; and not __fish_seen_subcommand_from check show" -f -a "check" -d 'Say whether litecached would start with it'
complete -c litecached -n "__fish_litecached_using_subcommand config; and not __fish_seen_subcommand_from check show" -f -a "show" -d 'Show every option, its value, and where it comes from'
complete -c litecached -n "__fish_litecached_using_subcommand config; and __fish_seen_subcommand_from check" -s p -l port -d 'TCP port; 0 is no TCP, -1 any free port [default: 60000]' -r -f
complete -c litecached -n "__fish_litecached_using_subcommand config; and __fish_seen_subcommand_from check" -s l -l listen -d 'Addresses, comma-separated or repeated; * is all [default: 127.0.0.1]' -r -f
complete -c litecached -n "__fish_litecached_using_subcommand config; and __fish_seen_subcommand_from check" -s s -l unix-socket -d 'Unix socket path; turns TCP off' -r -F
complete -c litecached -n "__fish_litecached_using_subcommand config; and __fish_seen_subcommand_from check" -s a -l unix-mask -d 'Access mode of the Unix socket, in octal [default: 700]' -r -f
complete -c litecached -n "__fish_litecached_using_subcommand config; and __fish_seen_subcommand_from check" -s U -l udp-port -d 'Only 0: there is no UDP [default: 0]' -r -f
complete -c litecached -n "__fish_litecached_using_subcommand config; and __fish_seen_subcommand_from check" -s b -l listen-backlog -d 'Connections waiting to be accepted [default: 1024]' -r -f
complete -c litecached -n "__fish_litecached_using_subcommand config; and __fish_seen_subcommand_from check" -l http -d 'Serve metrics and health there, over HTTP' -r -f
complete -c litecached -n "__fish_litecached_using_subcommand config; and __fish_seen_subcommand_from check" -s B -l protocol -d 'auto, ascii or binary [default: auto]' -r -f -a "auto\t''
ascii\t''
binary\t''"
complete -c litecached -n "__fish_litecached_using_subcommand config; and __fish_seen_subcommand_from check" -s e -l db -d 'Database file [default: litecached.db, in $STATE_DIRECTORY if set]' -r -F
complete -c litecached -n "__fish_litecached_using_subcommand config; and __fish_seen_subcommand_from check" -l max-disk -d 'Item budget on disk; 0 is no limit [default: 10g, or the flag -m]' -r -f
complete -c litecached -n "__fish_litecached_using_subcommand config; and __fish_seen_subcommand_from check" -l max-items -d 'Items on disk; 0 is no limit [default: 0]' -r -f
complete -c litecached -n "__fish_litecached_using_subcommand config; and __fish_seen_subcommand_from check" -l wal-max -d 'WAL size beyond which writes are refused [default: 256m]' -r -f
complete -c litecached -n "__fish_litecached_using_subcommand config; and __fish_seen_subcommand_from check" -l compress-from -d 'Compress values from this size on; 0 is none [default: 0]' -r -f
complete -c litecached -n "__fish_litecached_using_subcommand config; and __fish_seen_subcommand_from check" -l durability -d 'What a reply survives: process or power [default: process]' -r -f -a "process\t''
power\t''"
complete -c litecached -n "__fish_litecached_using_subcommand config; and __fish_seen_subcommand_from check" -l on-corruption -d 'A damaged file: stop, salvage or reset [default: stop]' -r -f -a "stop\t''
salvage\t''
reset\t''"
complete -c litecached -n "__fish_litecached_using_subcommand config; and __fish_seen_subcommand_from check" -s m -l memory-limit -d 'Items in memory, in megabytes; 0 is none [default: 64]' -r -f
complete -c litecached -n "__fish_litecached_using_subcommand config; and __fish_seen_subcommand_from check" -s I -l max-item-size -d 'Largest item, 1k to 1g [default: 1m]' -r -f
complete -c litecached -n "__fish_litecached_using_subcommand config; and __fish_seen_subcommand_from check" -s c -l conn-limit -d 'Clients at once [default: 1024]' -r -f
complete -c litecached -n "__fish_litecached_using_subcommand config; and __fish_seen_subcommand_from check" -s t -l threads -d 'Event loops, 1 to 64 [default: 4, at most the cores]' -r -f
complete -c litecached -n "__fish_litecached_using_subcommand config; and __fish_seen_subcommand_from check" -s R -l max-reqs-per-event -d 'Requests of a client per turn [default: 64]' -r -f
complete -c litecached -n "__fish_litecached_using_subcommand config; and __fish_seen_subcommand_from check" -l request-timeout -d 'Time to end what was begun; 0 is any time [default: 60s]' -r -f
complete -c litecached -n "__fish_litecached_using_subcommand config; and __fish_seen_subcommand_from check" -s D -l prefix-delimiter -d 'Count by key prefix, which ends at this character' -r -f
complete -c litecached -n "__fish_litecached_using_subcommand config; and __fish_seen_subcommand_from check" -s u -l user -d 'Become this user (only when started as root)' -r -f
complete -c litecached -n "__fish_litecached_using_subcommand config; and __fish_seen_subcommand_from check" -s P -l pidfile -d 'Write the process id there' -r -F
complete -c litecached -n "__fish_litecached_using_subcommand config; and __fish_seen_subcommand_from check" -l log-level -d 'error, warn, info, debug, trace, or area=level [default: info]' -r -f -a "error\t''
warn\t''
info\t''
debug\t''
trace\t''"
complete -c litecached -n "__fish_litecached_using_subcommand config; and __fish_seen_subcommand_from check" -s o -l extended -d 'idle_timeout=time, [no_]maxconns_fast' -r -f
complete -c litecached -n "__fish_litecached_using_subcommand config; and __fish_seen_subcommand_from check" -l config -d 'Configuration file' -r -F
complete -c litecached -n "__fish_litecached_using_subcommand config; and __fish_seen_subcommand_from check" -s f -l slab-growth-factor -d '' -r -f
complete -c litecached -n "__fish_litecached_using_subcommand config; and __fish_seen_subcommand_from check" -s n -l slab-min-size -d '' -r -f
complete -c litecached -n "__fish_litecached_using_subcommand config; and __fish_seen_subcommand_from check" -s N -l napi-ids -d '' -r -f
complete -c litecached -n "__fish_litecached_using_subcommand config; and __fish_seen_subcommand_from check" -s Y -l auth-file -d 'Users who may log in, user:password a line' -r -F
complete -c litecached -n "__fish_litecached_using_subcommand config; and __fish_seen_subcommand_from check" -s M -l disable-evictions -d 'Answer errors when full'
complete -c litecached -n "__fish_litecached_using_subcommand config; and __fish_seen_subcommand_from check" -s A -l enable-shutdown -d 'Allow the shutdown command'
complete -c litecached -n "__fish_litecached_using_subcommand config; and __fish_seen_subcommand_from check" -s F -l disable-flush-all -d 'Refuse flush_all'
complete -c litecached -n "__fish_litecached_using_subcommand config; and __fish_seen_subcommand_from check" -s W -l disable-watch -d 'Refuse watch'
complete -c litecached -n "__fish_litecached_using_subcommand config; and __fish_seen_subcommand_from check" -s X -l disable-dumping -d 'Tell no client all keys'
complete -c litecached -n "__fish_litecached_using_subcommand config; and __fish_seen_subcommand_from check" -s C -l disable-cas -d 'Give out no cas ids'
complete -c litecached -n "__fish_litecached_using_subcommand config; and __fish_seen_subcommand_from check" -s v -l verbose -d '-v: clients\' errors; -vv: every command'
complete -c litecached -n "__fish_litecached_using_subcommand config; and __fish_seen_subcommand_from check" -s k -l lock-memory -d ''
complete -c litecached -n "__fish_litecached_using_subcommand config; and __fish_seen_subcommand_from check" -s L -l enable-largepages -d ''
complete -c litecached -n "__fish_litecached_using_subcommand config; and __fish_seen_subcommand_from check" -s r -l enable-coredumps -d ''
complete -c litecached -n "__fish_litecached_using_subcommand config; and __fish_seen_subcommand_from check" -s d -l daemon -d ''
complete -c litecached -n "__fish_litecached_using_subcommand config; and __fish_seen_subcommand_from check" -s S -l enable-sasl -d 'Only the binary protocol, with a login by SASL'
complete -c litecached -n "__fish_litecached_using_subcommand config; and __fish_seen_subcommand_from check" -s Z -l enable-ssl -d 'TLS for TCP; needs -o ssl_chain_cert=file'
complete -c litecached -n "__fish_litecached_using_subcommand config; and __fish_seen_subcommand_from check" -s h -l help -d 'Print help'
complete -c litecached -n "__fish_litecached_using_subcommand config; and __fish_seen_subcommand_from check" -s V -l version -d 'Print version'
complete -c litecached -n "__fish_litecached_using_subcommand config; and __fish_seen_subcommand_from show" -s p -l port -d 'TCP port; 0 is no TCP, -1 any free port [default: 60000]' -r -f
complete -c litecached -n "__fish_litecached_using_subcommand config; and __fish_seen_subcommand_from show" -s l -l listen -d 'Addresses, comma-separated or repeated; * is all [default: 127.0.0.1]' -r -f
complete -c litecached -n "__fish_litecached_using_subcommand config; and __fish_seen_subcommand_from show" -s s -l unix-socket -d 'Unix socket path; turns TCP off' -r -F
complete -c litecached -n "__fish_litecached_using_subcommand config; and __fish_seen_subcommand_from show" -s a -l unix-mask -d 'Access mode of the Unix socket, in octal [default: 700]' -r -f
complete -c litecached -n "__fish_litecached_using_subcommand config; and __fish_seen_subcommand_from show" -s U -l udp-port -d 'Only 0: there is no UDP [default: 0]' -r -f
complete -c litecached -n "__fish_litecached_using_subcommand config; and __fish_seen_subcommand_from show" -s b -l listen-backlog -d 'Connections waiting to be accepted [default: 1024]' -r -f
complete -c litecached -n "__fish_litecached_using_subcommand config; and __fish_seen_subcommand_from show" -l http -d 'Serve metrics and health there, over HTTP' -r -f
complete -c litecached -n "__fish_litecached_using_subcommand config; and __fish_seen_subcommand_from show" -s B -l protocol -d 'auto, ascii or binary [default: auto]' -r -f -a "auto\t''
ascii\t''
binary\t''"
complete -c litecached -n "__fish_litecached_using_subcommand config; and __fish_seen_subcommand_from show" -s e -l db -d 'Database file [default: litecached.db, in $STATE_DIRECTORY if set]' -r -F
complete -c litecached -n "__fish_litecached_using_subcommand config; and __fish_seen_subcommand_from show" -l max-disk -d 'Item budget on disk; 0 is no limit [default: 10g, or the flag -m]' -r -f
complete -c litecached -n "__fish_litecached_using_subcommand config; and __fish_seen_subcommand_from show" -l max-items -d 'Items on disk; 0 is no limit [default: 0]' -r -f
complete -c litecached -n "__fish_litecached_using_subcommand config; and __fish_seen_subcommand_from show" -l wal-max -d 'WAL size beyond which writes are refused [default: 256m]' -r -f
complete -c litecached -n "__fish_litecached_using_subcommand config; and __fish_seen_subcommand_from show" -l compress-from -d 'Compress values from this size on; 0 is none [default: 0]' -r -f
complete -c litecached -n "__fish_litecached_using_subcommand config; and __fish_seen_subcommand_from show" -l durability -d 'What a reply survives: process or power [default: process]' -r -f -a "process\t''
power\t''"
complete -c litecached -n "__fish_litecached_using_subcommand config; and __fish_seen_subcommand_from show" -l on-corruption -d 'A damaged file: stop, salvage or reset [default: stop]' -r -f -a "stop\t''
salvage\t''
reset\t''"
complete -c litecached -n "__fish_litecached_using_subcommand config; and __fish_seen_subcommand_from show" -s m -l memory-limit -d 'Items in memory, in megabytes; 0 is none [default: 64]' -r -f
complete -c litecached -n "__fish_litecached_using_subcommand config; and __fish_seen_subcommand_from show" -s I -l max-item-size -d 'Largest item, 1k to 1g [default: 1m]' -r -f
complete -c litecached -n "__fish_litecached_using_subcommand config; and __fish_seen_subcommand_from show" -s c -l conn-limit -d 'Clients at once [default: 1024]' -r -f
complete -c litecached -n "__fish_litecached_using_subcommand config; and __fish_seen_subcommand_from show" -s t -l threads -d 'Event loops, 1 to 64 [default: 4, at most the cores]' -r -f
complete -c litecached -n "__fish_litecached_using_subcommand config; and __fish_seen_subcommand_from show" -s R -l max-reqs-per-event -d 'Requests of a client per turn [default: 64]' -r -f
complete -c litecached -n "__fish_litecached_using_subcommand config; and __fish_seen_subcommand_from show" -l request-timeout -d 'Time to end what was begun; 0 is any time [default: 60s]' -r -f
complete -c litecached -n "__fish_litecached_using_subcommand config; and __fish_seen_subcommand_from show" -s D -l prefix-delimiter -d 'Count by key prefix, which ends at this character' -r -f
complete -c litecached -n "__fish_litecached_using_subcommand config; and __fish_seen_subcommand_from show" -s u -l user -d 'Become this user (only when started as root)' -r -f
complete -c litecached -n "__fish_litecached_using_subcommand config; and __fish_seen_subcommand_from show" -s P -l pidfile -d 'Write the process id there' -r -F
complete -c litecached -n "__fish_litecached_using_subcommand config; and __fish_seen_subcommand_from show" -l log-level -d 'error, warn, info, debug, trace, or area=level [default: info]' -r -f -a "error\t''
warn\t''
info\t''
debug\t''
trace\t''"
complete -c litecached -n "__fish_litecached_using_subcommand config; and __fish_seen_subcommand_from show" -s o -l extended -d 'idle_timeout=time, [no_]maxconns_fast' -r -f
complete -c litecached -n "__fish_litecached_using_subcommand config; and __fish_seen_subcommand_from show" -l config -d 'Configuration file' -r -F
complete -c litecached -n "__fish_litecached_using_subcommand config; and __fish_seen_subcommand_from show" -s f -l slab-growth-factor -d '' -r -f
complete -c litecached -n "__fish_litecached_using_subcommand config; and __fish_seen_subcommand_from show" -s n -l slab-min-size -d '' -r -f
complete -c litecached -n "__fish_litecached_using_subcommand config; and __fish_seen_subcommand_from show" -s N -l napi-ids -d '' -r -f
complete -c litecached -n "__fish_litecached_using_subcommand config; and __fish_seen_subcommand_from show" -s Y -l auth-file -d 'Users who may log in, user:password a line' -r -F
complete -c litecached -n "__fish_litecached_using_subcommand config; and __fish_seen_subcommand_from show" -l json -d 'Answer in JSON'
complete -c litecached -n "__fish_litecached_using_subcommand config; and __fish_seen_subcommand_from show" -l toml -d 'As a configuration file'
complete -c litecached -n "__fish_litecached_using_subcommand config; and __fish_seen_subcommand_from show" -s M -l disable-evictions -d 'Answer errors when full'
complete -c litecached -n "__fish_litecached_using_subcommand config; and __fish_seen_subcommand_from show" -s A -l enable-shutdown -d 'Allow the shutdown command'
complete -c litecached -n "__fish_litecached_using_subcommand config; and __fish_seen_subcommand_from show" -s F -l disable-flush-all -d 'Refuse flush_all'
complete -c litecached -n "__fish_litecached_using_subcommand config; and __fish_seen_subcommand_from show" -s W -l disable-watch -d 'Refuse watch'
complete -c litecached -n "__fish_litecached_using_subcommand config; and __fish_seen_subcommand_from show" -s X -l disable-dumping -d 'Tell no client all keys'
complete -c litecached -n "__fish_litecached_using_subcommand config; and __fish_seen_subcommand_from show" -s C -l disable-cas -d 'Give out no cas ids'
complete -c litecached -n "__fish_litecached_using_subcommand config; and __fish_seen_subcommand_from show" -s v -l verbose -d '-v: clients\' errors; -vv: every command'
complete -c litecached -n "__fish_litecached_using_subcommand config; and __fish_seen_subcommand_from show" -s k -l lock-memory -d ''
complete -c litecached -n "__fish_litecached_using_subcommand config; and __fish_seen_subcommand_from show" -s L -l enable-largepages -d ''
complete -c litecached -n "__fish_litecached_using_subcommand config; and __fish_seen_subcommand_from show" -s r -l enable-coredumps -d ''
complete -c litecached -n "__fish_litecached_using_subcommand config; and __fish_seen_subcommand_from show" -s d -l daemon -d ''
complete -c litecached -n "__fish_litecached_using_subcommand config; and __fish_seen_subcommand_from show" -s S -l enable-sasl -d 'Only the binary protocol, with a login by SASL'
complete -c litecached -n "__fish_litecached_using_subcommand config; and __fish_seen_subcommand_from show" -s Z -l enable-ssl -d 'TLS for TCP; needs -o ssl_chain_cert=file'
complete -c litecached -n "__fish_litecached_using_subcommand config; and __fish_seen_subcommand_from show" -s h -l help -d 'Print help'
complete -c litecached -n "__fish_litecached_using_subcommand config; and __fish_seen_subcommand_from show" -s V -l version -d 'Print version'
complete -c litecached -n "__fish_litecached_using_subcommand client" -s a -l address -d 'The server [env: LITECACHED_ADDRESS] [default: 127.0.0.1:60000]' -r
complete -c litecached -n "__fish_litecached_using_subcommand client" -l timeout -d 'How long to wait for a server, e.g. 5s, 2m' -r
complete -c litecached -n "__fish_litecached_using_subcommand client" -l user -d 'Log in as this user where a server asks for it' -r
complete -c litecached -n "__fish_litecached_using_subcommand client" -l password-file -d 'His password is there [env: LITECACHED_PASSWORD] [default: asked for]' -r -F
complete -c litecached -n "__fish_litecached_using_subcommand client" -l tls-ca -d 'Whose word on the server is taken, PEM [default: the system\'s]' -r -F
complete -c litecached -n "__fish_litecached_using_subcommand client" -l tls-cert -d 'Certificate to show to the server, PEM' -r -F
complete -c litecached -n "__fish_litecached_using_subcommand client" -l tls-key -d 'Its key, PEM [default: in the same file]' -r -F
complete -c litecached -n "__fish_litecached_using_subcommand client" -l json -d 'Answer in JSON, an object per line'
complete -c litecached -n "__fish_litecached_using_subcommand client" -l tls -d 'Speak TLS with the server'
complete -c litecached -n "__fish_litecached_using_subcommand client" -l pretty -d 'Show values that are JSON indented'
complete -c litecached -n "__fish_litecached_using_subcommand client" -l time -d 'Say on stderr how long each command took'
complete -c litecached -n "__fish_litecached_using_subcommand client" -s h -l help -d 'Print help'
complete -c litecached -n "__fish_litecached_using_subcommand client" -s V -l version -d 'Print version'
complete -c litecached -n "__fish_litecached_using_subcommand top" -s a -l address -d 'The server [env: LITECACHED_ADDRESS] [default: 127.0.0.1:60000]' -r
complete -c litecached -n "__fish_litecached_using_subcommand top" -l timeout -d 'How long to wait for a server, e.g. 5s, 2m' -r
complete -c litecached -n "__fish_litecached_using_subcommand top" -l user -d 'Log in as this user where a server asks for it' -r
complete -c litecached -n "__fish_litecached_using_subcommand top" -l password-file -d 'His password is there [env: LITECACHED_PASSWORD] [default: asked for]' -r -F
complete -c litecached -n "__fish_litecached_using_subcommand top" -l tls-ca -d 'Whose word on the server is taken, PEM [default: the system\'s]' -r -F
complete -c litecached -n "__fish_litecached_using_subcommand top" -l tls-cert -d 'Certificate to show to the server, PEM' -r -F
complete -c litecached -n "__fish_litecached_using_subcommand top" -l tls-key -d 'Its key, PEM [default: in the same file]' -r -F
complete -c litecached -n "__fish_litecached_using_subcommand top" -s i -l interval -d 'Time between two looks, 1s to 1h' -r
complete -c litecached -n "__fish_litecached_using_subcommand top" -l tls -d 'Speak TLS with the server'
complete -c litecached -n "__fish_litecached_using_subcommand top" -l once -d 'Print what happens within one interval as text, and end'
complete -c litecached -n "__fish_litecached_using_subcommand top" -s h -l help -d 'Print help'
complete -c litecached -n "__fish_litecached_using_subcommand top" -s V -l version -d 'Print version'
complete -c litecached -n "__fish_litecached_using_subcommand check" -s a -l address -d 'The server [env: LITECACHED_ADDRESS] [default: 127.0.0.1:60000]' -r
complete -c litecached -n "__fish_litecached_using_subcommand check" -l timeout -d 'How long to wait for a server, e.g. 5s, 2m' -r
complete -c litecached -n "__fish_litecached_using_subcommand check" -l user -d 'Log in as this user where a server asks for it' -r
complete -c litecached -n "__fish_litecached_using_subcommand check" -l password-file -d 'His password is there [env: LITECACHED_PASSWORD] [default: asked for]' -r -F
complete -c litecached -n "__fish_litecached_using_subcommand check" -l tls-ca -d 'Whose word on the server is taken, PEM [default: the system\'s]' -r -F
complete -c litecached -n "__fish_litecached_using_subcommand check" -l tls-cert -d 'Certificate to show to the server, PEM' -r -F
complete -c litecached -n "__fish_litecached_using_subcommand check" -l tls-key -d 'Its key, PEM [default: in the same file]' -r -F
complete -c litecached -n "__fish_litecached_using_subcommand check" -s c -l clients -d 'Clients at once, 2 to 512' -r
complete -c litecached -n "__fish_litecached_using_subcommand check" -s n -l rounds -d 'Requests of each client in a case' -r
complete -c litecached -n "__fish_litecached_using_subcommand check" -l max-value -d 'Largest value to try [default: the server\'s item_size_max]' -r
complete -c litecached -n "__fish_litecached_using_subcommand check" -l json -d 'Answer in JSON, an object per line'
complete -c litecached -n "__fish_litecached_using_subcommand check" -l tls -d 'Speak TLS with the server'
complete -c litecached -n "__fish_litecached_using_subcommand check" -s h -l help -d 'Print help'
complete -c litecached -n "__fish_litecached_using_subcommand check" -s V -l version -d 'Print version'
complete -c litecached -n "__fish_litecached_using_subcommand bench" -s a -l address -d 'The server [env: LITECACHED_ADDRESS] [default: 127.0.0.1:60000]' -r
complete -c litecached -n "__fish_litecached_using_subcommand bench" -s B -l protocol -d 'classic, meta, binary; redis to compare' -r -f -a "classic\t''
meta\t''
binary\t''
redis\t''"
complete -c litecached -n "__fish_litecached_using_subcommand bench" -l timeout -d 'How long to wait for a server, e.g. 5s, 2m' -r
complete -c litecached -n "__fish_litecached_using_subcommand bench" -l user -d 'Log in as this user where a server asks for it' -r
complete -c litecached -n "__fish_litecached_using_subcommand bench" -l password-file -d 'His password is there [env: LITECACHED_PASSWORD] [default: asked for]' -r -F
complete -c litecached -n "__fish_litecached_using_subcommand bench" -l tls-ca -d 'Whose word on the server is taken, PEM [default: the system\'s]' -r -F
complete -c litecached -n "__fish_litecached_using_subcommand bench" -l tls-cert -d 'Certificate to show to the server, PEM' -r -F
complete -c litecached -n "__fish_litecached_using_subcommand bench" -l tls-key -d 'Its key, PEM [default: in the same file]' -r -F
complete -c litecached -n "__fish_litecached_using_subcommand bench" -s c -l connections -d 'Connections of all threads together' -r
complete -c litecached -n "__fish_litecached_using_subcommand bench" -s t -l threads -d 'Threads' -r
complete -c litecached -n "__fish_litecached_using_subcommand bench" -s P -l pipeline -d 'Requests that a connection sends at once' -r
complete -c litecached -n "__fish_litecached_using_subcommand bench" -l mix -d 'Gets and sets, by chance' -r
complete -c litecached -n "__fish_litecached_using_subcommand bench" -l keys-per-get -d 'Keys of each get' -r
complete -c litecached -n "__fish_litecached_using_subcommand bench" -s r -l rate -d 'Requests a second; latency counts from when they are due' -r
complete -c litecached -n "__fish_litecached_using_subcommand bench" -s k -l keys -d 'How many keys there are' -r
complete -c litecached -n "__fish_litecached_using_subcommand bench" -l prefix -d 'How keys begin; ten digits follow' -r
complete -c litecached -n "__fish_litecached_using_subcommand bench" -s d -l distribution -d 'uniform, zipf[:EXPONENT] or sequential' -r
complete -c litecached -n "__fish_litecached_using_subcommand bench" -s s -l size -d 'Bytes: 100, 50..2000, or by weight 100:70,1k:30' -r
complete -c litecached -n "__fish_litecached_using_subcommand bench" -l ttl -d 'How long values live' -r
complete -c litecached -n "__fish_litecached_using_subcommand bench" -l trace -d 'Ask for what its lines \'key size\' say, and set upon a miss' -r -F
complete -c litecached -n "__fish_litecached_using_subcommand bench" -l seed -d 'For every choice' -r
complete -c litecached -n "__fish_litecached_using_subcommand bench" -l duration -d 'How long to measure [default: 10s, or the trace once]' -r
complete -c litecached -n "__fish_litecached_using_subcommand bench" -s n -l requests -d 'Measure so many requests' -r
complete -c litecached -n "__fish_litecached_using_subcommand bench" -l warm-up -d 'Load before that [default: 1s; 0 with --requests or a trace]' -r
complete -c litecached -n "__fish_litecached_using_subcommand bench" -l rounds -d 'Measure so often; medians [default: 1; 5 with --vs]' -r
complete -c litecached -n "__fish_litecached_using_subcommand bench" -l vs -d 'Take turns with this server, and say the ratios' -r
complete -c litecached -n "__fish_litecached_using_subcommand bench" -l vs-protocol -d 'What that one speaks [default: that of --protocol]' -r -f -a "classic\t''
meta\t''
binary\t''
redis\t''"
complete -c litecached -n "__fish_litecached_using_subcommand bench" -l pid -d 'The server\'s process [default: found where it is local]' -r
complete -c litecached -n "__fish_litecached_using_subcommand bench" -l vs-pid -d 'That of the other' -r
complete -c litecached -n "__fish_litecached_using_subcommand bench" -l plot -d 'Draw the percentiles of latency, as SVG' -r -F
complete -c litecached -n "__fish_litecached_using_subcommand bench" -l tls -d 'Speak TLS with the server'
complete -c litecached -n "__fish_litecached_using_subcommand bench" -l fill -d 'Store every key first'
complete -c litecached -n "__fish_litecached_using_subcommand bench" -l set-on-miss -d 'Store a key that a get has missed'
complete -c litecached -n "__fish_litecached_using_subcommand bench" -l json -d 'Answer in JSON, an object per line'
complete -c litecached -n "__fish_litecached_using_subcommand bench" -s q -l quiet -d 'No progress'
complete -c litecached -n "__fish_litecached_using_subcommand bench" -s h -l help -d 'Print help'
complete -c litecached -n "__fish_litecached_using_subcommand bench" -s V -l version -d 'Print version'
complete -c litecached -n "__fish_litecached_using_subcommand inspect; and not __fish_seen_subcommand_from summary keys get sql check evict report" -s e -l db -d 'Database file [default: litecached.db, in $STATE_DIRECTORY if set]' -r -F
complete -c litecached -n "__fish_litecached_using_subcommand inspect; and not __fish_seen_subcommand_from summary keys get sql check evict report" -l time-budget -d 'Give up when it takes longer: 90s, 15m' -r
complete -c litecached -n "__fish_litecached_using_subcommand inspect; and not __fish_seen_subcommand_from summary keys get sql check evict report" -l wal-budget -d 'Give up when the WAL grows more meanwhile: 64m, 1g' -r
complete -c litecached -n "__fish_litecached_using_subcommand inspect; and not __fish_seen_subcommand_from summary keys get sql check evict report" -l json -d 'As JSON; of keys, a line for each item'
complete -c litecached -n "__fish_litecached_using_subcommand inspect; and not __fish_seen_subcommand_from summary keys get sql check evict report" -s h -l help -d 'Print help'
complete -c litecached -n "__fish_litecached_using_subcommand inspect; and not __fish_seen_subcommand_from summary keys get sql check evict report" -s V -l version -d 'Print version'
complete -c litecached -n "__fish_litecached_using_subcommand inspect; and not __fish_seen_subcommand_from summary keys get sql check evict report" -f -a "summary" -d 'Items, sizes, ages, expiry, prefixes, the biggest and the oldest (the default)'
complete -c litecached -n "__fish_litecached_using_subcommand inspect; and not __fish_seen_subcommand_from summary keys get sql check evict report" -f -a "keys" -d 'Items without their values, as a table or as JSON Lines'
complete -c litecached -n "__fish_litecached_using_subcommand inspect; and not __fish_seen_subcommand_from summary keys get sql check evict report" -f -a "get" -d 'One item: with what is known of it at a terminal, the bare value into a pipe'
complete -c litecached -n "__fish_litecached_using_subcommand inspect; and not __fish_seen_subcommand_from summary keys get sql check evict report" -f -a "sql" -d 'One statement that reads; with --write, a change that the daemon takes over'
complete -c litecached -n "__fish_litecached_using_subcommand inspect; and not __fish_seen_subcommand_from summary keys get sql check evict report" -f -a "check" -d 'SQLite\'s integrity check, then what litecached relies on; exit code 65 on findings'
complete -c litecached -n "__fish_litecached_using_subcommand inspect; and not __fish_seen_subcommand_from summary keys get sql check evict report" -f -a "evict" -d 'Show which items would be removed next to make room, and why'
complete -c litecached -n "__fish_litecached_using_subcommand inspect; and not __fish_seen_subcommand_from summary keys get sql check evict report" -f -a "report" -d 'Make a page in HTML with charts of what is in the file'
complete -c litecached -n "__fish_litecached_using_subcommand inspect; and __fish_seen_subcommand_from summary" -l top -d 'Entries of each list, 10 if not given' -r
complete -c litecached -n "__fish_litecached_using_subcommand inspect; and __fish_seen_subcommand_from summary" -s e -l db -d 'Database file [default: litecached.db, in $STATE_DIRECTORY if set]' -r -F
complete -c litecached -n "__fish_litecached_using_subcommand inspect; and __fish_seen_subcommand_from summary" -l time-budget -d 'Give up when it takes longer: 90s, 15m' -r
complete -c litecached -n "__fish_litecached_using_subcommand inspect; and __fish_seen_subcommand_from summary" -l wal-budget -d 'Give up when the WAL grows more meanwhile: 64m, 1g' -r
complete -c litecached -n "__fish_litecached_using_subcommand inspect; and __fish_seen_subcommand_from summary" -l json -d 'As JSON; of keys, a line for each item'
complete -c litecached -n "__fish_litecached_using_subcommand inspect; and __fish_seen_subcommand_from summary" -s h -l help -d 'Print help'
complete -c litecached -n "__fish_litecached_using_subcommand inspect; and __fish_seen_subcommand_from summary" -s V -l version -d 'Print version'
complete -c litecached -n "__fish_litecached_using_subcommand inspect; and __fish_seen_subcommand_from keys" -l prefix -d 'Keys that begin with this' -r
complete -c litecached -n "__fish_litecached_using_subcommand inspect; and __fish_seen_subcommand_from keys" -l glob -d 'Keys that match: * ? [a-z] [!a-z] {this,that}, \\ before any of these' -r
complete -c litecached -n "__fish_litecached_using_subcommand inspect; and __fish_seen_subcommand_from keys" -l expiring-before -d 'Items that expire before: 10m, 12h, 7d from now, or @1800000000' -r
complete -c litecached -n "__fish_litecached_using_subcommand inspect; and __fish_seen_subcommand_from keys" -l larger-than -d 'Values of more bytes than this: 1000, 64k, 1m' -r
complete -c litecached -n "__fish_litecached_using_subcommand inspect; and __fish_seen_subcommand_from keys" -l state -d 'Which' -r -f -a "live\t''
expired\t''
flushed\t''
all\t''"
complete -c litecached -n "__fish_litecached_using_subcommand inspect; and __fish_seen_subcommand_from keys" -l sort -d 'The order' -r -f -a "key\t''
size\t''
expiry\t''
age\t''
cas\t''"
complete -c litecached -n "__fish_litecached_using_subcommand inspect; and __fish_seen_subcommand_from keys" -l limit -d 'At most so many, 100 if not given; 0 is no limit, without --sort' -r
complete -c litecached -n "__fish_litecached_using_subcommand inspect; and __fish_seen_subcommand_from keys" -s e -l db -d 'Database file [default: litecached.db, in $STATE_DIRECTORY if set]' -r -F
complete -c litecached -n "__fish_litecached_using_subcommand inspect; and __fish_seen_subcommand_from keys" -l time-budget -d 'Give up when it takes longer: 90s, 15m' -r
complete -c litecached -n "__fish_litecached_using_subcommand inspect; and __fish_seen_subcommand_from keys" -l wal-budget -d 'Give up when the WAL grows more meanwhile: 64m, 1g' -r
complete -c litecached -n "__fish_litecached_using_subcommand inspect; and __fish_seen_subcommand_from keys" -l reverse -d 'Greatest, latest or youngest first'
complete -c litecached -n "__fish_litecached_using_subcommand inspect; and __fish_seen_subcommand_from keys" -l json -d 'As JSON; of keys, a line for each item'
complete -c litecached -n "__fish_litecached_using_subcommand inspect; and __fish_seen_subcommand_from keys" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c litecached -n "__fish_litecached_using_subcommand inspect; and __fish_seen_subcommand_from keys" -s V -l version -d 'Print version'
complete -c litecached -n "__fish_litecached_using_subcommand inspect; and __fish_seen_subcommand_from get" -s e -l db -d 'Database file [default: litecached.db, in $STATE_DIRECTORY if set]' -r -F
complete -c litecached -n "__fish_litecached_using_subcommand inspect; and __fish_seen_subcommand_from get" -l time-budget -d 'Give up when it takes longer: 90s, 15m' -r
complete -c litecached -n "__fish_litecached_using_subcommand inspect; and __fish_seen_subcommand_from get" -l wal-budget -d 'Give up when the WAL grows more meanwhile: 64m, 1g' -r
complete -c litecached -n "__fish_litecached_using_subcommand inspect; and __fish_seen_subcommand_from get" -l hex -d 'The key is written in hexadecimal'
complete -c litecached -n "__fish_litecached_using_subcommand inspect; and __fish_seen_subcommand_from get" -l raw -d 'The bare value, also at a terminal'
complete -c litecached -n "__fish_litecached_using_subcommand inspect; and __fish_seen_subcommand_from get" -l meta -d 'What is known of it, also into a pipe'
complete -c litecached -n "__fish_litecached_using_subcommand inspect; and __fish_seen_subcommand_from get" -l dead -d 'Also an item that expired or was flushed and is not removed yet'
complete -c litecached -n "__fish_litecached_using_subcommand inspect; and __fish_seen_subcommand_from get" -l json -d 'As JSON; of keys, a line for each item'
complete -c litecached -n "__fish_litecached_using_subcommand inspect; and __fish_seen_subcommand_from get" -s h -l help -d 'Print help'
complete -c litecached -n "__fish_litecached_using_subcommand inspect; and __fish_seen_subcommand_from get" -s V -l version -d 'Print version'
complete -c litecached -n "__fish_litecached_using_subcommand inspect; and __fish_seen_subcommand_from sql" -s e -l db -d 'Database file [default: litecached.db, in $STATE_DIRECTORY if set]' -r -F
complete -c litecached -n "__fish_litecached_using_subcommand inspect; and __fish_seen_subcommand_from sql" -l time-budget -d 'Give up when it takes longer: 90s, 15m' -r
complete -c litecached -n "__fish_litecached_using_subcommand inspect; and __fish_seen_subcommand_from sql" -l wal-budget -d 'Give up when the WAL grows more meanwhile: 64m, 1g' -r
complete -c litecached -n "__fish_litecached_using_subcommand inspect; and __fish_seen_subcommand_from sql" -l csv -d 'Comma-separated values, names first'
complete -c litecached -n "__fish_litecached_using_subcommand inspect; and __fish_seen_subcommand_from sql" -l write -d 'Change items, in one transaction'
complete -c litecached -n "__fish_litecached_using_subcommand inspect; and __fish_seen_subcommand_from sql" -l json -d 'As JSON; of keys, a line for each item'
complete -c litecached -n "__fish_litecached_using_subcommand inspect; and __fish_seen_subcommand_from sql" -s h -l help -d 'Print help'
complete -c litecached -n "__fish_litecached_using_subcommand inspect; and __fish_seen_subcommand_from sql" -s V -l version -d 'Print version'
complete -c litecached -n "__fish_litecached_using_subcommand inspect; and __fish_seen_subcommand_from check" -s e -l db -d 'Database file [default: litecached.db, in $STATE_DIRECTORY if set]' -r -F
complete -c litecached -n "__fish_litecached_using_subcommand inspect; and __fish_seen_subcommand_from check" -l time-budget -d 'Give up when it takes longer: 90s, 15m' -r
complete -c litecached -n "__fish_litecached_using_subcommand inspect; and __fish_seen_subcommand_from check" -l wal-budget -d 'Give up when the WAL grows more meanwhile: 64m, 1g' -r
complete -c litecached -n "__fish_litecached_using_subcommand inspect; and __fish_seen_subcommand_from check" -l quick -d 'Leave out whether the index fits the table'
complete -c litecached -n "__fish_litecached_using_subcommand inspect; and __fish_seen_subcommand_from check" -l json -d 'As JSON; of keys, a line for each item'
complete -c litecached -n "__fish_litecached_using_subcommand inspect; and __fish_seen_subcommand_from check" -s h -l help -d 'Print help'
complete -c litecached -n "__fish_litecached_using_subcommand inspect; and __fish_seen_subcommand_from check" -s V -l version -d 'Print version'
complete -c litecached -n "__fish_litecached_using_subcommand inspect; and __fish_seen_subcommand_from evict" -l count -d 'How many' -r
complete -c litecached -n "__fish_litecached_using_subcommand inspect; and __fish_seen_subcommand_from evict" -s e -l db -d 'Database file [default: litecached.db, in $STATE_DIRECTORY if set]' -r -F
complete -c litecached -n "__fish_litecached_using_subcommand inspect; and __fish_seen_subcommand_from evict" -l time-budget -d 'Give up when it takes longer: 90s, 15m' -r
complete -c litecached -n "__fish_litecached_using_subcommand inspect; and __fish_seen_subcommand_from evict" -l wal-budget -d 'Give up when the WAL grows more meanwhile: 64m, 1g' -r
complete -c litecached -n "__fish_litecached_using_subcommand inspect; and __fish_seen_subcommand_from evict" -l dry-run -d 'Only show them; removing is the daemon\'s business'
complete -c litecached -n "__fish_litecached_using_subcommand inspect; and __fish_seen_subcommand_from evict" -l json -d 'As JSON; of keys, a line for each item'
complete -c litecached -n "__fish_litecached_using_subcommand inspect; and __fish_seen_subcommand_from evict" -s h -l help -d 'Print help'
complete -c litecached -n "__fish_litecached_using_subcommand inspect; and __fish_seen_subcommand_from evict" -s V -l version -d 'Print version'
complete -c litecached -n "__fish_litecached_using_subcommand inspect; and __fish_seen_subcommand_from report" -l since -d 'Show growth since this page, which may be FILE itself (with --force)' -r -F
complete -c litecached -n "__fish_litecached_using_subcommand inspect; and __fish_seen_subcommand_from report" -l top -d 'Entries of the lists of items' -r
complete -c litecached -n "__fish_litecached_using_subcommand inspect; and __fish_seen_subcommand_from report" -s e -l db -d 'Database file [default: litecached.db, in $STATE_DIRECTORY if set]' -r -F
complete -c litecached -n "__fish_litecached_using_subcommand inspect; and __fish_seen_subcommand_from report" -l time-budget -d 'Give up when it takes longer: 90s, 15m' -r
complete -c litecached -n "__fish_litecached_using_subcommand inspect; and __fish_seen_subcommand_from report" -l wal-budget -d 'Give up when the WAL grows more meanwhile: 64m, 1g' -r
complete -c litecached -n "__fish_litecached_using_subcommand inspect; and __fish_seen_subcommand_from report" -l hide-keys -d 'Number keys and prefixes instead of naming them'
complete -c litecached -n "__fish_litecached_using_subcommand inspect; and __fish_seen_subcommand_from report" -l force -d 'Replace the file that is there'
complete -c litecached -n "__fish_litecached_using_subcommand inspect; and __fish_seen_subcommand_from report" -l json -d 'As JSON; of keys, a line for each item'
complete -c litecached -n "__fish_litecached_using_subcommand inspect; and __fish_seen_subcommand_from report" -s h -l help -d 'Print help'
complete -c litecached -n "__fish_litecached_using_subcommand inspect; and __fish_seen_subcommand_from report" -s V -l version -d 'Print version'
complete -c litecached -n "__fish_litecached_using_subcommand import" -l from -d 'Format of the source, as at the end' -r -f -a "json\t''
lines\t''
jsonl\t''
csv\t''
memcached\t''
redis\t''
diskcache\t''
solid-cache\t''
redka\t''"
complete -c litecached -n "__fish_litecached_using_subcommand import" -s e -l db -d 'The database file [default: litecached.db, as for serve]' -r -F
complete -c litecached -n "__fish_litecached_using_subcommand import" -l to-server -l server -d 'Import into this server' -r
complete -c litecached -n "__fish_litecached_using_subcommand import" -l on-conflict -d 'Where there is an item: skip, replace, newer' -r -f -a "skip\t''
replace\t''
newer\t''"
complete -c litecached -n "__fish_litecached_using_subcommand import" -l timeout -d 'How long to wait for a server, e.g. 5s, 2m' -r
complete -c litecached -n "__fish_litecached_using_subcommand import" -l user -d 'Log in as this user where a server asks for it' -r
complete -c litecached -n "__fish_litecached_using_subcommand import" -l password-file -d 'His password is there [env: LITECACHED_PASSWORD] [default: asked for]' -r -F
complete -c litecached -n "__fish_litecached_using_subcommand import" -l tls-ca -d 'Whose word on the server is taken, PEM [default: the system\'s]' -r -F
complete -c litecached -n "__fish_litecached_using_subcommand import" -l tls-cert -d 'Certificate to show to the server, PEM' -r -F
complete -c litecached -n "__fish_litecached_using_subcommand import" -l tls-key -d 'Its key, PEM [default: in the same file]' -r -F
complete -c litecached -n "__fish_litecached_using_subcommand import" -s I -l max-item-size -d 'Largest item' -r
complete -c litecached -n "__fish_litecached_using_subcommand import" -l max-disk -d 'Bytes of items in the database, 0 no limit' -r
complete -c litecached -n "__fish_litecached_using_subcommand import" -l tls -d 'Speak TLS with the server'
complete -c litecached -n "__fish_litecached_using_subcommand import" -l dry-run -d 'Only say what would happen'
complete -c litecached -n "__fish_litecached_using_subcommand import" -l strict -d 'Stop at the first item that is refused'
complete -c litecached -n "__fish_litecached_using_subcommand import" -l json -d 'Report as JSON'
complete -c litecached -n "__fish_litecached_using_subcommand import" -s h -l help -d 'Print help'
complete -c litecached -n "__fish_litecached_using_subcommand import" -s V -l version -d 'Print version'
complete -c litecached -n "__fish_litecached_using_subcommand export" -l to -d 'Format: jsonl, csv, lines, memcached, redis' -r -f -a "jsonl\t''
csv\t''
lines\t''
memcached\t''
redis\t''"
complete -c litecached -n "__fish_litecached_using_subcommand export" -s e -l db -d 'The database file [default: litecached.db, as for serve]' -r -F
complete -c litecached -n "__fish_litecached_using_subcommand export" -l on-conflict -d 'Where the server has such an item: skip, replace' -r -f -a "skip\t''
replace\t''"
complete -c litecached -n "__fish_litecached_using_subcommand export" -l prefix -d 'Keys that begin with this' -r
complete -c litecached -n "__fish_litecached_using_subcommand export" -l glob -d 'Keys that match: * ? [a-z] [!a-z] {this,that}, \\ before any of these' -r
complete -c litecached -n "__fish_litecached_using_subcommand export" -l timeout -d 'How long to wait for a server, e.g. 5s, 2m' -r
complete -c litecached -n "__fish_litecached_using_subcommand export" -l user -d 'Log in as this user where a server asks for it' -r
complete -c litecached -n "__fish_litecached_using_subcommand export" -l password-file -d 'His password is there [env: LITECACHED_PASSWORD] [default: asked for]' -r -F
complete -c litecached -n "__fish_litecached_using_subcommand export" -l tls-ca -d 'Whose word on the server is taken, PEM [default: the system\'s]' -r -F
complete -c litecached -n "__fish_litecached_using_subcommand export" -l tls-cert -d 'Certificate to show to the server, PEM' -r -F
complete -c litecached -n "__fish_litecached_using_subcommand export" -l tls-key -d 'Its key, PEM [default: in the same file]' -r -F
complete -c litecached -n "__fish_litecached_using_subcommand export" -l time-budget -d 'Give up when it takes longer: 90s, 15m' -r
complete -c litecached -n "__fish_litecached_using_subcommand export" -l wal-budget -d 'Give up when the WAL grows more meanwhile: 64m, 1g' -r
complete -c litecached -n "__fish_litecached_using_subcommand export" -l tls -d 'Speak TLS with the server'
complete -c litecached -n "__fish_litecached_using_subcommand export" -l json -d 'Report as JSON'
complete -c litecached -n "__fish_litecached_using_subcommand export" -s h -l help -d 'Print help'
complete -c litecached -n "__fish_litecached_using_subcommand export" -s V -l version -d 'Print version'
complete -c litecached -n "__fish_litecached_using_subcommand backup" -s e -l db -d 'Database file [default: litecached.db, in $STATE_DIRECTORY if set]' -r -F
complete -c litecached -n "__fish_litecached_using_subcommand backup" -l rate -d 'Copy so many bytes a second at most [default: half of the time rests]' -r
complete -c litecached -n "__fish_litecached_using_subcommand backup" -l time-budget -d 'Give up when it takes longer: 90s, 15m' -r
complete -c litecached -n "__fish_litecached_using_subcommand backup" -l wal-budget -d 'Give up when the WAL grows more meanwhile: 64m, 1g' -r
complete -c litecached -n "__fish_litecached_using_subcommand backup" -l force -d 'Replace the file that is there'
complete -c litecached -n "__fish_litecached_using_subcommand backup" -l json -d 'Answer in JSON'
complete -c litecached -n "__fish_litecached_using_subcommand backup" -s h -l help -d 'Print help'
complete -c litecached -n "__fish_litecached_using_subcommand backup" -s V -l version -d 'Print version'
complete -c litecached -n "__fish_litecached_using_subcommand restore" -s e -l db -d 'Database file [default: litecached.db, in $STATE_DIRECTORY if set]' -r -F
complete -c litecached -n "__fish_litecached_using_subcommand restore" -l time-budget -d 'Give up when it takes longer: 90s, 15m' -r
complete -c litecached -n "__fish_litecached_using_subcommand restore" -l wal-budget -d 'Give up when the WAL grows more meanwhile: 64m, 1g' -r
complete -c litecached -n "__fish_litecached_using_subcommand restore" -l force -d 'Do it although there is a database; it is kept aside as FILE-replaced-N'
complete -c litecached -n "__fish_litecached_using_subcommand restore" -l json -d 'Answer in JSON'
complete -c litecached -n "__fish_litecached_using_subcommand restore" -s h -l help -d 'Print help'
complete -c litecached -n "__fish_litecached_using_subcommand restore" -s V -l version -d 'Print version'
complete -c litecached -n "__fish_litecached_using_subcommand migrate; and not __fish_seen_subcommand_from status up" -s h -l help -d 'Print help'
complete -c litecached -n "__fish_litecached_using_subcommand migrate; and not __fish_seen_subcommand_from status up" -s V -l version -d 'Print version'
complete -c litecached -n "__fish_litecached_using_subcommand migrate; and not __fish_seen_subcommand_from status up" -f -a "status" -d 'Show the version of a file, and what it lacks'
complete -c litecached -n "__fish_litecached_using_subcommand migrate; and not __fish_seen_subcommand_from status up" -f -a "up" -d 'Bring a file that nobody serves up to date'
complete -c litecached -n "__fish_litecached_using_subcommand migrate; and __fish_seen_subcommand_from status" -s e -l db -d 'Database file [default: litecached.db, in $STATE_DIRECTORY if set]' -r -F
complete -c litecached -n "__fish_litecached_using_subcommand migrate; and __fish_seen_subcommand_from status" -l json -d 'Answer in JSON'
complete -c litecached -n "__fish_litecached_using_subcommand migrate; and __fish_seen_subcommand_from status" -s h -l help -d 'Print help'
complete -c litecached -n "__fish_litecached_using_subcommand migrate; and __fish_seen_subcommand_from status" -s V -l version -d 'Print version'
complete -c litecached -n "__fish_litecached_using_subcommand migrate; and __fish_seen_subcommand_from up" -s e -l db -d 'Database file [default: litecached.db, in $STATE_DIRECTORY if set]' -r -F
complete -c litecached -n "__fish_litecached_using_subcommand migrate; and __fish_seen_subcommand_from up" -l dry-run -d 'Say what would be done, and do nothing'
complete -c litecached -n "__fish_litecached_using_subcommand migrate; and __fish_seen_subcommand_from up" -l json -d 'Answer in JSON'
complete -c litecached -n "__fish_litecached_using_subcommand migrate; and __fish_seen_subcommand_from up" -s h -l help -d 'Print help'
complete -c litecached -n "__fish_litecached_using_subcommand migrate; and __fish_seen_subcommand_from up" -s V -l version -d 'Print version'
complete -c litecached -n "__fish_litecached_using_subcommand service; and not __fish_seen_subcommand_from install uninstall status" -s h -l help -d 'Print help'
complete -c litecached -n "__fish_litecached_using_subcommand service; and not __fish_seen_subcommand_from install uninstall status" -s V -l version -d 'Print version'
complete -c litecached -n "__fish_litecached_using_subcommand service; and not __fish_seen_subcommand_from install uninstall status" -f -a "install" -d 'Install, enable and start the service'
complete -c litecached -n "__fish_litecached_using_subcommand service; and not __fish_seen_subcommand_from install uninstall status" -f -a "uninstall" -d 'Stop and remove the service; configuration and database stay'
complete -c litecached -n "__fish_litecached_using_subcommand service; and not __fish_seen_subcommand_from install uninstall status" -f -a "status" -d 'Show the service'
complete -c litecached -n "__fish_litecached_using_subcommand service; and __fish_seen_subcommand_from install" -l socket -d 'Let systemd hold the sockets: a restart refuses no connection'
complete -c litecached -n "__fish_litecached_using_subcommand service; and __fish_seen_subcommand_from install" -l dry-run -d 'Say what would be done, and do nothing'
complete -c litecached -n "__fish_litecached_using_subcommand service; and __fish_seen_subcommand_from install" -s h -l help -d 'Print help'
complete -c litecached -n "__fish_litecached_using_subcommand service; and __fish_seen_subcommand_from install" -s V -l version -d 'Print version'
complete -c litecached -n "__fish_litecached_using_subcommand service; and __fish_seen_subcommand_from uninstall" -l purge -d 'Delete the configuration and the database too'
complete -c litecached -n "__fish_litecached_using_subcommand service; and __fish_seen_subcommand_from uninstall" -l dry-run -d 'Say what would be done, and do nothing'
complete -c litecached -n "__fish_litecached_using_subcommand service; and __fish_seen_subcommand_from uninstall" -s h -l help -d 'Print help'
complete -c litecached -n "__fish_litecached_using_subcommand service; and __fish_seen_subcommand_from uninstall" -s V -l version -d 'Print version'
complete -c litecached -n "__fish_litecached_using_subcommand service; and __fish_seen_subcommand_from status" -l json -d 'Answer in JSON'
complete -c litecached -n "__fish_litecached_using_subcommand service; and __fish_seen_subcommand_from status" -s h -l help -d 'Print help'
complete -c litecached -n "__fish_litecached_using_subcommand service; and __fish_seen_subcommand_from status" -s V -l version -d 'Print version'
