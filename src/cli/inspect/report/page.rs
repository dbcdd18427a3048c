//! The page: figures, pictures and tables, for people. Whatever comes from the file passes through
//! [`show::text`] and then [`escaped`].

use std::fmt::Write;

use super::charts::{self, Line};
use super::data::{Found, inner_of};
use super::earlier::Growth;
use super::treemap::{self, Plot, Size};
use crate::cli::inspect::show;
use crate::cli::markup::{escaped, put};
use crate::store::inspect::{Bar, Group};

const STYLE: &str = include_str!("../../../../assets/report/report.css");

/// For wide and for narrow windows.
const WIDE: Size = Size { width: 1120.0, height: 460.0, plots: 40 };
const NARROW: Size = Size { width: 360.0, height: 540.0, plots: 20 };
/// Inside one area.
const INNER_PLOTS: usize = 24;

/// Rows that are seen without being asked for.
const ROWS_OPEN: usize = 12;

/// The page, whole.
pub(super) fn html(found: &Found, growth: Option<&Growth>) -> String {
    let mut page = String::new();
    head(found, &mut page);
    put!(page, "<main>");
    tiles(found, &mut page);
    if let Some(growth) = growth {
        grown(found, growth, &mut page);
    }
    prefixes(found, &mut page);
    distributions(found, &mut page);
    items(found, &mut page);
    next(found, &mut page);
    put!(page, "</main>");
    foot(found, &mut page);
    let alone = [found.point()];
    page.push_str(&found.element(growth.map_or(&alone[..], |growth| &growth.points[..])));
    page.push_str("</body>\n</html>\n");
    page
}

/// Bytes of a key, or of anything else, as text of the page.
fn text(bytes: &[u8]) -> String {
    escaped(&show::text(bytes))
}

fn head(found: &Found, page: &mut String) {
    let name = escaped(&found.database);
    let file = found.database.rsplit('/').next().unwrap_or(&found.database);
    put!(
        page,
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; \
         style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'\">\n\
         <title>{}: litecached report</title>\n<style>\n{STYLE}</style>\n</head>\n<body>",
        escaped(file)
    );
    put!(
        page,
        "<header>\n<h1>{}</h1>\n<p class=\"quiet\"><span class=\"path\">{name}</span> on \
         {} UTC</p>\n</header>",
        escaped(file),
        show::time(found.at)
    );
}

fn tile(page: &mut String, name: &str, value: &str, more: &str) {
    put!(
        page,
        "<div><dt>{name}</dt><dd class=\"big\">{value}</dd><dd class=\"more\">{more}</dd></div>"
    );
}

fn tiles(found: &Found, page: &mut String) {
    let summary = &found.summary;
    let live = summary.live;
    put!(page, "<section aria-label=\"Figures\">\n<dl class=\"tiles\">");
    let mean = live
        .bytes
        .checked_div(live.items)
        .map_or("none yet".into(), |mean| format!("{} each on average", show::size(mean)));
    tile(page, "Items", &show::count(live.items), &mean);
    tile(page, "Stored", &show::size(live.bytes), "keys, values and 59 B each");
    let free = show::size(summary.free_pages * summary.page_bytes);
    tile(page, "File", &show::size(summary.file_bytes), &format!("{free} of its pages free"));
    tile(page, "Log", &show::size(summary.wal_bytes), "beside the file");
    let dead = summary.expired.with(summary.flushed);
    tile(
        page,
        "Dead",
        &show::count(dead.items),
        &format!("{}, still to be removed", show::size(dead.bytes)),
    );
    match summary.fetched {
        Some(items) => tile(
            page,
            "Fetched",
            &show::percent(items, live.items),
            "of items since stored, as far as written down",
        ),
        None => tile(page, "Fetched", "–", "not written down in this file"),
    }
    if let Some(reads) = found.reads {
        let gets = reads.hits + reads.misses;
        let more = format!(
            "of {} gets since it started {} ago",
            show::count(gets),
            show::span(i64::try_from(reads.uptime).unwrap_or(i64::MAX))
        );
        let share = if gets == 0 { "–".into() } else { show::percent(reads.hits, gets) };
        tile(page, "Hits", &share, &more);
    }
    put!(page, "</dl>\n</section>");
}

/// `+1.2 MiB`, or the same of items.
fn change(before: u64, now: u64, write: fn(u64) -> String) -> String {
    let sign = if now < before { "−" } else { "+" };
    format!("{sign}{}", write(now.abs_diff(before)))
}

fn grown(found: &Found, growth: &Growth, page: &mut String) {
    let (before, now) = (growth.before, found.point());
    let seconds = now.at.saturating_sub(before.at);
    put!(page, "<section>\n<h2>Growth</h2>");
    let other = growth.other_database.as_deref().map_or(String::new(), |other| {
        format!(", of another file, <span class=\"path\">{}</span>", escaped(other))
    });
    put!(
        page,
        "<p class=\"quiet\">Since the report of {} UTC, {} before this one{other}.</p>",
        show::time(before.at),
        show::span(seconds)
    );
    put!(page, "<dl class=\"tiles\">");
    for (name, before, now, write) in [
        ("Items", before.items, now.items, show::count as fn(u64) -> String),
        ("Stored", before.bytes, now.bytes, show::size),
        ("File", before.file_bytes, now.file_bytes, show::size),
    ] {
        // Of less than an hour nothing is said for a day.
        let per_day = (seconds >= 3_600).then(|| {
            let day =
                u128::from(now.abs_diff(before)) * 86_400 / u128::from(seconds.unsigned_abs());
            let day = write(u64::try_from(day).unwrap_or(u64::MAX));
            format!(", {}{day} a day", if now < before { "−" } else { "+" })
        });
        let more = format!("from {}{}", write(before), per_day.unwrap_or_default());
        tile(page, name, &change(before, now, write), &more);
    }
    put!(page, "</dl>\n<div class=\"pair\">");
    let points = |figure: fn(&super::data::Point) -> u64| {
        growth.points.iter().map(|point| (point.at, figure(point))).collect::<Vec<_>>()
    };
    let bytes = [
        Line { name: "File", class: "file", points: points(|point| point.file_bytes) },
        Line { name: "Stored", class: "bytes", points: points(|point| point.bytes) },
    ];
    let items = [Line { name: "Items", class: "items", points: points(|point| point.items) }];
    for (id, title, lines, write) in [
        ("growth-bytes", "Bytes", &bytes[..], show::size as fn(u64) -> String),
        ("growth-items", "Items", &items[..], show::count),
    ] {
        put!(page, "<figure>\n<figcaption><h3>{title}</h3>");
        for line in lines {
            put!(page, "<span class=\"key {}\">{}</span>", line.class, line.name);
        }
        put!(page, "</figcaption>\n{}", charts::growth(id, title, lines, write));
        put!(page, "</figure>");
    }
    put!(page, "</div>");
    match &growth.changes {
        None => {
            put!(page, "<p class=\"quiet\">Prefixes cannot be compared where keys are hidden.</p>");
        }
        Some(changes) if changes.is_empty() => {
            put!(page, "<p class=\"quiet\">No listed prefix has changed.</p>");
        }
        Some(changes) => {
            let rows = changes.iter().map(|(prefix, before, now)| {
                vec![
                    text(prefix),
                    change(before.bytes, now.bytes, show::size),
                    show::size(now.bytes),
                    change(before.items, now.items, show::count),
                    show::count(now.items),
                ]
            });
            let names = ["Prefix", "Change", "Bytes", "Change", "Items"];
            table("Prefixes that changed most", &names, &rows.collect::<Vec<_>>(), true, page);
        }
    }
    put!(page, "</section>");
}

/// The areas of a map of this size: the others as one, and keys without a prefix.
fn plots(found: &Found, size: Size) -> Vec<Plot> {
    let summary = &found.summary;
    let named =
        |prefix: &[u8], of, inner| Plot { name: show::text(prefix), of, inner, is_plain: false };
    let (shown, rest) = summary.prefixes.split_at(size.plots.min(summary.prefixes.len()));
    let mut plots: Vec<Plot> = shown
        .iter()
        .map(|(prefix, of)| {
            let inner = inner_of(summary, prefix).take(INNER_PLOTS);
            // Of the inner ones only what is more than the outer.
            let inner = inner.map(|(inner, of)| named(&inner[prefix.len()..], *of, Vec::new()));
            named(prefix, *of, inner.collect())
        })
        .collect();
    let others = rest.iter().fold(summary.other_prefixes, |sum, (_, of)| sum.with(*of));
    for (name, of) in [("(other prefixes)", others), ("(no prefix)", summary.unprefixed)] {
        if of.items > 0 {
            plots.push(Plot { name: name.into(), of, inner: Vec::new(), is_plain: true });
        }
    }
    plots.sort_by_key(|plot| std::cmp::Reverse(plot.of.bytes));
    plots
}

fn prefixes(found: &Found, page: &mut String) {
    let summary = &found.summary;
    put!(page, "<section>\n<h2>Prefixes</h2>");
    if summary.live.items == 0 {
        put!(page, "<p class=\"quiet\">There are no live items.</p>\n</section>");
        return;
    }
    put!(
        page,
        "<p class=\"quiet\">Areas are bytes. A prefix ends at the first of <code>: / . | _ -</code> in a \
         key; inside it are those up to the second.</p>"
    );
    let share = |of: &Group| show::percent(of.bytes, summary.live.bytes);
    let greatest = plots(found, NARROW).into_iter().take(5);
    let greatest: Vec<String> =
        greatest.map(|plot| format!("{}: {}", plot.name, share(&plot.of))).collect();
    for (class, size) in [("wide", WIDE), ("narrow", NARROW)] {
        let map =
            treemap::svg(&format!("map-{class}"), size, &plots(found, size), &greatest.join("; "));
        put!(page, "<figure class=\"map {class}\">\n{map}</figure>");
    }
    let row = |name: String, of: &Group| {
        let mean = of.bytes.checked_div(of.items).unwrap_or(0);
        vec![name, show::count(of.items), show::size(of.bytes), share(of), show::size(mean)]
    };
    let mut rows: Vec<_> =
        summary.prefixes.iter().map(|(prefix, of)| row(text(prefix), of)).collect();
    for (name, of) in
        [("(other prefixes)", &summary.other_prefixes), ("(no prefix)", &summary.unprefixed)]
    {
        if of.items > 0 {
            rows.push(row(name.into(), of));
        }
    }
    let names = ["Prefix", "Items", "Bytes", "Share", "Each"];
    table("Prefixes by bytes", &names, &rows, true, page);
    put!(page, "</section>");
}

fn distributions(found: &Found, page: &mut String) {
    let summary = &found.summary;
    if summary.live.items == 0 {
        return;
    }
    put!(
        page,
        "<section>\n<h2>Distributions</h2>\n<p class=\"quiet\">Percent <span class=\"key items\">of \
         items</span> <span class=\"key bytes\">of bytes</span></p>\n<div class=\"pair\">"
    );
    chart("size", "Size of value", &summary.sizes, summary.live, page);
    chart("age", "Stored ago", &summary.ages, summary.live, page);
    chart("expiry", "Expires in", &summary.expiry, summary.live, page);
    if summary.fetched.is_some() {
        chart("access", "Last fetched ago", &summary.accesses, summary.live, page);
    } else {
        put!(
            page,
            "<figure>\n<figcaption><h3>Last fetched ago</h3></figcaption>\n<p class=\"quiet\">When items \
             were fetched is not written down in this file. A daemon writes it from time to time, and \
             when it ends.</p>\n</figure>"
        );
    }
    put!(page, "</div>\n</section>");
}

fn chart(id: &str, title: &str, bars: &[Bar], whole: Group, page: &mut String) {
    put!(page, "<figure>\n<figcaption><h3>{title}</h3></figcaption>");
    put!(page, "{}", charts::columns(id, title, bars, whole));
    let rows = bars.iter().map(|bar| {
        vec![
            escaped(bar.label),
            show::count(bar.of.items),
            show::percent(bar.of.items, whole.items),
            show::size(bar.of.bytes),
            show::percent(bar.of.bytes, whole.bytes),
        ]
    });
    put!(page, "<details>\n<summary>Figures</summary>");
    let names = [title, "Items", "", "Bytes", ""];
    table(title, &names, &rows.collect::<Vec<_>>(), false, page);
    put!(page, "</details>\n</figure>");
}

fn items(found: &Found, page: &mut String) {
    let summary = &found.summary;
    if summary.biggest.is_empty() {
        return;
    }
    put!(page, "<section class=\"pair tables\">\n<div>\n<h2>Biggest</h2>");
    let rows: Vec<_> = summary
        .biggest
        .iter()
        .map(|(size, key)| vec![text(key), show::size(*size), show::count(*size)])
        .collect();
    table("Biggest items", &["Key", "Value", "Bytes"], &rows, true, page);
    put!(page, "</div>\n<div>\n<h2>Oldest</h2>");
    let rows: Vec<_> = summary
        .oldest
        .iter()
        .map(|(at, key)| {
            let age = show::span(found.at.saturating_sub(*at).max(0));
            vec![text(key), age, show::time(*at)]
        })
        .collect();
    table("Oldest items", &["Key", "Age", "Stored (UTC)"], &rows, true, page);
    put!(page, "</div>\n</section>");
}

fn next(found: &Found, page: &mut String) {
    if found.next.is_empty() {
        return;
    }
    put!(
        page,
        "<section>\n<h2>Next to be evicted</h2>\n<p class=\"quiet\">In this order, when room is needed, \
         as far as the file tells: of reads that were not written down yet only the daemon knows. Age: how \
         much was stored since an item was last read or stored; 1.00 is as much as the budget holds. Reads: at \
         how many separate times it was read. Of each 128 items those with the greatest score go.</p>"
    );
    let rows = found.next.iter().map(|next| {
        vec![
            text(&next.key),
            show::size(next.value_bytes),
            format!("{:.2}", next.worth.age),
            next.worth.reads.to_string(),
            format!("{:.2}", next.worth.score),
            next.why.to_owned(),
        ]
    });
    let names = ["Key", "Value", "Age", "Reads", "Score", "Why"];
    table("Items that would be evicted next", &names, &rows.collect::<Vec<_>>(), true, page);
    put!(page, "</section>");
}

/// Rows of which the first cell is HTML already. Of keys, which may be long, a line breaks anywhere. What is
/// beyond the first rows opens when asked.
fn table(caption: &str, names: &[&str], rows: &[Vec<String>], is_keyed: bool, page: &mut String) {
    let (open, rest) = rows.split_at(ROWS_OPEN.min(rows.len()));
    part(caption, names, open, is_keyed, page);
    if !rest.is_empty() {
        put!(page, "<details>\n<summary>{} more</summary>", show::count(rest.len() as u64));
        part(&format!("{caption}, continued"), names, rest, is_keyed, page);
        put!(page, "</details>");
    }
}

fn part(caption: &str, names: &[&str], rows: &[Vec<String>], is_keyed: bool, page: &mut String) {
    let class = if is_keyed { " class=\"keyed\"" } else { "" };
    put!(page, "<div class=\"scroll\" tabindex=\"0\" role=\"group\" aria-label=\"{caption}\">");
    put!(page, "<table{class}>\n<caption class=\"unseen\">{caption}</caption>\n<thead><tr>");
    for name in names {
        put!(page, "<th scope=\"col\">{}</th>", if name.is_empty() { "Share" } else { name });
    }
    put!(page, "</tr></thead>\n<tbody>");
    for row in rows {
        let (first, others) = row.split_first().expect("a row has a name");
        put!(page, "<tr><th scope=\"row\"><bdi>{first}</bdi></th>");
        for cell in others {
            put!(page, "<td>{}</td>", escaped(cell));
        }
        put!(page, "</tr>");
    }
    put!(page, "</tbody>\n</table>\n</div>");
}

fn foot(found: &Found, page: &mut String) {
    let hidden =
        if found.are_keys_hidden { " Keys and prefixes are numbered, not named." } else { "" };
    put!(
        page,
        "<footer>\n<p>litecached {}, schema version {}. One snapshot of the file; bytes of items are \
         keys, values as they are stored and 59 B each.{hidden}</p>\n</footer>",
        env!("CARGO_PKG_VERSION"),
        found.summary.schema_version
    );
}
