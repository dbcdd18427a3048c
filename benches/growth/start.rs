//! From `kill -9` in the middle of sets until the first hit.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::time::Instant;

use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};

use crate::chart::short;
use crate::daemon::{Daemon, connect};
use crate::load::{fill, measure as load};
use crate::{Wishes, folder};

/// Kills of each kind.
const ROUNDS: usize = 5;

pub(crate) fn measure(wishes: &Wishes) -> Result<(), String> {
    println!(
        "After kill -9 at the end of SET, 50 pipelined, until a get hits: median and longest of {ROUNDS}. Cold: \
         nothing of the files is in the page cache\n"
    );
    println!("| items | file MiB | WAL MiB | warm ms | longest | cold ms | longest |");
    println!("| --: | --: | --: | --: | --: | --: | --: |");
    let mut counts = wishes.item_counts();
    // What grows is seen from the ends.
    counts.retain(|count| *count != 100_000);
    for count in counts {
        let folder = folder()?;
        let mut daemon = wishes.daemon(folder.path(), "")?;
        let keys = format!("--keys {count}");
        fill(&daemon, &keys)?;
        let sets = format!("{keys} --mix 0:1 --pipeline 50");
        let mut millis = [Vec::new(), Vec::new()];
        let mut files = (0, 0);
        let short_run = Wishes { seconds: wishes.seconds / 3.0, ..wishes.clone() };
        for round in 0..2 * ROUNDS {
            load(&short_run, &daemon, &sets)?;
            let now = daemon.files();
            files = (files.0.max(now.0), files.1.max(now.1));
            let database = daemon.database.clone();
            let is_cold = round % 2 == 1;
            let mut began = Instant::now();
            daemon.kill()?;
            if is_cold {
                forget(&database)?;
                began = Instant::now();
            }
            daemon = wishes.daemon(folder.path(), "")?;
            hit(&daemon)?;
            millis[usize::from(is_cold)].push(began.elapsed().as_secs_f64() * 1e3);
        }
        let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        let shown = millis.map(|mut all| {
            all.sort_by(f64::total_cmp);
            format!("{:.0} | {:.0}", all[ROUNDS / 2], all[ROUNDS - 1])
        });
        println!(
            "| {} | {:.0} | {:.0} | {} |",
            short(count as f64),
            mib(files.0),
            mib(files.1),
            shown.join(" | ")
        );
    }
    Ok(())
}

/// Takes the database and its WAL, which nobody may have open, out of the page cache.
pub(crate) fn forget(database: &Path) -> Result<(), String> {
    let mut wal = database.to_owned().into_os_string();
    wal.push("-wal");
    for path in [database, Path::new(&wal)].into_iter().filter(|path| path.exists()) {
        let failed = |error: std::io::Error| format!("{}: {error}", path.display());
        let file = File::options().write(true).open(path).map_err(failed)?;
        // Only what is on the disk can be forgotten.
        file.sync_all().map_err(failed)?;
        posix_fadvise(&file, 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED)
            .map_err(|error| failed(error.into()))?;
    }
    Ok(())
}

/// A get of the first key, which has been there all the time.
fn hit(daemon: &Daemon) -> Result<(), String> {
    let mut stream = connect(daemon.address)?;
    let mut line = String::new();
    let asked = stream
        .write_all(b"get bench:0000000000\r\n")
        .and_then(|()| BufReader::new(&stream).read_line(&mut line));
    match asked {
        Ok(_) if line.starts_with("VALUE bench:0000000000 ") => Ok(()),
        Ok(_) => Err(format!("the first get was answered {line:?}")),
        Err(error) => Err(format!("the first get: {error}")),
    }
}
