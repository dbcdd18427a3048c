//! Latency by percentile, drawn as SVG: to the right each step has a tenth of the requests left, upwards
//! each step is ten times as slow. A curve that climbs late is a server that seldom stalls.

use std::fmt::Write;

use hdrhistogram::Histogram;

use super::report::micros;
use crate::cli::markup::{escaped, put};

/// One curve.
#[derive(Debug)]
pub(super) struct Curve {
    pub(super) name: String,
    pub(super) nanos: Histogram<u64>,
    /// Which server's.
    pub(super) server: usize,
    /// Drawn in dashes.
    pub(super) is_dashed: bool,
}

const WIDTH: f64 = 900.0;
const HEIGHT: f64 = 520.0;
const LEFT: f64 = 80.0;
const RIGHT: f64 = 30.0;
const TOP: f64 = 90.0;
const BOTTOM: f64 = 60.0;

/// Steps to the right at most: 99.9999 %.
const NINES_MAX: f64 = 6.0;

/// Four names stand beside each other.
const NAME_LETTERS_MAX: usize = 22;

/// What stands in a line below the title.
const SUBTITLE_LETTERS_MAX: usize = 130;

/// Points of a curve.
const POINTS: u32 = 400;

/// Told apart by people who see colours otherwise, too.
const COLOURS: [&str; 2] = ["#0b5fa5", "#c8500b"];

/// The picture, with these two lines above it.
pub(super) fn svg(title: &str, subtitle: &str, curves: &[Curve]) -> String {
    let scale = Scale::of(curves);
    let mut svg = String::new();
    put!(
        svg,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" width=\"{WIDTH}\" \
         height=\"{HEIGHT}\" font-family=\"system-ui, sans-serif\" font-size=\"13\" fill=\"#222\">"
    );
    put!(svg, "<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>");
    put!(svg, "<text x=\"{LEFT}\" y=\"26\" font-size=\"17\">{}</text>", escaped(title));
    for (line, text) in wrapped(subtitle).into_iter().enumerate() {
        let y = if line == 0 { 44 } else { 57 };
        put!(
            svg,
            "<text x=\"{LEFT}\" y=\"{y}\" font-size=\"11\" fill=\"#666\">{}</text>",
            escaped(text)
        );
    }
    axes(&scale, &mut svg);
    for curve in curves.iter().filter(|curve| !curve.nanos.is_empty()) {
        let points: Vec<String> = (0..=POINTS)
            .map(|at| f64::from(at) / f64::from(POINTS) * scale.nines.min(nines_of(&curve.nanos)))
            .map(|nines| (nines, scale.y(latency(&curve.nanos, nines))))
            .map(|(nines, y)| format!("{:.1},{y:.1}", scale.x(nines)))
            .collect();
        put!(
            svg,
            "<polyline fill=\"none\" stroke=\"{}\" stroke-width=\"2\"{} points=\"{}\"/>",
            COLOURS[curve.server % COLOURS.len()],
            dashes(curve),
            points.join(" ")
        );
    }
    legend(curves, &mut svg);
    svg.push_str("</svg>\n");
    svg
}

fn dashes(curve: &Curve) -> &'static str {
    if curve.is_dashed { " stroke-dasharray=\"7 4\"" } else { "" }
}

/// Microseconds at so many nines: 2 is 99 %.
#[allow(clippy::cast_precision_loss, reason = "a place in a picture")]
fn latency(nanos: &Histogram<u64>, nines: f64) -> f64 {
    let value = nanos.value_at_quantile(1.0 - 10_f64.powf(-nines)).min(nanos.max());
    (value as f64 / 1e3).max(0.001)
}

/// How many nines so many values can tell of.
#[allow(clippy::cast_precision_loss, reason = "a place in a picture")]
fn nines_of(nanos: &Histogram<u64>) -> f64 {
    (nanos.len().max(1) as f64).log10().clamp(1.0, NINES_MAX)
}

/// From figures to places.
struct Scale {
    nines: f64,
    /// Decades of microseconds, from and to.
    low: f64,
    high: f64,
}

impl Scale {
    fn of(curves: &[Curve]) -> Self {
        let drawn = || curves.iter().map(|curve| &curve.nanos).filter(|nanos| !nanos.is_empty());
        let nines = drawn().map(nines_of).fold(1.0, f64::max);
        let low = drawn().map(|nanos| latency(nanos, 0.0)).fold(f64::MAX, f64::min);
        let high = drawn().map(|nanos| latency(nanos, nines_of(nanos))).fold(0.0, f64::max);
        if low > high {
            return Self { nines, low: 0.0, high: 1.0 };
        }
        let (low, high) = (low.log10().floor(), high.log10().ceil());
        Self { nines, low, high: high.max(low + 1.0) }
    }

    fn x(&self, nines: f64) -> f64 {
        LEFT + nines / self.nines * (WIDTH - LEFT - RIGHT)
    }

    fn y(&self, us: f64) -> f64 {
        let part = (us.log10() - self.low) / (self.high - self.low);
        HEIGHT - BOTTOM - part * (HEIGHT - TOP - BOTTOM)
    }
}

fn axes(scale: &Scale, svg: &mut String) {
    let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
    let mut decade = scale.low;
    while decade <= scale.high {
        for step in [1.0, 2.0, 5.0] {
            let us = 10_f64.powf(decade) * step;
            if us.log10() > scale.high + 1e-9 {
                break;
            }
            let (y, colour) = (scale.y(us), if step < 2.0 { "#bbb" } else { "#e6e6e6" });
            put!(svg, "<path d=\"M{LEFT} {y:.1}H{right}\" stroke=\"{colour}\" fill=\"none\"/>");
            let label = micros(us).replace(".00", "").replace(".0", "");
            put!(
                svg,
                "<text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{label}</text>",
                LEFT - 8.0,
                y + 4.0
            );
        }
        decade += 1.0;
    }
    let ticks = [
        ("0 %", 0.0),
        ("50 %", 2_f64.log10()),
        ("90 %", 1.0),
        ("99 %", 2.0),
        ("99.9 %", 3.0),
        ("99.99 %", 4.0),
        ("99.999 %", 5.0),
        ("99.9999 %", 6.0),
    ];
    for (label, nines) in ticks.into_iter().filter(|(_, nines)| *nines <= scale.nines + 1e-9) {
        let x = scale.x(nines);
        put!(svg, "<path d=\"M{x:.1} {TOP}V{bottom}\" stroke=\"#ddd\" fill=\"none\"/>");
        put!(
            svg,
            "<text x=\"{x:.1}\" y=\"{}\" text-anchor=\"middle\">{label}</text>",
            bottom + 20.0
        );
    }
    let middle = f64::midpoint(LEFT, right);
    put!(
        svg,
        "<text x=\"{middle}\" y=\"{}\" text-anchor=\"middle\" fill=\"#666\">percentile of requests</text>",
        HEIGHT - 14.0
    );
}

fn legend(curves: &[Curve], svg: &mut String) {
    let mut x = LEFT;
    for curve in curves.iter().filter(|curve| !curve.nanos.is_empty()) {
        let colour = COLOURS[curve.server % COLOURS.len()];
        let name = shortened(&curve.name);
        put!(
            svg,
            "<path d=\"M{x:.0} 72h28\" stroke=\"{colour}\" stroke-width=\"2\" fill=\"none\"{}/>",
            dashes(curve)
        );
        put!(svg, "<text x=\"{:.0}\" y=\"76\">{}</text>", x + 34.0, escaped(&name));
        let letters = u32::try_from(name.chars().count()).expect("it is short");
        x += 60.0 + 7.2 * f64::from(letters);
    }
}

/// The end of it tells curves apart.
fn shortened(name: &str) -> String {
    let over = name.chars().count().saturating_sub(NAME_LETTERS_MAX);
    if over == 0 {
        return name.to_owned();
    }
    let rest: String = name.chars().skip(over + 2).collect();
    format!("..{rest}")
}

/// In two lines where one is too long.
fn wrapped(text: &str) -> Vec<&str> {
    let fits = text.char_indices().nth(SUBTITLE_LETTERS_MAX).map_or(text.len(), |(at, _)| at);
    if fits == text.len() {
        return vec![text];
    }
    match text[..fits].rfind(", ") {
        Some(at) => vec![&text[..=at], &text[at + 2..]],
        None => vec![text],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn curve(values: &[u64]) -> Curve {
        let mut nanos = Histogram::new(3).expect("three digits");
        values.iter().for_each(|&value| nanos.record(value).expect("it grows"));
        Curve { name: "a < b & \"c\"\u{1b}".into(), nanos, server: 0, is_dashed: true }
    }

    #[test]
    fn every_point_is_inside() {
        let many: Vec<u64> = (1..5_000).map(|n| n * n).collect();
        for values in [&[][..], &[1], &[1_000_000], &[50_000, 60_000, 2_000_000_000], &many] {
            let svg = svg("title", "subtitle", &[curve(values)]);
            let polyline = svg.lines().find(|line| line.starts_with("<polyline"));
            assert_eq!(polyline.is_some(), !values.is_empty());
            let points = polyline.and_then(|line| line.split("points=\"").nth(1)).unwrap_or("");
            for point in points.trim_end_matches("\"/>").split_whitespace() {
                let (x, y) = point.split_once(',').expect("two coordinates");
                let (x, y): (f64, f64) = (x.parse().expect("x"), y.parse().expect("y"));
                assert!((LEFT..=WIDTH - RIGHT + 0.1).contains(&x), "{values:?}: {point}");
                assert!((TOP - 0.1..=HEIGHT - BOTTOM + 0.1).contains(&y), "{values:?}: {point}");
            }
        }
    }

    #[test]
    fn long_texts_find_room() {
        assert_eq!(shortened("127.0.0.1:60000 get"), "127.0.0.1:60000 get");
        assert_eq!(shortened("unix:/run/litecached/sock get"), "../litecached/sock get");
        let text = "one thing, ".repeat(20);
        assert_eq!(wrapped(&text).len(), 2);
        assert_eq!(wrapped(&text).join(" "), text);
        assert_eq!(wrapped("short"), ["short"]);
    }

    #[test]
    fn text_is_escaped() {
        let svg = svg("<&>", "x", &[curve(&[1])]);
        assert!(svg.contains(">&lt;&amp;&gt;</text>"), "{svg}");
        assert!(svg.contains("a &lt; b &amp; &quot;c&quot;?</text>"), "{svg}");
    }
}
