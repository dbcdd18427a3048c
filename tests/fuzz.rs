//! What fuzzing has found interesting is tried again, by the functions that libFuzzer calls and without it.

#[path = "../fuzz/src/lib.rs"]
#[allow(dead_code, unreachable_pub, reason = "it is a crate of its own as well")]
mod targets;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

fn fuzz() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz")
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries =
        fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut files: Vec<_> =
        entries.map(|entry| entry.expect("the repository can be read").path()).collect();
    files.sort();
    files
}

fn replay(name: &str) {
    let target = targets::target(name);
    let corpus = files(&fuzz().join("corpus").join(name));
    assert!(!corpus.is_empty(), "{name} has seeds");
    for file in corpus {
        // A panic has its message already; this says which input it is of.
        let held = std::panic::catch_unwind(|| target(&fs::read(&file).expect("it was listed")));
        assert!(held.is_ok(), "{}", file.display());
    }
    // What is shorter than any header.
    target(b"");
    target(b"\0");
}

macro_rules! replays {
    ($($name:ident)*) => {
        $(
            #[test]
            fn $name() {
                replay(stringify!($name));
            }
        )*

        #[test]
        fn every_target_is_replayed_and_has_a_program() {
            let names = BTreeSet::from([$(stringify!($name).to_owned()),*]);
            let known: BTreeSet<_> =
                targets::TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
            assert_eq!(names, known);
            let programs = files(&fuzz().join("fuzz_targets")).into_iter();
            let stem = |path: PathBuf| Some(path.file_stem()?.to_str()?.to_owned());
            assert_eq!(programs.filter_map(stem).collect::<BTreeSet<_>>(), known);
        }
    };
}

replays!(accounts binary classic damage meta ops records redis settings);
