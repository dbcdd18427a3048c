//! What was measured, for people: a table of one server, or two side by side with their ratios, and what
//! was not as it should be.

use std::fmt::Write;

use super::figures::{
    Kind, QUANTILES, client_cpu_us, hit_ratio, latency_us, median, rate, server_cpu_us, sorted,
};
use super::options::{Load, Plan, Span, Target};
use super::run::Round;
use super::work::Matter;

/// A server and its runs.
#[derive(Debug)]
pub(super) struct Series<'p> {
    pub(super) target: &'p Target,
    /// What it calls itself, where it was asked.
    pub(super) version: Option<String>,
    pub(super) rounds: Vec<Round>,
}

impl Series<'_> {
    pub(super) fn is_clean(&self) -> bool {
        self.rounds.iter().all(|round| round.tally.is_clean())
    }
}

/// Into a text, which takes everything.
macro_rules! line {
    ($text:expr, $($rest:tt)*) => { writeln!($text, $($rest)*).expect("a text can grow") };
}

/// What is going to be done, before it is.
pub(super) fn heading(plan: &Plan, all: &[Series<'_>]) -> String {
    let mut text = String::new();
    for series in all {
        let target = series.target;
        let process = target.pid.map_or(String::new(), |pid| format!(", process {pid}"));
        let version = series.version.as_ref().map_or(String::new(), |text| format!(": {text}"));
        line!(text, "{} ({}{process}){version}", target.address, target.protocol);
    }
    line!(text, "{}\n", shape(plan));
    text
}

/// The load in a line.
pub(super) fn shape(plan: &Plan) -> String {
    let load = &plan.load;
    let mut parts = vec![counted(load.connections, "connection"), counted(load.threads, "thread")];
    if load.depth > 1 {
        parts.push(format!("{} requests at once", load.depth));
    }
    if load.keys_per_get > 1 {
        parts.push(format!("{} keys per get", load.keys_per_get));
    }
    parts.extend(load.rate.map(|rate| format!("{rate} requests/s due")));
    match &load.matter {
        Matter::Numbered { keys, distribution, mix, sizes, .. } => {
            parts.push(format!("gets to sets {mix}"));
            parts.push(format!("{keys} keys {distribution}"));
            parts.push(format!("values of {sizes} bytes"));
        }
        Matter::Traced(trace) => {
            parts.push(format!(
                "a trace of {} gets on {} keys",
                trace.lines.len(),
                trace.keys.len()
            ));
        }
    }
    parts.push(span(load));
    if plan.rounds > 1 {
        parts.push(format!("medians of {} rounds", plan.rounds));
    }
    parts.join(", ")
}

fn span(load: &Load) -> String {
    let warm_up = if load.warm_up.is_zero() {
        String::new()
    } else {
        format!(" after {:?} of warm-up", load.warm_up)
    };
    match load.span {
        Span::Time(time) => format!("{time:?}{warm_up}"),
        Span::Requests(count) => format!("{count} requests{warm_up}"),
        Span::Trace => "once".to_owned(),
    }
}

fn counted(count: usize, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}

/// All that came out.
pub(super) fn results(plan: &Plan, all: &[Series<'_>]) -> String {
    let mut text = match all {
        [one] => alone(one),
        _ => side_by_side(all),
    };
    for series in all {
        notes(plan, series, all.len() > 1, &mut text);
    }
    text
}

fn alone(series: &Series<'_>) -> String {
    let rounds = &series.rounds;
    let mut text = format!("{:<6}{:>12}", "", "requests/s");
    for (name, _) in QUANTILES {
        write!(text, "{name:>11}").expect("a text can grow");
    }
    text.push('\n');
    for kind in Kind::of(rounds) {
        write!(text, "{:<6}{:>12}", kind.name(), shown(median(rounds, |it| rate(it, kind)), whole))
            .expect("a text can grow");
        for (_, quantile) in QUANTILES {
            let figure = median(rounds, |it| latency_us(it, kind, quantile));
            write!(text, "{:>11}", shown(figure, micros)).expect("a text can grow");
        }
        text.push('\n');
    }
    text.push('\n');
    let rates = sorted(rounds, |it| rate(it, Kind::All));
    if let [least, .., most] = &rates[..] {
        line!(text, "requests/s     {} to {}", whole(*least), whole(*most));
    }
    if let Some(ratio) = median(rounds, hit_ratio) {
        line!(text, "keys found     {}", percent(ratio));
    }
    if let Some(bytes) = median(rounds, traffic(false)) {
        let sent = median(rounds, traffic(true)).unwrap_or_default();
        line!(text, "MB/s           {bytes:.1} received, {sent:.1} sent");
    }
    let server = median(rounds, server_cpu_us).map(|cpu| format!("{cpu:.1} the server"));
    let client = median(rounds, client_cpu_us).map(|cpu| format!("{cpu:.1} this client"));
    let costs: Vec<String> = server.into_iter().chain(client).collect();
    if !costs.is_empty() {
        line!(text, "CPU us/request {}", costs.join(", "));
    }
    text
}

/// Megabytes a second of the whole run.
#[allow(clippy::cast_precision_loss, reason = "a figure for people")]
fn traffic(is_sent: bool) -> impl Fn(&Round) -> Option<f64> {
    move |round| {
        let tally = &round.tally;
        let bytes = if is_sent { tally.bytes_out } else { tally.bytes_in };
        let seconds = tally.last as f64 / 1e9;
        (seconds > 0.0).then(|| bytes as f64 / 1e6 / seconds)
    }
}

/// What a run came to in one figure, and how that is written.
type Figure = fn(&Round) -> Option<f64>;
type Shown = fn(f64) -> String;

/// Where a line's figure comes from.
enum Of {
    Run(Figure),
    Latency(Kind, f64),
}

impl Of {
    fn take(&self, round: &Round) -> Option<f64> {
        match self {
            Self::Run(figure) => figure(round),
            Self::Latency(kind, quantile) => latency_us(round, *kind, *quantile),
        }
    }
}

/// A line of two servers' figures.
struct Row {
    name: String,
    of: Of,
    show: Shown,
    /// Least and most are told, too.
    has_range: bool,
}

fn rows(rounds: &[Round]) -> Vec<Row> {
    let mut rows = vec![Row {
        name: "requests/s".into(),
        of: Of::Run(|it| rate(it, Kind::All)),
        show: whole,
        has_range: true,
    }];
    for kind in Kind::of(rounds).into_iter().filter(|&kind| kind != Kind::All) {
        for (name, quantile) in QUANTILES {
            rows.push(Row {
                name: format!("{} {name}", kind.name()),
                of: Of::Latency(kind, quantile),
                show: micros,
                has_range: false,
            });
        }
    }
    let figures: [(&str, Figure, Shown); 3] = [
        ("keys found", hit_ratio, percent),
        ("CPU us/request, server", server_cpu_us, tenths),
        ("CPU us/request, client", client_cpu_us, tenths),
    ];
    for (name, figure, show) in figures {
        rows.push(Row { name: name.into(), of: Of::Run(figure), show, has_range: false });
    }
    rows
}

fn side_by_side(all: &[Series<'_>]) -> String {
    let mut text = format!("{:<24}", "");
    for series in all {
        write!(text, "{:>28}", series.target.address.to_string()).expect("a text can grow");
    }
    line!(text, "{:>9}", "ratio");
    for Row { name, of, show, has_range } in rows(&all[0].rounds) {
        let medians: Vec<Option<f64>> =
            all.iter().map(|series| median(&series.rounds, |it| of.take(it))).collect();
        if medians.iter().all(Option::is_none) {
            continue;
        }
        write!(text, "{name:<24}").expect("a text can grow");
        for (series, median) in all.iter().zip(&medians) {
            let cell = match &sorted(&series.rounds, |it| of.take(it))[..] {
                [least, .., most] if has_range => {
                    format!("{} ({} to {})", shown(*median, show), show(*least), show(*most))
                }
                _ => shown(*median, show),
            };
            write!(text, "{cell:>28}").expect("a text can grow");
        }
        line!(text, "{:>9}", shown(ratio(&medians), |ratio| format!("{ratio:.2}")));
    }
    text
}

/// The first divided by the second.
pub(super) fn ratio(medians: &[Option<f64>]) -> Option<f64> {
    let (first, second) = (medians.first().copied()??, medians.get(1).copied()??);
    (second > 0.0).then(|| first / second)
}

/// What a reader of the figures should know.
#[allow(clippy::cast_precision_loss, reason = "figures for people")]
fn notes(plan: &Plan, series: &Series<'_>, names_it: bool, text: &mut String) {
    let address = &series.target.address;
    let place = if names_it { format!("{address}: ") } else { String::new() };
    let sum = |of: fn(&Round) -> u64| series.rounds.iter().map(of).sum::<u64>();
    let (hits, misses) = (sum(|it| it.tally.hits), sum(|it| it.tally.misses));
    if hits == 0 && misses > 0 && !plan.load.set_on_miss {
        line!(text, "{place}no key was there; --fill stores every key first");
    }
    let unsent = sum(|it| it.tally.unsent);
    if unsent > 0 {
        line!(
            text,
            "{place}the rate was not kept: {unsent} requests were due and not sent in time"
        );
    }
    let threads = plan.load.threads as f64;
    let is_busy = |round: &Round| {
        let busy = round.client_cpu.map_or(0.0, |cpu| cpu.as_secs_f64() / threads);
        // The wait for what is due next is no work, but looks like it.
        plan.load.rate.is_none() && round.seconds >= 0.5 && busy > 0.95 * round.seconds
    };
    if series.rounds.iter().any(is_busy) {
        line!(
            text,
            "{place}this client was busy all the time and may be the limit; try more --threads"
        );
    }
    for (count, what) in [
        (sum(|it| it.tally.wrong), "wrong answers"),
        (sum(|it| it.tally.errors), "errors"),
        (sum(|it| it.tally.unanswered), "requests without an answer"),
    ] {
        if count > 0 {
            line!(text, "{place}{count} {what}");
        }
    }
    let mut complaints = super::tally::Tally::new();
    series.rounds.iter().for_each(|round| complaints.add(&round.tally));
    for (words, count) in &complaints.complaints {
        line!(text, "  {count} x {words}");
    }
}

fn shown(figure: Option<f64>, show: impl Fn(f64) -> String) -> String {
    figure.map_or_else(|| "-".to_owned(), show)
}

fn whole(figure: f64) -> String {
    format!("{figure:.0}")
}

fn tenths(figure: f64) -> String {
    format!("{figure:.1}")
}

fn percent(ratio: f64) -> String {
    format!("{:.1} %", ratio * 100.0)
}

/// A time in three digits or so.
pub(super) fn micros(us: f64) -> String {
    match us {
        _ if us < 9.95 => format!("{us:.1} us"),
        _ if us < 999.5 => format!("{us:.0} us"),
        _ if us < 9_995.0 => format!("{:.2} ms", us / 1e3),
        _ if us < 99_950.0 => format!("{:.1} ms", us / 1e3),
        _ if us < 999_500.0 => format!("{:.0} ms", us / 1e3),
        _ => format!("{:.2} s", us / 1e6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_short() {
        let cases = [
            (0.5, "0.5 us"),
            (9.96, "10 us"),
            (87.2, "87 us"),
            (999.6, "1.00 ms"),
            (1_234.0, "1.23 ms"),
            (12_340.0, "12.3 ms"),
            (123_400.0, "123 ms"),
            (1_234_000.0, "1.23 s"),
        ];
        for (us, expected) in cases {
            assert_eq!(micros(us), expected);
        }
    }

    #[test]
    fn ratios_need_both() {
        assert_eq!(ratio(&[Some(3.0), Some(2.0)]), Some(1.5));
        assert_eq!(ratio(&[Some(3.0), Some(0.0)]), None);
        assert_eq!(ratio(&[Some(3.0), None]), None);
        assert_eq!(ratio(&[Some(3.0)]), None);
    }
}
