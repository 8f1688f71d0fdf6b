//! A disk that does not answer: the writer is stuck in a call, and whoever asks is told all the same.

use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use super::stepped::{Site, plain, send};
use super::*;
use crate::disk::faulty::Op;
use crate::intake::{Appended, Refused};
use crate::spool::turn::HUNG_AFTER;

fn is_refused(answer: &Poll<Result<Appended, AcceptError>>) -> bool {
    matches!(answer, Poll::Ready(Err(AcceptError::Refused(Refused::Failing(why)))) if why.contains("has not answered for 15 s"))
}

#[test]
fn behind_a_disk_that_does_not_answer_senders_are_refused_and_what_it_is_busy_with_is_kept() {
    let site = Site::new();
    let mut stepped = site.lane(&plain());
    let (lane, host) = (stepped.lane().clone(), Arc::clone(&site.host));
    // All of this while the first event is being synced.
    site.fs.meanwhile(Op::SyncData, move || {
        let mut context = Context::from_waker(Waker::noop());
        let event = || lane.append(stream("a"), batch(&[vec![6; 100]]), Patience::Forever);
        let mut queued = pin!(event());
        assert!(queued.as_mut().poll(&mut context).is_pending());
        host.advance(HUNG_AFTER - Duration::from_nanos(1));
        lane.look_at_disk();
        assert!(queued.as_mut().poll(&mut context).is_pending(), "a slow disk is waited for");
        assert_eq!((lane.status().failing, lane.is_hung()), (None, false));
        host.advance(Duration::from_nanos(1));
        assert!(lane.is_hung());
        assert!(is_refused(&pin!(event()).poll(&mut context)), "one that comes now");
        assert!(queued.as_mut().poll(&mut context).is_pending(), "nobody has looked yet");
        lane.look_at_disk();
        assert!(is_refused(&queued.as_mut().poll(&mut context)));
        assert!(lane.status().failing.unwrap().contains("lanes/main has not answered for 15 s"));
    });
    assert_eq!(send(&mut stepped, &[("a", 100)]), 1, "it was in the disk's hands, and has arrived there");
    assert_eq!(stepped.lane().status().failing, None);
    assert_eq!(
        (send(&mut stepped, &[("a", 100)]), stepped.lane().durable()),
        (1, Seq(2)),
        "of those refused nothing is kept"
    );
    stepped.close();
}
