//! The file of users, passwords and rights: whoever is in it can log in, nobody else, rights only take away, and no error
//! tells a password.

use std::path::Path;

use litecached::auth::{Accounts, Verbs};

/// What our own words have in capitals.
const FORM: &[u8] = b"rights USER VERB[,VERB...] [PREFIX ...]";

/// The words of a line of rights.
fn of_rights(line: &[u8]) -> Option<Vec<&[u8]>> {
    let is_blank = |byte: &u8| matches!(byte, b' ' | b'\t');
    let words = line.strip_prefix(b"rights").filter(|rest| rest.first().is_some_and(is_blank))?;
    Some(words.split(is_blank).filter(|word| !word.is_empty()).collect())
}

pub(super) fn hold(data: &[u8]) {
    let all = || {
        let lines = data.split(|&byte| byte == b'\n');
        lines.map(|line| line.strip_suffix(b"\r").unwrap_or(line))
    };
    let lines: Vec<(&[u8], &[u8])> = all()
        .filter(|line| of_rights(line).is_none())
        .filter_map(|line| {
            let colon = line.iter().position(|&byte| byte == b':')?;
            Some((&line[..colon], &line[colon + 1..]))
        })
        .collect();
    let narrowed: Vec<Vec<&[u8]>> = all().filter_map(of_rights).collect();
    match Accounts::parse(Path::new("users"), data) {
        Ok(accounts) => {
            assert!(!format!("{accounts:?}").contains("assword"), "a password is shown");
            for (user, password) in &lines {
                let account = accounts.verify(user, password);
                let account = account.expect("whoever is in it can log in");
                assert_eq!(accounts.find(&account), Some(account.clone()), "and is found again");
                let rights = account.rights();
                let is_named = narrowed.iter().any(|words| words.first() == Some(user));
                if is_named {
                    let prefixed =
                        |words: &Vec<&[u8]>| words.first() == Some(user) && words.len() > 2;
                    let is_prefixed = narrowed.iter().any(prefixed);
                    assert_eq!(rights.are_for_all_keys(), !is_prefixed, "as the line says");
                } else {
                    let all = rights.verbs() == Verbs::ALL && rights.are_for_all_keys();
                    assert!(all, "a user may do everything");
                }
                let mut longer = password.to_vec();
                longer.push(b'x');
                let known = lines.iter().any(|&(other, word)| other == *user && word == longer);
                assert_eq!(
                    accounts.verify(user, &longer).is_some(),
                    known,
                    "not with one byte more"
                );
                let known = lines.contains(&(user, b""));
                assert_eq!(accounts.verify(user, b"").is_some(), known, "not without a password");
            }
        }
        Err(error) => {
            let said = format!("{error} {error:?}");
            let secret = |word: &[u8]| {
                let is_ours = FORM.windows(word.len().max(1)).any(|ours| ours == word);
                word.len() > 2 && word.iter().all(u8::is_ascii_uppercase) && !is_ours
            };
            for (_, password) in lines.iter().filter(|(_, password)| secret(password)) {
                let password = String::from_utf8_lossy(password);
                assert!(!said.contains(&*password), "{said} tells {password}");
            }
        }
    }
}
