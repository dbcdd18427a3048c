//! Whether a file is sound: SQLite's own check, then what this program relies on.
//!
//! One pass over the items. A finding of a kind is told once, with how many there are, an example and
//! what to do.

use std::ops::ControlFlow;

use rusqlite::{Connection, ErrorCode};

use crate::cache::Pieces;
use crate::limits::{ITEM_BYTES_MAX, ITEM_HEADER_BYTES, KEY_BYTES_MAX};
use crate::store::inspect::{InspectError, Inspection, Item, State, sql};
use crate::store::list;
use crate::store::packed::{self, PACKED};
use crate::store::salvage::{self, Salvage};

/// Something that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// A word for scripts.
    pub kind: &'static str,
    /// How many there are.
    pub count: u64,
    /// What, with an example.
    pub what: String,
    /// What to do.
    pub advice: &'static str,
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    pub findings: Vec<Finding>,
    /// Nothing wrong, but worth a word.
    pub notes: Vec<Finding>,
}

/// What the schema has, and the daemon or its users rely on.
const OBJECTS: [(&str, &str); 16] = [
    ("table", "item"),
    ("table", "chunk"),
    ("table", "loose"),
    ("table", "recency"),
    ("table", "replaced"),
    ("table", "state"),
    ("index", "item_exptime"),
    ("view", "items"),
    ("trigger", "item_inserted"),
    ("trigger", "item_updated"),
    ("trigger", "item_deleted"),
    ("trigger", "item_large_inserted"),
    ("trigger", "item_large_updated"),
    ("trigger", "item_replacing"),
    ("trigger", "item_replaced"),
    ("trigger", "item_moved"),
];

const RECOVER: &str = "stop the daemon and keep a copy; restore a backup, or save what can be read \
    with sqlite3's .recover; a cache may also begin with a new file";
const FIGURES: &str = "stop the daemon and set it with sqlite3 to the figure counted here; until \
    then the item budget is judged by a wrong figure";
const UNREACHABLE: &str = "no client can reach it: remove it with litecached inspect sql --write \
    'DELETE FROM item WHERE id = ...'";
const ODD: &str = "another program wrote it: store the item anew through the daemon, or delete it";

impl Inspection {
    /// Everything that is wrong with the file. `quick` leaves out whether the index fits the table.
    pub fn check(&self, quick: bool) -> Result<Report, InspectError> {
        let mut findings = self.integrity(quick)?;
        if let Err(error) = self.check_schema(&mut findings) {
            damaged(error, &mut findings)?;
        }
        let state = *self.state();
        let mut items = Items::new(state.generation(self.now()), state);
        let walked = self.each(None, |item| {
            items.look(&self.look.db, item);
            if is_wordless(item) {
                items.note(TEXT_KEY, item, || "has a key that no text command can say".into());
            }
            ControlFlow::Continue(())
        });
        if let Err(error) = walked {
            // Counts of a walk that was cut short say nothing.
            damaged(error, &mut findings)?;
        } else {
            items.compare(self, &mut findings);
            self.check_chunks(&items, &mut findings)?;
        }
        let is_damaged =
            findings.iter().any(|found| matches!(found.kind, "integrity" | "unreadable"));
        let saved = is_damaged.then(|| salvage::survey(&self.look.db)).transpose().unwrap_or_else(
            |error| {
                log::debug!("nothing can be saved: {error}");
                Some(Salvage::default())
            },
        );
        let there = items.kinds.into_iter().filter(|finding| finding.count > 0);
        let (mut notes, more) =
            there.partition::<Vec<_>, _>(|finding: &Finding| finding.kind == KINDS[TEXT_KEY].0);
        findings.extend(more);
        notes.extend(saved.map(|Salvage { kept, lost }| Finding {
            kind: "salvage",
            count: kept,
            what: format!("{kept} items can be read and verified, and {lost} are lost"),
            advice: "to go on with these, start the daemon with --on-corruption salvage",
        }));
        Ok(Report { findings, notes })
    }

    fn integrity(&self, quick: bool) -> Result<Vec<Finding>, InspectError> {
        let statement = if quick { sql::INTEGRITY_QUICK } else { sql::INTEGRITY };
        let run = || -> rusqlite::Result<Vec<String>> {
            let mut statement = self.look.db.prepare(statement)?;
            statement.query_map([], |row| row.get(0))?.collect()
        };
        let lines = match run() {
            Ok(lines) => lines,
            Err(error) if error.sqlite_error_code() == Some(ErrorCode::DatabaseCorrupt) => {
                vec![error.to_string()]
            }
            Err(error) => return Err(self.judge(&error)),
        };
        let wrong = lines.into_iter().filter(|line| line != "ok");
        Ok(wrong
            .map(|line| Finding {
                kind: "integrity",
                count: 1,
                what: format!("SQLite: {}", line.replace('\n', " ")),
                advice: RECOVER,
            })
            .collect())
    }

    fn check_schema(&self, findings: &mut Vec<Finding>) -> Result<(), InspectError> {
        let read = || -> rusqlite::Result<Vec<(String, String)>> {
            let mut statement = self.look.db.prepare(sql::SCHEMA)?;
            statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
        };
        let there = read().map_err(|error| self.judge(&error))?;
        for (kind, name) in OBJECTS {
            if !there.iter().any(|(k, n)| (k.as_str(), n.as_str()) == (kind, name)) {
                findings.push(Finding {
                    kind: "schema",
                    count: 1,
                    what: format!("the {kind} {name} is missing"),
                    advice: "make it again as the last of migrations/ that makes it has it",
                });
            }
        }
        let number = |sql: &str| self.look.db.query_row(sql, [], |row| row.get::<_, i64>(0));
        let rows = number(sql::STATE_ROWS).map_err(|error| self.judge(&error))?;
        if rows != 1 {
            findings.push(Finding {
                kind: "state",
                count: 1,
                what: format!("state has {rows} rows and should have one"),
                advice: RECOVER,
            });
        }
        let state = self.state();
        if state.swept > state.generation {
            findings.push(Finding {
                kind: "state",
                count: 1,
                what: format!(
                    "state.swept is {} and the generation only {}",
                    state.swept, state.generation
                ),
                advice: "stop the daemon and set state.swept to 0 with sqlite3: it sweeps again",
            });
        }
        Ok(())
    }

    fn check_chunks(&self, items: &Items, findings: &mut Vec<Finding>) -> Result<(), InspectError> {
        let judge = |error: rusqlite::Error| self.judge(&error);
        let db = &self.look.db;
        let mut named = items.chunks;
        let mut statement = db.prepare(sql::LOOSE).map_err(judge)?;
        let mut rows = statement.query([]).map_err(judge)?;
        while let Some(row) = rows.next().map_err(judge)? {
            let text = row.get_ref(1).and_then(|text| Ok(text.as_bytes()?)).map_err(judge)?;
            match list::read(text) {
                // Of what is just arriving, or being removed, only a part is there.
                Some(pieces) => named += look_for_pieces(db, &pieces).0,
                None => findings.push(Finding {
                    kind: "loose",
                    count: 1,
                    what: format!("loose has no list of pieces: {}", text.escape_ascii()),
                    advice: "stop the daemon and delete the row with sqlite3",
                }),
            }
        }
        let count = db.query_row(sql::CHUNKS, [], |row| row.get::<_, i64>(0)).map_err(judge)?;
        if count > named {
            findings.push(Finding {
                kind: "orphan-chunk",
                count: (count - named).unsigned_abs(),
                what: format!("{} rows of chunk belong to no item", count - named),
                advice: "they only take space: remove them with litecached inspect sql --write",
            });
        }
        if count < named {
            findings.push(Finding {
                kind: "shared-chunk",
                count: (named - count).unsigned_abs(),
                what: format!(
                    "{} rows of chunk belong to two items, or to one and to loose",
                    named - count
                ),
                advice: "one that goes takes the other's value with it: store both items anew",
            });
        }
        Ok(())
    }
}

/// How many pieces of a list are there, and whether these are all and have the bytes that it says.
fn look_for_pieces(db: &Connection, pieces: &Pieces) -> (i64, bool) {
    let (mut there, mut is_whole) = (0, true);
    for run in pieces.runs() {
        let found = db.prepare_cached(sql::RUN).and_then(|mut statement| {
            statement.query_row([run.first, run.last()], |row| {
                Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?))
            })
        });
        let (count, bytes) = found.unwrap_or((0, 0));
        there += count;
        is_whole &= count == run.count && bytes.unsigned_abs() == run.bytes;
    }
    (there, is_whole)
}

/// Whether the value in this row, which is compressed, comes out as long as it should. A row that cannot be
/// read is told of elsewhere.
fn can_be_unpacked(db: &Connection, id: i64) -> bool {
    let unpacked = db.prepare_cached(sql::VALUE).and_then(|mut statement| {
        statement.query_row([id], |row| Ok(packed::unpack(row.get_ref(0)?.as_bytes()?).is_some()))
    });
    unpacked.unwrap_or(true)
}

/// A damaged file is what was looked for; everything else ends the check.
fn damaged(error: InspectError, findings: &mut Vec<Finding>) -> Result<(), InspectError> {
    let InspectError::Damaged { why, .. } = error else {
        return Err(error);
    };
    let what = format!("reading stopped: {why}");
    findings.push(Finding { kind: "unreadable", count: 1, what, advice: RECOVER });
    Ok(())
}

/// Keys of one hash that have a place.
pub(super) const KEYS_OF_A_BUCKET: usize = 8;

/// What a pass over items saw.
pub(super) struct Items {
    state: State,
    /// The newest generation that an item may have.
    generation: i64,
    count: i64,
    bytes: i64,
    /// Pieces that lists name and that are there.
    chunks: i64,
    /// The bucket that the pass is in, and its keys: at most eight.
    bucket: i64,
    keys: Vec<Vec<u8>>,
    kinds: [Finding; KINDS.len()],
}

const MISPLACED: usize = 0;
const DUPLICATE: usize = 1;
const KEY_LENGTH: usize = 2;
const TOO_LARGE: usize = 3;
const CAS: usize = 4;
const GENERATION: usize = 5;
const NUMBER: usize = 6;
const CHUNK: usize = 7;
const PACKED_VALUE: usize = 8;
const TEXT_KEY: usize = 9;

const KINDS: [(&str, &str); 10] = [
    ("misplaced", UNREACHABLE),
    ("duplicate", UNREACHABLE),
    ("key-length", UNREACHABLE),
    ("too-large", ODD),
    ("cas", "stop the daemon and raise state.cas with sqlite3 to the greatest cas of an item"),
    ("generation", "it would outlive flush_all: store the item anew through the daemon"),
    ("number", ODD),
    ("missing-chunk", "its value is lost: delete the item through the daemon"),
    ("compressed", "its value is lost: delete the item through the daemon"),
    ("text-key", "it is for meta and binary commands; if it was written by mistake, delete it"),
];

/// Whether a space, a line end or a zero byte keeps text commands from naming it.
fn is_wordless(item: &Item<'_>) -> bool {
    item.key.iter().any(|byte| matches!(byte, b' ' | b'\r' | b'\n' | 0))
}

impl Items {
    pub(super) fn new(generation: i64, state: State) -> Self {
        Self {
            state,
            generation,
            count: 0,
            bytes: 0,
            chunks: 0,
            bucket: 0,
            keys: Vec::new(),
            kinds: KINDS.map(|(kind, advice)| Finding {
                kind,
                count: 0,
                what: String::new(),
                advice,
            }),
        }
    }

    /// Why what was seen so far cannot stay.
    pub(super) fn unsound(&self) -> ControlFlow<&Finding> {
        match self.kinds.iter().find(|finding| finding.count > 0) {
            Some(finding) => ControlFlow::Break(finding),
            None => ControlFlow::Continue(()),
        }
    }

    /// An item that a person has just made.
    pub(super) fn look_new(&mut self, item: &Item<'_>) {
        if is_wordless(item) && item.marks & 4 == 0 {
            self.note(TEXT_KEY, item, || "would have a key that no text command can say".into());
        }
    }

    pub(super) fn look(&mut self, db: &Connection, item: &Item<'_>) {
        let state = self.state;
        self.count += 1;
        let head_bytes = (item.key.len() + ITEM_HEADER_BYTES) as u64;
        let bytes = head_bytes + item.value_bytes;
        self.bytes += (head_bytes + item.stored_bytes).cast_signed();
        let (first, last) = state.bucket(item.key);
        if !(first..=last).contains(&item.id) {
            self.note(MISPLACED, item, || format!("stands outside rowids {first} to {last}"));
        }
        self.look_for_twin(first, item);
        if !(1..=KEY_BYTES_MAX).contains(&item.key.len()) {
            self.note(KEY_LENGTH, item, || format!("has a key of {} bytes", item.key.len()));
        }
        if bytes > ITEM_BYTES_MAX {
            self.note(TOO_LARGE, item, || format!("has {bytes} bytes, which no limit allows"));
        }
        if item.cas > state.cas {
            self.note(CAS, item, || format!("has cas {}, and {} is the last", item.cas, state.cas));
        }
        if item.generation > self.generation {
            let now = self.generation;
            self.note(GENERATION, item, || {
                format!("is of generation {}, and {now} is now", item.generation)
            });
        }
        let is_odd = item.exptime < 0
            || item.cas < 0
            || u32::try_from(item.flags).is_err()
            || !(0..24).contains(&item.marks);
        if is_odd {
            self.note(NUMBER, item, || {
                format!(
                    "has flags {}, exptime {}, cas {}, marks {}",
                    item.flags, item.exptime, item.cas, item.marks
                )
            });
        }
        if let Some(text) = item.pieces {
            match list::read(text) {
                None => self.note(CHUNK, item, || "has a list of pieces that is none".into()),
                Some(pieces) => {
                    let (there, is_whole) = look_for_pieces(db, &pieces);
                    self.chunks += there;
                    if !is_whole {
                        self.note(CHUNK, item, || "lacks pieces of its value".into());
                    }
                }
            }
        }
        if item.marks & i64::from(PACKED) != 0 && !can_be_unpacked(db, item.id) {
            self.note(PACKED_VALUE, item, || "has a value that cannot be unpacked".into());
        }
    }

    /// Items of a bucket stand side by side.
    fn look_for_twin(&mut self, bucket: i64, item: &Item<'_>) {
        if bucket != self.bucket {
            self.bucket = bucket;
            self.keys.clear();
        }
        if self.keys.iter().any(|key| key == item.key) {
            self.note(DUPLICATE, item, || "is there twice".into());
        } else if self.keys.len() < KEYS_OF_A_BUCKET {
            self.keys.push(item.key.to_vec());
        }
    }

    fn note(&mut self, kind: usize, item: &Item<'_>, why: impl FnOnce() -> String) {
        let finding = &mut self.kinds[kind];
        finding.count += 1;
        if finding.count == 1 {
            let key = item.key.escape_ascii();
            finding.what = format!("item {key} (id {}) {}", item.id, why());
        }
    }

    /// The figures that the daemon starts from.
    fn compare(&self, inspection: &Inspection, findings: &mut Vec<Finding>) {
        let state = inspection.state();
        for (kind, name, said, counted) in [
            ("items", "state.items", state.items, self.count),
            ("bytes", "state.bytes", state.bytes, self.bytes),
        ] {
            if said != counted {
                findings.push(Finding {
                    kind,
                    count: 1,
                    what: format!("{name} is {said}, and {counted} are there"),
                    advice: FIGURES,
                });
            }
        }
    }
}
