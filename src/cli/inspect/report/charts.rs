//! The report's other pictures: columns of a distribution, and lines of growth. Small, so that their text
//! can be read on a telephone, and beside each other where there is room.

use std::fmt::Write;

use crate::cli::inspect::show;
use crate::cli::markup::{escaped, put};
use crate::store::inspect::{Bar, Group};

const WIDTH: f64 = 460.0;
const HEIGHT: f64 = 196.0;
/// Below the columns: two lines of text.
const FOOT: f64 = 36.0;
const HEAD: f64 = 18.0;
/// Of a column that stands for something, however little.
const COLUMN_LEAST: f64 = 2.0;

/// A share of items and one of bytes for each bar.
pub(super) fn columns(id: &str, title: &str, bars: &[Bar], whole: Group) -> String {
    let mut svg = begin(id, title, &told(bars, whole));
    let bottom = HEIGHT - FOOT;
    let most = bars
        .iter()
        .map(|bar| part(bar.of.items, whole.items).max(part(bar.of.bytes, whole.bytes)))
        .fold(0.0, f64::max);
    put!(svg, "<path class=\"axis\" d=\"M0 {bottom}H{WIDTH}\"/>");
    #[allow(clippy::cast_precision_loss, reason = "a few bars")]
    let step = WIDTH / bars.len().max(1) as f64;
    let width = (step - 8.0) / 2.0;
    let mut x = 4.0;
    for bar in bars {
        let pointed_at = format!(
            "{}: {} ({}), {} ({})",
            bar.label,
            show::items(bar.of.items),
            show::percent(bar.of.items, whole.items),
            show::size(bar.of.bytes),
            show::percent(bar.of.bytes, whole.bytes)
        );
        put!(svg, "<g><title>{}</title>", escaped(&pointed_at));
        // So that it can be pointed at where there is little to see.
        put!(
            svg,
            "<rect class=\"none\" x=\"{x:.1}\" y=\"0\" width=\"{step:.1}\" height=\"{HEIGHT}\"/>"
        );
        for (class, share, x) in [
            ("items", part(bar.of.items, whole.items), x),
            ("bytes", part(bar.of.bytes, whole.bytes), x + width),
        ] {
            if share <= 0.0 {
                continue;
            }
            let height = (share / most * (bottom - HEAD)).max(COLUMN_LEAST);
            put!(
                svg,
                "<rect class=\"{class}\" x=\"{x:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{height:.1}\"/>",
                bottom - height,
                width - 1.0
            );
            put!(
                svg,
                "<text class=\"value\" x=\"{:.1}\" y=\"{:.1}\">{}</text>",
                x + width / 2.0,
                bottom - height - 4.0,
                brief(share)
            );
        }
        let lines = lines(bar.label).into_iter().enumerate();
        for (line, text) in lines.filter(|(_, text)| !text.is_empty()) {
            let y = if line == 0 { bottom + 15.0 } else { bottom + 29.0 };
            put!(
                svg,
                "<text class=\"label\" x=\"{:.1}\" y=\"{y}\">{}</text>",
                x + width,
                escaped(&text)
            );
        }
        put!(svg, "</g>");
        x += step;
    }
    svg.push_str("</svg>\n");
    svg
}

/// What a picture shows, in a sentence.
fn told(bars: &[Bar], whole: Group) -> String {
    let parts = bars.iter().filter(|bar| bar.of.items > 0).map(|bar| {
        let (items, bytes) =
            (show::percent(bar.of.items, whole.items), show::percent(bar.of.bytes, whole.bytes));
        format!("{}: {items} of items, {bytes} of bytes", bar.label)
    });
    let parts: Vec<String> = parts.collect();
    if parts.is_empty() { "no items".into() } else { parts.join("; ") }
}

fn begin(id: &str, title: &str, described: &str) -> String {
    format!(
        "<svg id=\"{id}\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" \
         aria-labelledby=\"{id}-title {id}-desc\">\n<title id=\"{id}-title\">{}</title>\n\
         <desc id=\"{id}-desc\">{}</desc>\n",
        escaped(title),
        escaped(described)
    )
}

#[allow(clippy::cast_precision_loss, reason = "a place in a picture")]
fn part(part: u64, whole: u64) -> f64 {
    part as f64 / whole.max(1) as f64
}

/// Percent in three letters.
fn brief(share: f64) -> String {
    match share * 100.0 {
        percent if percent < 1.0 => "&lt;1".into(),
        percent => format!("{percent:.0}"),
    }
}

/// A bar's label in two short lines.
fn lines(label: &str) -> [String; 2] {
    let (sign, rest) = if let Some(rest) = label.strip_prefix("up to ") {
        ("≤ ", rest)
    } else if let Some(rest) = label.strip_prefix("under ") {
        ("< ", rest)
    } else if let Some(rest) = label.strip_prefix("above ") {
        ("> ", rest)
    } else if let Some(rest) = label.strip_suffix(" or more") {
        ("≥ ", rest)
    } else {
        ("", label)
    };
    match rest.split_once(' ') {
        Some((first, second)) if first != "not" => [format!("{sign}{first}"), second.to_owned()],
        Some(_) => ["not".into(), "written".into()],
        None => [rest.to_owned(), String::new()],
    }
}

/// One line of a picture of growth.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) name: &'static str,
    /// Its colour.
    pub(super) class: &'static str,
    /// Unix seconds and a figure, the earliest first.
    pub(super) points: Vec<(i64, u64)>,
}

const LEFT: f64 = 78.0;
const RIGHT: f64 = 10.0;

/// Figures over time, from nought.
pub(super) fn growth(id: &str, title: &str, lines: &[Line], write: fn(u64) -> String) -> String {
    let ends = lines.iter().filter_map(|line| {
        let ((from, first), (to, last)) = (line.points.first()?, line.points.last()?);
        let (from, to) = (show::time(*from), show::time(*to));
        Some(format!("{}: {} on {from}, {} on {to}", line.name, write(*first), write(*last)))
    });
    let mut svg = begin(id, title, &ends.collect::<Vec<_>>().join("; "));
    let points = || lines.iter().flat_map(|line| &line.points);
    let (from, to) =
        points().fold((i64::MAX, i64::MIN), |(from, to), &(at, _)| (from.min(at), to.max(at)));
    let most = points().map(|&(_, value)| value).max().unwrap_or(0).max(1);
    let (bottom, right) = (HEIGHT - 22.0, WIDTH - RIGHT);
    let y_of = |value: u64| bottom - part(value, most) * (bottom - HEAD);
    let x_of = |at: i64| {
        let share = part(from.abs_diff(at), from.abs_diff(to));
        LEFT + share * (right - LEFT)
    };
    for quarter in 0..=4 {
        // The greatest is written as it is, and so are its quarters.
        let value = most / 4 * quarter + most % 4 * quarter / 4;
        let y = y_of(value);
        put!(svg, "<path class=\"grid\" d=\"M{LEFT} {y:.1}H{right}\"/>");
        if quarter % 2 == 0 {
            put!(
                svg,
                "<text class=\"tick\" x=\"{}\" y=\"{:.1}\">{}</text>",
                LEFT - 6.0,
                y + 4.0,
                write(value)
            );
        }
    }
    for line in lines {
        let places: Vec<String> = line
            .points
            .iter()
            .map(|&(at, value)| format!("{:.1},{:.1}", x_of(at), y_of(value)))
            .collect();
        put!(svg, "<polyline class=\"line {}\" points=\"{}\"/>", line.class, places.join(" "));
        for &(at, value) in &line.points {
            put!(
                svg,
                "<circle class=\"dot {}\" cx=\"{:.1}\" cy=\"{:.1}\" r=\"2.5\"><title>{}: {} on {}</title></circle>",
                line.class,
                x_of(at),
                y_of(value),
                line.name,
                write(value),
                show::time(at)
            );
        }
    }
    if from <= to {
        for (x, anchor, at) in [(LEFT, "first", from), (right, "last", to)] {
            let y = HEIGHT - 6.0;
            put!(svg, "<text class=\"{anchor}\" x=\"{x}\" y=\"{y}\">{}</text>", show::time(at));
        }
    }
    svg.push_str("</svg>\n");
    svg
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_fit_below_their_columns() {
        for (label, expected) in [
            ("up to 64 B", ["≤ 64", "B"]),
            ("under 10 m", ["< 10", "m"]),
            ("30 d or more", ["≥ 30", "d"]),
            ("above 1 MiB", ["> 1", "MiB"]),
            ("never", ["never", ""]),
            ("not written down", ["not", "written"]),
        ] {
            assert_eq!(lines(label), expected);
        }
    }

    /// The numbers of these attributes.
    fn numbers(svg: &str, names: &[&str]) -> Vec<f64> {
        let of = |name: &&str| {
            let name = format!(" {name}=\"");
            let values = svg.match_indices(&name).map(|(at, _)| &svg[at + name.len()..]);
            let values = values.filter_map(|rest| rest.split_once('"'));
            values.map(|(value, _)| value.to_owned()).collect::<Vec<_>>()
        };
        let values = names.iter().flat_map(of);
        values.map(|value| value.parse().unwrap_or_else(|_| panic!("{value}: {svg}"))).collect()
    }

    #[test]
    fn nothing_stands_outside() {
        let bar =
            |items, bytes| Bar { label: "up to 64 B", up_to: None, of: Group { items, bytes } };
        for bars in [vec![], vec![bar(0, 0)], vec![bar(1, u64::MAX / 2), bar(u64::MAX / 2, 1)]] {
            let whole = Group {
                items: bars.iter().map(|bar| bar.of.items).sum(),
                bytes: bars.iter().map(|bar| bar.of.bytes).sum(),
            };
            let svg = columns("x", "sizes", &bars, whole);
            assert!(numbers(&svg, &["x", "width"]).iter().all(|x| (0.0..=WIDTH).contains(x)));
            assert!(numbers(&svg, &["y", "height"]).iter().all(|y| (0.0..=HEIGHT).contains(y)));
        }
        for points in [vec![], vec![(5, 7)], vec![(5, 0), (5, 0)], vec![(0, 1), (90, u64::MAX)]] {
            let svg =
                growth("x", "items", &[Line { name: "items", class: "items", points }], show::size);
            assert!(!svg.contains("NaN"), "{svg}");
            assert!(numbers(&svg, &["x", "cx"]).iter().all(|x| (0.0..=WIDTH).contains(x)));
            assert!(numbers(&svg, &["y", "cy"]).iter().all(|y| (0.0..=HEIGHT).contains(y)));
        }
    }
}
