//! The texts of `--log-level`: `info`, `store=debug`, several of them separated by commas.

use std::str::FromStr;

use log::Level;

use crate::logging::{AREAS, Levels};

use super::options::Id;
use super::raw::{Raw, Written};
use super::values::{Error, nearest};

/// How much is to be logged, `-v` aside.
pub(super) fn levels(raw: &Raw) -> Result<Levels, Error> {
    let mut levels = Levels::default();
    for written in raw.all(Id::LogLevel) {
        for word in written.utf8()?.split(',').map(str::trim) {
            match word.split_once('=') {
                None => levels.base = level(word).ok_or_else(|| wrong(written))?.to_level_filter(),
                Some((name, text)) => {
                    let area = AREAS.into_iter().find(|area| *area == name);
                    let area = area.ok_or_else(|| unknown(written, name))?;
                    let level = level(text).ok_or_else(|| wrong(written))?;
                    levels.areas.push((area, level.to_level_filter()));
                }
            }
        }
    }
    Ok(levels)
}

fn level(text: &str) -> Option<Level> {
    Level::from_str(text).ok()
}

fn wrong(written: &Written) -> Error {
    written.wrong(
        "error, warn, info, debug or trace, or area=level, several of them separated by commas",
    )
}

fn unknown(written: &Written, name: &str) -> Error {
    let areas = AREAS.join(", ");
    match nearest(name, AREAS.into_iter()) {
        Some(area) => written.wrong(format!("an area of {areas}: did you mean {area}?")),
        None => written.wrong(format!("an area of {areas}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::settings::tests::{message, settings};
    use log::LevelFilter::{Debug, Info, Trace, Warn};

    #[test]
    fn forms() {
        let cases = [
            ("", Info, vec![]),
            ("--log-level warn", Warn, vec![]),
            ("--log-level WARN", Warn, vec![]),
            ("--log-level info,store=debug", Info, vec![("store", Debug)]),
            ("--log-level store=debug,warn", Warn, vec![("store", Debug)]),
            (
                "--log-level debug --log-level request=trace,server=warn",
                Debug,
                vec![("request", Trace), ("server", Warn)],
            ),
        ];
        for (words, base, areas) in cases {
            assert_eq!(settings(words).levels, Levels { base, areas }, "{words}");
        }
    }

    #[test]
    fn no_forms() {
        let cases = [
            ("loud", "give error, warn, info, debug or trace, or area=level"),
            ("off", "give error"),
            ("\"\"", "give error"),
            ("store=", "give error"),
            ("info,", "give error"),
            (
                "stroe=debug",
                "give an area of cli, config, protocol, request, server, store: did you mean store?",
            ),
            ("fooble=debug", "give an area of cli, "),
        ];
        for (text, advice) in cases {
            let message = message(&format!("--log-level {text}"));
            let (beginning, found) = message.split_once("; ").expect("what to do");
            assert!(beginning.starts_with("--log-level cannot be "), "{message}");
            assert!(found.starts_with(advice), "{message}");
        }
    }
}
