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

/// Found by an audit: only the writer's turns were looked at, so a stop waited for ever where the disk hung at its end, or under what
/// tidies up.
#[test]
fn a_disk_that_hangs_while_a_lane_is_closed_or_tidied_up_is_noticed() {
    let at_an_interval = Spool { sync: Sync::Interval(Duration::from_secs(3600)), ..plain() };
    for (by, settings, fails) in [("the writer", at_an_interval, true), ("what tidies up", plain(), false)] {
        let site = Site::new();
        let mut stepped = site.lane(&settings);
        assert_eq!(send(&mut stepped, &[("a", 100)]), 1);
        let (lane, host) = (stepped.lane().clone(), Arc::clone(&site.host));
        let (tell, told) = std::sync::mpsc::sync_channel(1);
        site.fs.meanwhile(Op::SyncData, move || {
            host.advance(HUNG_AFTER - Duration::from_nanos(1));
            let before = lane.is_hung();
            host.advance(Duration::from_nanos(1));
            tell.send((before, lane.is_hung(), lane.status().failing.is_some())).unwrap();
        });
        let lane = stepped.lane().clone();
        stepped.close();
        assert_eq!(told.try_recv(), Ok((false, true, fails)), "{by}");
        assert!(!lane.is_hung(), "{by}: it has answered");
        site.host.advance(2 * HUNG_AFTER);
        assert!(!lane.is_hung(), "{by}: it is asked nothing");
    }
}
