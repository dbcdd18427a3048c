//! What is on the screen, and what a key does to it. Does no I/O and asks nobody for the time.

use std::collections::VecDeque;
use std::time::Duration;

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use crate::clock::Stamp;

use super::sample::Sample;
use super::shown::{self, Row};
use super::trend::Trend;

/// The intervals that `+` and `-` choose from, in seconds.
const INTERVALS: [u64; 7] = [1, 2, 5, 10, 30, 60, 300];

/// Samples that are kept while nothing is to move.
const HELD_MAX: usize = 600;

/// What the body shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum View {
    Overview,
    Latency,
    Prefixes,
    All,
}

impl View {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Overview => "Overview",
            Self::Latency => "Latency",
            Self::Prefixes => "Prefixes",
            Self::All => "All",
        }
    }
}

/// What a key asks of the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asked {
    End,
    Draw,
    /// Another interval.
    Pace(Duration),
    /// Ctrl-Z.
    Suspend,
}

/// How it stands with the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Standing {
    Live,
    Paused,
    Lost(String),
}

/// See the module.
#[derive(Debug)]
pub(super) struct App {
    pub(super) address: String,
    pub(super) interval: Duration,
    pub(super) trend: Trend,
    pub(super) view: View,
    pub(super) is_help: bool,
    /// Rows that are above what a table shows.
    pub(super) scroll: usize,
    is_paused: bool,
    held: VecDeque<Sample>,
    /// When the server last answered.
    heard: Stamp,
    trouble: Option<String>,
}

impl App {
    pub(super) fn new(address: String, interval: Duration, first: Sample) -> Self {
        let heard = first.at;
        let mut trend = Trend::default();
        trend.expect(interval);
        trend.add(first);
        Self {
            address,
            interval,
            trend,
            view: View::Overview,
            is_help: false,
            scroll: 0,
            is_paused: false,
            held: VecDeque::new(),
            heard,
            trouble: None,
        }
    }

    /// The server has answered.
    pub(super) fn add(&mut self, sample: Sample) {
        self.heard = sample.at;
        self.trouble = None;
        if !self.is_paused {
            return self.trend.add(sample);
        }
        self.held.push_back(sample);
        if self.held.len() > HELD_MAX {
            self.held.pop_front();
        }
    }

    /// The server could not be asked.
    pub(super) fn lose(&mut self, why: String) {
        self.trouble = Some(why);
    }

    pub(super) fn standing(&self, now: Stamp) -> Standing {
        let silent = now.since(self.heard);
        match &self.trouble {
            Some(why) => Standing::Lost(format!("no answer for {}: {why}", shown::span(silent))),
            None if silent > self.trend.apart_max() => {
                Standing::Lost(format!("no answer for {}", shown::span(silent)))
            }
            None if self.is_paused => Standing::Paused,
            None => Standing::Live,
        }
    }

    /// Those that this server has something for.
    pub(super) fn views(&self) -> Vec<View> {
        let has_latencies =
            self.trend.last.as_ref().is_some_and(|sample| !sample.latencies.is_empty());
        [View::Overview, View::Latency, View::Prefixes, View::All]
            .into_iter()
            .filter(|&view| view != View::Latency || has_latencies)
            .collect()
    }

    /// Every figure, its value and its growth in a second.
    pub(super) fn figures(&self) -> Vec<Row> {
        let Some(sample) = &self.trend.last else { return Vec::new() };
        let row = |(name, value): (&String, &String)| {
            let growth = self.trend.growth(name).filter(|&growth| growth != 0.0);
            let growth = growth.map_or(String::new(), |growth| {
                let sign = if growth < 0.0 { "-" } else { "+" };
                format!("{sign}{}/s", shown::count(growth.abs()))
            });
            vec![name.clone(), value.clone(), growth]
        };
        sample.figures.iter().map(row).collect()
    }

    /// Rows of the table that is shown.
    fn rows(&self) -> usize {
        match self.view {
            View::Overview => 0,
            View::Latency => self.trend.last.as_ref().map_or(0, |sample| sample.latencies.len()),
            View::Prefixes => shown::prefixes(&self.trend).map_or(0, |rows| rows.len()),
            View::All => self.trend.last.as_ref().map_or(0, |sample| sample.figures.len()),
        }
    }

    /// What a key does.
    pub(super) fn key(&mut self, key: KeyEvent) -> Option<Asked> {
        if key.kind == KeyEventKind::Release {
            return None;
        }
        if key.modifiers.contains(KeyModifiers::CONTROL) {
            return match key.code {
                KeyCode::Char('c' | 'd') => Some(Asked::End),
                KeyCode::Char('z') => Some(Asked::Suspend),
                KeyCode::Char('l') => Some(Asked::Draw),
                _ => None,
            };
        }
        // Whatever else it is, it closes the help first.
        let was_help = std::mem::take(&mut self.is_help);
        match key.code {
            KeyCode::Char('q') => return Some(Asked::End),
            KeyCode::Esc if !was_help => return Some(Asked::End),
            KeyCode::Char('?' | 'h') => self.is_help = !was_help,
            KeyCode::Char('p' | ' ') => self.pause(),
            KeyCode::Char('+' | '=') => return self.pace(true),
            KeyCode::Char('-' | '_') => return self.pace(false),
            KeyCode::Tab | KeyCode::Right => self.turn(true),
            KeyCode::BackTab | KeyCode::Left => self.turn(false),
            KeyCode::Char(digit @ '1'..='4') => {
                let number = usize::from(u8::try_from(digit).unwrap_or(b'1') - b'1');
                if let Some(&view) = self.views().get(number) {
                    self.look_at(view);
                }
            }
            KeyCode::Down | KeyCode::Char('j') => self.scroll_by(1, true),
            KeyCode::Up | KeyCode::Char('k') => self.scroll_by(1, false),
            KeyCode::PageDown => self.scroll_by(10, true),
            KeyCode::PageUp => self.scroll_by(10, false),
            KeyCode::Home => self.scroll = 0,
            KeyCode::End => self.scroll_by(usize::MAX, true),
            _ => return was_help.then_some(Asked::Draw),
        }
        Some(Asked::Draw)
    }

    fn pause(&mut self) {
        self.is_paused = !self.is_paused;
        if !self.is_paused {
            std::mem::take(&mut self.held).into_iter().for_each(|sample| self.trend.add(sample));
        }
    }

    fn pace(&mut self, is_longer: bool) -> Option<Asked> {
        let now = self.interval.as_secs();
        let mut others = INTERVALS.into_iter();
        let next = if is_longer {
            others.find(|&seconds| seconds > now)
        } else {
            others.rfind(|&seconds| seconds < now)
        };
        self.interval = Duration::from_secs(next?);
        self.trend.expect(self.interval);
        Some(Asked::Pace(self.interval))
    }

    fn turn(&mut self, is_forward: bool) {
        let views = self.views();
        let at = views.iter().position(|&view| view == self.view).unwrap_or(0);
        let step = if is_forward { 1 } else { views.len() - 1 };
        self.look_at(views[(at + step) % views.len()]);
    }

    fn look_at(&mut self, view: View) {
        self.view = view;
        self.scroll = 0;
    }

    fn scroll_by(&mut self, rows: usize, is_down: bool) {
        self.scroll = if is_down {
            self.scroll.saturating_add(rows).min(self.rows().saturating_sub(1))
        } else {
            self.scroll.saturating_sub(rows)
        };
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::sample::tests::sample;
    use super::*;

    fn press(app: &mut App, code: KeyCode) -> Option<Asked> {
        app.key(KeyEvent::new(code, KeyModifiers::NONE))
    }

    fn app(start: Stamp) -> App {
        let first = sample(start, 0, &[("cmd_get", 0), ("cmd_set", 0), ("curr_items", 5)]);
        App::new("here:1".into(), Duration::from_secs(1), first)
    }

    #[test]
    fn what_is_paused_stands_still_and_catches_up() {
        let start = Stamp::now();
        let mut app = app(start);
        let later = |seconds| start.after(Duration::from_secs(seconds));
        app.add(sample(start, 1, &[("cmd_get", 10)]));
        assert_eq!(app.standing(later(1)), Standing::Live);
        assert_eq!(press(&mut app, KeyCode::Char('p')), Some(Asked::Draw));
        app.add(sample(start, 2, &[("cmd_get", 30)]));
        assert_eq!((app.trend.points.len(), app.standing(later(2))), (2, Standing::Paused));
        press(&mut app, KeyCode::Char('p'));
        assert_eq!((app.trend.points.len(), app.standing(later(2))), (3, Standing::Live));
        assert_eq!(app.trend.growth("cmd_get"), Some(20.0));

        assert_eq!(app.standing(later(9)), Standing::Lost("no answer for 7 s".into()));
        app.lose("gone".into());
        assert_eq!(app.standing(later(3)), Standing::Lost("no answer for 1 s: gone".into()));
        app.add(sample(start, 4, &[("cmd_get", 30)]));
        assert_eq!(app.standing(later(4)), Standing::Live);
    }

    #[test]
    fn keys() {
        let mut app = app(Stamp::now());
        let pace = |seconds| Some(Asked::Pace(Duration::from_secs(seconds)));
        assert_eq!(press(&mut app, KeyCode::Char('-')), None, "it is the shortest");
        assert_eq!(press(&mut app, KeyCode::Char('+')), pace(2));
        assert_eq!(press(&mut app, KeyCode::Char('=')), pace(5));
        assert_eq!(press(&mut app, KeyCode::Char('-')), pace(2));

        let names = |app: &App| app.view.name();
        press(&mut app, KeyCode::Tab);
        assert_eq!(names(&app), "Prefixes", "this server tells no latencies");
        press(&mut app, KeyCode::Tab);
        press(&mut app, KeyCode::Down);
        press(&mut app, KeyCode::End);
        assert_eq!((names(&app), app.scroll), ("All", 2));
        press(&mut app, KeyCode::Right);
        assert_eq!((names(&app), app.scroll), ("Overview", 0));
        press(&mut app, KeyCode::BackTab);
        assert_eq!(names(&app), "All");
        press(&mut app, KeyCode::Char('1'));
        assert_eq!(names(&app), "Overview");

        press(&mut app, KeyCode::Char('?'));
        assert!(app.is_help);
        assert_eq!(press(&mut app, KeyCode::Esc), Some(Asked::Draw), "closes the help");
        assert!(!app.is_help);
        assert_eq!(press(&mut app, KeyCode::Esc), Some(Asked::End));
        assert_eq!(press(&mut app, KeyCode::Char('q')), Some(Asked::End));
        assert_eq!(press(&mut app, KeyCode::Char('x')), None);
        let control = |key| KeyEvent::new(KeyCode::Char(key), KeyModifiers::CONTROL);
        assert_eq!(app.key(control('c')), Some(Asked::End));
        assert_eq!(app.key(control('z')), Some(Asked::Suspend));
    }
}
