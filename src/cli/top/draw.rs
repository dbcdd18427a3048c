//! The screen, from what the app holds. A small terminal gets less, never a broken screen.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Cell, Clear, Paragraph, Row as Cells, Table, Wrap};

use unicode_width::UnicodeWidthStr;

use crate::clock::Stamp;

use super::app::{App, Standing, View};
use super::charts::{self, Kind};
use super::shown::{self, Figure, Gauge, Row};

/// The least that anything can be shown in.
const COLUMNS_MIN: u16 = 24;
const ROWS_MIN: u16 = 8;

/// Columns of one figure with its name.
const FIGURE_COLUMNS: u16 = 20;

/// Columns that the names of the views take with their numbers.
const TABS_COLUMNS: u16 = 44;

/// Columns that how it stands may take from a long address, and what is left of that.
const STANDING_COLUMNS: usize = 24;
const ADDRESS_COLUMNS_MIN: usize = 8;

/// Columns of a bar, at least.
const BAR_COLUMNS_MIN: u16 = 8;

/// Rows of a chart, at least, and columns of one that has another beside it.
const CHART_ROWS: u16 = 7;
const CHART_COLUMNS: u16 = 36;

/// Rows of the tables below the charts, and what has to be left above them.
const TABLE_ROWS: u16 = 12;
const ROWS_ABOVE_TABLES: u16 = 24;

const HELP: &str = "\
q, Esc, Ctrl-C  quit
p, space        pause, go on
+  -            longer, shorter interval
Tab, 1 to 4     another view
up, down        scroll a table
Ctrl-Z          stop, as any program
?               this help

Figures are those of `stats`. Rates are over the
time between two looks. Answer is how long the
server took to say its stats.";

fn quiet() -> Style {
    Style::new().fg(Color::DarkGray)
}

/// Draws everything.
pub(super) fn draw(frame: &mut Frame<'_>, app: &App, now: Stamp) {
    let area = frame.area();
    if area.width < COLUMNS_MIN || area.height < ROWS_MIN {
        return frame.render_widget(
            Paragraph::new("The terminal is too small.").wrap(Wrap::default()),
            area,
        );
    }
    let [title, tabs, body, keys] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(1),
        Constraint::Min(0),
        Constraint::Length(1),
    ])
    .areas(area);
    draw_title(frame, title, app, now);
    draw_tabs(frame, tabs, app);
    match app.view {
        View::Overview => overview(frame, body, app, now),
        View::Latency => table(
            frame,
            body,
            "Latency since the start",
            &shown::LATENCY_HEAD,
            shown::latencies(&app.trend),
            app.scroll,
        ),
        View::Prefixes => prefixes(frame, body, app, app.scroll),
        View::All => table(
            frame,
            body,
            "All figures",
            &["name", "value", "change"],
            app.figures(),
            app.scroll,
        ),
    }
    draw_keys(frame, keys, app);
    if app.is_help {
        help(frame, body);
    }
}

/// For `NO_COLOR`.
pub(super) fn without_colours(frame: &mut Frame<'_>) {
    for cell in &mut frame.buffer_mut().content {
        cell.set_fg(Color::Reset).set_bg(Color::Reset);
    }
}

fn draw_title(frame: &mut Frame<'_>, area: Rect, app: &App, now: Stamp) {
    let standing = match app.standing(now) {
        Standing::Live => Span::styled(" live ", Style::new().fg(Color::Green)),
        Standing::Paused => Span::styled(" paused ", Style::new().fg(Color::Yellow).bold()),
        Standing::Lost(why) => Span::styled(format!(" {why} "), Style::new().fg(Color::Red).bold()),
    };
    let server = shown::server(&app.trend);
    // Whether it answers is to be seen beside the longest path of a socket.
    let needed = standing.width().min(STANDING_COLUMNS);
    let room = usize::from(area.width).saturating_sub(needed).max(ADDRESS_COLUMNS_MIN);
    let line = Line::from(vec![
        Span::styled(last_columns(&app.address, room), Style::new().bold()),
        standing,
        Span::styled(server, quiet()),
    ]);
    frame.render_widget(line, area);
}

/// The end of a text, with a sign where something was cut.
fn last_columns(text: &str, most: usize) -> String {
    let mut rest = text.chars();
    while rest.as_str().width() > most.saturating_sub(usize::from(rest.as_str() != text)) {
        rest.next();
    }
    let sign = if rest.as_str() == text { "" } else { "…" };
    format!("{sign}{}", rest.as_str())
}

fn draw_tabs(frame: &mut Frame<'_>, area: Rect, app: &App) {
    let spans = app.views().into_iter().enumerate().map(|(index, view)| {
        let style =
            if view == app.view { Style::new().add_modifier(Modifier::REVERSED) } else { quiet() };
        let name = view.name();
        let is_wide = area.width >= TABS_COLUMNS;
        let text = if is_wide { format!(" {} {name} ", index + 1) } else { format!(" {name} ") };
        Span::styled(text, style)
    });
    frame.render_widget(Line::from(spans.collect::<Vec<_>>()), area);
}

fn draw_keys(frame: &mut Frame<'_>, area: Rect, app: &App) {
    let every = shown::span(app.interval);
    let text = format!("? help  q quit  p pause  +/- every {every}  Tab view");
    frame.render_widget(Line::styled(text, quiet()), area);
}

fn overview(frame: &mut Frame<'_>, area: Rect, app: &App, now: Stamp) {
    let figures = shown::figures(&app.trend);
    let gauges = shown::gauges(&app.trend);
    let columns = usize::from((area.width / FIGURE_COLUMNS).max(1));
    let rows = |count: usize| u16::try_from(count).unwrap_or(u16::MAX);
    let has_tables = area.height >= ROWS_ABOVE_TABLES + TABLE_ROWS;
    let [above, bars, charts, tables] = Layout::vertical([
        Constraint::Length(rows(figures.len().div_ceil(columns))),
        Constraint::Length(rows(gauges.len())),
        Constraint::Min(0),
        Constraint::Length(if has_tables { TABLE_ROWS } else { 0 }),
    ])
    .areas(area);
    draw_figures(frame, above, &figures, columns);
    draw_gauges(frame, bars, &gauges);
    draw_charts(frame, charts, app, now);
    if has_tables {
        draw_tables(frame, tables, app);
    }
}

fn draw_figures(frame: &mut Frame<'_>, area: Rect, figures: &[Figure], columns: usize) {
    let lines = figures.chunks(columns).map(|row| {
        let spans = row.iter().flat_map(|Figure { name, value }| {
            let name = Span::styled(format!("{name:<9}"), quiet());
            [name, Span::styled(format!("{value:<11}"), Style::new().bold())]
        });
        Line::from(spans.collect::<Vec<_>>())
    });
    frame.render_widget(Paragraph::new(lines.collect::<Vec<_>>()), area);
}

fn draw_gauges(frame: &mut Frame<'_>, area: Rect, gauges: &[Gauge]) {
    const NAME: u16 = 9;
    let longest = gauges.iter().map(|gauge| gauge.value.chars().count()).max().unwrap_or(0);
    let longest = u16::try_from(longest).unwrap_or(u16::MAX);
    let width = area.width.saturating_sub(NAME + longest + 1);
    let width = if width < BAR_COLUMNS_MIN { 0 } else { width };
    let lines = gauges.iter().map(|Gauge { name, part, value }| {
        let part = part.unwrap_or(0.0);
        let is_full = |cell: &u16| f64::from(*cell) + 0.5 < part * f64::from(width);
        let full = (0..width).filter(is_full).count();
        let colour = if part < 0.8 {
            Color::Cyan
        } else if part < 0.95 {
            Color::Yellow
        } else {
            Color::Red
        };
        let bar = "█".repeat(full);
        let rest = "░".repeat(usize::from(width) - full);
        Line::from(vec![
            Span::styled(format!("{name:<0$}", usize::from(NAME)), quiet()),
            Span::styled(bar, Style::new().fg(colour)),
            Span::styled(rest, quiet()),
            Span::raw(if width > 0 { format!(" {value}") } else { value.clone() }),
        ])
    });
    frame.render_widget(Paragraph::new(lines.collect::<Vec<_>>()), area);
}

/// As many as there is room for, those that matter most first.
fn draw_charts(frame: &mut Frame<'_>, area: Rect, app: &App, now: Stamp) {
    let columns: u16 = if area.width >= 2 * CHART_COLUMNS { 2 } else { 1 };
    let kinds: Vec<Kind> =
        Kind::ALL.into_iter().filter(|&kind| charts::is_told(kind, app)).collect();
    let rows_max = kinds.len().div_ceil(usize::from(columns));
    let rows = usize::from(area.height / CHART_ROWS).min(rows_max);
    if rows == 0 {
        return;
    }
    let mut kinds = kinds.into_iter();
    for row in Layout::vertical(vec![Constraint::Fill(1); rows]).split(area).iter() {
        let here: Vec<Kind> = kinds.by_ref().take(usize::from(columns)).collect();
        let places = Layout::horizontal(vec![Constraint::Fill(1); here.len()]).split(*row);
        for (kind, place) in here.into_iter().zip(places.iter()) {
            charts::draw(frame, *place, kind, app, now);
        }
    }
}

fn draw_tables(frame: &mut Frame<'_>, area: Rect, app: &App) {
    let latencies = shown::latencies(&app.trend);
    let has_prefixes = app.trend.last.as_ref().is_some_and(|sample| sample.prefixes.is_some());
    let count = usize::from(!latencies.is_empty()) + usize::from(has_prefixes);
    let places = Layout::horizontal(vec![Constraint::Fill(1); count]).split(area);
    let mut places = places.iter();
    if !latencies.is_empty()
        && let Some(place) = places.next()
    {
        table(frame, *place, "Latency since the start", &shown::LATENCY_HEAD, latencies, 0);
    }
    if let Some(place) = places.next() {
        prefixes(frame, *place, app, 0);
    }
}

fn prefixes(frame: &mut Frame<'_>, area: Rect, app: &App, scroll: usize) {
    const TITLE: &str = "Busiest key prefixes";
    let Some(rows) = shown::prefixes(&app.trend) else {
        let text = "Not counted. The command `stats detail on` begins to, `stats detail off` ends it; \
                    litecached -D and memcached -D begin at the start.";
        let block = Block::bordered().border_style(quiet()).title(format!(" {TITLE} "));
        return frame.render_widget(Paragraph::new(text).wrap(Wrap::default()).block(block), area);
    };
    table(frame, area, TITLE, &shown::PREFIX_HEAD, rows, scroll);
}

/// A table, its first column at the left, all others at the right; as many columns as there is room for.
fn table(
    frame: &mut Frame<'_>,
    area: Rect,
    title: &str,
    head: &[&str],
    rows: Vec<Row>,
    scroll: usize,
) {
    let widths: Vec<usize> = (0..head.len())
        .map(|column| {
            let cells = rows.iter().map(|row| row[column].width());
            cells.chain([head[column].len()]).max().unwrap_or(0).min(40)
        })
        .collect();
    let mut left = usize::from(area.width.saturating_sub(2));
    let fitting = widths.iter().take_while(|&&width| {
        let fits = left >= width;
        left = left.saturating_sub(width + 2);
        fits
    });
    let columns = fitting.count().max(1);
    let cell = |column: usize, text: String| {
        let width = widths[column];
        Cell::new(if column == 0 { text } else { format!("{text:>width$}") })
    };
    let row = |row: Row| {
        Cells::new(
            row.into_iter().take(columns).enumerate().map(|(column, text)| cell(column, text)),
        )
    };
    // The last rows stay at the bottom.
    let visible = usize::from(area.height.saturating_sub(3));
    let scroll = scroll.min(rows.len().saturating_sub(visible));
    let title = if rows.len() > visible {
        format!(
            " {title}, {} to {} of {} ",
            scroll + 1,
            (scroll + visible).min(rows.len()),
            rows.len()
        )
    } else {
        format!(" {title} ")
    };
    let head = row(head.iter().map(|&word| word.to_owned()).collect()).style(quiet());
    let constraints = widths
        .iter()
        .take(columns)
        .map(|&width| Constraint::Length(u16::try_from(width).unwrap_or(u16::MAX)));
    let table = Table::new(rows.into_iter().skip(scroll).map(row), constraints)
        .header(head)
        .column_spacing(2)
        .block(Block::bordered().border_style(quiet()).title(title));
    frame.render_widget(table, area);
}

fn help(frame: &mut Frame<'_>, area: Rect) {
    let lines = u16::try_from(HELP.lines().count()).unwrap_or(u16::MAX);
    let columns = u16::try_from(HELP.lines().map(str::len).max().unwrap_or(0)).unwrap_or(u16::MAX);
    let width = (columns + 4).min(area.width);
    let height = (lines + 2).min(area.height);
    let place = Rect {
        x: area.x + (area.width - width) / 2,
        y: area.y + (area.height - height) / 2,
        width,
        height,
    };
    frame.render_widget(Clear, place);
    let block = Block::bordered().title(" Keys ");
    frame.render_widget(Paragraph::new(HELP).block(block).wrap(Wrap { trim: false }), place);
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use ratatui::Terminal;
    use ratatui::backend::TestBackend;
    use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

    use super::super::sample::tests::sample;
    use super::super::sample::{Latency, Prefix};
    use super::*;

    /// The screen as text.
    fn screen(app: &App, width: u16, height: u16, now: Stamp) -> String {
        let backend = TestBackend::new(width, height);
        let mut terminal = Terminal::new(backend).expect("it is in memory");
        terminal.draw(|frame| draw(frame, app, now)).expect("it is in memory");
        let buffer = terminal.backend().buffer();
        let cells: Vec<&str> = buffer.content().iter().map(ratatui::buffer::Cell::symbol).collect();
        let rows = cells.chunks(usize::from(width)).map(<[&str]>::concat);
        rows.map(|row| row.trim_end().to_owned() + "\n").collect()
    }

    fn press(app: &mut App, code: KeyCode) {
        app.key(KeyEvent::new(code, KeyModifiers::NONE));
    }

    /// Ten seconds of a server of ours, or of one that says no more than memcached does.
    fn app(start: Stamp, is_ours: bool) -> App {
        let at = |second: u64| {
            let mut figures = vec![
                ("cmd_get", 3_000 * second),
                ("get_hits", 2_000 * second),
                ("get_misses", 1_000 * second),
                ("cmd_set", 100 * second),
                ("evictions", 0),
                ("curr_items", 1_234),
                ("curr_connections", 3),
                ("max_connections", 1_024),
                ("bytes", 90 << 20),
                ("limit_maxbytes", 100 << 20),
                ("uptime", second),
            ];
            if is_ours {
                figures.extend([
                    ("wal_bytes", 1 << 20),
                    ("wal_bytes_max", 16 << 20),
                    ("file_bytes", 91 << 20),
                    ("memory_bytes", 1 << 20),
                    ("memory_bytes_max", 64 << 20),
                ]);
            }
            let mut sample = sample(start, second, &figures);
            sample.figures.insert("version".into(), "1.6.45".into());
            if is_ours {
                let times = (1e-6, 2e-5, 3e-4, 4e-3);
                let (p50, p99, p999, longest) = times;
                sample.latencies =
                    vec![Latency { kind: "get".into(), count: 3_000.0, p50, p99, p999, longest }];
                let prefix = |name: &str| Prefix {
                    name: name.into(),
                    gets: 10.0,
                    hits: 5.0,
                    sets: 1.0,
                    deletes: 0.0,
                };
                sample.prefixes =
                    Some((0..30).map(|number| prefix(&format!("user{number}"))).collect());
            }
            sample
        };
        let mut app = App::new("here:1".into(), Duration::from_secs(1), at(0));
        (1..=10).for_each(|second| app.add(at(second)));
        app
    }

    #[test]
    fn what_matters_is_on_every_size() {
        let start = Stamp::now();
        let now = start.after(Duration::from_secs(10));
        let ours = app(start, true);
        for (width, height) in [(80, 24), (40, 24), (140, 50), (60, 12), (24, 8), (300, 100)] {
            let text = screen(&ours, width, height, now);
            for wanted in ["here:1 live", "3.10 k/s", "Overview"] {
                assert!(text.contains(wanted), "{width}x{height}: no {wanted} in\n{text}");
            }
            if height >= 12 {
                assert!(text.contains("90.0 MiB of 100 MiB, 90.0 %"), "{width}x{height}\n{text}");
            }
            assert_eq!(text.contains("Requests/s"), height >= 24, "{width}x{height}\n{text}");
            assert_eq!(text.contains("user7"), height >= 50, "{width}x{height}\n{text}");
        }
        for (width, height) in [(23, 24), (80, 7), (1, 1)] {
            let text = screen(&ours, width, height, now);
            assert!(!text.contains("here"), "{width}x{height}\n{text}");
        }
    }

    #[test]
    fn what_a_server_does_not_tell_has_no_panel() {
        let start = Stamp::now();
        let other = app(start, false);
        let text = screen(&other, 80, 40, start.after(Duration::from_secs(10)));
        assert!(text.contains("Memory   █") && text.contains("Evicted"), "{text}");
        for unwanted in ["Log ", "Disk", "Latency", "p99", "Expired", "CPU", "Network/s"] {
            assert!(!text.contains(unwanted), "{unwanted} in\n{text}");
        }
    }

    #[test]
    fn tables_scroll_and_help_lies_above() {
        let start = Stamp::now();
        let now = start.after(Duration::from_secs(10));
        let mut app = app(start, true);
        press(&mut app, KeyCode::Char('2'));
        let text = screen(&app, 40, 24, now);
        assert!(
            text.contains("1.00 µs") && text.contains("20.0 µs") && !text.contains("4.00 ms"),
            "{text}"
        );
        assert!(screen(&app, 80, 24, now).contains("4.00 ms"), "there is room for all columns");
        press(&mut app, KeyCode::Char('3'));
        assert!(screen(&app, 80, 24, now).contains("1 to 18 of 30"));
        press(&mut app, KeyCode::End);
        let text = screen(&app, 80, 24, now);
        assert!(text.contains("13 to 30 of 30") && text.contains("user29"), "{text}");
        press(&mut app, KeyCode::Char('4'));
        let text = screen(&app, 80, 24, now);
        assert!(text.contains("cmd_get") && text.contains("+3.00 k/s"), "{text}");
        press(&mut app, KeyCode::Char('?'));
        assert!(screen(&app, 80, 24, now).contains("this help"));
        assert!(screen(&app, 24, 8, now).contains("quit"));
    }

    #[test]
    fn silence_is_said_beside_a_long_address() {
        let start = Stamp::now();
        let mut app = app(start, true);
        app.address = format!("unix:/{}/é.sock", "folder/".repeat(30));
        for (width, height) in [(80, 24), (24, 8)] {
            let live = screen(&app, width, height, start.after(Duration::from_secs(10)));
            assert!(live.contains(".sock live"), "{live}");
            let lost = screen(&app, width, height, start.after(Duration::from_secs(42)));
            assert!(lost.starts_with('…') && lost.contains(".sock no answer"), "{lost}");
        }
        assert_eq!(
            [("abcd", 4), ("abcd", 3), ("日本語", 6), ("日本語", 5), ("", 0), ("abc", 0)]
                .map(|(text, most)| last_columns(text, most)),
            ["abcd", "…cd", "日本語", "…本語", "", "…"]
        );
    }

    #[test]
    fn silence_is_said() {
        let start = Stamp::now();
        let app = app(start, true);
        let text = screen(&app, 80, 24, start.after(Duration::from_secs(42)));
        assert!(text.contains("here:1 no answer for 32 s"), "{text}");
    }
}
