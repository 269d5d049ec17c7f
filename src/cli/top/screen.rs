//! The state of the screen.

use std::time::{Duration, Instant};

use super::snapshot::Snapshot;

/// The lines that one page moves by.
const PAGE: usize = 10;

/// A part of what there is to see.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub(super) enum View {
    /// The whole in a few lines.
    Overview,
    /// All queues.
    Queues,
    /// Jobs that failed in the same way, as groups.
    Failures,
    /// Workers, and what each runs.
    Workers,
}

impl View {
    pub(super) const ALL: [Self; 4] = [Self::Overview, Self::Queues, Self::Failures, Self::Workers];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Overview => "overview",
            Self::Queues => "queues",
            Self::Failures => "failures",
            Self::Workers => "workers",
        }
    }

    fn next(self) -> Self {
        let place = Self::ALL.iter().position(|view| *view == self).unwrap_or_default();
        Self::ALL[(place + 1) % Self::ALL.len()]
    }
}

/// The state of the screen: what is to be seen of it, and the newest snapshot.
pub(super) struct Screen {
    pub(super) view: View,
    pub(super) is_paused: bool,
    /// The first line of a list that is shown.
    pub(super) top: usize,
    pub(super) interval: Duration,
    pub(super) snapshot: Option<Snapshot>,
    /// The reason that there is no newer one, and since when.
    pub(super) trouble: Option<(String, Instant)>,
}

/// A wish of the person at the keyboard.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Wish {
    Show(View),
    NextView,
    Up,
    Down,
    PageUp,
    PageDown,
    Top,
    Pause,
}

impl Screen {
    pub(super) fn new(view: View, interval: Duration) -> Self {
        Self { view, is_paused: false, top: 0, interval, snapshot: None, trouble: None }
    }

    /// Takes the newest snapshot, or notes why there is none; then the last one stays.
    pub(super) fn take(&mut self, read: Result<Snapshot, String>) {
        match read {
            Ok(snapshot) => {
                self.snapshot = Some(snapshot);
                self.trouble = None;
            }
            Err(reason) => {
                let since = self.trouble.take().map_or_else(Instant::now, |(_, since)| since);
                self.trouble = Some((reason, since));
            }
        }
    }

    /// Does what is wished for.
    pub(super) fn fulfil(&mut self, wish: Wish) {
        match wish {
            Wish::Show(view) => self.show(view),
            Wish::NextView => self.show(self.view.next()),
            Wish::Up => self.top = self.top.saturating_sub(1),
            Wish::Down => self.top = self.top.saturating_add(1),
            Wish::PageUp => self.top = self.top.saturating_sub(PAGE),
            Wish::PageDown => self.top = self.top.saturating_add(PAGE),
            Wish::Top => self.top = 0,
            Wish::Pause => self.is_paused = !self.is_paused,
        }
    }

    fn show(&mut self, view: View) {
        self.view = view;
        self.top = 0;
    }

    /// Keeps the place within a list of so many lines.
    pub(super) fn keep_within(&mut self, lines: usize) {
        self.top = self.top.min(lines.saturating_sub(1));
    }
}
