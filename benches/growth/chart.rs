//! One SVG picture of how figures grow: panels two by two, with the same logarithmic axis to the right.
//!
//! Has no background of its own, and its colours follow the reader's light or dark.

use std::fmt::Write;

/// What is drawn.
#[derive(Debug)]
pub(crate) struct Picture {
    pub(crate) title: &'static str,
    /// What grows, and where it was measured.
    pub(crate) axis: &'static str,
    pub(crate) ticks: Vec<(f64, String)>,
    pub(crate) panels: Vec<Panel>,
}

#[derive(Debug)]
pub(crate) struct Panel {
    title: &'static str,
    unit: &'static str,
    lines: Vec<Line>,
    /// Otherwise upwards each step is ten times as much.
    is_linear: bool,
}

#[derive(Debug)]
pub(crate) struct Line {
    pub(crate) name: &'static str,
    /// To the right, upwards.
    pub(crate) points: Vec<(f64, f64)>,
}

impl Line {
    /// Of the points that have this figure.
    pub(crate) fn of<T>(
        name: &'static str,
        points: &[(f64, T)],
        figure: impl Fn(&T) -> Option<f64>,
    ) -> Self {
        let point = |(x, found): &(f64, T)| figure(found).map(|figure| (*x, figure));
        Self { name, points: points.iter().filter_map(point).collect() }
    }
}

impl Panel {
    pub(crate) fn new(title: &'static str, unit: &'static str, lines: Vec<Line>) -> Self {
        Self { title, unit, lines, is_linear: false }
    }

    /// With an axis that begins at nought.
    pub(crate) fn from_nought(title: &'static str, unit: &'static str, lines: Vec<Line>) -> Self {
        Self { title, unit, lines, is_linear: true }
    }
}

const WIDTH: f64 = 900.0;
const HEAD: f64 = 60.0;
/// A panel with what belongs to it, and where its lines are drawn.
const CELL: (f64, f64) = (450.0, 310.0);
const LEFT: f64 = 78.0;
const RIGHT: f64 = 22.0;
const TOP: f64 = 62.0;
const BOTTOM: f64 = 46.0;

/// Names beside each other over a panel.
const NAMES_IN_A_ROW: usize = 2;

/// Dark on light, light on dark; the marks tell lines apart where colours do not.
const STYLE: &str = "\
text{fill:#24292f}.dim{fill:#57606a}.grid{stroke:#d8dee4}\
.c0{stroke:#0b5fa5}.c1{stroke:#b3470a}.c2{stroke:#2f7d32}.c3{stroke:#8a1f8a}\
@media (prefers-color-scheme:dark){\
text{fill:#e6edf3}.dim{fill:#9aa4ae}.grid{stroke:#3d444d}\
.c0{stroke:#6cb6ff}.c1{stroke:#ff9b5e}.c2{stroke:#6fd07a}.c3{stroke:#e08be0}}";

macro_rules! put {
    ($svg:expr, $($rest:tt)*) => { writeln!($svg, $($rest)*).expect("a text can grow") };
}

impl Picture {
    /// With this line below the title.
    pub(crate) fn svg(&self, subtitle: &str) -> String {
        let height = HEAD + CELL.1 * self.panels.len().div_ceil(2) as f64;
        let mut svg = String::new();
        put!(
            svg,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" \
             height=\"{height}\" font-family=\"system-ui, sans-serif\" font-size=\"12\">"
        );
        put!(svg, "<style>{STYLE}</style>");
        put!(svg, "<text x=\"16\" y=\"26\" font-size=\"17\">{}</text>", self.title);
        put!(svg, "<text x=\"16\" y=\"44\" font-size=\"11\" class=\"dim\">{subtitle}</text>");
        for (number, panel) in self.panels.iter().enumerate() {
            let (column, row) = ((number % 2) as f64, (number / 2) as f64);
            put!(svg, "<g transform=\"translate({} {})\">", column * CELL.0, HEAD + row * CELL.1);
            self.panel(panel, &mut svg);
            put!(svg, "</g>");
        }
        svg.push_str("</svg>\n");
        svg
    }

    fn panel(&self, panel: &Panel, svg: &mut String) {
        let (right, bottom) = (CELL.0 - RIGHT, CELL.1 - BOTTOM);
        put!(
            svg,
            "<text x=\"{LEFT}\" y=\"16\" font-size=\"13\" font-weight=\"600\">{} ({})</text>",
            panel.title,
            panel.unit
        );
        let scale = Scale::of(panel);
        for value in scale.ticks() {
            let y = bottom - scale.part(value) * (bottom - TOP);
            put!(svg, "<path d=\"M{LEFT} {y:.1}H{right}\" class=\"grid\"/>");
            let (x, y) = (LEFT - 6.0, y + 4.0);
            put!(
                svg,
                "<text x=\"{x}\" y=\"{y:.1}\" text-anchor=\"end\" class=\"dim\">{}</text>",
                short(value)
            );
        }
        for (value, name) in &self.ticks {
            let x = self.x(*value);
            put!(svg, "<path d=\"M{x:.1} {TOP}V{bottom}\" class=\"grid\"/>");
            put!(
                svg,
                "<text x=\"{x:.1}\" y=\"{}\" text-anchor=\"middle\" class=\"dim\">{name}</text>",
                bottom + 17.0
            );
        }
        put!(
            svg,
            "<text x=\"{}\" y=\"{}\" text-anchor=\"middle\" class=\"dim\">{}</text>",
            f64::midpoint(LEFT, right),
            bottom + 34.0,
            self.axis
        );
        for (number, line) in panel.lines.iter().enumerate() {
            let colour = number % 4;
            let places: Vec<(f64, f64)> = line
                .points
                .iter()
                .map(|(x, y)| (self.x(*x), bottom - scale.part(*y) * (bottom - TOP)))
                .collect();
            let points: Vec<String> =
                places.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
            put!(
                svg,
                "<polyline fill=\"none\" stroke-width=\"2\" class=\"c{colour}\" points=\"{}\"/>",
                points.join(" ")
            );
            places.iter().for_each(|(x, y)| mark(number, *x, *y, svg));
            let x = LEFT + 180.0 * (number % NAMES_IN_A_ROW) as f64;
            let y = 31.0 + 15.0 * (number / NAMES_IN_A_ROW) as f64;
            put!(svg, "<path d=\"M{x} {y}h22\" stroke-width=\"2\" class=\"c{colour}\"/>");
            mark(number, x + 11.0, y, svg);
            put!(
                svg,
                "<text x=\"{}\" y=\"{}\" font-size=\"11\">{}</text>",
                x + 28.0,
                y + 4.0,
                line.name
            );
        }
    }

    fn x(&self, value: f64) -> f64 {
        let first = self.ticks.first().map_or(1.0, |(value, _)| *value);
        let last = self.ticks.last().map_or(1.0, |(value, _)| *value);
        let (from, to) = (LEFT + 16.0, CELL.0 - RIGHT - 16.0);
        if last <= first {
            return f64::midpoint(from, to);
        }
        from + (value / first).log10() / (last / first).log10() * (to - from)
    }
}

/// A circle, a square, a triangle, a cross.
fn mark(number: usize, x: f64, y: f64, svg: &mut String) {
    let class = format!("class=\"c{}\" fill=\"none\" stroke-width=\"2\"", number % 4);
    let (left, top, right, low) = (x - 3.5, y - 3.5, x + 3.5, y + 3.5);
    match number % 4 {
        0 => put!(svg, "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3.5\" {class}/>"),
        1 => put!(svg, "<path d=\"M{left:.1} {top:.1}h7v7h-7z\" {class}/>"),
        2 => put!(svg, "<path d=\"M{x:.1} {top:.1}L{right:.1} {low:.1}H{left:.1}z\" {class}/>"),
        _ => put!(svg, "<path d=\"M{left:.1} {top:.1}l7 7m0 -7l-7 7\" {class}/>"),
    }
}

/// From figures to places: 0 is the axis's lower end and 1 its upper.
#[derive(Debug)]
enum Scale {
    /// From nought to here, by such steps.
    Linear { most: f64, step: f64 },
    /// Powers of ten.
    Log { low: f64, high: f64 },
}

impl Scale {
    fn of(panel: &Panel) -> Self {
        let values = || panel.lines.iter().flat_map(|line| &line.points).map(|(_, y)| *y);
        let greatest = values().fold(0.0, f64::max);
        if panel.is_linear {
            let step = at_least(greatest / 4.0);
            return Self::Linear { most: (greatest / step).ceil().max(1.0) * step, step };
        }
        let least = values().filter(|value| *value > 0.0).fold(f64::MAX, f64::min);
        if least > greatest {
            return Self::Log { low: 0.0, high: 1.0 };
        }
        // Ends at a 1, 2 or 5, so that a panel is not half empty.
        let (low, high) = (1.0 / at_least(1.0 / least), at_least(greatest));
        Self::Log { low: low.log10(), high: high.max(low * 10.0).log10() }
    }

    fn part(&self, value: f64) -> f64 {
        match self {
            Self::Linear { most, .. } => value / most,
            Self::Log { low, high } => {
                ((value.max(f64::MIN_POSITIVE).log10() - low) / (high - low)).max(0.0)
            }
        }
    }

    fn ticks(&self) -> Vec<f64> {
        match *self {
            Self::Linear { most, step } => {
                let count = (most / step).round() as u32;
                (0..=count).map(|number| f64::from(number) * step).collect()
            }
            Self::Log { low, high } => {
                let factors: &[f64] = if high - low > 3.2 { &[1.0] } else { &[1.0, 2.0, 5.0] };
                let powers = low.floor() as i32..=high.ceil() as i32;
                powers
                    .flat_map(|power| factors.iter().map(move |factor| factor * 10_f64.powi(power)))
                    .filter(|value| (low - 1e-9..=high + 1e-9).contains(&value.log10()))
                    .collect()
            }
        }
    }
}

/// The next of 1, 2, 5, 10, 20, 50, and so on.
fn at_least(value: f64) -> f64 {
    let power = 10_f64.powf(value.max(1e-9).log10().floor());
    let factors = [1.0, 2.0, 5.0, 10.0].map(|factor| factor * power);
    factors.into_iter().find(|factor| *factor >= value * (1.0 - 1e-9)).unwrap_or(power)
}

/// `20 k`, `1 M`, `0.05`.
pub(crate) fn short(value: f64) -> String {
    let (value, unit) = match value {
        value if value >= 1e6 => (value / 1e6, " M"),
        value if value >= 1e3 => (value / 1e3, " k"),
        value => (value, ""),
    };
    let text = format!("{value:.4}");
    format!("{}{unit}", text.trim_end_matches('0').trim_end_matches('.'))
}
