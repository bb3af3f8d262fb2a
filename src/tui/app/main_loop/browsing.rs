//! Owns: the list of runs in the main loop: opening runs from it, switching between them, and the way back.
//! Must not know: how runs are read, how the list is drawn.
//! Invariant: the dashboard's own run goes on while another one or the list is shown: its events are applied, and it
//! cannot be replaced by another trainer.

use super::{MainLoop, PendingAction, PreviousSession};
use crate::schema::protocol::{self, Command, LogLevel};
use crate::schema::run_list::RunListUpdate;
use crate::tui::RunListLink;
use crate::tui::TrainerLink;
use crate::tui::app::actions::Direction;
use crate::tui::app::view::{Effect, Reply, ViewState};
use crate::tui::browser::input::BrowserEffect;
use crate::tui::browser::state::{BelowList, BrowserSettings, RunBrowser};
use crate::tui::model::state::RunModel;
use crossterm::event::Event;
use ratatui::layout::Rect;
use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::mpsc::TryRecvError;
use std::time::Duration;

/// Most updates of the list that are applied before input is read again.
const MAX_UPDATES_PER_BATCH: usize = 512;

/// The list of runs and the channels to its reader.
pub(super) struct OpenList {
    pub browser: RunBrowser,
    link: RunListLink,
    /// Whether the list is shown, over the dashboard.
    pub is_shown: bool,
}

/// A run of the dashboard that is not shown while another one is.
pub(super) struct ParkedSession {
    link: TrainerLink,
    connected: bool,
    pending_commands: VecDeque<Command>,
    pending_action: Option<PendingAction>,
    previous: Option<PreviousSession>,
    pub state: RunModel,
    pub view: ViewState,
}

impl ParkedSession {
    /// Whether it was opened from the list, and this process does not train it.
    fn leads_back(&self) -> bool {
        self.view.leads_back && self.view.watching
    }
}

/// The runs that were opened together from the list, and which of them is shown.
#[derive(Default)]
pub(super) struct OpenedRuns {
    folders: Vec<PathBuf>,
    shown: usize,
}

impl MainLoop<'_> {
    /// Whether the list of runs is shown.
    pub(super) fn is_browsing(&self) -> bool {
        self.list.as_ref().is_some_and(|list| list.is_shown)
    }

    /// Shows the list over the dashboard. It is read when it is opened for the first time.
    pub(super) fn show_list(&mut self) {
        if self.list.is_none() {
            let beside = self.app.state.run.as_ref().map(|run| run.folder.clone());
            match self.host.list_runs(beside.as_deref()) {
                Ok(link) => {
                    let settings = BrowserSettings { dir: link.dir.clone(), ..BrowserSettings::default() };
                    self.list = Some(OpenList { browser: RunBrowser::new(settings), link, is_shown: false });
                }
                Err(error) => return self.report_error(error),
            }
        }
        self.app.view.reply = None;
        let below = match self.has_session {
            true => BelowList::Dashboard(self.app.state.run.as_ref().map(|run| run.folder.clone())),
            false => BelowList::Nothing,
        };
        if let Some(list) = &mut self.list {
            list.browser.below = below;
            list.is_shown = true;
        }
    }

    /// Opens the list without a run below it.
    pub(super) fn start_with_list(&mut self, link: RunListLink, settings: BrowserSettings) {
        self.list = Some(OpenList { browser: RunBrowser::new(settings), link, is_shown: true });
    }

    /// Applies what the reader of the list reports. Returns whether there was anything.
    pub(super) fn apply_list_updates(&mut self) -> bool {
        let Some(list) = &mut self.list else { return false };
        let mut changed = false;
        for update in list.link.updates.try_iter().take(MAX_UPDATES_PER_BATCH) {
            list.browser.apply(update);
            changed = true;
        }
        if changed {
            list.browser.sort_rows();
        }
        changed && list.is_shown
    }

    /// Handles input of the list.
    pub(super) fn browse_with(&mut self, input: &Event, screen: Rect) -> Effect {
        let Some(list) = &mut self.list else { return Effect::None };
        let effect = match input {
            Event::Key(key) => list.browser.handle_key(key, screen),
            Event::Mouse(mouse) => list.browser.handle_mouse(mouse, screen),
            _ => BrowserEffect::None,
        };
        if self.apply_browser_effect(effect) { Effect::None } else { Effect::Leave }
    }

    /// Carries out what the list asks for. Returns false if the program is to end.
    fn apply_browser_effect(&mut self, effect: BrowserEffect) -> bool {
        match effect {
            BrowserEffect::None => {}
            BrowserEffect::Suspend => self.signals.suspend.store(true, Ordering::Relaxed),
            BrowserEffect::Request(request) => {
                // A reader that has ended reports nothing more; the list stays as it is.
                let sent = self.list.as_ref().map(|list| list.link.requests.send(request));
                if !matches!(sent, Some(Ok(()))) {
                    self.report_error("the reader of the runs has ended".into());
                }
            }
            BrowserEffect::Open(folders) => self.open_runs(folders),
            BrowserEffect::Close if !self.has_session => return false,
            BrowserEffect::Close => self.hide_list(),
        }
        true
    }

    fn hide_list(&mut self) {
        self.list.iter_mut().for_each(|list| list.is_shown = false);
    }

    /// Opens runs of the list, and shows the first one.
    fn open_runs(&mut self, folders: Vec<PathBuf>) {
        self.opened = OpenedRuns { folders, shown: 0 };
        self.show_opened();
    }

    /// Shows another one of the runs that were opened together.
    pub(super) fn switch_run(&mut self, direction: Direction) {
        let count = self.opened.folders.len();
        if count < 2 {
            self.app.view.refuse("one run is open; mark several in the list of runs (R) and press o");
            return;
        }
        let by = if direction == Direction::Forward { 1 } else { count - 1 };
        self.opened.shown = (self.opened.shown + by) % count;
        self.show_opened();
    }

    fn show_opened(&mut self) {
        let Some(folder) = self.opened.folders.get(self.opened.shown).cloned() else { return };
        let is_shown = |state: &RunModel| state.run.as_ref().is_some_and(|run| run.folder == folder);
        if self.home.as_ref().is_some_and(|home| is_shown(&home.state)) {
            self.return_home();
        } else if !(self.has_session && is_shown(&self.app.state)) {
            match self.host.open_run(&folder) {
                Ok(link) => self.show_session(link),
                Err(error) => return self.report_list_error(error),
            }
        }
        self.hide_list();
        if self.opened.folders.len() > 1 {
            let name = folder.file_name().unwrap_or_default().to_string_lossy();
            let (at, count) = (self.opened.shown + 1, self.opened.folders.len());
            self.app.view.reply =
                Some(Reply::done(format!("run {at} of {count}, {name}; {{ }} switch, q goes back to the list")));
        }
    }

    /// Shows an error where the user looks.
    fn report_list_error(&mut self, error: String) {
        match self.list.as_mut().filter(|list| list.is_shown) {
            Some(list) => list.browser.apply(RunListUpdate::Message(LogLevel::Error, error)),
            None => self.report_error(error),
        }
    }

    /// Shows the run of another process behind `link`. The dashboard's own run is parked.
    fn show_session(&mut self, link: TrainerLink) {
        self.send_pending_commands();
        self.preferences.save_if_changed(&self.app.view);
        let mut view = ViewState { watching: true, leads_back: true, ..ViewState::default() };
        self.preferences.restore(&mut view);
        let parked = ParkedSession {
            link: std::mem::replace(&mut self.link, link),
            connected: std::mem::replace(&mut self.connected, true),
            pending_commands: std::mem::take(&mut self.pending_commands),
            pending_action: self.pending_action.take(),
            previous: self.previous.take(),
            state: std::mem::take(&mut self.app.state),
            view: std::mem::replace(&mut self.app.view, view),
        };
        if self.has_session && !parked.leads_back() {
            self.home = Some(Box::new(parked));
        }
        self.has_session = true;
    }

    /// Whether leaving the shown run leads back to the list.
    pub(super) fn has_way_back(&self) -> bool {
        self.app.view.leads_back && self.app.view.watching
    }

    /// Leaves a run that was opened from the list, and shows the list again, above the run that was shown before it.
    pub(super) fn leave_opened(&mut self) {
        self.preferences.save_if_changed(&self.app.view);
        match self.home.is_some() {
            true => self.return_home(),
            false => {
                self.link = TrainerLink::closed();
                (self.connected, self.has_session) = (false, false);
                (self.app.state, self.app.view) =
                    (RunModel::default(), ViewState { watching: true, ..ViewState::default() });
                self.preferences.restore(&mut self.app.view);
            }
        }
        self.show_list();
    }

    /// Shows the parked run again.
    pub(super) fn return_home(&mut self) {
        let Some(home) = self.home.take() else { return };
        let ParkedSession { link, connected, pending_commands, pending_action, previous, state, view } = *home;
        (self.link, self.connected, self.pending_commands) = (link, connected, pending_commands);
        (self.pending_action, self.previous) = (pending_action, previous);
        (self.app.state, self.app.view) = (state, view);
        self.has_session = true;
        self.preferences.restore(&mut self.app.view);
    }

    /// Whether a trainer of this process trains a run that is parked.
    pub(super) fn trains_parked_run(&self) -> bool {
        self.home.as_ref().is_some_and(|home| !home.view.watching && !home.state.is_over())
    }

    /// Applies the events of the parked run, at most one batch.
    pub(super) fn apply_parked_events(&mut self, now: Duration, most: usize) {
        let Some(home) = &mut self.home else { return };
        home.state.now = now;
        home.state.dropped_frames = home.link.dropped_frames.load(Ordering::Relaxed);
        for _ in 0..most {
            match home.link.events.try_recv() {
                Ok(event) => {
                    if matches!(event, protocol::Event::Started(_)) {
                        home.previous = None;
                    }
                    home.state.apply(event, now);
                }
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => {
                    if std::mem::take(&mut home.connected) {
                        home.state.handle_disconnect(home.view.stopping);
                    }
                    break;
                }
            }
        }
        home.view.reconcile(&home.state);
    }
}
