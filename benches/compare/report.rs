//! What was measured, as Markdown: a line for each row.

use crate::measure::Outcome;
use crate::rows::Row;

pub(crate) const HEAD: &str = "\
| load | beside | requests/s | | ratio | server CPU us | | ratio | p99 | | longest | |\n\
| --- | --- | --: | --: | --: | --: | --: | --: | --: | --: | --: | --: |";

/// Ours, then theirs.
pub(crate) fn line(row: &Row, outcome: &Outcome) -> String {
    let [rate, their_rate] = outcome.medians("requests_per_second").map(whole);
    let [cpu, their_cpu] = outcome.medians("server_cpu_us_per_request").map(tenths);
    let [p99, their_p99] = outcome.medians("all_p99_us").map(millis);
    let [longest, their_longest] = outcome.longest_us().map(millis);
    let rate_ratio = ratio(outcome.ratio("requests_per_second"));
    let cpu_ratio = ratio(outcome.ratio("server_cpu_us_per_request"));
    format!(
        "| {} | {} | {rate} | {their_rate} | {rate_ratio} | {cpu} | {their_cpu} | {cpu_ratio} | {p99} | \
         {their_p99} | {longest} | {their_longest} |",
        row.name,
        row.peer.name(),
    )
}

fn shown(figure: Option<f64>, show: impl Fn(f64) -> String) -> String {
    figure.map_or_else(|| "-".to_owned(), show)
}

fn whole(figure: Option<f64>) -> String {
    shown(figure, |figure| format!("{figure:.0}"))
}

fn tenths(figure: Option<f64>) -> String {
    shown(figure, |figure| format!("{figure:.1}"))
}

fn ratio(figure: Option<f64>) -> String {
    shown(figure, |figure| format!("**{figure:.2}**"))
}

fn millis(micros: Option<f64>) -> String {
    shown(micros, |micros| format!("{:.1} ms", micros / 1e3))
}
