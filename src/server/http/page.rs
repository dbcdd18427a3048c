//! The status page: one page, one style, one script, compiled in.
//!
//! uPlot draws the charts (`assets/status`, MIT). What the page shows it asks for every second
//! (`/status.json`); nothing is fetched from elsewhere, and nothing is written into these texts.

/// `/`.
pub(super) const HTML: &str = include_str!("../../../assets/status/status.html");

/// `/status.js`.
pub(super) const SCRIPT: &str = concat!(
    "/*!\n",
    include_str!("../../../assets/status/uPlot-LICENSE"),
    "\n*/\n",
    include_str!("../../../assets/status/uPlot.iife.min.js"),
    "\n",
    include_str!("../../../assets/status/shape.js"),
    "\n",
    include_str!("../../../assets/status/status.js"),
);

/// `/status.css`.
pub(super) const STYLE: &str = concat!(
    include_str!("../../../assets/status/uPlot.min.css"),
    "\n",
    include_str!("../../../assets/status/status.css"),
);
