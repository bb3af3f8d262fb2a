//! Owns: whether a run may do its next step: the pace that a person set, the disk's space, the requested end.

/// The pace that a person has set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Pace {
    #[default]
    Running,
    Paused,
    /// Paused after so many more single steps; with 0 left, the last one is done.
    StepsLeft(u64),
}

/// Whether the run ends before its last step, and how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::train) enum Ending {
    #[default]
    No,
    WithCheckpoint,
    WithoutCheckpoint,
}

/// What lets a run do its next step, or holds it.
#[derive(Debug, Default)]
pub(in crate::train) struct Hold {
    pace: Pace,
    /// A full disk holds a run of any pace.
    disk_full: bool,
    ending: Ending,
}

impl Hold {
    /// Holds the run before its next step. Requested single steps are still done.
    pub fn pause(&mut self) {
        if self.pace == Pace::Running {
            self.pace = Pace::Paused;
        }
    }

    pub fn unpause(&mut self) {
        self.pace = Pace::Running;
    }

    /// Lets a paused run do one more step. Returns how many it will do; 0 for a running one, which is not affected.
    pub fn request_step(&mut self) -> u64 {
        let steps = match self.pace {
            Pace::Running => return 0,
            Pace::Paused => 1,
            Pace::StepsLeft(steps) => steps.saturating_add(1),
        };
        self.pace = Pace::StepsLeft(steps);
        steps
    }

    /// Sets whether the disk is full, and returns whether that has changed.
    pub fn set_disk_full(&mut self, full: bool) -> bool {
        std::mem::replace(&mut self.disk_full, full) != full
    }

    /// Requests the end. The stronger of two requests counts.
    pub fn end(&mut self, ending: Ending) {
        self.ending = self.ending.max(ending);
    }

    pub fn ending(&self) -> Ending {
        self.ending
    }

    pub fn is_ending(&self) -> bool {
        self.ending != Ending::No
    }

    /// Whether a wait for disk space is over, which began when the end was `before`. A run that was already
    /// ending waits until it is to end without a checkpoint.
    pub fn gives_up_waiting(&self, before: Ending) -> bool {
        self.ending != before || self.ending == Ending::WithoutCheckpoint
    }

    /// Whether the run must wait before its next step.
    pub fn is_held(&self) -> bool {
        let paused = matches!(self.pace, Pace::Paused | Pace::StepsLeft(0));
        !self.is_ending() && (paused || self.disk_full)
    }

    /// Whether this may become a long pause: not between single steps, and not while the disk is full.
    pub fn is_long(&self) -> bool {
        self.pace == Pace::Paused && !self.disk_full
    }

    /// Counts the next step of a run that is not held. Returns `false` if it has to end instead.
    pub fn begin_step(&mut self) -> bool {
        if let Pace::StepsLeft(steps) = &mut self.pace {
            *steps = steps.saturating_sub(1);
        }
        !self.is_ending()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_holds_until_it_is_lifted() {
        let mut hold = Hold::default();
        assert!(!hold.is_held() && hold.begin_step());
        hold.pause();
        assert!(hold.is_held() && hold.is_long());
        hold.unpause();
        assert!(!hold.is_held() && hold.begin_step());
    }

    #[test]
    fn a_paused_run_does_the_requested_steps_and_no_more() {
        let mut hold = Hold::default();
        assert_eq!(hold.request_step(), 0);
        assert_eq!(hold.pace, Pace::Running, "a running run needs no request");
        hold.pause();
        assert_eq!((hold.request_step(), hold.request_step()), (1, 2));
        for _ in 0..2 {
            // Another request to pause takes no step away.
            hold.pause();
            assert!(!hold.is_held() && hold.begin_step());
        }
        assert!(hold.is_held() && !hold.is_long());
        hold.unpause();
        hold.pause();
        assert!(hold.is_held() && hold.is_long());
    }

    #[test]
    fn a_full_disk_holds_at_any_pace_and_forgets_none() {
        let mut hold = Hold::default();
        assert!(hold.set_disk_full(true) && !hold.set_disk_full(true));
        assert!(hold.is_held() && !hold.is_long());
        hold.pause();
        hold.request_step();
        assert!(hold.is_held());
        assert!(hold.set_disk_full(false));
        assert!(!hold.is_held() && hold.begin_step() && hold.is_held());
    }

    #[test]
    fn a_requested_end_lifts_every_hold_and_is_not_taken_back() {
        let mut hold = Hold::default();
        hold.pause();
        hold.set_disk_full(true);
        hold.end(Ending::WithoutCheckpoint);
        hold.end(Ending::WithCheckpoint);
        assert_eq!(hold.ending(), Ending::WithoutCheckpoint);
        assert!(!hold.is_held() && !hold.begin_step());
    }

    #[test]
    fn a_run_that_is_ending_waits_for_space_until_it_is_dropped() {
        let mut hold = Hold::default();
        assert!(!hold.gives_up_waiting(Ending::No));
        hold.end(Ending::WithCheckpoint);
        assert!(hold.gives_up_waiting(Ending::No), "stopped while it waits");
        assert!(!hold.gives_up_waiting(Ending::WithCheckpoint), "the last checkpoint is waited for");
        hold.end(Ending::WithoutCheckpoint);
        assert!(hold.gives_up_waiting(Ending::WithCheckpoint));
        assert!(hold.gives_up_waiting(Ending::WithoutCheckpoint));
    }
}
