//! Bounds on the deliveries of one endpoint that a worker has on the wire at once.
//!
//! An endpoint begins with a few, gets one more for each that it takes, and has half of them taken
//! away by each that fails. So a fast one soon has as many as it likes, and one that hangs holds no
//! more than a few places of the worker: retries of dead endpoints never keep first attempts of
//! others waiting (G9).

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;

use crate::ids::EndpointId;

/// The width at first, and after failures.
const FIRST: usize = 8;
const LEAST: usize = 1;
const MOST: usize = 256;
/// A delivery waits so long for its place, and then lets others go on.
const PATIENCE: Duration = Duration::from_millis(250);
/// Endpoints that nobody sends to are forgotten beyond so many.
const REMEMBERED: usize = 10_000;

/// The windows of all endpoints.
#[derive(Clone, Debug, Default)]
pub(super) struct Windows(Arc<std::sync::Mutex<HashMap<EndpointId, Window>>>);

#[derive(Debug)]
struct Window {
    width: usize,
    in_progress: usize,
    freed: Arc<Notify>,
}

impl Default for Window {
    fn default() -> Self {
        Self { width: FIRST, in_progress: 0, freed: Arc::default() }
    }
}

/// A place in an endpoint's window, given back when it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    windows: Windows,
    endpoint: EndpointId,
    /// The delivery went well; none until it is known.
    went_well: Option<bool>,
}

impl Windows {
    /// A place for a delivery; none when there is none within a moment.
    pub(super) async fn enter(&self, endpoint: EndpointId) -> Option<Place> {
        let waited = tokio::time::timeout(PATIENCE, async {
            loop {
                let freed = match self.try_enter(endpoint) {
                    Ok(place) => return place,
                    Err(freed) => freed,
                };
                // Taken between the look and the wait, a wake-up stays for the next who waits.
                freed.notified().await;
            }
        });
        waited.await.ok()
    }

    fn try_enter(&self, endpoint: EndpointId) -> Result<Place, Arc<Notify>> {
        let mut windows = self.lock();
        if windows.len() >= REMEMBERED {
            windows.retain(|_, window| window.in_progress > 0);
        }
        let window = windows.entry(endpoint).or_default();
        if window.in_progress >= window.width {
            return Err(Arc::clone(&window.freed));
        }
        window.in_progress += 1;
        Ok(Place { windows: self.clone(), endpoint, went_well: None })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<EndpointId, Window>> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Place {
    /// Gives the place back, with word of how it went.
    pub(super) fn leave(mut self, went_well: bool) {
        self.went_well = Some(went_well);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut windows = self.windows.lock();
        let Some(window) = windows.get_mut(&self.endpoint) else { return };
        window.in_progress = window.in_progress.saturating_sub(1);
        window.width = match self.went_well {
            Some(true) => (window.width + 1).min(MOST),
            Some(false) => (window.width / 2).max(LEAST),
            None => window.width,
        };
        // Two, because a success makes room for one more.
        window.freed.notify_one();
        if self.went_well == Some(true) {
            window.freed.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    const ENDPOINT: EndpointId = EndpointId(Uuid::nil());

    async fn places(windows: &Windows) -> Vec<Place> {
        let mut places = Vec::new();
        while let Ok(place) = windows.try_enter(ENDPOINT) {
            places.push(place);
        }
        places
    }

    #[tokio::test]
    async fn a_window_grows_with_successes_and_halves_with_failures() {
        let windows = Windows::default();
        let first = places(&windows).await;
        assert_eq!(first.len(), FIRST);
        assert!(windows.enter(ENDPOINT).await.is_none(), "there is no place left");

        first.into_iter().for_each(|place| place.leave(true));
        let second = places(&windows).await;
        assert_eq!(second.len(), 2 * FIRST);

        second.into_iter().take(2).for_each(|place| place.leave(false));
        assert_eq!(places(&windows).await.len(), FIRST / 2);
    }

    #[tokio::test]
    async fn who_waits_gets_the_place_that_another_leaves() {
        let windows = Windows::default();
        let mut held = places(&windows).await;
        let waiting = tokio::spawn({
            let windows = windows.clone();
            async move { windows.enter(ENDPOINT).await.is_some() }
        });
        tokio::task::yield_now().await;
        drop(held.pop());

        assert!(waiting.await.unwrap());
    }

    #[tokio::test]
    async fn endpoints_that_nobody_sends_to_are_forgotten() {
        let windows = Windows::default();
        let kept = windows.try_enter(ENDPOINT).unwrap();
        for number in 1..=REMEMBERED as u128 + 1 {
            drop(windows.try_enter(EndpointId(Uuid::from_u128(number))).unwrap());
        }
        assert!(windows.lock().len() < REMEMBERED);
        assert!(windows.lock().contains_key(&ENDPOINT));
        drop(kept);
    }
}
