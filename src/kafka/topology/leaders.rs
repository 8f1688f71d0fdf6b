//! Which of the leaders that brokers tell of is believed.
//!
//! A leader's epoch only ever grows, and a broker that lags behind, or hears nothing of its controllers any more, tells of earlier ones, for
//! as long as that lasts. But controllers that were restored from a backup begin again with what they knew then, and the leader that
//! was known before them may lead nothing now. So what is older is believed when it stays, and the leader that is known takes nothing
//! meanwhile: two brokers say one thing on end of which one has gone back itself, since it told the later epoch before, and one is the leader
//! that is named; or else all that is heard for long is older, whatever of that came last. Brokers that merely lag behind have never known better, however many they
//! are. What it was before is then believed as slowly.

use std::time::Duration;

use tokio::time::Instant;

use super::state::PartitionInfo;

/// For so long it is said on end: by brokers that can know, of whom the second need not have said it all the time, or by the only one
/// there is.
const STAYS: Duration = Duration::from_secs(60);
/// For so long by others.
const STAYS_ALONE: Duration = Duration::from_secs(600);
/// For so long by one before another one is asked.
const ASK: Duration = Duration::from_secs(10);
/// Brokers that are remembered to have told what is known.
const MOST: usize = 4;

/// A leader and its epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Told {
    pub(super) leader: Option<i32>,
    pub(super) epoch: i32,
}

/// Who tells, as far as that is known; and whether nobody else could.
#[derive(Debug, Clone, Copy)]
pub(super) struct Teller {
    pub(super) broker: Option<i32>,
    pub(super) alone: bool,
}

/// What is said of a partition against what is known.
#[derive(Debug, Clone, Copy)]
struct Dispute {
    told: Told,
    /// Since when on end something else is told than is known, and since when this.
    since: Instant,
    same_since: Instant,
    by: Option<i32>,
    seconded: bool,
    /// The leader that is named says so too, or none is named.
    first_hand: bool,
    /// Somebody says so who has told what is known.
    went_back: bool,
}

/// What is known of a partition's leader.
#[derive(Debug, Clone, Copy)]
pub(super) struct Leader {
    known: Told,
    /// Who has told that, the last at first.
    tellers: [Option<i32>; MOST],
    dispute: Option<Dispute>,
    /// What was known before epochs went back.
    left: Option<Told>,
}

impl Default for Leader {
    fn default() -> Self {
        let known = Told { leader: None, epoch: -1 };
        Self { known, tellers: [None; MOST], dispute: None, left: None }
    }
}

impl Leader {
    pub(super) fn info(&self) -> PartitionInfo {
        PartitionInfo { leader: self.known.leader }
    }

    /// A broker tells.
    pub(super) fn hear(&mut self, told: Told, by: Teller, now: Instant) {
        if told.epoch >= self.known.epoch && (self.left != Some(told) || told == self.known) {
            self.left.take_if(|left| left.epoch < told.epoch);
            self.believe(told, by.broker);
            return;
        }
        let is_left = self.left == Some(told);
        let went_back = is_left || (by.broker.is_some() && self.tellers.contains(&by.broker));
        let first_hand = told.leader.is_none() || told.leader == by.broker;
        // Epochs that have gone back grow from there; others tell of two that lag behind.
        let before = self.dispute.filter(|dispute| dispute.told.epoch <= told.epoch);
        let first = Dispute {
            told,
            since: now,
            same_since: now,
            by: by.broker,
            seconded: false,
            first_hand,
            went_back,
        };
        let dispute = before.map_or(first, |dispute| {
            let is_other = by.broker.is_some() && dispute.by.is_some() && by.broker != dispute.by;
            // Whoever names yet another seconds nobody, and is to be seconded by somebody else.
            let same = told == dispute.told;
            let by = if same { dispute.by.or(by.broker) } else { by.broker };
            Dispute {
                told,
                seconded: same && (dispute.seconded || is_other),
                first_hand: first_hand || (same && dispute.first_hand),
                went_back: went_back || (same && dispute.went_back),
                by,
                since: dispute.since,
                same_since: if same { dispute.same_since } else { now },
            }
        });
        let is_known = dispute.seconded && dispute.first_hand && dispute.went_back;
        let stays = |since| now.saturating_duration_since(since);
        let least = if by.alone { STAYS } else { STAYS_ALONE };
        if stays(dispute.since) >= least || (is_known && stays(dispute.same_since) >= STAYS) {
            let left = self.known;
            self.believe(told, by.broker);
            self.left = Some(left);
        } else {
            self.dispute = Some(dispute);
        }
    }

    fn believe(&mut self, told: Told, by: Option<i32>) {
        if told != self.known {
            self.tellers = [None; MOST];
        }
        (self.known, self.dispute) = (told, None);
        if by.is_some() && !self.tellers.contains(&by) {
            self.tellers.rotate_right(1);
            self.tellers.first_mut().into_iter().for_each(|first| *first = by);
        }
    }

    /// A broker has taken what was sent to it as the leader.
    pub(super) fn has_taken(&mut self, broker: i32) {
        if self.known.leader == Some(broker) {
            self.dispute = None;
        }
    }

    pub(super) fn is_disputed(&self) -> bool {
        self.dispute.is_some()
    }

    /// Who first said something else than is known, for a while: somebody else is to be asked.
    pub(super) fn lone_voice(&self, now: Instant) -> Option<Option<i32>> {
        // Also when another broker has agreed: one that knows better ends it.
        let lone = |d: &Dispute| now.saturating_duration_since(d.since) >= ASK;
        self.dispute.filter(lone).map(|dispute| dispute.by)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: Told = Told { leader: Some(2), epoch: 9 };
    const OLDER: Told = Told { leader: Some(1), epoch: 4 };

    fn broker(id: i32) -> Teller {
        Teller { broker: Some(id), alone: false }
    }

    /// A leader that is known, and a clock.
    fn known() -> (Leader, Instant) {
        let (mut leader, now) = (Leader::default(), Instant::now());
        leader.hear(KNOWN, broker(1), now);
        (leader, now)
    }

    /// These brokers tell by turns, every ten seconds; after how many of them what they say is believed.
    fn believed_after(
        leader: &mut Leader,
        told: Told,
        by: &[Teller],
        from: Instant,
        most: u64,
    ) -> Option<u64> {
        (0..most / 10).map(|n| n * 10).find(|seconds| {
            let by = by[(seconds / 10) as usize % by.len()];
            leader.hear(told, by, from + Duration::from_secs(*seconds));
            leader.known == told
        })
    }

    #[test]
    fn an_older_leader_is_believed_when_two_brokers_say_so_for_a_minute_or_one_does_for_ten() {
        let (leader, now) = known();
        let (one, only) = (broker(1), Teller { broker: Some(1), alone: true });
        let nobody = Teller { broker: None, alone: false };
        for (by, after) in [
            (&[one, broker(3)][..], 60),
            (&[one], 600),
            (&[only], 60),
            (&[nobody, one], 600),
            (&[nobody], 600),
        ] {
            assert_eq!(believed_after(&mut leader.clone(), OLDER, by, now, 2000), Some(after), "{by:?}");
        }
    }

    /// They were two, and were believed after a minute.
    #[test]
    fn brokers_that_lag_behind_are_believed_after_a_minute_only_if_one_knew_better_and_one_is_the_leader() {
        let (one, two, three, four) = (broker(1), broker(2), broker(3), broker(4));
        for (knew, tell, after) in [
            (&[two][..], &[three, four][..], 600),
            (&[two], &[one, three], 600),
            (&[three], &[three, four], 600),
            (&[three], &[three, one], 60),
            (&[four, three, two], &[three, four, one], 60),
            (&[one, one, two], &[three, one], 60),
        ] {
            let (mut leader, now) = (Leader::default(), Instant::now());
            knew.iter().for_each(|by| leader.hear(KNOWN, *by, now));
            assert_eq!(believed_after(&mut leader, OLDER, tell, now, 2000), Some(after), "{knew:?} {tell:?}");
        }
        // Of a partition that is said to have no leader there is none to ask.
        let nobody = Told { leader: None, ..OLDER };
        let (mut leader, now) = known();
        assert_eq!(believed_after(&mut leader, nobody, &[one, three], now, 2000), Some(60));
    }

    /// It seconded what it had said itself, since somebody else had named yet another before.
    #[test]
    fn a_broker_alone_turns_no_leader_back_though_another_named_yet_another_before() {
        let (mut leader, now) = known();
        let at = |seconds| now + Duration::from_secs(seconds);
        leader.hear(Told { leader: Some(3), epoch: 4 }, broker(3), at(0));
        let itself = Told { leader: Some(1), epoch: 5 };
        (30..600).step_by(30).for_each(|second| leader.hear(itself, broker(1), at(second)));
        assert_eq!((leader.known, leader.lone_voice(at(590))), (KNOWN, Some(Some(1))));
        leader.hear(itself, broker(3), at(595));
        assert_eq!(leader.known, itself);
    }

    /// It had stayed for as long as what another broker had said before it, and was believed with the second word.
    #[test]
    fn what_two_brokers_say_has_to_stay_for_a_minute_itself_whatever_one_had_said_before() {
        let (mut leader, now) = known();
        let at = |seconds| now + Duration::from_secs(seconds);
        (0..300).step_by(10).for_each(|second| {
            leader.hear(Told { leader: Some(3), epoch: 4 }, broker(3), at(second));
        });
        let both = [broker(1), broker(3)];
        let said = Told { leader: Some(1), epoch: 5 };
        assert_eq!(believed_after(&mut leader.clone(), said, &both, at(300), 1000), Some(60));
        // By others nothing is believed any later for it.
        assert_eq!(believed_after(&mut leader, said, &[broker(3)], at(300), 1000), Some(300));
    }

    /// What was believed of it is forgotten with the next leader.
    #[test]
    fn who_told_an_earlier_leader_has_not_gone_back_from_a_later_one() {
        let (mut leader, now) = (Leader::default(), Instant::now());
        (1..=9).for_each(|id| leader.hear(Told { epoch: 8, ..KNOWN }, broker(id), now));
        leader.hear(KNOWN, broker(2), now);
        assert_eq!(believed_after(&mut leader, OLDER, &[broker(1), broker(3)], now, 2000), Some(600));
    }

    #[test]
    fn brokers_that_lag_behind_turn_nothing_back_while_one_does_not_or_the_leader_takes_what_it_gets() {
        let (leader, now) = known();
        let at = |minutes: u64| now + Duration::from_secs(60 * minutes);
        let mut told = leader;
        for minute in 0..30 {
            told.hear(OLDER, broker(1), at(minute));
            told.hear(OLDER, broker(3), at(minute) + Duration::from_secs(50));
            told.hear(KNOWN, broker(2), at(minute) + Duration::from_secs(55));
        }
        assert_eq!(told.known, KNOWN);
        let mut taken = leader;
        for minute in 0..30 {
            taken.hear(OLDER, broker(1), at(minute));
            taken.hear(OLDER, broker(3), at(minute) + Duration::from_secs(50));
            taken.has_taken(1);
            assert!(taken.is_disputed(), "it is not the leader that has taken something");
            taken.has_taken(2);
        }
        assert_eq!(taken.known, KNOWN);
        // Two that lag behind differently do not say the same.
        let mut two = leader;
        for second in 0..1000u16 {
            let told = Told { epoch: 4 + i32::from(second % 2), ..OLDER };
            two.hear(told, broker(i32::from(second)), now + Duration::from_secs(u64::from(second)));
        }
        assert_eq!(two.known, KNOWN);
    }

    #[test]
    fn after_epochs_went_back_a_broker_that_has_not_heard_of_it_does_not_turn_them_round() {
        let (mut leader, now) = known();
        let both = [broker(1), broker(3)];
        assert_eq!(believed_after(&mut leader, OLDER, &both, now, 100), Some(60));
        let later = |seconds: u64| now + Duration::from_secs(100 + seconds);
        for second in 0..1000 {
            leader.hear(KNOWN, broker(2), later(second));
            assert_eq!(leader.known, OLDER);
            if second % 50 == 49 {
                leader.hear(OLDER, broker(1), later(second));
            }
        }
        // The next leader is believed at once, and so is what comes behind what was known before.
        for next in [Told { leader: Some(3), epoch: 5 }, Told { leader: Some(2), epoch: 10 }] {
            leader.hear(next, broker(1), later(1000));
            assert_eq!(leader.known, next);
        }
        assert_eq!(leader.left, None);
    }

    #[test]
    fn somebody_else_is_asked_while_an_older_leader_is_named_for_ten_seconds() {
        let (mut leader, now) = known();
        let at = |seconds| now + Duration::from_secs(seconds);
        assert_eq!(leader.lone_voice(at(100)), None);
        leader.hear(OLDER, broker(1), at(0));
        assert_eq!((leader.lone_voice(at(9)), leader.lone_voice(at(10))), (None, Some(Some(1))));
        leader.hear(OLDER, broker(3), at(20));
        assert_eq!(
            leader.lone_voice(at(30)),
            Some(Some(1)),
            "also once another agrees: a third may know better"
        );
        leader.hear(KNOWN, broker(2), at(40));
        assert_eq!(leader.lone_voice(at(90)), None);
    }
}
