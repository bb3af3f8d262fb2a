//! Owns: the main loop of the dashboard of several runs: applies reports, draws, handles keys, opens single runs.
//! Must not know: what reports and keys mean, how runs are read.
//! Invariant: it never waits for the reader, and leaving it stops no run.

use super::app::MultiRunApp;
use super::input::MultiRunEffect;
use crate::schema::metrics::Metric;
use crate::schema::multi_run::{MultiRunUpdate, WorkUpdate};
use crate::schema::protocol::LogLevel;
use crate::tui::app::main_loop::{LeftRun, show_run};
use crate::tui::app::preferences::UiPreferences;
use crate::tui::app::view::ViewState;
use crate::tui::terminal::{self, TerminalGuard, WaitOutcome, stdio_capture};
use crate::tui::theme::Theme;
use crate::tui::{DashboardHost, DashboardOptions, ExitReason, SignalFlags};
use crossterm::event;
use ratatui::layout::Rect;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

/// Most reports that are applied before keys are read again.
const MAX_UPDATES_PER_BATCH: usize = 16;
/// Time between two frames.
const FRAME: Duration = Duration::from_millis(50);

/// The screen's end of the channels to the reader of several runs, and to the work that they belong to.
pub struct MultiRunLink {
    /// Place of the runs, as it is shown.
    pub dir: PathBuf,
    pub updates: Receiver<MultiRunUpdate>,
    /// How the work goes, if there is any; its last line stays when the sender is gone.
    pub work: Option<Receiver<WorkUpdate>>,
}

/// Options of the dashboard of several runs at its start.
#[derive(Clone, Copy, Debug, Default)]
pub struct MultiRunOptions {
    /// Draw with ASCII characters only.
    pub ascii: bool,
    /// The metric to chart at first; none for the training loss or the reward.
    pub metric: Option<Metric>,
}

/// Shows several runs until the user leaves, and the single runs that are opened from there. Takes over the terminal and
/// restores it on every exit path. The runs go on.
///
/// # Errors
/// Returns the I/O error if the terminal cannot be set up, read or written.
pub fn watch_runs(
    link: MultiRunLink,
    host: &mut dyn DashboardHost,
    signals: Arc<SignalFlags>,
    options: MultiRunOptions,
) -> io::Result<ExitReason> {
    let mut theme = Theme::from_env().on_background(terminal::background::detect_background());
    let mut view = ViewState::default();
    UiPreferences::for_user().restore(&mut view);
    theme.choose_background(view.background);
    let mut app = MultiRunApp { ascii: options.ascii, ..MultiRunApp::new(link.dir.clone(), theme) };
    app.view.metric = options.metric;
    let mut guard = TerminalGuard::enter()?;
    let mut screen = MultiRunLoop { link, host, signals, options, app };
    let reason = screen.run_until_exit(&mut guard);
    if matches!(reason, Ok(ExitReason::HungUp) | Err(_)) {
        guard.abandon();
    }
    reason
}

struct MultiRunLoop<'a> {
    link: MultiRunLink,
    host: &'a mut dyn DashboardHost,
    signals: Arc<SignalFlags>,
    options: MultiRunOptions,
    app: MultiRunApp,
}

impl MultiRunLoop<'_> {
    /// Runs until an exit: apply reports → draw if something changed → handle keys.
    fn run_until_exit(&mut self, guard: &mut TerminalGuard) -> io::Result<ExitReason> {
        let mut drawn: Option<Instant> = None;
        let mut changed = true;
        loop {
            let applied = self.apply_pending_updates();
            changed |= applied > 0;
            if self.signals.hung_up.load(Ordering::Relaxed) {
                return Ok(ExitReason::HungUp);
            }
            if self.signals.stop.load(Ordering::Relaxed) {
                return Ok(ExitReason::StillRunning);
            }
            changed |= guard.handle_signals(&self.signals)?;
            if changed && drawn.is_none_or(|at| at.elapsed() >= FRAME) {
                guard.terminal.draw(|frame| self.app.draw(frame))?;
                drawn = Some(Instant::now());
                changed = false;
            }
            // More reports may wait behind a whole batch.
            let wait = if applied >= MAX_UPDATES_PER_BATCH { Duration::ZERO } else { FRAME };
            match guard.wait_for_input(wait)? {
                WaitOutcome::HungUp => return Ok(ExitReason::HungUp),
                WaitOutcome::Timeout => {}
                WaitOutcome::Input => {
                    changed = true;
                    if let Some(reason) = self.handle_pending_input(guard)? {
                        return Ok(reason);
                    }
                }
            }
        }
    }

    /// Applies waiting reports, at most one batch, and messages. Returns how many there were.
    fn apply_pending_updates(&mut self) -> usize {
        let mut applied = 0;
        let lines = stdio_capture::take_captured_lines().into_iter();
        for text in terminal::take_panics().into_iter().chain(lines) {
            self.app.state.list.message = Some((LogLevel::Warn, text.replace(char::is_control, " ")));
            applied += 1;
        }
        for update in self.link.work.iter().flat_map(Receiver::try_iter) {
            self.app.apply_work(update);
            applied += 1;
        }
        let updates: Vec<MultiRunUpdate> = self.link.updates.try_iter().take(MAX_UPDATES_PER_BATCH).collect();
        if !updates.is_empty() {
            applied += updates.len();
            self.app.apply(updates);
        }
        applied
    }

    /// Handles all waiting input. Returns the reason if the screen is left.
    fn handle_pending_input(&mut self, guard: &mut TerminalGuard) -> io::Result<Option<ExitReason>> {
        loop {
            let size = guard.terminal.size()?;
            let screen = Rect::new(0, 0, size.width, size.height);
            let effect = match event::read()? {
                event::Event::Key(key) => self.app.handle_key(&key, screen),
                _ => MultiRunEffect::None,
            };
            match effect {
                MultiRunEffect::None => {}
                MultiRunEffect::Leave => return Ok(Some(ExitReason::StillRunning)),
                MultiRunEffect::Suspend => self.signals.suspend.store(true, Ordering::Relaxed),
                MultiRunEffect::Open(folder) => {
                    if let Some(reason) = self.show_single_run(guard, &folder)? {
                        return Ok(Some(reason));
                    }
                }
            }
            if !event::poll(Duration::ZERO)? {
                return Ok(None);
            }
        }
    }

    /// Shows a run in its own dashboard, until the user leaves it. Returns the reason if that ends this screen, too: the
    /// terminal is gone, or this process has resumed the run.
    fn show_single_run(&mut self, guard: &mut TerminalGuard, folder: &Path) -> io::Result<Option<ExitReason>> {
        let link = match self.host.open_run(folder) {
            Ok(link) => link,
            Err(error) => {
                self.app.state.list.message = Some((LogLevel::Error, error));
                return Ok(None);
            }
        };
        let options = DashboardOptions { watching: true, ascii: self.options.ascii };
        let left = show_run(guard, link, &mut *self.host, self.signals.clone(), options, self.app.theme)?;
        guard.set_mouse_capture(false)?;
        guard.clear_screen()?;
        Ok(match left {
            LeftRun::Watched(ExitReason::HungUp) => Some(ExitReason::HungUp),
            LeftRun::Watched(_) => None,
            LeftRun::TrainedHere(reason) => Some(reason),
        })
    }
}
