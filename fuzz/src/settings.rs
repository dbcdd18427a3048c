//! Configuration: any flags, variables and file give settings or one readable error; what `config show`
//! writes as a file means the same when it is read.
//!
//! An input is a line of flags, a line of variables, and a file.

use litecached::cli::fuzzing::{configuration, size};

pub(super) fn hold(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let mut parts = text.splitn(3, '\n');
    let mut part = || parts.next().unwrap_or_default();
    let (flags, variables, file) = (part(), part(), part());
    let flags: Vec<&str> = flags.split(' ').filter(|word| !word.is_empty()).collect();
    let names: Vec<(String, &str)> = variables
        .split(' ')
        .filter_map(|word| word.split_once('='))
        .map(|(name, text)| (format!("LITECACHED_{name}"), text))
        .collect();
    let variables: Vec<(&str, &str)> =
        names.iter().map(|(name, text)| (&name[..], *text)).collect();
    for word in flags.iter().copied().chain(variables.iter().map(|(_, text)| *text)) {
        check_size(word);
    }
    // Help is no error, but no settings either; its text may be of any length.
    match configuration(&flags, &variables, file) {
        Err(error) => assert!(!error.is_empty(), "an error that says nothing"),
        Ok(meant) => {
            let again = configuration(&[], &[], &meant.toml);
            let again = again.unwrap_or_else(|error| panic!("{error}\n{}", meant.toml));
            assert_eq!(again.options, meant.options, "{}", meant.toml);
        }
    }
}

fn check_size(text: &str) {
    if let Some((bytes, written)) = size(text) {
        assert_eq!(size(&written), Some((bytes, written.clone())), "{text} is {written}");
    }
}
