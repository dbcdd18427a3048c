//! One SVG picture: a panel for each line, one below the other, with one axis of time.

use std::fmt::Write;

/// A line and what is drawn beside it.
#[derive(Debug)]
pub(crate) struct Panel<'a> {
    pub(crate) title: &'a str,
    pub(crate) unit: &'a str,
    /// One value a second.
    pub(crate) values: Vec<f64>,
    /// A bound: a dashed line, and its name.
    pub(crate) bound: Option<(f64, &'a str)>,
    /// The axis ends here at least.
    pub(crate) top: f64,
}

const WIDTH: f64 = 900.0;
const LEFT: f64 = 92.0;
const RIGHT: f64 = 20.0;
const HEAD: f64 = 44.0;
const PANEL: f64 = 96.0;
const GAP: f64 = 34.0;
const FOOT: f64 = 40.0;

/// Points of a line: more are drawn as the greatest of their neighbours.
const POINTS_MAX: usize = 900;

const COLOURS: [&str; 7] =
    ["#1f5fa8", "#a8511f", "#2f7d32", "#8a1f6a", "#5d4aa8", "#7a6a10", "#106f7a"];

/// The picture. `title` stands above it.
pub(crate) fn draw(title: &str, panels: &[Panel<'_>]) -> String {
    let seconds = panels.iter().map(|panel| panel.values.len()).max().unwrap_or(0).max(2);
    let height = HEAD + panels.len() as f64 * (PANEL + GAP) + FOOT - GAP;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" \
         font-family=\"sans-serif\" font-size=\"12\" fill=\"#222\">\n\
         <rect width=\"{WIDTH}\" height=\"{height}\" fill=\"#fff\"/>\n\
         <text x=\"{LEFT}\" y=\"20\" font-size=\"14\">{title}</text>\n"
    );
    for (number, panel) in panels.iter().enumerate() {
        let top = HEAD + number as f64 * (PANEL + GAP);
        let colour = COLOURS[number % COLOURS.len()];
        draw_panel(&mut svg, panel, top, colour, seconds).expect("a string takes any text");
    }
    let bottom = height - FOOT;
    draw_time(&mut svg, bottom, seconds).expect("a string takes any text");
    svg.push_str("</svg>\n");
    svg
}

fn x_of(second: f64, seconds: usize) -> f64 {
    LEFT + (WIDTH - LEFT - RIGHT) * second / (seconds - 1) as f64
}

fn draw_panel(
    svg: &mut String,
    panel: &Panel<'_>,
    top: f64,
    colour: &str,
    seconds: usize,
) -> std::fmt::Result {
    let bound = panel.bound.map_or(0.0, |(bound, _)| bound);
    let greatest = panel.values.iter().copied().fold(panel.top.max(bound), f64::max);
    let step = step(greatest / 3.0);
    let most = (greatest / step).ceil().max(1.0) * step;
    let y_of = |value: f64| top + PANEL * (1.0 - value / most);
    let (right, middle) = (WIDTH - RIGHT, top + PANEL / 2.0);
    let name = format!("{} ({})", panel.title, panel.unit);
    writeln!(svg, "<text x=\"{LEFT}\" y=\"{:.0}\" fill=\"{colour}\">{name}</text>", top - 6.0)?;
    writeln!(
        svg,
        "<text transform=\"translate(22 {middle:.0}) rotate(-90)\" text-anchor=\"middle\" \
         fill=\"#555\">{}</text>",
        panel.unit
    )?;
    let mut tick = 0.0;
    while tick <= most + step / 2.0 {
        let y = y_of(tick);
        writeln!(
            svg,
            "<path d=\"M{LEFT} {y:.1}H{right}\" stroke=\"#ddd\"/>\
             <text x=\"{:.0}\" y=\"{:.1}\" text-anchor=\"end\" fill=\"#555\">{}</text>",
            LEFT - 6.0,
            y + 4.0,
            number(tick)
        )?;
        tick += step;
    }
    if let Some((bound, what)) = panel.bound {
        let y = y_of(bound);
        writeln!(
            svg,
            "<path d=\"M{LEFT} {y:.1}H{right}\" stroke=\"#c22\" stroke-dasharray=\"5 4\"/>\
             <text x=\"{right}\" y=\"{:.1}\" text-anchor=\"end\" fill=\"#c22\">{what}</text>",
            y + 13.0
        )?;
    }
    let each = panel.values.len().div_ceil(POINTS_MAX).max(1);
    svg.push_str("<polyline fill=\"none\" stroke-linejoin=\"round\" ");
    write!(svg, "stroke=\"{colour}\" stroke-width=\"1.3\" points=\"")?;
    for (index, some) in panel.values.chunks(each).enumerate() {
        let value = some.iter().copied().fold(0.0, f64::max);
        write!(svg, "{:.1},{:.1} ", x_of((index * each) as f64, seconds), y_of(value))?;
    }
    svg.push_str("\"/>\n");
    Ok(())
}

fn draw_time(svg: &mut String, bottom: f64, seconds: usize) -> std::fmt::Result {
    let in_minutes = seconds > 180;
    let unit = if in_minutes { 60.0 } else { 1.0 };
    let step = step(seconds as f64 / unit / 8.0).max(1.0);
    let mut tick = 0.0;
    while tick * unit <= seconds as f64 {
        let x = x_of((tick * unit).min((seconds - 1) as f64), seconds);
        writeln!(
            svg,
            "<text x=\"{x:.0}\" y=\"{:.0}\" text-anchor=\"middle\" fill=\"#555\">{}</text>",
            bottom + 16.0,
            number(tick)
        )?;
        tick += step;
    }
    writeln!(
        svg,
        "<text x=\"{:.0}\" y=\"{:.0}\" text-anchor=\"middle\" fill=\"#555\">time ({})</text>",
        f64::midpoint(LEFT, WIDTH - RIGHT),
        bottom + 32.0,
        if in_minutes { "minutes" } else { "s" }
    )
}

/// The next of 1, 2, 5, 10, 20, 50, and so on.
fn step(least: f64) -> f64 {
    let power = 10_f64.powf(least.max(1e-6).log10().floor());
    let factors = [1.0, 2.0, 5.0, 10.0];
    factors.map(|factor| factor * power).into_iter().find(|step| *step >= least).unwrap_or(power)
}

fn number(value: f64) -> String {
    let text = format!("{value:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}
