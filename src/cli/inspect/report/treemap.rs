//! Prefixes as a map whose areas are bytes: each a rectangle, with the prefixes inside it. The rectangles
//! are made as square as they can be (Bruls, Huizing and van Wijk, "Squarified Treemaps", 2000).

use std::fmt::Write;

use unicode_width::UnicodeWidthStr;

use crate::cli::inspect::show;
use crate::cli::markup::{escaped, put};
use crate::store::inspect::Group;

/// What has an area.
#[derive(Debug)]
pub(super) struct Plot {
    /// As it is to be shown.
    pub(super) name: String,
    pub(super) of: Group,
    /// Of its bytes; what is left of them has an area without a name.
    pub(super) inner: Vec<Plot>,
    /// The rest of a list, and keys without a prefix.
    pub(super) is_plain: bool,
}

/// The map's size in its own units, which are pixels where it is not scaled.
#[derive(Debug, Clone, Copy)]
pub(super) struct Size {
    pub(super) width: f64,
    pub(super) height: f64,
    /// Areas at most; the others become one.
    pub(super) plots: usize,
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Rect {
    x: f64,
    y: f64,
    width: f64,
    height: f64,
}

/// Height of a line of text, and of what stands above inner areas.
const LINE: f64 = 16.0;
/// Width of a letter of the monospaced font, which is 12 pixels high.
const LETTER: f64 = 7.25;
/// Colours of neighbours.
const COLOURS: usize = 6;
/// An area that is narrower or lower shows what it is when it is pointed at.
const NAMED_LEAST: (f64, f64) = (34.0, 19.0);
/// Room for inner areas.
const INNER_LEAST: (f64, f64) = (60.0, 44.0);
/// An inner area that is smaller would be a speck beside many others.
const INNER_SEEN: (f64, f64) = (16.0, 12.0);
/// Between two areas.
const GAP: f64 = 1.5;

/// The map, the greatest first. `id` is the one of the picture in its page.
pub(super) fn svg(id: &str, size: Size, plots: &[Plot], described: &str) -> String {
    let mut svg = String::new();
    let Size { width, height, .. } = size;
    put!(
        svg,
        "<svg id=\"{id}\" viewBox=\"0 0 {width} {height}\" role=\"img\" \
         aria-labelledby=\"{id}-title {id}-desc\">\n<title id=\"{id}-title\">Prefixes by \
         bytes</title>\n<desc id=\"{id}-desc\">{}</desc>",
        escaped(described)
    );
    let bytes: Vec<u64> = plots.iter().map(|plot| plot.of.bytes).collect();
    let areas = squarify(&bytes, Rect { x: 0.0, y: 0.0, width, height });
    for (number, (plot, area)) in plots.iter().zip(areas).enumerate() {
        let colour = if plot.is_plain { "plain".into() } else { format!("c{}", number % COLOURS) };
        put!(svg, "<g class=\"{colour}\">");
        draw(plot, area, &mut svg);
        put!(svg, "</g>");
    }
    svg.push_str("</svg>\n");
    svg
}

fn draw(plot: &Plot, area: Rect, svg: &mut String) {
    block(plot, area, 0, svg);
    let inside = Rect {
        x: area.x + 3.0,
        y: area.y + LINE + 3.0,
        width: area.width - 6.0,
        height: area.height - LINE - 6.0,
    };
    if plot.inner.is_empty() || inside.width < INNER_LEAST.0 || inside.height < INNER_LEAST.1 {
        return;
    }
    let mut bytes: Vec<u64> = plot.inner.iter().map(|plot| plot.of.bytes).collect();
    // What has no name comes last, whatever its size.
    let named = plot.inner.iter().fold(Group::default(), |sum, plot| sum.with(plot.of));
    bytes.push(plot.of.bytes.saturating_sub(named.bytes));
    for (number, (plot, area)) in plot.inner.iter().zip(squarify(&bytes, inside)).enumerate() {
        if area.width >= INNER_SEEN.0 && area.height >= INNER_SEEN.1 {
            block(plot, area, 1 + number % 2, svg);
        }
    }
}

/// A rectangle with as much of its text as fits; pointed at, it tells everything.
fn block(plot: &Plot, area: Rect, depth: usize, svg: &mut String) {
    let Rect { x, y, width, height } =
        Rect { width: area.width - GAP, height: area.height - GAP, ..area };
    if width <= 0.0 || height <= 0.0 {
        return;
    }
    put!(
        svg,
        "<svg x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\">\
         <title>{}: {}, {}</title><rect class=\"d{depth}\" width=\"100%\" height=\"100%\" rx=\"3\"/>",
        escaped(&show::short(&plot.name, 120)),
        show::size(plot.of.bytes),
        show::items(plot.of.items),
    );
    if width >= NAMED_LEAST.0 && height >= NAMED_LEAST.1 {
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "letters")]
        let letters = ((width - 8.0) / LETTER) as usize;
        let size = show::size(plot.of.bytes);
        let name = escaped(&show::short(&plot.name, letters));
        // Beside the name if there is room, else below it, where nothing else stands.
        let beside = format!("{name} <tspan class=\"dim\">{size}</tspan>");
        let is_wide = plot.name.width() + size.len() < letters;
        let first = if is_wide { &beside } else { &name };
        put!(svg, "<text x=\"5\" y=\"14\">{first}</text>");
        let below = if is_wide { show::items(plot.of.items) } else { size };
        if plot.inner.is_empty() && height >= 2.2 * LINE && below.len() <= letters {
            put!(svg, "<text x=\"5\" y=\"{}\" class=\"dim\">{below}</text>", 14.0 + LINE);
        }
    }
    put!(svg, "</svg>");
}

/// Rectangles of these areas, as they come; those of nothing are empty. Descending sizes give the squarest.
#[allow(clippy::cast_precision_loss, reason = "places in a picture")]
fn squarify(sizes: &[u64], area: Rect) -> Vec<Rect> {
    let whole: f64 = sizes.iter().map(|&size| size as f64).sum();
    let scale = area.width * area.height / whole.max(1.0);
    let areas: Vec<f64> = sizes.iter().map(|&size| size as f64 * scale).collect();
    let (mut rest, mut placed) = (area, Vec::with_capacity(areas.len()));
    while placed.len() < areas.len() {
        let left = &areas[placed.len()..];
        let side = rest.width.min(rest.height);
        let mut count = 1;
        while count < left.len() && worst(&left[..=count], side) <= worst(&left[..count], side) {
            count += 1;
        }
        rest = lay(&left[..count], rest, &mut placed);
    }
    placed
}

/// How far the least square one of a row along this side is from a square; 1 is one.
fn worst(row: &[f64], side: f64) -> f64 {
    let sum: f64 = row.iter().sum();
    let ratio = |area: &f64| {
        let (length, width) = (side * area / sum, sum / side);
        (length / width).max(width / length)
    };
    let ratios = row.iter().map(ratio).filter(|ratio| ratio.is_finite());
    ratios.fold(1.0, f64::max)
}

/// Lays a row along the shorter side, and gives what is left.
fn lay(row: &[f64], rest: Rect, placed: &mut Vec<Rect>) -> Rect {
    let sum: f64 = row.iter().sum();
    let is_upright = rest.width >= rest.height;
    let side = if is_upright { rest.height } else { rest.width };
    let thick = if side > 0.0 { sum / side } else { 0.0 };
    let mut at = 0.0;
    for area in row {
        let length = if thick > 0.0 { area / thick } else { 0.0 };
        placed.push(if is_upright {
            Rect { x: rest.x, y: rest.y + at, width: thick, height: length }
        } else {
            Rect { x: rest.x + at, y: rest.y, width: length, height: thick }
        });
        at += length;
    }
    if is_upright {
        Rect { x: rest.x + thick, width: (rest.width - thick).max(0.0), ..rest }
    } else {
        Rect { y: rest.y + thick, height: (rest.height - thick).max(0.0), ..rest }
    }
}

#[cfg(test)]
#[allow(clippy::cast_precision_loss, reason = "small numbers")]
mod tests {
    use super::*;

    const AREA: Rect = Rect { x: 10.0, y: 20.0, width: 600.0, height: 400.0 };

    #[test]
    fn areas_are_as_the_sizes_and_fill_the_whole() {
        for sizes in [
            &[][..],
            &[7],
            &[6, 6, 4, 3, 2, 2, 1],
            &[1_000_000, 1, 1],
            &[5, 0, 3, 0],
            &[0, 0],
            &[1, 50, 3, 900],
            &[u64::MAX / 2, u64::MAX / 4],
        ] {
            let whole: u64 = sizes.iter().sum();
            let rects = squarify(sizes, AREA);
            assert_eq!(rects.len(), sizes.len());
            for (rect, size) in rects.iter().zip(sizes) {
                let wanted = *size as f64 / whole.max(1) as f64 * AREA.width * AREA.height;
                assert!((rect.width * rect.height - wanted).abs() < 0.01, "{sizes:?}: {rect:?}");
                assert!(rect.x >= 9.99 && rect.y >= 19.99, "{sizes:?}: {rect:?}");
                assert!(rect.x + rect.width <= 610.01 && rect.y + rect.height <= 420.01);
            }
            for (at, a) in rects.iter().enumerate() {
                for b in &rects[at + 1..] {
                    let across = (a.x + a.width).min(b.x + b.width) - a.x.max(b.x);
                    let down = (a.y + a.height).min(b.y + b.height) - a.y.max(b.y);
                    assert!(across < 0.01 || down < 0.01, "{sizes:?}: {a:?} covers {b:?}");
                }
            }
        }
    }

    #[test]
    fn the_example_of_the_paper() {
        let area = Rect { x: 0.0, y: 0.0, width: 6.0, height: 4.0 };
        let rects = squarify(&[6, 6, 4, 3, 2, 2, 1], area);
        let first = Rect { x: 0.0, y: 0.0, width: 3.0, height: 2.0 };
        assert_eq!(rects[0], first);
        assert_eq!(rects[1], Rect { y: 2.0, ..first });
        let shown = |rect: &Rect| format!("{:.2}x{:.2}", rect.width, rect.height);
        let shapes: Vec<String> = rects[2..].iter().map(shown).collect();
        assert_eq!(shapes, ["1.71x2.33", "1.29x2.33", "1.20x1.67", "1.20x1.67", "0.60x1.67"]);
    }

    #[test]
    fn names_are_escaped_and_cut() {
        let plot = |name: &str, bytes, inner| Plot {
            name: name.into(),
            of: Group { items: 1, bytes },
            inner,
            is_plain: false,
        };
        let long = "<b>\"&".repeat(100);
        let plots = [plot(&long, 1_000, vec![plot("</svg><script>", 900, Vec::new())])];
        let svg = svg("map", Size { width: 300.0, height: 200.0, plots: 9 }, &plots, "<x>");
        assert!(!svg.contains("<b>") && !svg.contains("<script") && !svg.contains("<x>"), "{svg}");
        assert!(svg.contains("&lt;b&gt;&quot;&amp;") && svg.contains("…"), "{svg}");
        assert_eq!(svg.matches("<svg ").count(), svg.matches("</svg>").count());
    }
}
