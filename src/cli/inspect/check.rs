//! `inspect check`: is the file sound, and what to do where it is not.

use std::ops::ControlFlow;

use clap::{Arg, ArgAction, ArgMatches, Command};
use serde_json::{Value, json};

use crate::cli::inspect::show::{self, Out};
use crate::cli::{Exit, Failure};
use crate::store::inspect::{Finding, Inspection, Report};

pub(super) fn command() -> Command {
    Command::new("check")
        .about("SQLite's integrity check, then what litecached relies on; exit code 65 on findings")
        .arg(
            Arg::new("quick")
                .long("quick")
                .action(ArgAction::SetTrue)
                .help("Leave out whether the index fits the table"),
        )
}

pub(super) fn run(flags: &ArgMatches) -> Result<(), Failure> {
    let inspection = super::open(flags)?;
    let report = inspection.check(flags.get_flag("quick"))?;
    let mut out = Out::stdout();
    // A break is an error that `end` tells.
    let _broken = if flags.get_flag("json") {
        out.json(&as_object(&inspection, &report))
    } else {
        as_text(&mut out, &report)
    };
    out.end()?;
    match report.findings.len() {
        0 => Ok(()),
        count => Err(Failure::new(
            Exit::Data,
            format!(
                "{count} findings in {}; see the advice with each",
                inspection.path().display()
            ),
        )),
    }
}

fn as_object(inspection: &Inspection, report: &Report) -> Value {
    let list = |findings: &[Finding]| -> Vec<Value> {
        let list = findings.iter().map(|finding| {
            json!({
                "kind": finding.kind,
                "count": finding.count,
                "what": finding.what,
                "advice": finding.advice,
            })
        });
        list.collect()
    };
    json!({
        "database": show::path(inspection.path()),
        "ok": report.findings.is_empty(),
        "findings": list(&report.findings),
        "notes": list(&report.notes),
    })
}

fn as_text(out: &mut Out, report: &Report) -> ControlFlow<()> {
    let mut list = |label: &str, findings: &[Finding]| {
        for finding in findings {
            let more = match finding.count {
                0 | 1 => String::new(),
                count => format!(" ({count} in all)"),
            };
            out.line(&format!("{label}{}: {}{more}", finding.kind, finding.what))?;
            out.line(&format!("    {}", finding.advice))?;
        }
        ControlFlow::Continue(())
    };
    list("", &report.findings)?;
    list("note: ", &report.notes)?;
    if report.findings.is_empty() { out.line("ok") } else { ControlFlow::Continue(()) }
}
