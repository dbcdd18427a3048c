//! The file of users and passwords: whoever is in it can log in, nobody else, and no error tells a password.

use std::path::Path;

use litecached::auth::Accounts;

pub(super) fn hold(data: &[u8]) {
    let lines: Vec<(&[u8], &[u8])> = data
        .split(|&byte| byte == b'\n')
        .map(|line| line.strip_suffix(b"\r").unwrap_or(line))
        .filter_map(|line| {
            let colon = line.iter().position(|&byte| byte == b':')?;
            Some((&line[..colon], &line[colon + 1..]))
        })
        .collect();
    match Accounts::parse(Path::new("users"), data) {
        Ok(accounts) => {
            assert!(!format!("{accounts:?}").contains("assword"), "a password is shown");
            for (user, password) in &lines {
                assert!(accounts.verify(user, password), "whoever is in it can log in");
                let mut longer = password.to_vec();
                longer.push(b'x');
                let known = lines.iter().any(|&(other, word)| other == *user && word == longer);
                assert_eq!(accounts.verify(user, &longer), known, "not with one byte more");
                let known = lines.contains(&(user, b""));
                assert_eq!(accounts.verify(user, b""), known, "not without a password");
            }
        }
        Err(error) => {
            let said = format!("{error} {error:?}");
            // Our own words have small letters only.
            let secret = |word: &[u8]| word.len() > 2 && word.iter().all(u8::is_ascii_uppercase);
            for (_, password) in lines.iter().filter(|(_, password)| secret(password)) {
                let password = String::from_utf8_lossy(password);
                assert!(!said.contains(&*password), "{said} tells {password}");
            }
        }
    }
}
