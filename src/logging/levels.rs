//! How much is logged: a level for everything, and others for some areas.
//!
//! Changed while the daemon runs, by a reload and by a client's `verbosity`. A line that is not wanted
//! costs a look at an atomic.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Mutex, PoisonError};

use log::{Level, LevelFilter, Metadata};

/// What can have a level of its own: a module, or `request`, the lines that report one command each.
pub(crate) const AREAS: [&str; 6] = ["cli", "config", "protocol", "request", "server", "store"];

/// The places of two of them.
const CLI: usize = 0;
const REQUEST: usize = 3;

/// What the operator asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Levels {
    /// Where nothing else is said.
    pub(crate) base: LevelFilter,
    /// By area; the last one holds.
    pub(crate) areas: Vec<(&'static str, LevelFilter)>,
}

impl Default for Levels {
    fn default() -> Self {
        Self { base: LevelFilter::Info, areas: Vec::new() }
    }
}

impl Levels {
    /// The level of an area. `-v` raises what has none of its own.
    fn of(&self, area: &str, verbosity: u8) -> LevelFilter {
        let own = self.areas.iter().rfind(|(name, _)| *name == area);
        own.map_or(self.base.max(of_verbosity(verbosity)), |(_, level)| *level)
    }
}

/// What it adds. 0: nothing. 1 (`-v`): errors of clients, too. 2 and more (`-vv`): every command.
fn of_verbosity(verbosity: u8) -> LevelFilter {
    match verbosity {
        0 => LevelFilter::Off,
        1 => LevelFilter::Debug,
        _ => LevelFilter::Trace,
    }
}

/// What was asked for last, for whoever changes a part of it.
#[derive(Debug)]
struct Asked {
    levels: Option<Levels>,
    verbosity: u8,
    /// Least level of `cli`, for as long as it tells of a change.
    least: LevelFilter,
}

static ASKED: Mutex<Asked> =
    Mutex::new(Asked { levels: None, verbosity: 0, least: LevelFilter::Off });

/// The levels in force by area, as numbers; one more for what is in none.
static IN_FORCE: [AtomicU8; AREAS.len() + 1] = [const { AtomicU8::new(0) }; AREAS.len() + 1];

/// Changes what is not `None`.
pub(super) fn set(levels: Option<Levels>, verbosity: Option<u8>) {
    change(|asked| {
        asked.levels = levels.or(asked.levels.take());
        asked.verbosity = verbosity.unwrap_or(asked.verbosity);
    });
}

fn change(how: impl FnOnce(&mut Asked)) {
    let mut asked = ASKED.lock().unwrap_or_else(PoisonError::into_inner);
    how(&mut asked);
    let levels = asked.levels.clone().unwrap_or_default();
    let mut most = LevelFilter::Off;
    for (place, level) in IN_FORCE.iter().enumerate() {
        let area = AREAS.get(place).copied().unwrap_or_default();
        let least = if place == CLI { asked.least } else { LevelFilter::Off };
        let wanted = levels.of(area, asked.verbosity).max(least);
        level.store(number(wanted), Ordering::Relaxed);
        most = most.max(wanted);
    }
    log::set_max_level(most);
}

/// Runs `tell`, which may lower the levels, and hears of it what would have been heard before.
pub(crate) fn telling(tell: impl FnOnce()) {
    change(|asked| {
        asked.least = asked.levels.clone().unwrap_or_default().of(AREAS[CLI], asked.verbosity);
    });
    tell();
    change(|asked| asked.least = LevelFilter::Off);
}

/// Whether every command is logged.
pub(crate) fn requests() -> bool {
    IN_FORCE[REQUEST].load(Ordering::Relaxed) >= number(LevelFilter::Trace)
}

/// Whether a line is wanted. Libraries may warn; what else they have to say is about themselves.
pub(super) fn wants(metadata: &Metadata<'_>) -> bool {
    match area(metadata.target()) {
        Some(area) => {
            let place = AREAS.iter().position(|name| *name == area).unwrap_or(AREAS.len());
            number(metadata.level().to_level_filter()) <= IN_FORCE[place].load(Ordering::Relaxed)
        }
        None => metadata.level() <= Level::Warn,
    }
}

/// The area of a line's target: `store` of `litecached::store::commit`. None where it is not ours.
pub(super) fn area(target: &str) -> Option<&str> {
    let rest = target.strip_prefix(env!("CARGO_PKG_NAME"))?;
    Some(rest.trim_start_matches(':').split(':').next().unwrap_or_default())
}

#[allow(clippy::cast_possible_truncation, reason = "there are six levels")]
fn number(level: LevelFilter) -> u8 {
    level as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_area_has_its_own_level_or_the_base() {
        use LevelFilter::{Debug, Error, Info, Trace, Warn};
        let levels = |base, areas: &[_]| Levels { base, areas: areas.to_vec() };
        let cases = [
            (levels(Info, &[]), 0, "store", Info),
            (levels(Info, &[]), 1, "store", Debug),
            (levels(Info, &[]), 2, "request", Trace),
            (levels(Warn, &[]), 0, "store", Warn),
            (levels(Warn, &[]), 1, "store", Debug),
            (levels(Trace, &[]), 0, "store", Trace),
            (levels(Info, &[("store", Debug)]), 0, "store", Debug),
            (levels(Info, &[("store", Debug)]), 0, "server", Info),
            (levels(Info, &[("store", Error)]), 2, "store", Error),
            (levels(Info, &[("store", Error), ("store", Trace)]), 0, "store", Trace),
        ];
        for (levels, verbosity, area, level) in cases {
            assert_eq!(levels.of(area, verbosity), level, "{levels:?} {verbosity} {area}");
        }
    }

    #[test]
    fn the_area_of_a_target() {
        let cases = [
            ("litecached::store::commit", Some("store")),
            ("litecached::request", Some("request")),
            ("litecached", Some("")),
            ("mio::poll", None),
        ];
        for (target, expected) in cases {
            assert_eq!(area(target), expected, "{target}");
        }
        assert_eq!((AREAS[CLI], AREAS[REQUEST]), ("cli", "request"));
        for area in AREAS.into_iter().filter(|area| *area != "request") {
            let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src").join(area);
            assert!(folder.is_dir(), "{area} is no module");
        }
    }
}
