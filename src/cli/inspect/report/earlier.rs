//! An earlier report, and what grew since: read from the JSON in its page.
//!
//! The page may be anybody's file: no more of it is read than a report can have, and what is not as a
//! report of ours has it is an error that says so.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::Read;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::data::{BEGIN, END, FORM, Found, KIND, Point};
use crate::cli::{Exit, Failure};
use crate::limits::{REPORT_BYTES_MAX, REPORT_POINTS_MAX};
use crate::store::inspect::Group;

/// Prefixes whose growth is shown.
const CHANGES_MAX: usize = 15;

/// What is known of an earlier state.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Earlier {
    database: String,
    are_keys_hidden: bool,
    /// Its own one last.
    points: Vec<Point>,
    prefixes: HashMap<Vec<u8>, Group>,
    /// Whether there were no others.
    has_all_prefixes: bool,
}

/// From then to now.
#[derive(Debug)]
pub(super) struct Growth {
    /// The name of the earlier file, where that was another one.
    pub(super) other_database: Option<String>,
    pub(super) before: Point,
    /// All that is known, the last two of which are the earlier report and this one.
    pub(super) points: Vec<Point>,
    /// What changed most, before and now; none where names are hidden.
    pub(super) changes: Option<Vec<(Vec<u8>, Group, Group)>>,
}

impl Earlier {
    /// Reads a page that `inspect report` made.
    pub(super) fn read(path: &Path) -> Result<Self, Failure> {
        let name = path.display();
        let failed = |error: std::io::Error| {
            let exit = match error.kind() {
                std::io::ErrorKind::NotFound => Exit::NoInput,
                std::io::ErrorKind::PermissionDenied => Exit::Permission,
                _ => Exit::Io,
            };
            Failure::new(exit, format!("cannot read {name}: {error}; see --since"))
        };
        let mut bytes = Vec::new();
        let mut file = File::open(path).map_err(failed)?.take(REPORT_BYTES_MAX + 1);
        file.read_to_end(&mut bytes).map_err(failed)?;
        let text = str::from_utf8(&bytes).ok().filter(|_| bytes.len() as u64 <= REPORT_BYTES_MAX);
        let judged = text.ok_or(Foreign::Other).and_then(Self::of_page);
        judged.map_err(|foreign| {
            let what = match foreign {
                Foreign::Other => format!("{name} is no report of litecached inspect"),
                Foreign::Newer => format!("{name} was made by a newer litecached"),
                Foreign::Broken => format!("{name} is a report that has been changed or cut"),
            };
            Failure::new(
                Exit::Data,
                format!("{what}; give --since a page that inspect report made"),
            )
        })
    }

    fn of_page(page: &str) -> Result<Self, Foreign> {
        let (_, data) = page.split_once(BEGIN).ok_or(Foreign::Other)?;
        let (data, _) = data.split_once(END).ok_or(Foreign::Broken)?;
        let data: Value = serde_json::from_str(data).map_err(|_| Foreign::Broken)?;
        if data["report"] != KIND {
            return Err(Foreign::Other);
        }
        match data["form"].as_u64() {
            Some(FORM) => Self::of_data(&data).ok_or(Foreign::Broken),
            Some(form) if form > FORM => Err(Foreign::Newer),
            _ => Err(Foreign::Broken),
        }
    }

    fn of_data(data: &Value) -> Option<Self> {
        let figures = &data["figures"];
        let point = |point: &Value| {
            Some(Point {
                at: point[0].as_i64()?,
                items: point[1].as_u64()?,
                bytes: point[2].as_u64()?,
                file_bytes: point[3].as_u64()?,
            })
        };
        let points: Option<Vec<Point>> = data["points"].as_array()?.iter().map(point).collect();
        let points =
            points.filter(|points| !points.is_empty() && points.is_sorted_by_key(|p| p.at))?;
        let prefix = |entry: &Value| {
            let name = match entry["prefix"].as_str() {
                Some(name) => name.as_bytes().to_vec(),
                None => STANDARD.decode(entry["prefix_base64"].as_str()?).ok()?,
            };
            let group = Group { items: entry["items"].as_u64()?, bytes: entry["bytes"].as_u64()? };
            Some((name, group))
        };
        let prefixes: Option<_> = figures["prefixes"].as_array()?.iter().map(prefix).collect();
        Some(Self {
            database: figures["database"].as_str()?.to_owned(),
            are_keys_hidden: data["keys_hidden"].as_bool()?,
            points,
            prefixes: prefixes?,
            has_all_prefixes: figures["other_prefixes"]["items"].as_u64()? == 0,
        })
    }

    /// What grew up to this one.
    pub(super) fn until(mut self, found: &Found) -> Result<Growth, Failure> {
        let before = *self.points.last().expect("a report has its own point");
        if before.at > found.at {
            let what =
                "the report given to --since is of a later time than now; is the clock right?";
            return Err(Failure::new(Exit::Usage, what));
        }
        let changes = self.changes(found);
        self.points.push(found.point());
        let over = self.points.len().saturating_sub(REPORT_POINTS_MAX);
        self.points.drain(..over);
        Ok(Growth {
            other_database: (self.database != found.database).then_some(self.database),
            before,
            points: self.points,
            changes,
        })
    }

    /// Of prefixes that are not in a list it is known that there were none only if the list has all.
    fn changes(&self, found: &Found) -> Option<Vec<(Vec<u8>, Group, Group)>> {
        if self.are_keys_hidden || found.are_keys_hidden {
            return None;
        }
        let has_all = found.summary.other_prefixes.items == 0;
        let listed: HashSet<&[u8]> =
            found.summary.prefixes.iter().map(|(prefix, _)| prefix.as_slice()).collect();
        let nothing = |is_known: bool| is_known.then(Group::default);
        let there = found.summary.prefixes.iter().filter_map(|(prefix, now)| {
            let before = self.prefixes.get(prefix).copied();
            Some((prefix.clone(), before.or(nothing(self.has_all_prefixes))?, *now))
        });
        let gone = self.prefixes.iter().filter(|(prefix, _)| !listed.contains(prefix.as_slice()));
        let gone =
            gone.filter_map(|(prefix, before)| Some((prefix.clone(), *before, nothing(has_all)?)));
        let mut changes: Vec<_> =
            there.chain(gone).filter(|(_, before, now)| before != now).collect();
        changes.sort_by(|(a, from, to), (b, from_b, to_b)| {
            let (by, by_b) = (from.bytes.abs_diff(to.bytes), from_b.bytes.abs_diff(to_b.bytes));
            by_b.cmp(&by).then_with(|| a.cmp(b))
        });
        changes.truncate(CHANGES_MAX);
        Some(changes)
    }
}

/// Why a file is no earlier report.
#[derive(Debug, PartialEq, Eq)]
enum Foreign {
    Other,
    Newer,
    Broken,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn report() -> Value {
        json!({
            "report": KIND,
            "form": FORM,
            "keys_hidden": false,
            "points": [[10, 1, 2, 3], [20, 4, 5, 6]],
            "figures": {
                "database": "cache.db",
                "prefixes": [
                    { "prefix": "a:", "items": 1, "bytes": 60 },
                    { "prefix_base64": "/zo=", "items": 2, "bytes": 70 },
                ],
                "other_prefixes": { "items": 0, "bytes": 0 },
            },
        })
    }

    #[test]
    fn a_page_is_read_and_others_are_told_apart() {
        let page = |data: &Value| format!("<!doctype html>\n{BEGIN}{data}{END}\n");
        let read = Earlier::of_page(&page(&report())).expect("it is ours");
        assert_eq!(read.points[1], Point { at: 20, items: 4, bytes: 5, file_bytes: 6 });
        assert_eq!(read.prefixes[&b"\xff:"[..]], Group { items: 2, bytes: 70 });
        assert!(read.has_all_prefixes && !read.are_keys_hidden);

        let changed = |path: &str, value: Value| {
            let mut data = report();
            *data.pointer_mut(path).expect("it is there") = value;
            page(&data)
        };
        for (page, expected) in [
            (String::new(), Foreign::Other),
            ("<!doctype html><p>somebody's</p>".into(), Foreign::Other),
            (changed("/report", "theirs".into()), Foreign::Other),
            (changed("/form", (FORM + 1).into()), Foreign::Newer),
            (changed("/form", 0.into()), Foreign::Broken),
            (changed("/points", json!([])), Foreign::Broken),
            (changed("/points", json!([[20, 1, 1, 1], [10, 1, 1, 1]])), Foreign::Broken),
            (changed("/points/0/1", (-1).into()), Foreign::Broken),
            (changed("/figures/prefixes", Value::Null), Foreign::Broken),
            (changed("/figures/prefixes/0/bytes", "x".into()), Foreign::Broken),
            (changed("/figures/database", 7.into()), Foreign::Broken),
            (format!("{BEGIN}{{\"report\":"), Foreign::Broken),
            (format!("{BEGIN}[]{END}"), Foreign::Other),
        ] {
            assert_eq!(Earlier::of_page(&page), Err(expected), "{page}");
        }
    }
}
