//! Arguments in, exit code out; the library does the rest.

use std::process::ExitCode;

fn main() -> ExitCode {
    litecached::cli::run(std::env::args_os())
}
