//! `inspect check`: is the file sound, and what to do where it is not.

use std::ops::ControlFlow;

use clap::{Arg, ArgAction, ArgMatches, Command};
use serde_json::{Value, json};

use crate::cli::inspect::show::Out;
use crate::cli::{Exit, Failure};
use crate::store::inspect::Finding;

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
    let findings = inspection.check(flags.get_flag("quick"))?;
    let mut out = Out::stdout();
    // A break is an error that `end` tells.
    let _broken = if flags.get_flag("json") {
        out.json(&as_object(&findings))
    } else {
        as_text(&mut out, &findings)
    };
    out.end()?;
    match findings.len() {
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

fn as_object(findings: &[Finding]) -> Value {
    let list = findings.iter().map(|finding| {
        json!({
            "kind": finding.kind,
            "count": finding.count,
            "what": finding.what,
            "advice": finding.advice,
        })
    });
    json!({ "ok": findings.is_empty(), "findings": list.collect::<Vec<_>>() })
}

fn as_text(out: &mut Out, findings: &[Finding]) -> ControlFlow<()> {
    if findings.is_empty() {
        return out.line("ok");
    }
    for finding in findings {
        let more = match finding.count {
            0 | 1 => String::new(),
            count => format!(" ({count} in all)"),
        };
        out.line(&format!("{}: {}{more}", finding.kind, finding.what))?;
        out.line(&format!("    {}", finding.advice))?;
    }
    ControlFlow::Continue(())
}
