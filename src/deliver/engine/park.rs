//! What is copied out of the log for a topic that will not have it for now.

use super::super::log::{Log, LogReader, Read, Why};
use super::super::topic::{Standing, Topic};
use super::{Engine, Now, Sink};
use crate::ids::{SegmentId, Seq, SeqRange, StreamName, TopicName};
use crate::state::park::Parked;
use crate::state::positions::{Passed, Positions, Side};

/// Items of the log looked at in one go.
const BURST: usize = 1024;
/// Bytes of blocks after which no more are collected, however much room there is.
pub const ENOUGH: u64 = 2 << 20;
/// Bytes that a block takes besides its events, at most, but for its stream's name.
const BESIDES: u64 = 64;

/// Blocks of a topic that are being collected.
///
/// INVARIANT: they are those that its reader would take by the positions on disk. The engine may be further: a later process
/// that begins there needs what this one has delivered since.
pub struct Parking<L: Log> {
    topic: TopicName,
    streams: Vec<(StreamName, Seq)>,
    passed: Vec<Passed>,
    reader: L::Reader,
    from: Seq,
    upto: Seq,
    /// The main reader is durably past everything below.
    below: Seq,
    blocks: Vec<Parked>,
    bytes: u64,
    /// With so many it is enough.
    most: u64,
}

impl<L: Log> Parking<L> {
    /// The topic.
    pub fn topic(&self) -> &TopicName {
        &self.topic
    }

    /// Which numbers have been looked at.
    pub fn covers(&self) -> SeqRange {
        SeqRange::new(self.from, self.upto)
    }

    /// What was found there.
    pub fn blocks(&self) -> &[Parked] {
        &self.blocks
    }

    fn is_enough(&self) -> bool {
        self.upto >= self.below || self.bytes >= self.most
    }
}

impl<L: Log, S: Sink> Engine<L, S> {
    /// Topics that have a reader of their own and take nothing for now.
    pub fn stuck(&self, now: Now) -> impl Iterator<Item = &TopicName> {
        let after = self.settings.limits.stuck_after;
        let is_late = move |t: &Topic| t.in_flight_since().is_some_and(|since| now.instant >= since + after);
        // What was taken over is not parked: its records would have to go with it.
        let none_taken = self.claims.taken.is_empty();
        let apart = self.sides.iter().filter(move |(_, side)| side.end.is_none() && none_taken);
        apart.filter_map(move |(name, _)| {
            let topic = self.topics.get(name)?;
            (matches!(topic.standing, Standing::Waiting { .. }) || is_late(topic)).then_some(name)
        })
    }

    /// Begins to collect what a reader of `saved` positions, one of a topic, needs of the log from `from` on and before `below`,
    /// which the main reader is past: about `most` bytes of it.
    pub fn begin_parking(
        &self,
        saved: &Positions,
        side: &Side,
        (from, below): (Seq, Seq),
        most: u64,
    ) -> Parking<L> {
        Parking {
            topic: side.topic.clone(),
            streams: side.streams.clone(),
            passed: saved.passed.clone(),
            reader: self.log.reader(from),
            from,
            upto: from,
            below: below.min(saved.position),
            blocks: Vec::new(),
            bytes: 0,
            most: most.min(ENOUGH),
        }
    }

    /// Collects some more. Returns whether it is enough: the log has no more before `below`, or it is much.
    ///
    /// # Errors
    /// When the log can't be read for now.
    pub fn collect(&mut self, parking: &mut Parking<L>) -> Result<bool, String> {
        for _ in 0..BURST {
            if parking.is_enough() {
                return Ok(true);
            }
            self.collect_one(parking)?;
        }
        Ok(parking.is_enough())
    }

    fn collect_one(&mut self, parking: &mut Parking<L>) -> Result<(), String> {
        let Self { sides, claims, .. } = self;
        let Parking { topic, streams, passed, reader, upto, below, blocks, bytes, .. } = parking;
        // As the topic's reader would ask (see `next_of_side`).
        let mut want = |stream: &StreamName, range: SeqRange| {
            streams.iter().any(|(own, from)| own == stream && *from <= range.first)
                && claims.topic(stream, range.first).as_ref() == Some(topic)
                && !passed.iter().any(|p| p.is_settled(stream, range.first))
        };
        match reader.next(&mut want).map_err(|e| e.to_string())? {
            None => *below = *upto,
            Some(Read::Skipped { range, .. }) => *upto = range.end,
            Some(Read::Gone { range, why }) => {
                if let Some(side) = sides.get_mut(topic) {
                    side.dropped |= why == Why::Dropped;
                }
                *upto = range.end;
            }
            Some(Read::Block(info, payload)) => {
                *upto = info.range.end;
                *bytes += payload.len() as u64 + info.stream.as_str().len() as u64 + BESIDES;
                blocks.push(Parked {
                    range: info.range,
                    stream: info.stream,
                    time: info.time,
                    run: info.run,
                    segment: info.segment.unwrap_or(SegmentId(0)),
                    payload,
                });
            }
        }
        Ok(())
    }
}
