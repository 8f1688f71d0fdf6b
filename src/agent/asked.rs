//! Questions to a disk, which may not answer: asked beside the agent's main loop, each by a thread of its own, one at a time. So a drive
//! that hangs holds up neither a signal nor what watches the others.

use tokio::sync::oneshot::{self, error::TryRecvError};

/// One that is asked again and again, and never twice at a time. It holds nothing of the agent's, so that nothing waits for it.
#[derive(Debug)]
pub(super) struct Asked<T>(Option<oneshot::Receiver<T>>);

impl<T> Default for Asked<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<T: Send + 'static> Asked<T> {
    /// Whether it is not answered yet, or the answer was not taken.
    pub(super) fn is_open(&self) -> bool {
        self.0.is_some()
    }

    /// Asks, if it is not open.
    pub(super) fn ask(&mut self, name: &str, question: impl FnOnce() -> T + Send + 'static) {
        if self.is_open() {
            return;
        }
        let (answer, answered) = oneshot::channel();
        // Who asked may be gone.
        let work = move || drop(answer.send(question()));
        match std::thread::Builder::new().name(name.to_owned()).spawn(work) {
            Ok(_) => self.0 = Some(answered),
            Err(error) => {
                tracing::warn!(%error, "no thread for what is to be asked of the disk ({name}); it is tried again");
            }
        }
    }

    /// The answer, if it is there. One that panicked has told of it, and says nothing.
    pub(super) fn take(&mut self) -> Option<T> {
        let answer = self.0.as_mut()?.try_recv();
        if !matches!(answer, Err(TryRecvError::Empty)) {
            self.0 = None;
        }
        answer.ok()
    }

    /// The answer, once it is there; for ever not, if there is none to come.
    pub(super) async fn answer(&mut self) -> T {
        if let Some(answered) = &mut self.0 {
            let answer = answered.await;
            self.0 = None;
            if let Ok(answer) = answer {
                return answer;
            }
        }
        std::future::pending().await
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(30);

    #[tokio::test]
    async fn who_asks_a_drive_that_hangs_goes_on_and_hears_of_it_when_it_answers() {
        let (answer, answers) = mpsc::sync_channel::<u32>(1);
        let mut asked = Asked::default();
        asked.ask("a", move || answers.recv_timeout(LIMIT).unwrap());
        tokio::select! {
            biased;
            _ = asked.answer() => panic!("nobody has answered"),
            () = tokio::task::yield_now() => {}
        }
        asked.ask("b", || panic!("it is asked once"));
        assert_eq!((asked.take(), asked.is_open()), (None, true));
        answer.send(7).unwrap();
        assert_eq!(tokio::time::timeout(LIMIT, asked.answer()).await, Ok(7));
        assert!(!asked.is_open());
        asked.ask("c", || 8);
        assert_eq!(tokio::time::timeout(LIMIT, asked.answer()).await, Ok(8));
    }

    #[tokio::test]
    async fn one_that_panics_says_nothing_and_another_may_be_asked() {
        let mut asked = Asked::<u32>::default();
        asked.ask("a", || panic!("on purpose"));
        let deadline = std::time::Instant::now() + LIMIT;
        while asked.is_open() {
            assert_eq!(asked.take(), None);
            assert!(std::time::Instant::now() < deadline);
            tokio::task::yield_now().await;
        }
        asked.ask("b", || 5);
        assert_eq!(tokio::time::timeout(LIMIT, asked.answer()).await, Ok(5));
    }
}
