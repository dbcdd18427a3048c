//! Lines over the last minutes, in braille. A gap in the points is a gap in the line.

use std::time::Duration;

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::{Color, Style};
use ratatui::symbols::Marker;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Axis, Block, Chart, Dataset, GraphType};

use unicode_width::UnicodeWidthStr;

use crate::clock::Stamp;

use super::app::App;
use super::shown;
use super::trend::{Point, Rate};

/// How far back a chart may go, in intervals: the longest for which it has dots, or the first.
const WINDOWS: [f64; 6] = [60.0, 120.0, 180.0, 240.0, 300.0, 600.0];

/// What a chart shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Requests,
    Hits,
    Gone,
    Network,
    Answer,
}

/// A line: its word, its colour, and what it takes of a point.
type Series = (&'static str, Color, fn(&Point) -> Option<f64>);

impl Kind {
    /// The order in which they find room.
    pub(super) const ALL: [Self; 5] =
        [Self::Requests, Self::Hits, Self::Gone, Self::Network, Self::Answer];

    fn title(self) -> &'static str {
        match self {
            Self::Requests => "Requests/s",
            Self::Hits => "Hit ratio",
            Self::Gone => "Gone/s",
            Self::Network => "Network/s",
            Self::Answer => "Answer to stats",
        }
    }

    fn series(self) -> &'static [Series] {
        match self {
            Self::Requests => &[
                ("get", Color::Cyan, |point| point.rate(Rate::Get)),
                ("set", Color::Yellow, |point| point.rate(Rate::Set)),
                ("delete", Color::Green, |point| point.rate(Rate::Delete)),
                ("incr", Color::LightRed, |point| point.rate(Rate::Arithmetic)),
                ("touch", Color::Magenta, |point| point.rate(Rate::Touch)),
            ],
            Self::Hits => &[("of gets", Color::Green, |point| point.hits)],
            Self::Gone => &[
                ("evicted", Color::Yellow, |point| point.rate(Rate::Evicted)),
                ("expired", Color::Cyan, |point| point.rate(Rate::Expired)),
            ],
            Self::Network => &[
                ("in", Color::Green, |point| point.rate(Rate::Received)),
                ("out", Color::Cyan, |point| point.rate(Rate::Sent)),
            ],
            Self::Answer => &[("there and back", Color::Magenta, |point| Some(point.round_trip))],
        }
    }

    fn write(self, number: f64) -> String {
        match self {
            Self::Requests | Self::Gone => shown::count(number),
            Self::Hits => shown::percent(number),
            Self::Network => shown::bytes(number),
            Self::Answer => shown::seconds(number),
        }
    }

    /// As it stands at the axis, where it is round.
    fn step(self, number: f64) -> String {
        let text = self.write(number);
        let (number, unit) = text.split_once(' ').unwrap_or((&text, ""));
        let number = match number.split_once('.') {
            Some(_) => number.trim_end_matches('0').trim_end_matches('.'),
            None => number,
        };
        format!("{number} {unit}").trim_end().to_owned()
    }

    /// Where the axis ends that begins at zero: somewhere round.
    fn top(self, most: f64) -> f64 {
        match self {
            Self::Hits => 100.0,
            Self::Network => 2_f64.powf(most.max(1_024.0).log2().ceil()),
            Self::Requests | Self::Gone => round(most.max(4.0)),
            Self::Answer => round(most.max(1e-4)),
        }
    }
}

/// The next of 1, 2, 5, 10, 20, 50 and so on.
fn round(number: f64) -> f64 {
    let power = 10_f64.powf(number.log10().floor());
    let steps = [1.0, 2.0, 5.0, 10.0].map(|step| step * power);
    steps.into_iter().find(|&step| number <= step * 1.0001).unwrap_or(number)
}

/// Draws one.
pub(super) fn draw(frame: &mut Frame<'_>, area: Rect, kind: Kind, app: &App, now: Stamp) {
    // Two dots to a column; the scale at the left takes about nine.
    let dots = f64::from(area.width.saturating_sub(11)) * 2.0;
    let steps = WINDOWS.into_iter().rfind(|&window| window <= dots).unwrap_or(WINDOWS[0]);
    let window = steps * app.interval.as_secs_f64();
    let seen: Vec<&Point> = app.trend.points.iter().collect();
    let age = |point: &Point| -now.since(point.at).as_secs_f64();
    let in_view = || seen.iter().filter(|point| age(point) >= -window);

    let mut named = Vec::new();
    let mut lines: Vec<(Color, Vec<(f64, f64)>)> = Vec::new();
    let mut most = 0_f64;
    for &(word, colour, value) in kind.series() {
        if !seen.iter().any(|point| value(point).is_some()) && kind != Kind::Hits {
            continue;
        }
        let last = seen.last().and_then(|point| value(point));
        let text = last.map_or("-".to_owned(), |number| kind.write(number));
        let is_nought = !in_view().any(|point| value(point).is_some_and(|number| number > 0.0));
        named.push(Named { word, colour, text, is_nought });
        let mut line = Vec::new();
        for point in in_view() {
            match value(point) {
                Some(number) => {
                    most = most.max(number);
                    line.push((age(point), number));
                }
                None => lines.push((colour, std::mem::take(&mut line))),
            }
        }
        lines.push((colour, line));
    }
    let top = kind.top(most);
    let sets = lines.iter().filter(|(_, points)| !points.is_empty()).map(|(colour, points)| {
        // A point alone makes no line.
        let graph = if points.len() == 1 { GraphType::Scatter } else { GraphType::Line };
        Dataset::default()
            .marker(Marker::Braille)
            .graph_type(graph)
            .style(Style::new().fg(*colour))
            .data(points)
    });
    let quiet = Style::new().fg(Color::DarkGray);
    let began = format!("-{}", shown::span(Duration::from_secs_f64(window)));
    let title = Span::styled(format!(" {} ", kind.title()), Style::new().bold());
    let room = usize::from(area.width.saturating_sub(2)).saturating_sub(title.width());
    let title: Vec<Span<'_>> = std::iter::once(title).chain(legend(named, room)).collect();
    let chart = Chart::new(sets.collect())
        .block(Block::bordered().border_style(quiet).title(Line::from(title)))
        .legend_position(None)
        .x_axis(Axis::default().style(quiet).bounds([-window, 0.0]).labels([began, "now".into()]))
        .y_axis(Axis::default().style(quiet).bounds([0.0, top]).labels([
            "0".into(),
            kind.step(top / 2.0),
            kind.step(top),
        ]));
    frame.render_widget(chart, area);
}

/// What a chart's title says of a line.
struct Named {
    word: &'static str,
    colour: Color,
    /// Its last figure.
    text: String,
    /// It lies on the ground as far as it is in view.
    is_nought: bool,
}

/// Words and figures in so many columns. A figure is there whole or not at all: of one that is cut nobody
/// sees that it is. Where there is no room for all, lines that lie on the ground below others have no word.
fn legend(named: Vec<Named>, columns: usize) -> Vec<Span<'static>> {
    let whole = |line: &Named| format!("{} {} ", line.word, line.text);
    let fits = named.iter().map(|line| whole(line).width()).sum::<usize>() <= columns;
    let has_all = fits || named.iter().all(|line| line.is_nought);
    let named: Vec<Named> = named.into_iter().filter(|line| has_all || !line.is_nought).collect();
    let mut words: usize = named.iter().map(|line| line.word.len() + 1).sum();
    let mut left = columns;
    let span = |line: &Named| {
        words -= line.word.len() + 1;
        let whole = whole(line);
        let text = if whole.width() + words <= left { whole } else { format!("{} ", line.word) };
        left = left.saturating_sub(text.width());
        Span::styled(text, Style::new().fg(line.colour))
    };
    named.iter().map(span).collect()
}

/// Whether the server tells anything of it.
pub(super) fn is_told(kind: Kind, app: &App) -> bool {
    let mut points = app.trend.points.iter();
    kind == Kind::Hits
        || kind == Kind::Requests
        || points.any(|point| kind.series().iter().any(|(_, _, value)| value(point).is_some()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_figure_is_cut() {
        let named = |busy: [bool; 4]| {
            let lines = ["get", "set", "delete", "incr"].into_iter().zip(busy);
            let line = |(word, is_busy)| Named {
                word,
                colour: Color::Reset,
                text: if is_busy { "1.50 k" } else { "0" }.into(),
                is_nought: !is_busy,
            };
            lines.map(line).collect::<Vec<_>>()
        };
        let text = |busy, columns| {
            let spans = legend(named(busy), columns);
            spans.iter().map(|span| span.content.as_ref()).collect::<String>()
        };
        let all = "get 1.50 k set 1.50 k delete 1.50 k incr 1.50 k ";
        assert_eq!(text([true; 4], 48), all);
        assert_eq!(text([true; 4], 47), "get 1.50 k set 1.50 k delete 1.50 k incr ");
        assert_eq!(text([true; 4], 27), "get 1.50 k set delete incr ");
        assert_eq!(text([true; 4], 5), "get set delete incr ");
        assert_eq!(text([true, true, false, false], 38), "get 1.50 k set 1.50 k delete 0 incr 0 ");
        assert_eq!(text([true, true, false, false], 37), "get 1.50 k set 1.50 k ");
        assert_eq!(text([false; 4], 20), "get set delete incr ");
    }

    #[test]
    fn axes_end_somewhere_round() {
        let tops = [4.0, 11.0, 20.0, 21.0, 999.0].map(|most| round(most).to_string());
        assert_eq!(tops, ["5", "20", "20", "50", "1000"]);
        assert_eq!(Kind::Network.top(3_000.0).to_string(), "4096");
        assert_eq!(Kind::Requests.top(0.0).to_string(), "5");
        assert_eq!(
            [5.0, 2.5, 250.0, 10_000.0].map(|x| Kind::Requests.step(x)),
            ["5", "2.5", "250", "10 k"]
        );
        assert_eq!(Kind::Hits.step(100.0), "100 %");
    }
}
