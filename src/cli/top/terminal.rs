//! The terminal while `top` has it, and giving it back however that ends: at the end, by a panic, by a
//! signal, and while it is stopped (Ctrl-Z, SIGTSTP).

use std::io::{self, Stdout};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::cursor::{Hide, Show};
use ratatui::crossterm::event::{self, Event};
use ratatui::crossterm::execute;
use ratatui::crossterm::style::Colored;
use ratatui::crossterm::terminal::{
    Clear, ClearType, EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode,
};
use signal_hook::consts::{SIGCONT, SIGTSTP};
use signal_hook::flag;
use signal_hook::low_level::emulate_default_handler;

use crate::cli::client::tell;
use crate::clock::Stamp;

use super::app::{App, Asked};
use super::draw;

/// It is ours from [`Screen::enter`] until this is dropped.
pub(super) struct Screen {
    terminal: Terminal<CrosstermBackend<Stdout>>,
    /// Somebody has sent SIGTSTP.
    stop: Arc<AtomicBool>,
    /// It goes on after a stop that nobody announced (SIGSTOP).
    goes_on: Arc<AtomicBool>,
}

impl Screen {
    pub(super) fn enter() -> io::Result<Self> {
        let (stop, goes_on) = (Arc::default(), Arc::default());
        flag::register(SIGTSTP, Arc::clone(&stop))?;
        flag::register(SIGCONT, Arc::clone(&goes_on))?;
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            // What it says belongs on the screen that stays.
            drop(give_back());
            before(panic);
        }));
        let terminal = Terminal::new(CrosstermBackend::new(io::stdout()))?;
        let screen = Self { terminal, stop, goes_on };
        take()?;
        Ok(screen)
    }

    pub(super) fn draw(&mut self, app: &App) -> io::Result<()> {
        // crossterm leaves out the number of a colour alone, and what is left takes back all that was
        // bold or reversed: the view that is shown, too.
        let is_plain = Colored::ansi_color_disabled_memoized();
        let drawn = self.terminal.draw(|frame| {
            draw::draw(frame, app, Stamp::now());
            if is_plain {
                draw::without_colours(frame);
            }
        });
        drawn.map(drop)
    }

    /// Waits so long for a key, and says what is to be done.
    pub(super) fn wait(&mut self, patience: Duration, app: &mut App) -> io::Result<Option<Asked>> {
        if self.stop.swap(false, Ordering::Relaxed) {
            return Ok(Some(Asked::Suspend));
        }
        if self.goes_on.swap(false, Ordering::Relaxed) {
            self.retake()?;
            return Ok(Some(Asked::Draw));
        }
        // crossterm reads without end from a terminal that has gone, so it is asked only while there is
        // one; and what it has read ahead no poll of ours would see.
        if !has_key(Duration::ZERO)? && !event::poll(Duration::ZERO)? {
            has_key(patience)?;
        }
        if !event::poll(Duration::ZERO)? {
            return Ok(None);
        }
        Ok(match event::read()? {
            Event::Key(key) => app.key(key),
            Event::Resize(..) => Some(Asked::Draw),
            _ => None,
        })
    }

    /// Takes it again, with nothing on it. ratatui's own way to clear asks the terminal where its cursor
    /// is, which not every one answers.
    fn retake(&mut self) -> io::Result<()> {
        take()?;
        execute!(io::stdout(), Clear(ClearType::All))?;
        self.terminal = Terminal::new(CrosstermBackend::new(io::stdout()))?;
        Ok(())
    }

    /// Gives the terminal back, stops, and takes it again when the shell lets it go on.
    pub(super) fn suspend(&mut self) -> io::Result<()> {
        give_back()?;
        emulate_default_handler(SIGTSTP)?;
        self.goes_on.store(false, Ordering::Relaxed);
        self.retake()
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        if let Err(error) = give_back() {
            tell(&format!("the terminal was not set back: {error}; reset does it"));
        }
    }
}

/// Waits for a key, or a signal, and says whether there is one. An error if the terminal has gone.
fn has_key(patience: Duration) -> io::Result<bool> {
    let stdin = io::stdin();
    let mut watched = [PollFd::new(stdin.as_fd(), PollFlags::POLLIN)];
    let patience = PollTimeout::try_from(patience).unwrap_or(PollTimeout::ZERO);
    match poll(&mut watched, patience) {
        Ok(_) => {}
        Err(Errno::EINTR) => return Ok(false),
        Err(error) => return Err(error.into()),
    }
    let seen = watched[0].revents().unwrap_or(PollFlags::empty());
    if seen.intersects(PollFlags::POLLHUP | PollFlags::POLLERR | PollFlags::POLLNVAL) {
        return Err(io::Error::new(io::ErrorKind::BrokenPipe, "it was closed"));
    }
    Ok(seen.contains(PollFlags::POLLIN))
}

fn take() -> io::Result<()> {
    enable_raw_mode()?;
    execute!(io::stdout(), EnterAlternateScreen, Hide)
}

fn give_back() -> io::Result<()> {
    let shown = execute!(io::stdout(), LeaveAlternateScreen, Show);
    disable_raw_mode().and(shown)
}
