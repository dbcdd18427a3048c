//! A file that is there whole or not at all: written under a name of its own, renamed at the end.
//!
//! What is no regular file (a pipe, a terminal, `/dev/null`) is written straight into, for a rename
//! would put a file in its place. Links are followed. Whatever ends the writing early, a file that was
//! there before stays as it was; only a kill can leave a `.litecached-*.partial` behind.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

use tempfile::{NamedTempFile, PersistError};

use crate::store;

/// Links behind each other, as many as Linux follows.
const LINKS_MAX: usize = 40;

/// A file in the making. Dropped without [`Whole::finish`] it leaves nothing. Does not buffer.
#[derive(Debug)]
pub(crate) struct Whole {
    place: Place,
}

#[derive(Debug)]
enum Place {
    /// In the folder of the file that it will be.
    Beside { part: NamedTempFile, target: PathBuf },
    /// Not a regular file.
    Straight(File),
}

impl Whole {
    /// Begins. The file is its owner's only: what a cache holds is nobody else's business.
    ///
    /// # Errors
    ///
    /// The system's; and one for whatever belongs to a database, which somebody may be serving.
    pub(crate) fn create(path: &Path) -> io::Result<Self> {
        if store::belongs_to_database(path) {
            return Err(io::Error::new(ErrorKind::AlreadyExists, "it belongs to a database"));
        }
        let target = match fs::metadata(path) {
            Ok(there) if !there.is_file() => {
                let file = OpenOptions::new().write(true).open(path)?;
                return Ok(Self { place: Place::Straight(file) });
            }
            Ok(_) => fs::canonicalize(path)?,
            Err(error) if error.kind() == ErrorKind::NotFound => behind_links(path)?,
            Err(error) => return Err(error),
        };
        let folder = target.parent().filter(|folder| !folder.as_os_str().is_empty());
        // Made by us alone, with mode 0600 and a name that nobody can guess and lay a link at.
        let part = tempfile::Builder::new()
            .prefix(".litecached-")
            .suffix(".partial")
            .rand_bytes(12)
            .tempfile_in(folder.unwrap_or(Path::new(".")))?;
        Ok(Self { place: Place::Beside { part, target } })
    }

    /// The name of what has to go, if the process ends without dropping this.
    pub(crate) fn unfinished(&self) -> Option<&Path> {
        match &self.place {
            Place::Beside { part, .. } => Some(part.path()),
            Place::Straight(_) => None,
        }
    }

    /// Gives the file its name. It is synced before, or a power cut could leave an empty one in the
    /// place of the old one.
    pub(crate) fn finish(self) -> io::Result<()> {
        self.end(NamedTempFile::persist)
    }

    /// The same where no file has the name, which is an error otherwise.
    pub(crate) fn finish_new(self) -> io::Result<()> {
        self.end(NamedTempFile::persist_noclobber)
    }

    fn end(
        self,
        name: impl FnOnce(NamedTempFile, PathBuf) -> Result<File, PersistError>,
    ) -> io::Result<()> {
        match self.place {
            Place::Beside { part, target } => {
                part.as_file().sync_all()?;
                name(part, target).map(drop).map_err(|error| error.error)
            }
            Place::Straight(mut file) => file.flush(),
        }
    }
}

impl Write for Whole {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.place {
            Place::Beside { part, .. } => part.write(bytes),
            Place::Straight(file) => file.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.place {
            Place::Beside { part, .. } => part.flush(),
            Place::Straight(file) => file.flush(),
        }
    }
}

/// Where links that end at nothing lead: the file is made there, as a shell would.
fn behind_links(path: &Path) -> io::Result<PathBuf> {
    let mut path = path.to_owned();
    for _ in 0..LINKS_MAX {
        match fs::read_link(&path) {
            Ok(link) => path = path.parent().unwrap_or(Path::new("")).join(link),
            Err(_) => return Ok(path),
        }
    }
    Err(io::Error::other("too many links"))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{FileTypeExt, PermissionsExt, symlink};

    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).expect("a folder");
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn it_appears_at_the_end_and_is_private() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("file");
        fs::write(&path, "old").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
        let mut dropped = Whole::create(&path).expect("it can be made");
        dropped.write_all(b"half").unwrap();
        assert!(dropped.unfinished().unwrap().exists());
        assert_eq!(fs::read(&path).unwrap(), b"old");
        drop(dropped);
        assert_eq!(
            (fs::read(&path).unwrap(), names(folder.path())),
            (b"old".into(), vec!["file".into()])
        );

        let mut late = Whole::create(&path).expect("it can be made");
        late.write_all(b"late").unwrap();
        assert_eq!(late.finish_new().unwrap_err().kind(), ErrorKind::AlreadyExists);
        assert_eq!(
            (fs::read(&path).unwrap(), names(folder.path())),
            (b"old".into(), vec!["file".into()])
        );

        // Two at a time do not mix; the last one to end stays.
        let mut first = Whole::create(&path).expect("it can be made");
        let mut second = Whole::create(&path).expect("it can be made");
        first.write_all(b"first").unwrap();
        second.write_all(b"second").unwrap();
        second.finish().unwrap();
        first.finish().unwrap();
        assert_eq!(
            (fs::read(&path).unwrap(), names(folder.path())),
            (b"first".into(), vec!["file".into()])
        );
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn links_are_followed_and_nodes_written_into() {
        let folder = tempfile::tempdir().expect("a folder");
        let at = |name: &str| folder.path().join(name);
        fs::create_dir(at("deep")).unwrap();
        symlink("deep/new", at("dangling")).unwrap();
        symlink("dangling", at("twice")).unwrap();
        for content in ["one", "two"] {
            let mut file = Whole::create(&at("twice")).expect("it can be made");
            file.write_all(content.as_bytes()).unwrap();
            file.finish().unwrap();
            assert!(at("twice").is_symlink() && at("dangling").is_symlink());
            assert_eq!(fs::read_to_string(at("deep/new")).unwrap(), content);
        }
        symlink("round", at("round")).unwrap();
        assert!(Whole::create(&at("round")).is_err());
        assert!(Whole::create(&at("deep")).is_err(), "a folder");
        assert!(Whole::create(&at("none/new")).is_err());

        symlink("/dev/null", at("null")).unwrap();
        let mut null = Whole::create(&at("null")).expect("it can be opened");
        null.write_all(b"gone").unwrap();
        assert!(null.unfinished().is_none());
        null.finish().unwrap();
        assert!(fs::metadata("/dev/null").unwrap().file_type().is_char_device());
        assert!(at("null").is_symlink());
    }
}
