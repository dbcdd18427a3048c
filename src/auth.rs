//! Who may log in: the accounts of a password file, and whether a name and a password belong to one.
//!
//! Reads memcached's form of the file (`-Y`), a `user:password` a line, and refuses what memcached would
//! silently cut off or never match. A line `rights USER VERB[,VERB...] [PREFIX ...]` narrows what a user may do: as an
//! account it would be of a user with a blank in his name, whom there is not. Knows neither protocols nor logging:
//! what should be said about a file is handed back. Stays true: how long [`Accounts::verify`] takes tells nothing of
//! what the file holds, and no secret is ever part of an error or of what `Debug` shows.

mod rights;

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::fcntl::OFlag;
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};

use crate::limits::{ACCOUNT_BYTES_MAX, ACCOUNTS_MAX, AUTH_FILE_BYTES_MAX};

pub use rights::{Rights, Verbs};

/// Everybody who may log in: 1 to [`ACCOUNTS_MAX`] of them.
#[derive(PartialEq, Eq)]
pub struct Accounts(Vec<Arc<Account>>);

/// One of them.
#[derive(PartialEq, Eq)]
pub struct Account {
    user: Padded,
    password: Padded,
    rights: Rights,
}

/// Accounts as they were read, and what to say about their file.
#[derive(Debug)]
pub struct Loaded {
    /// Who may log in.
    pub accounts: Accounts,
    /// What its owner had better change.
    pub warning: Option<String>,
}

/// Why there are no accounts: `<what is wrong>; <what to do>`, naming the file.
#[derive(Debug)]
pub enum Error {
    /// The file cannot be read.
    Unreadable { path: PathBuf, error: io::Error },
    /// It is not of the form that is wanted; the line counts from 1.
    Malformed { path: PathBuf, line: usize, what: &'static str, wanted: &'static str },
    /// Something about the whole of it.
    Unfit { path: PathBuf, what: &'static str },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable { path, error } => {
                write!(f, "cannot read {}: {error}; see --auth-file (-Y)", path.display())
            }
            Self::Malformed { path, line, what, wanted } => {
                write!(f, "{} line {line}: {what}; write {wanted}", path.display())
            }
            Self::Unfit { path, what } => {
                write!(f, "{}: {what}; write a user:password a line", path.display())
            }
        }
    }
}

impl std::error::Error for Error {}

/// How a line of rights begins, and no user is named.
const RIGHTS: &[u8] = b"rights";

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

impl Accounts {
    /// Reads a file. Its owner is warned where others have access to it.
    pub fn read(path: &Path) -> Result<Loaded, Error> {
        let unreadable = |error| Error::Unreadable { path: path.to_owned(), error };
        // A pipe would keep whoever reloads waiting, to be opened as well as to be read.
        let file = File::options()
            .read(true)
            .custom_flags(OFlag::O_NONBLOCK.bits())
            .open(path)
            .map_err(unreadable)?;
        let metadata = file.metadata().map_err(unreadable)?;
        if !metadata.is_file() {
            return Err(unreadable(io::Error::other("it is no regular file")));
        }
        let mut text = Vec::new();
        file.take(AUTH_FILE_BYTES_MAX + 1).read_to_end(&mut text).map_err(unreadable)?;
        if text.len() as u64 > AUTH_FILE_BYTES_MAX {
            return Err(Error::Unfit { path: path.to_owned(), what: "it is larger than 64 KiB" });
        }
        let accounts = Self::parse(path, &text)?;
        let mode = metadata.permissions().mode() & 0o777;
        let warning = (mode & 0o007 != 0).then(|| {
            let path = path.display();
            format!(
                "others have access to the passwords in {path} (mode {mode:o}); chmod o= {path}"
            )
        });
        Ok(Loaded { accounts, warning })
    }

    /// Reads the text of the file at `path`.
    pub fn parse(path: &Path, text: &[u8]) -> Result<Self, Error> {
        let unfit = |what| Err(Error::Unfit { path: path.to_owned(), what });
        let text = text.strip_suffix(b"\n").unwrap_or(text);
        if text.is_empty() {
            return unfit("it is empty, and nobody could log in");
        }
        let (mut accounts, mut narrowed) = (Vec::new(), Vec::<Narrowed<'_>>::new());
        for (index, line) in text.split(|&byte| byte == b'\n').enumerate() {
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            let malformed = |wanted| {
                move |what| Error::Malformed {
                    path: path.to_owned(),
                    line: index + 1,
                    what,
                    wanted,
                }
            };
            let is_one =
                |rest: &&[u8]| rest.first().is_none_or(|byte| !byte.is_ascii_alphanumeric());
            if let Some(words) = line.strip_prefix(RIGHTS).filter(is_one) {
                let line = Narrowed::parse(index + 1, words);
                let line = line.and_then(|line| line.unless_among(&narrowed));
                narrowed.push(line.map_err(malformed(Narrowed::FORM))?);
                continue;
            }
            if accounts.len() == ACCOUNTS_MAX {
                // memcached would take the first eight and say nothing.
                return unfit("it has more than 8 users");
            }
            accounts.push(Account::parse(line).map_err(malformed("user:password"))?);
        }
        if accounts.is_empty() {
            return unfit("there is no user in it, and nobody could log in");
        }
        for Narrowed { line, user, rights } in narrowed {
            let mut is_there = false;
            for account in accounts.iter_mut().filter(|account| account.user.text() == user) {
                account.rights = rights.clone();
                is_there = true;
            }
            if !is_there {
                let (path, what) = (path.to_owned(), "there is no such user in the file");
                return Err(Error::Malformed { path, line, what, wanted: Narrowed::FORM });
            }
        }
        Ok(Self(accounts.into_iter().map(Arc::new).collect()))
    }

    /// Whoever has this name and this password. All accounts are compared, and all of each, in a time that depends
    /// on the lengths given alone, but for whether there is one.
    pub fn verify(&self, user: &[u8], password: &[u8]) -> Option<Arc<Account>> {
        let (user, password) = (Padded::new(user)?, Padded::new(password)?);
        let mut found = u64::MAX;
        for (index, account) in (0..).zip(&self.0) {
            let is_he = account.user.ct_eq(&user) & account.password.ct_eq(&password);
            found.conditional_assign(&index, is_he);
        }
        usize::try_from(found).ok().and_then(|index| self.0.get(index)).cloned()
    }

    /// The same user with the same password, as he is in this file.
    pub fn find(&self, account: &Account) -> Option<Arc<Account>> {
        let is_he =
            |one: &&Arc<Account>| one.user == account.user && one.password == account.password;
        self.0.iter().find(is_he).cloned()
    }

    /// How many of them may not do everything.
    pub fn narrowed(&self) -> usize {
        self.0.iter().filter(|account| *account.rights() != Rights::everything()).count()
    }

    /// How many there are.
    #[allow(clippy::len_without_is_empty, reason = "a file without an account is refused")]
    pub fn len(&self) -> usize {
        self.0.len()
    }
}

/// How many there are, and how many have rights of their own: a line that was meant to take something away is seen
/// to do so.
impl fmt::Display for Accounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.narrowed() {
            0 => write!(f, "{}, who may do everything", self.len()),
            narrowed => write!(f, "{}, of whom {narrowed} may not do everything", self.len()),
        }
    }
}

/// How many, and nothing of them.
impl fmt::Debug for Accounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Accounts({})", self.0.len())
    }
}

/// Nothing of it.
impl fmt::Debug for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Account")
    }
}

impl Account {
    /// What he may do.
    pub fn rights(&self) -> &Rights {
        &self.rights
    }

    fn parse(line: &[u8]) -> Result<Self, &'static str> {
        if line.is_empty() {
            return Err("it is empty");
        }
        if line.len() > ACCOUNT_BYTES_MAX {
            return Err("it has more than 254 bytes");
        }
        if line.iter().any(|byte| matches!(byte, b'\r' | b'\0')) {
            return Err("there is a carriage return or a zero byte in it");
        }
        let Some(colon) = memchr::memchr(b':', line) else {
            return Err("there is no colon in it");
        };
        let (user, password) = (&line[..colon], &line[colon + 1..]);
        if user.is_empty() || password.is_empty() {
            return Err("the user or the password is empty");
        }
        // A login in text ends the user at its first space.
        if user.contains(&b' ') {
            return Err("there is a space in the user");
        }
        if user.iter().any(u8::is_ascii_control) {
            return Err("there is a control byte in the user");
        }
        if user[0] == b'#' {
            return Err("the user begins with #, and there are no comments in this file");
        }
        let padded = |part| Padded::new(part).expect("a part is no longer than its line");
        let (user, password) = (padded(user), padded(password));
        Ok(Self { user, password, rights: Rights::everything() })
    }
}

/// A line of rights.
struct Narrowed<'t> {
    /// Its number, from 1.
    line: usize,
    user: &'t [u8],
    rights: Rights,
}

impl<'t> Narrowed<'t> {
    const FORM: &'static str = "rights USER VERB[,VERB...] [PREFIX ...]";

    fn parse(line: usize, words: &'t [u8]) -> Result<Self, &'static str> {
        if words.iter().any(|byte| matches!(byte, b'\r' | b'\0')) {
            return Err("there is a carriage return or a zero byte in it");
        }
        if !words.first().copied().is_none_or(is_blank) {
            return Err("rights is no name for a user, and what follows it stands behind a space");
        }
        let mut words = words.split(|&byte| is_blank(byte)).filter(|word| !word.is_empty());
        let user = words.next().ok_or("there is no user in it")?;
        Ok(Self { line, user, rights: Rights::parse(words)? })
    }

    fn unless_among(self, others: &[Self]) -> Result<Self, &'static str> {
        if others.iter().any(|other| other.user == self.user) {
            return Err("there are rights for this user already");
        }
        Ok(self)
    }
}

/// A text and its length in a place of one size, so that comparing two takes one time.
#[derive(PartialEq, Eq)]
struct Padded {
    bytes: [u8; ACCOUNT_BYTES_MAX],
    length: u64,
}

impl Padded {
    /// `None` if it is longer than any account's.
    fn new(text: &[u8]) -> Option<Self> {
        let mut bytes = [0; ACCOUNT_BYTES_MAX];
        bytes.get_mut(..text.len())?.copy_from_slice(text);
        Some(Self { bytes, length: text.len() as u64 })
    }

    fn text(&self) -> &[u8] {
        let length = usize::try_from(self.length).unwrap_or(ACCOUNT_BYTES_MAX);
        &self.bytes[..length.min(ACCOUNT_BYTES_MAX)]
    }

    fn ct_eq(&self, other: &Self) -> Choice {
        self.bytes.ct_eq(&other.bytes) & self.length.ct_eq(&other.length)
    }
}

/// The user and the password of a SASL PLAIN message (RFC 4616): `[authzid] NUL authcid NUL passwd`.
/// Whoever asks to act as somebody else than he says to be is none: nobody may do that here.
pub fn sasl_plain(message: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut parts = message.split(|&byte| byte == 0);
    let (as_whom, user, password) = (parts.next()?, parts.next()?, parts.next()?);
    let is_himself = as_whom.is_empty() || as_whom == user;
    let is_said = !user.is_empty() && !password.is_empty() && parts.next().is_none();
    (is_himself && is_said).then_some((user, password))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &[u8]) -> Result<Accounts, Error> {
        Accounts::parse(Path::new("users"), text)
    }

    #[test]
    fn a_name_and_its_password() {
        let accounts = parse(b"foo:bar\nbaaaz:quux\nfoo:next\nc:a:b c").expect("accounts");
        let cases: [(&[u8], &[u8], bool); 14] = [
            (b"foo", b"bar", true),
            (b"foo", b"next", true),
            (b"baaaz", b"quux", true),
            (b"c", b"a:b c", true),
            (b"foo", b"quux", false),
            (b"baaaz", b"bar", false),
            (b"foo", b"ba", false),
            (b"foo", b"bar\0", false),
            (b"foo\0", b"bar", false),
            (b"fo", b"bar", false),
            (b"", b"", false),
            (b"foo", b"", false),
            (b"foo", &[b'x'; 300], false),
            (&[b'x'; 300], b"bar", false),
        ];
        for (user, password, is_one) in cases {
            assert_eq!(
                accounts.verify(user, password).is_some(),
                is_one,
                "{}",
                user.escape_ascii()
            );
        }
    }

    #[test]
    fn what_a_file_may_look_like() {
        let longest = [b"u:".as_slice(), &[b'p'; ACCOUNT_BYTES_MAX - 2]].concat();
        let longer = [&longest[..], b"p"].concat();
        let cases: [(&[u8], &str); 20] = [
            (b"a:b", "1"),
            (b"a:b\n", "1"),
            (b"a:b\r\nc:d\r\n", "2"),
            (b"a::", "1"),
            (&longest, "1"),
            (&b"a:b\n".repeat(8), "8"),
            (&b"a:b\n".repeat(9), "users: it has more than 8 users; write a user:password a line"),
            (b"", "users: it is empty, and nobody could log in; write a user:password a line"),
            (b"\n", "users: it is empty, and nobody could log in; write a user:password a line"),
            (b"secret", "users line 1: there is no colon in it; write user:password"),
            (b"a:b\nsecret\n", "users line 2: there is no colon in it; write user:password"),
            (b"a:b\n\nc:d", "users line 2: it is empty; write user:password"),
            (b"a:b\n\n", "users line 2: it is empty; write user:password"),
            (b":secret", "users line 1: the user or the password is empty; write user:password"),
            (b"a:", "users line 1: the user or the password is empty; write user:password"),
            (b"a b:secret", "users line 1: there is a space in the user; write user:password"),
            (
                b"a\tb:secret",
                "users line 1: there is a control byte in the user; write user:password",
            ),
            (
                b"#a:secret",
                "users line 1: the user begins with #, and there are no comments in this file; \
                 write user:password",
            ),
            (
                b"a:se\rcret",
                "users line 1: there is a carriage return or a zero byte in it; write user:password",
            ),
            (&longer, "users line 1: it has more than 254 bytes; write user:password"),
        ];
        for (text, expected) in cases {
            let found = match parse(text) {
                Ok(accounts) => accounts.len().to_string(),
                Err(error) => error.to_string(),
            };
            assert_eq!(found, expected, "{}", text.escape_ascii());
        }
    }

    #[test]
    fn lines_of_rights() {
        let text =
            b"rights bob read a: b:\r\nbob:one\nann:her\nbob:two\nrights  ann  write,admin \n";
        let accounts = parse(text).expect("accounts");
        assert_eq!(accounts.len(), 3);
        let of = |user: &[u8], password: &[u8]| {
            accounts.verify(user, password).expect("he is there").rights().clone()
        };
        for password in [b"one", b"two"] {
            let bob = of(b"bob", password);
            assert!(bob.verbs() == Verbs::READ && bob.are_for(b"b:1") && !bob.are_for(b"c:1"));
        }
        let ann = of(b"ann", b"her");
        assert!(ann.verbs() == Verbs::WRITE | Verbs::ADMIN && ann.are_for_all_keys());
        assert_eq!(accounts.to_string(), "3, of whom 3 may not do everything");
        // Tabs are blanks, and a name may begin as such a line does.
        let accounts = parse(b"a:b\nrights\ta\t read\tx:\t\ty:\nrightsman:x").expect("accounts");
        let a = accounts.verify(b"a", b"b").expect("he is there");
        assert!(a.rights().verbs() == Verbs::READ && a.rights().are_for(b"y:1"));
        assert!(!a.rights().are_for(b"z"));
        assert_eq!(accounts.to_string(), "2, of whom 1 may not do everything");
        assert_eq!(parse(b"a:b").expect("accounts").to_string(), "1, who may do everything");
        let no_name = "rights is no name for a user, and what follows it stands behind a space";
        let lines = |count: usize| b"rights bob read\n".repeat(count);
        for (text, line, what) in [
            (b"a:b\nrights bob read".as_slice(), 2, "there is no such user in the file"),
            (b"rights bo read\nbob:x", 1, "there is no such user in the file"),
            (b"a:b\nrights a read\nrights a write", 3, "there are rights for this user already"),
            (
                b"a:b\nrights a reed",
                2,
                "there is a verb in it that is none of read, write and admin",
            ),
            (b"a:b\nrights a", 2, "there is no verb in it"),
            (b"a:b\nrights ", 2, "there is no user in it"),
            (b"a:b\nrights", 2, "there is no user in it"),
            (b"rights:secret\na:b", 1, no_name),
            (b"a:b\nrights: a read", 2, no_name),
            (b"a:b\nrights:a read x:", 2, no_name),
            (
                b"a:b\nrights a read # x",
                2,
                "a prefix begins with #, and there are no comments in this file",
            ),
            (b"a:b\nrights a:b read", 2, "there is no such user in the file"),
            (b"a:b\nRights a read", 2, "there is no colon in it"),
            (b"a:b\nrights a read x\0", 2, "there is a carriage return or a zero byte in it"),
        ] {
            let error = parse(text).expect_err("it is refused").to_string();
            let said = format!("users line {line}: {what}; write ");
            assert!(error.starts_with(&said), "{}: {error}", text.escape_ascii());
        }
        let nobody = parse(&lines(1)).expect_err("nobody").to_string();
        assert!(nobody.starts_with("users: there is no user in it, and nobody could"), "{nobody}");
        assert!(matches!(parse(&lines(9)), Err(Error::Malformed { line: 2, .. })));
    }

    #[test]
    fn a_user_is_found_in_another_file() {
        let accounts = parse(b"a:b\nc:d").expect("accounts");
        let a = accounts.verify(b"a", b"b").expect("he is there");
        let narrowed = parse(b"c:d\na:b\nrights a read").expect("accounts");
        assert_eq!(narrowed.find(&a).expect("he is there").rights().verbs(), Verbs::READ);
        assert!(accounts != narrowed, "rights are part of it");
        assert!(parse(b"a:c\nc:b").expect("accounts").find(&a).is_none(), "another password");
    }

    #[test]
    fn debug_tells_no_secret() {
        let accounts = parse(b"somebody:secret").expect("accounts");
        assert_eq!(format!("{accounts:?}"), "Accounts(1)");
        let error = parse(b"somebody secret").expect_err("no colon");
        assert!(!format!("{error:?} {error}").contains("secret"), "{error:?}");
    }

    #[test]
    fn who_has_access_to_a_file() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("users");
        for (mode, is_warned) in
            [(0o600, false), (0o640, false), (0o644, true), (0o604, true), (0o602, true)]
        {
            std::fs::write(&path, "a:secret").expect("the folder can be written");
            let permissions = std::fs::Permissions::from_mode(mode);
            std::fs::set_permissions(&path, permissions).expect("it is ours");
            let warning = Accounts::read(&path).expect("accounts").warning;
            assert_eq!(warning.is_some(), is_warned, "{mode:o}");
            let names = |text: String| text.contains("users") && !text.contains("secret");
            assert!(warning.is_none_or(names));
        }
        let missing = Accounts::read(&folder.path().join("nobody")).expect_err("no file");
        assert!(matches!(missing, Error::Unreadable { .. }), "{missing}");
        assert!(Accounts::read(folder.path()).is_err(), "a folder is no file");
        let large = vec![b'x'; usize::try_from(AUTH_FILE_BYTES_MAX).expect("small") * 2];
        std::fs::write(&path, large).expect("the folder can be written");
        assert!(matches!(Accounts::read(&path), Err(Error::Unfit { .. })));
    }

    #[test]
    fn a_sasl_plain_message() {
        type Said<'b> = Option<(&'b [u8], &'b [u8])>;
        let foo_bar: Said<'_> = Some((b"foo", b"bar"));
        let cases: [(&[u8], Said<'_>); 12] = [
            (b"\0foo\0bar", foo_bar),
            (b"foo\0foo\0bar", foo_bar),
            (b"\0foo\0b a r", Some((b"foo", b"b a r"))),
            (b"root\0foo\0bar", None),
            (b"\0foo\0bar\0", None),
            (b"\0foo\0bar\0x", None),
            (b"\0foo", None),
            (b"\0foo\0", None),
            (b"\0\0bar", None),
            (b"foo\0bar", None),
            (b"", None),
            (b"\0\0", None),
        ];
        for (message, said) in cases {
            assert_eq!(sasl_plain(message), said, "{}", message.escape_ascii());
        }
    }
}
