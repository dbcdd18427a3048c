//! Threads that move values in pieces let those who answer small requests go first.
//!
//! Where there are more threads than cores the system gives each a slice in turn. A thread that writes a
//! value of a gigabyte would have a loop that has just been woken wait for as long as anybody else; with a
//! lower priority it has less of what all want, and as much as before of what nobody does. It is best effort:
//! nothing depends on it. Not for housekeeping: writes may wait for its checkpoints, and a restart does for what
//! it writes at the end; whoever has given way cannot take it back.

/// By so many levels of `nice`: a tenth of what an event loop has, where both want the same core. What they
/// hold others wait for, so it is not the least there is.
#[cfg(target_os = "linux")]
const LEVELS: i32 = 10;

/// Lowers the priority of this thread alone, below what the daemon was started with.
#[cfg(target_os = "linux")]
pub(crate) fn give_way() {
    // Linux keeps it for each thread; elsewhere it would be the whole process.
    if let Err(error) = rustix::process::nice(LEVELS) {
        log::debug!("a thread keeps its priority: {error}");
    }
}

/// Lowers the priority of this thread alone, which this system cannot.
#[cfg(not(target_os = "linux"))]
pub(crate) fn give_way() {}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn only_the_thread_that_asks_gives_way() {
        let nice = || rustix::process::getpriority_process(None).expect("one's own can be asked");
        let before = nice();
        let lowered = std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                give_way();
                nice()
            });
            thread.join().expect("it does not panic")
        });
        assert_eq!(lowered, (before + LEVELS).min(19));
        assert_eq!(nice(), before);
    }
}
