//! `inspect sql`: a statement of one's own.

use std::cell::RefCell;
use std::collections::HashSet;
use std::io::{self, Read};
use std::ops::ControlFlow;
use std::time::Duration;

use clap::{Arg, ArgAction, ArgMatches, Command};
use serde_json::{Map, Value, json};

use crate::cli::inspect::show::{self, CELL_COLUMNS_MAX, Out, Table};
use crate::cli::json::{line, put};
use crate::cli::{Exit, Failure, budget, file};
use crate::clock::Clock;
use crate::store::inspect::{Cell, change};

/// SQL that is taken from stdin. SQLite itself takes no more of a statement by default.
const STATEMENT_BYTES_MAX: u64 = 1_000_000;

/// How long a change may take where nothing else is said: less than the five seconds after which the
/// daemon refuses what waits for it.
const WRITE_TIME: Duration = Duration::from_secs(3);

pub(super) fn command() -> Command {
    let flag = |name: &'static str, help: &'static str| {
        Arg::new(name).long(name).action(ArgAction::SetTrue).help(help)
    };
    Command::new("sql")
        .about("One statement that reads; with --write, a change that the daemon takes over")
        .arg(
            Arg::new("statement")
                .value_name("statement")
                .required(true)
                // A comment begins with two of them.
                .allow_hyphen_values(true)
                .help("SQL, or - to read it from stdin"),
        )
        .arg(flag("csv", "Comma-separated values, names first").conflicts_with("json"))
        .arg(flag("write", "Change items, in one transaction").conflicts_with("csv"))
        .after_help(
            "The view items is made for reading. With --write rows of item are inserted, changed or\n\
             removed: INSERT INTO item (key, value) VALUES (CAST('a' AS BLOB), CAST('1' AS BLOB)).\n\
             Each gets the id that belongs to its key, and a new cas id; what no client could use is\n\
             refused, and then nothing is changed. The daemon's writes wait meanwhile, so it takes at\n\
             most 3 seconds where no --time-budget is given.",
        )
}

pub(super) fn run(flags: &ArgMatches) -> Result<(), Failure> {
    let statement = &statement(flags)?;
    if flags.get_flag("write") {
        return write(flags, statement);
    }
    let inspection = super::open(flags)?;
    let names = RefCell::new(Vec::new());
    let mut out = Out::stdout();
    let as_json = flags.get_flag("json");
    let mut rows: Box<dyn Rows> = if as_json {
        Box::new(JsonRows { is_first: true })
    } else if flags.get_flag("csv") {
        Box::new(CsvRows { is_shown: Out::is_terminal(), ..CsvRows::default() })
    } else {
        Box::new(Table::default())
    };
    let mut is_begun = false;
    let read = inspection.query(
        statement,
        |columns| {
            *names.borrow_mut() = if as_json { told_apart(columns) } else { columns.to_vec() };
        },
        |cells| {
            if !is_begun {
                is_begun = true;
                rows.begin(&mut out, &names.borrow())?;
            }
            rows.row(&mut out, &names.borrow(), cells)
        },
    );
    // After an error the output stays unfinished: an array that is closed would look whole.
    let end = |rows: &mut dyn Rows, out: &mut Out| -> ControlFlow<()> {
        if !is_begun {
            rows.begin(out, &names.borrow())?;
        }
        rows.end(out)
    };
    if read.is_ok() {
        // A break is an error that `Out::end` tells.
        let _broken = end(rows.as_mut(), &mut out);
    }
    drop(inspection);
    out.end()?;
    Ok(read?)
}

fn statement(flags: &ArgMatches) -> Result<String, Failure> {
    match flags.get_one::<String>("statement") {
        Some(given) if given.starts_with("--") && !given.contains(char::is_whitespace) => {
            let what = format!(
                "unexpected argument '{given}' found; litecached inspect sql --help lists what there is"
            );
            Err(Failure::new(Exit::Usage, what))
        }
        Some(given) if given != "-" => Ok(given.clone()),
        _ => {
            let mut read = String::new();
            let limit = STATEMENT_BYTES_MAX + 1;
            let taken = io::stdin().lock().take(limit).read_to_string(&mut read);
            match taken {
                Ok(_) if read.len() as u64 == limit => Err(Failure::new(
                    Exit::Usage,
                    format!(
                        "more than {STATEMENT_BYTES_MAX} bytes of SQL are on stdin; give it in parts"
                    ),
                )),
                Ok(_) => Ok(read),
                Err(error) => Err(Failure::new(
                    Exit::Io,
                    format!("reading SQL from stdin failed: {error}; give it as an argument"),
                )),
            }
        }
    }
}

fn write(flags: &ArgMatches, statement: &str) -> Result<(), Failure> {
    let changed = change(
        &file::database(flags),
        statement,
        Clock::system().now(),
        budget::time_given_or(flags, WRITE_TIME),
    )?;
    let mut out = Out::stdout();
    // A break is an error that `end` tells.
    let _broken = if flags.get_flag("json") {
        out.json(&json!({ "rows": changed.rows }))
    } else {
        let noun = if changed.rows == 1 { "row" } else { "rows" };
        out.line(&format!("{} {noun} changed", changed.rows))
    };
    out.end()
}

/// An object has a name once: of columns with one name, the later ones get a number.
fn told_apart(columns: &[String]) -> Vec<String> {
    let given: HashSet<&str> = columns.iter().map(String::as_str).collect();
    let mut taken = HashSet::new();
    let apart = columns.iter().map(|name| {
        let numbered = (2..).map(|number| format!("{name}_{number}"));
        let free = std::iter::once(name.clone())
            .chain(numbered.filter(|name| !given.contains(name.as_str())))
            .find(|name| !taken.contains(name))
            .expect("numbers do not end");
        taken.insert(free.clone());
        free
    });
    apart.collect()
}

/// A form in which rows are written.
trait Rows {
    fn begin(&mut self, out: &mut Out, names: &[String]) -> ControlFlow<()>;
    fn row(&mut self, out: &mut Out, names: &[String], cells: &[Cell<'_>]) -> ControlFlow<()>;
    fn end(&mut self, out: &mut Out) -> ControlFlow<()>;
}

impl Rows for Table {
    fn begin(&mut self, out: &mut Out, names: &[String]) -> ControlFlow<()> {
        Table::row(self, out, names.iter().map(|name| show::text(name.as_bytes())).collect())
    }

    fn row(&mut self, out: &mut Out, _: &[String], cells: &[Cell<'_>]) -> ControlFlow<()> {
        let cells = cells.iter().map(|cell| match cell {
            Cell::Null => String::new(),
            Cell::Integer(number) => number.to_string(),
            Cell::Real(number) => number.to_string(),
            // Four bytes are the longest character; more than these are cut anyway.
            Cell::Text(bytes) | Cell::Blob(bytes) => {
                let begin = &bytes[..bytes.len().min(4 * (CELL_COLUMNS_MAX + 1))];
                show::short(&show::text(begin), CELL_COLUMNS_MAX)
            }
        });
        Table::row(self, out, cells.collect())
    }

    fn end(&mut self, out: &mut Out) -> ControlFlow<()> {
        Table::end(self, out)
    }
}

struct JsonRows {
    is_first: bool,
}

impl Rows for JsonRows {
    fn begin(&mut self, out: &mut Out, _: &[String]) -> ControlFlow<()> {
        out.bytes(b"[")
    }

    fn row(&mut self, out: &mut Out, names: &[String], cells: &[Cell<'_>]) -> ControlFlow<()> {
        let mut object = Map::new();
        for (name, cell) in names.iter().zip(cells) {
            let value = match cell {
                Cell::Null => Value::Null,
                Cell::Integer(number) => (*number).into(),
                Cell::Real(number) => (*number).into(),
                Cell::Text(bytes) | Cell::Blob(bytes) => {
                    put(&mut object, name, bytes);
                    continue;
                }
            };
            object.insert(name.clone(), value);
        }
        out.bytes(if self.is_first { b"\n" } else { b",\n" })?;
        self.is_first = false;
        let line = line(&Value::from(object));
        out.bytes(line.trim_end().as_bytes())
    }

    fn end(&mut self, out: &mut Out) -> ControlFlow<()> {
        out.line(if self.is_first { "]" } else { "\n]" })
    }
}

/// Bytes stand as they are, but at a terminal, which would obey some; a NULL is empty.
#[derive(Default)]
struct CsvRows {
    record: csv::ByteRecord,
    is_shown: bool,
}

impl CsvRows {
    fn push(&mut self, bytes: &[u8]) {
        if self.is_shown {
            self.record.push_field(show::text(bytes).as_bytes());
        } else {
            self.record.push_field(bytes);
        }
    }

    fn write(&self, out: &mut Out) -> ControlFlow<()> {
        let mut line = csv::Writer::from_writer(Vec::new());
        let written = line.write_byte_record(&self.record);
        match (written, line.into_inner()) {
            (Ok(()), Ok(line)) => out.bytes(&line),
            // Memory takes everything: neither can fail.
            _ => ControlFlow::Break(()),
        }
    }
}

impl Rows for CsvRows {
    fn begin(&mut self, out: &mut Out, names: &[String]) -> ControlFlow<()> {
        self.record.clear();
        names.iter().for_each(|name| self.push(name.as_bytes()));
        self.write(out)
    }

    fn row(&mut self, out: &mut Out, _: &[String], cells: &[Cell<'_>]) -> ControlFlow<()> {
        self.record.clear();
        for cell in cells {
            match cell {
                Cell::Null => self.record.push_field(b""),
                Cell::Integer(number) => self.record.push_field(number.to_string().as_bytes()),
                Cell::Real(number) => self.record.push_field(number.to_string().as_bytes()),
                Cell::Text(bytes) | Cell::Blob(bytes) => self.push(bytes),
            }
        }
        self.write(out)
    }

    fn end(&mut self, _: &mut Out) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }
}
