//! How far it is, for people: drawn on stderr where that is a terminal, else not at all.

use std::fmt;
use std::io::{self, IsTerminal};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};

/// For a source that counts items.
pub(crate) const ITEMS_TEMPLATE: &str = "{wide_bar} {pos}/{len} items {rate} {eta}";

/// Drawn on stderr where that is a terminal, else not at all.
pub(crate) fn progress_bar(length: Option<u64>, template: &str) -> ProgressBar {
    let target = if io::stderr().is_terminal() {
        ProgressDrawTarget::stderr()
    } else {
        ProgressDrawTarget::hidden()
    };
    let rate = |state: &ProgressState, out: &mut dyn fmt::Write| {
        // Into the bar's own text, which takes everything.
        write!(out, "{:.0}/s", state.per_sec()).expect("a text can grow");
    };
    let style = ProgressStyle::with_template(template).expect("constant templates are valid");
    ProgressBar::with_draw_target(length, target).with_style(style.with_key("rate", rate))
}
