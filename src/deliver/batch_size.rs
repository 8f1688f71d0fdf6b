//! How large a topic's windows may be, where it refuses those of the size that is configured.
//!
//! A refusal for its size halves it: the topic's `max.message.bytes` is not known, and may be changed at any time. After so many windows
//! of the full size have arrived it is doubled again, up to what is configured. A topic that goes on refusing is asked less and less
//! often.

/// Full windows that arrive before a larger one is tried, at first ...
const PATIENCE: u32 = 64;
/// ... and after many tries that were refused.
const MOST_PATIENCE: u32 = 64 << 10;

/// Bytes of a window as it is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchSize {
    now: usize,
    configured: usize,
    /// Full windows that have arrived since it was last another.
    arrived: u32,
    patience: u32,
}

impl BatchSize {
    /// As it is configured.
    #[must_use]
    pub fn new(configured: usize) -> Self {
        Self { now: configured, configured, arrived: 0, patience: PATIENCE / 2 }
    }

    /// As it is now.
    #[must_use]
    pub fn get(&self) -> usize {
        self.now
    }

    /// A window of this size was too large.
    pub fn refused(&mut self) {
        self.now = (self.now / 2).max(1);
        self.arrived = 0;
        self.patience = self.patience.saturating_mul(2).min(MOST_PATIENCE);
    }

    /// A window of so many bytes has arrived. One that is small says nothing.
    pub fn arrived(&mut self, bytes: usize) {
        if self.now >= self.configured || bytes < self.now / 2 {
            return;
        }
        self.arrived += 1;
        if self.arrived >= self.patience {
            self.now = self.now.saturating_mul(2).min(self.configured);
            self.arrived = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_halved_by_a_refusal_and_comes_back_once_enough_full_windows_have_arrived() {
        let mut size = BatchSize::new(900);
        (0..1000).for_each(|_| size.arrived(900));
        assert_eq!(size.get(), 900, "never more than is configured");
        size.refused();
        size.refused();
        assert_eq!(size.get(), 225);
        (0..1000).for_each(|_| size.arrived(100));
        assert_eq!(size.get(), 225, "small ones say nothing");
        (0..127).for_each(|_| size.arrived(200));
        assert_eq!(size.get(), 225);
        size.arrived(200);
        assert_eq!(size.get(), 450);
        (0..128).for_each(|_| size.arrived(450));
        assert_eq!(size.get(), 900);
    }

    #[test]
    fn a_topic_that_goes_on_refusing_is_asked_less_and_less_often() {
        let mut size = BatchSize::new(1000);
        let (mut refusals, mut windows) = (0, 0);
        while windows < 1_000_000 {
            match size.get() > 600 {
                true => {
                    size.refused();
                    refusals += 1;
                }
                false => size.arrived(size.get()),
            }
            windows += 1;
        }
        assert!((10..30).contains(&refusals), "{refusals} refusals");
        assert_eq!(size.get(), 500);
    }
}
