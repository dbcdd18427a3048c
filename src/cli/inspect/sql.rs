//! `inspect sql`: a statement of one's own.

use std::cell::RefCell;
use std::ops::ControlFlow;

use clap::{Arg, ArgAction, ArgMatches, Command};
use serde_json::{Map, Value, json};

use crate::cli::inspect::show::{self, CELL_CHARS_MAX, Out, Table};
use crate::cli::json::put;
use crate::cli::{Exit, Failure};
use crate::store::inspect::{Cell, change};

pub(super) fn command() -> Command {
    let flag = |name: &'static str, help: &'static str| {
        Arg::new(name).long(name).action(ArgAction::SetTrue).help(help)
    };
    Command::new("sql")
        .about("One statement that reads; with --write, a change that the daemon takes over")
        .arg(Arg::new("statement").value_name("statement").required(true))
        .arg(flag("csv", "Comma-separated values, names first").conflicts_with("json"))
        .arg(flag("write", "Change items, in one transaction").conflicts_with("csv"))
        .after_help(
            "The view items is made for reading. With --write there is item_id(key), the id that a\n\
             new row of item needs; changed items get new cas ids.",
        )
}

pub(super) fn run(flags: &ArgMatches) -> Result<(), Failure> {
    let Some(statement) = flags.get_one::<String>("statement") else {
        return Err(Failure::new(Exit::Usage, "a statement is needed; see inspect sql -h"));
    };
    if flags.get_flag("write") {
        return write(flags, statement);
    }
    let inspection = super::open(flags)?;
    let names = RefCell::new(Vec::new());
    let mut out = Out::stdout();
    let mut rows: Box<dyn Rows> = if flags.get_flag("json") {
        Box::new(JsonRows { is_first: true })
    } else if flags.get_flag("csv") {
        Box::new(CsvRows::default())
    } else {
        Box::new(Table::default())
    };
    let mut is_begun = false;
    let read = inspection.query(
        statement,
        |columns| names.replace(columns.to_vec()).clear(),
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

fn write(flags: &ArgMatches, statement: &str) -> Result<(), Failure> {
    let changed = change(&crate::cli::file::database(flags), statement, super::budget(flags))?;
    let mut out = Out::stdout();
    // A break is an error that `end` tells.
    let _broken = if flags.get_flag("json") {
        out.json(&json!({ "rows": changed.rows }))
    } else {
        out.line(&format!("{} rows changed", changed.rows))
    };
    out.end()
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
                let begin = &bytes[..bytes.len().min(4 * (CELL_CHARS_MAX + 1))];
                show::short(&show::text(begin), CELL_CHARS_MAX)
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
        out.bytes(Value::from(object).to_string().as_bytes())
    }

    fn end(&mut self, out: &mut Out) -> ControlFlow<()> {
        out.line(if self.is_first { "]" } else { "\n]" })
    }
}

/// Bytes stand as they are; a NULL is empty.
#[derive(Default)]
struct CsvRows {
    record: csv::ByteRecord,
}

impl CsvRows {
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
        self.record = names.iter().collect();
        self.write(out)
    }

    fn row(&mut self, out: &mut Out, _: &[String], cells: &[Cell<'_>]) -> ControlFlow<()> {
        self.record.clear();
        for cell in cells {
            match cell {
                Cell::Null => self.record.push_field(b""),
                Cell::Integer(number) => self.record.push_field(number.to_string().as_bytes()),
                Cell::Real(number) => self.record.push_field(number.to_string().as_bytes()),
                Cell::Text(bytes) | Cell::Blob(bytes) => self.record.push_field(bytes),
            }
        }
        self.write(out)
    }

    fn end(&mut self, _: &mut Out) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }
}
