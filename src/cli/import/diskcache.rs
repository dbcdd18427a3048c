//! From python-diskcache: the `cache.db` of a `Cache`, the shards of a `FanoutCache` or a `DjangoCache`, and
//! the value files beside them.
//!
//! Takes text, bytes and numbers, as Python prints these; tags have no place. A pickle is a program, and never
//! opened. What must stay true: no file outside of the cache's folder is read, whatever its rows say.
//! The schema is that of `Cache.__init__` in diskcache/core.py, the modes are `MODE_RAW` and on there.

use std::fs::{self, File};
use std::io::{ErrorKind, Read};
use std::path::{Component, Path, PathBuf};

use super::report::Report;
use super::tables::{
    Looks, Tables, Take, bytes, count, each, exptime, integer, open, parsed, walk,
};
use crate::cli::transfer::{Position, Record, Refusal, too_large};
use crate::cli::{Exit, Failure};
use crate::store::Foreign;
use crate::store::inspect::Cell;

/// What diskcache calls its file.
const DATABASE: &str = "cache.db";

/// The forms in which a value is kept.
const RAW: i64 = 1;
const BINARY: i64 = 2;
const TEXT: i64 = 3;
const PICKLE: i64 = 4;

const COUNT: &str = "SELECT count(*) FROM Cache";
const ROWS: &str = "\
    SELECT rowid, key, raw, store_time, expire_time, tag IS NOT NULL, mode, filename,
        octet_length(value), CASE WHEN octet_length(value) <= ?3 THEN value END
    FROM Cache WHERE rowid > ?1 ORDER BY rowid LIMIT ?2";

/// Keys that tell who wrote them.
const SAMPLE: &str = "SELECT key FROM Cache LIMIT 64";

/// A cache in a folder, or several that are one.
#[derive(Debug)]
pub(super) struct DiskCache {
    shards: Vec<Shard>,
    rows: u64,
    seen: u64,
    pickles: u64,
    tags: u64,
    /// Rows whose value files had been removed.
    gone: u64,
}

#[derive(Debug)]
struct Shard {
    folder: PathBuf,
    /// Its number, where there are several.
    number: Option<u16>,
}

impl DiskCache {
    /// A folder of diskcache's, or the `cache.db` in one.
    pub(super) fn open(path: &Path) -> Result<Self, Failure> {
        let shards = shards(path)?;
        let mut rows = 0;
        for shard in &shards {
            let foreign = shard.open()?;
            refuse_json(&foreign)?;
            rows += count(&foreign, COUNT)?;
        }
        Ok(Self { shards, rows, seen: 0, pickles: 0, tags: 0, gone: 0 })
    }

    /// What a row says.
    fn record(
        &mut self,
        shard: &Shard,
        cells: &[Cell<'_>],
        item_bytes_max: u64,
    ) -> Option<Result<Record, Refusal>> {
        let &[key, raw, stored, expires, has_tag, mode, file, value_bytes, value] = cells else {
            unreachable!("the columns are those that were asked for");
        };
        if integer(raw) == Some(0) {
            self.pickles += 1;
            return Some(Err(Refusal::new("its key is a Python pickle, which is never opened")));
        }
        let Some(key) = printed(key) else {
            return Some(Err(Refusal::new("it has no key")));
        };
        let long = || Some(Err(Refusal::of(&key, too_large(item_bytes_max))));
        if integer(value_bytes).and_then(|bytes| u64::try_from(bytes).ok()) > Some(item_bytes_max) {
            return long();
        }
        let value = match (integer(mode), bytes(file), printed(value)) {
            (Some(PICKLE), ..) => {
                self.pickles += 1;
                let reason = "its value is a Python pickle, which is never opened";
                return Some(Err(Refusal::of(&key, reason)));
            }
            (Some(RAW), _, Some(value)) => value,
            (Some(BINARY | TEXT), Some(name), _) => match shard.file(name, item_bytes_max) {
                Ok(Some(value)) if value.len() as u64 > item_bytes_max => return long(),
                Ok(Some(value)) => value,
                Ok(None) => {
                    self.gone += 1;
                    return None;
                }
                Err(reason) => return Some(Err(Refusal::of(&key, reason))),
            },
            _ => return Some(Err(Refusal::of(&key, "its value is of a kind that is not known"))),
        };
        self.tags += u64::from(integer(has_tag) == Some(1));
        Some(Ok(Record {
            key,
            value,
            flags: 0,
            exptime: time(expires).map_or(0, exptime),
            stored: time(stored).map(exptime),
        }))
    }
}

impl Tables for DiskCache {
    fn rows(&self) -> u64 {
        self.rows
    }

    fn read(
        &mut self,
        item_bytes_max: u64,
        looks: &Looks<'_>,
        take: &mut Take<'_>,
    ) -> Result<(), Failure> {
        for shard in std::mem::take(&mut self.shards) {
            let foreign = shard.open()?;
            walk(&foreign, ROWS, item_bytes_max, looks, |row, cells| {
                self.seen += 1;
                let position = Position::Row { shard: shard.number, row };
                match self.record(&shard, cells, item_bytes_max) {
                    Some(record) => take(parsed(position, self.seen, record)),
                    None => Ok(()),
                }
            })?;
        }
        Ok(())
    }

    fn note(&self, report: &mut Report) {
        let counts = [
            (self.pickles, "of the refused are Python pickles, which are never opened"),
            (self.gone, "items were gone when their files were looked for"),
            (self.tags, "items had tags, for which there is no place"),
        ];
        let told = counts.iter().filter(|(count, _)| *count > 0);
        report.notes.extend(told.map(|(count, what)| format!("{count} {what}")));
    }
}

impl Shard {
    fn open(&self) -> Result<Foreign, Failure> {
        let (foreign, _) = open(&self.folder.join(DATABASE), "Cache", "python-diskcache")?;
        Ok(foreign)
    }

    /// What a value's file holds, up to a byte more than may be kept; none if there is no file any more.
    fn file(&self, name: &[u8], bytes_max: u64) -> Result<Option<Vec<u8>>, String> {
        let name = std::str::from_utf8(name).map_err(|_| "its file has no name".to_owned())?;
        let cannot = |error: std::io::Error| format!("its file {name} cannot be read: {error}");
        let path = Path::new(name);
        let foreign = || Err(format!("its file {name} is none of the cache's own"));
        if !path.components().all(|part| matches!(part, Component::Normal(_))) {
            return foreign();
        }
        let place = match fs::canonicalize(self.folder.join(path)) {
            Ok(place) => place,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(cannot(error)),
        };
        // A link may lead out as well.
        let folder = fs::canonicalize(&self.folder).map_err(cannot)?;
        if !place.starts_with(folder) || !place.is_file() {
            return foreign();
        }
        let mut value = Vec::new();
        let file = match File::open(place) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(cannot(error)),
        };
        file.take(bytes_max.saturating_add(1)).read_to_end(&mut value).map_err(cannot)?;
        Ok(Some(value))
    }
}

/// The folders that have a database: this one, or those with numbers for names in it.
fn shards(path: &Path) -> Result<Vec<Shard>, Failure> {
    let cannot = |error: std::io::Error| {
        let exit = match error.kind() {
            ErrorKind::PermissionDenied => Exit::Permission,
            _ => Exit::NoInput,
        };
        Failure::new(exit, format!("cannot read {}: {error}; name the source", path.display()))
    };
    if !fs::metadata(path).map_err(cannot)?.is_dir() {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        if path.file_name().is_none_or(|name| name != DATABASE) {
            let what = format!(
                "{} is not called {DATABASE}; name that file of python-diskcache, or its folder",
                path.display()
            );
            return Err(Failure::new(Exit::Data, what));
        }
        let folder = folder.unwrap_or(Path::new(".")).to_owned();
        return Ok(vec![Shard { folder, number: None }]);
    }
    if path.join(DATABASE).is_file() {
        return Ok(vec![Shard { folder: path.to_owned(), number: None }]);
    }
    let mut shards = Vec::new();
    for entry in fs::read_dir(path).map_err(cannot)? {
        let name = entry.map_err(cannot)?.file_name();
        let name = name.to_str().filter(|name| name.len() >= 3);
        let Some(number) = name.and_then(|name| name.parse().ok()) else { continue };
        let folder = path.join(name.unwrap_or_default());
        if folder.join(DATABASE).is_file() {
            shards.push(Shard { folder, number: Some(number) });
        }
    }
    shards.sort_by_key(|shard| shard.number);
    if shards.is_empty() {
        let what = format!(
            "{} has no {DATABASE}, and no shards of a FanoutCache; name the folder of a cache",
            path.display()
        );
        return Err(Failure::new(Exit::NoInput, what));
    }
    Ok(shards)
}

/// `JSONDisk` does not say in the file that it wrote it, but all its keys are bytes of zlib's.
fn refuse_json(foreign: &Foreign) -> Result<(), Failure> {
    let (mut keys, mut packed) = (0, 0);
    each(foreign, SAMPLE, &[], |cells| {
        keys += 1;
        packed += u32::from(matches!(cells, [Cell::Blob(key)] if is_zlib(key)));
        Ok(())
    })?;
    if keys == 0 || packed < keys {
        return Ok(());
    }
    let what = format!(
        "{} was written by diskcache.JSONDisk, whose keys and values are compressed JSON, which no client \
         would ask for; copy it into a diskcache.Cache of the usual kind, and import that",
        foreign.path().display()
    );
    Err(Failure::new(Exit::Data, what))
}

/// Whether these bytes begin as RFC 1950 says.
fn is_zlib(bytes: &[u8]) -> bool {
    matches!(bytes, [0x78, second, ..] if (0x7800 + u32::from(*second)) % 31 == 0)
}

/// Seconds of Unix time.
#[allow(clippy::cast_precision_loss, reason = "what has no fraction is small")]
fn time(cell: Cell<'_>) -> Option<f64> {
    match cell {
        Cell::Real(seconds) => Some(seconds),
        Cell::Integer(seconds) => Some(seconds as f64),
        _ => None,
    }
}

/// Bytes as they are, numbers as Python prints them.
fn printed(cell: Cell<'_>) -> Option<Vec<u8>> {
    match cell {
        Cell::Null => None,
        Cell::Integer(number) => Some(number.to_string().into_bytes()),
        Cell::Real(number) => Some(python(number).into_bytes()),
        Cell::Text(bytes) | Cell::Blob(bytes) => Some(bytes.to_vec()),
    }
}

/// `repr` of a float: the fewest digits that mean it, with an exponent below 1e-4 and from 1e16 on.
fn python(number: f64) -> String {
    if !number.is_finite() {
        return match number {
            number if number.is_nan() => "nan",
            number if number > 0.0 => "inf",
            _ => "-inf",
        }
        .into();
    }
    let scientific = format!("{number:e}");
    let (digits, exponent) = scientific.split_once('e').expect("the format has an exponent");
    let exponent: i32 = exponent.parse().expect("it is a number");
    if (-4..16).contains(&exponent) {
        let plain = format!("{number}");
        return if plain.contains('.') { plain } else { plain + ".0" };
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{digits}e{sign}{:02}", exponent.abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_printed_as_python_prints_them() {
        for (number, text) in [
            (0.0, "0.0"),
            (-0.0, "-0.0"),
            (1.5, "1.5"),
            (100.0, "100.0"),
            (0.1 + 0.2, "0.30000000000000004"),
            (0.0001, "0.0001"),
            (0.000_012, "1.2e-05"),
            (1e15, "1000000000000000.0"),
            (9_007_199_254_740_993.0, "9007199254740992.0"),
            (1e16, "1e+16"),
            (-2.5e300, "-2.5e+300"),
            (5e-324, "5e-324"),
            (f64::INFINITY, "inf"),
        ] {
            assert_eq!(python(number), text);
        }
    }

    #[test]
    fn files_outside_are_not_read() {
        let folder = tempfile::tempdir().unwrap();
        let cache = folder.path().join("cache");
        fs::create_dir_all(cache.join("ab")).unwrap();
        fs::write(folder.path().join("secret"), "s").unwrap();
        fs::write(cache.join("ab/1.val"), "value").unwrap();
        std::os::unix::fs::symlink("../../secret", cache.join("ab/link")).unwrap();
        let shard = Shard { folder: cache.clone(), number: None };
        let absolute = folder.path().join("secret").into_os_string().into_encoded_bytes();
        assert_eq!(shard.file(b"ab/1.val", 9), Ok(Some(b"value".to_vec())));
        assert_eq!(shard.file(b"ab/1.val", 3), Ok(Some(b"valu".to_vec())));
        assert_eq!(shard.file(b"ab/2.val", 9), Ok(None));
        for name in [
            &b"../secret"[..],
            b"../none",
            b"/none",
            b"ab/link",
            b"ab",
            b"ab/../../secret",
            &absolute,
        ] {
            assert!(shard.file(name, 9).is_err(), "{}", name.escape_ascii());
        }
    }
}
