//! Faults that strike a counted number of times, in the order they were planned.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::messages::ApiKey;

use super::code::{self, Code};

/// When a target that is to die in an append does so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Death {
    /// Before a byte of the batch is written.
    BeforeAppend,
    /// With half of the batch written, which the next start cuts off.
    HalfAppended,
    /// With the batch appended and nothing answered.
    BeforeAnswer,
}

/// What happens to one partition's part of a produce request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ProduceFault {
    /// Not appended, answered with the code.
    Refuse(Code),
    /// Appended (or known as a duplicate), and answered with the code all the same.
    AppendAndRefuse(Code),
    /// The target dies.
    Die(Death),
}

#[derive(Debug)]
struct Rule {
    partition: Option<(String, i32)>,
    fault: ProduceFault,
    left: u32,
}

/// What is planned. Bounded by what the test plans.
#[derive(Debug, Default)]
pub(super) struct Plan {
    produce: VecDeque<Rule>,
    lose_answers: u32,
    throttle: (Duration, u32),
    producer_ids: (Code, u32),
    raw_answers: VecDeque<Bytes>,
    calls: Vec<(ApiKey, Code, u32)>,
}

/// Takes one off a counter.
fn strike(left: &mut u32) -> bool {
    let strikes = *left > 0;
    *left = left.saturating_sub(1);
    strikes
}

impl Plan {
    pub(super) fn add(&mut self, partition: Option<(String, i32)>, fault: ProduceFault, times: u32) {
        if times > 0 {
            self.produce.push_back(Rule { partition, fault, left: times });
        }
    }

    pub(super) fn clear_produce(&mut self) {
        self.produce.clear();
    }

    /// The first planned fault for this partition, used up by one.
    pub(super) fn strike_produce(&mut self, topic: &str, index: i32) -> Option<ProduceFault> {
        let meant = |r: &Rule| r.partition.as_ref().is_none_or(|(t, i)| t == topic && *i == index);
        let at = self.produce.iter().position(meant)?;
        let rule = self.produce.get_mut(at)?;
        let fault = rule.fault;
        rule.left -= 1;
        if rule.left == 0 {
            self.produce.remove(at);
        }
        Some(fault)
    }

    pub(super) fn lose_answers(&mut self, times: u32) {
        self.lose_answers = times;
    }

    pub(super) fn strike_answer(&mut self) -> bool {
        strike(&mut self.lose_answers)
    }

    pub(super) fn throttle(&mut self, by: Duration, times: u32) {
        self.throttle = (by, times);
    }

    pub(super) fn strike_throttle(&mut self) -> Duration {
        if strike(&mut self.throttle.1) { self.throttle.0 } else { Duration::ZERO }
    }

    pub(super) fn refuse_producer_ids(&mut self, code: Code, times: u32) {
        self.producer_ids = (code, times);
    }

    pub(super) fn strike_producer_id(&mut self) -> Code {
        if strike(&mut self.producer_ids.1) { self.producer_ids.0 } else { code::NONE }
    }

    pub(super) fn refuse_calls(&mut self, key: ApiKey, code: Code, times: u32) {
        self.calls.retain(|(k, ..)| *k != key);
        self.calls.push((key, code, times));
    }

    /// The code for the next call of this kind, used up by one.
    pub(super) fn strike_call(&mut self, key: ApiKey) -> Option<Code> {
        let (_, code, left) = self.calls.iter_mut().find(|(k, _, left)| *k == key && *left > 0)?;
        *left -= 1;
        Some(*code)
    }

    pub(super) fn answer_raw(&mut self, body: &Bytes, times: u32) {
        self.raw_answers.extend((0..times).map(|_| body.clone()));
    }

    pub(super) fn strike_raw(&mut self) -> Option<Bytes> {
        self.raw_answers.pop_front()
    }
}
