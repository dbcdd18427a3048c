//! What must hold whatever the input: a function for each target, that panics where it does not.
//!
//! Knows nothing of libFuzzer: `tests/fuzz.rs` gives them the corpora, so that everybody can who has cargo.

mod accounts;
mod damage;
mod desk;
mod ops;
mod records;
mod redis;
#[path = "../../tests/common/reference.rs"]
mod reference;
mod settings;
mod wire;

/// Holds one input to what is promised.
pub type Target = fn(&[u8]);

/// Every target by the name of its program and of its corpus.
pub const TARGETS: [(&str, Target); 9] = [
    ("accounts", accounts::hold),
    ("binary", wire::binary),
    ("classic", wire::classic),
    ("damage", damage::hold),
    ("meta", wire::meta),
    ("ops", ops::hold),
    ("records", records::hold),
    ("redis", redis::hold),
    ("settings", settings::hold),
];

/// The target of this name.
pub fn target(name: &str) -> Target {
    let found = TARGETS.iter().find(|(known, _)| *known == name);
    found.unwrap_or_else(|| panic!("there is no target {name}")).1
}
