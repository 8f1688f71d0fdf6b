//! What is copied out of the log for a topic that will not have it for now.

use super::super::log::{Log, LogReader, Read, Why};
use super::super::topic::{Standing, Topic};
use super::apart::own_events;
use super::letters::events;
use super::{Engine, Now, Sink};
use crate::event::{Event, EventBatch};
use crate::ids::{SegmentId, Seq, SeqRange, StreamName, TopicName};
use crate::state::park::Parked;
use crate::state::positions::{Apart, Bits, Passed, Positions, Side};

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
    /// Partitions with a reader of their own.
    apart: Vec<Apart>,
    /// The topic's reader is past everything below: there nobody needs more than the events of those partitions.
    whole_from: Seq,
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
        // What was taken over is not parked: its records would have to go with it.
        let none_taken = self.claims.taken.is_empty();
        let apart = self.sides.iter().filter(move |(_, side)| side.end.is_none() && none_taken);
        apart.filter_map(move |(name, side)| {
            let partition = side.apart.values().any(|apart| apart.end.is_none());
            (partition || self.is_stuck(name, now)).then_some(name)
        })
    }

    /// Whether a topic takes nothing for now, whatever is with its partitions that are apart.
    fn is_stuck(&self, name: &TopicName, now: Now) -> bool {
        let after = self.settings.limits.stuck_after;
        let is_late = |t: &Topic| {
            let own = t.lines.iter().filter(|(partition, _)| !t.apart.contains(partition));
            own.filter_map(|(_, line)| line.in_flight.as_ref()).any(|f| now.instant >= f.since + after)
        };
        self.topics.get(name).is_some_and(|t| matches!(t.standing, Standing::Waiting { .. }) || is_late(t))
    }

    /// Begins to collect what a reader of `saved` positions, one of a topic, needs of the log from `from` on and before `below`,
    /// which the main reader is past: about `most` bytes of it. `None`: the topic's reader itself is not stuck, and may still need
    /// what is there.
    pub fn begin_parking(
        &self,
        saved: &Positions,
        side: &Side,
        (from, below): (Seq, Seq),
        (most, now): (u64, Now),
    ) -> Option<Parking<L>> {
        let below = below.min(saved.position);
        let below = if self.is_stuck(&side.topic, now) { below } else { below.min(side.position) };
        (from < below).then(|| Parking {
            apart: side.apart.clone(),
            whole_from: side.position,
            topic: side.topic.clone(),
            streams: side.streams.clone(),
            passed: saved.passed.clone(),
            reader: self.log.reader(from),
            from,
            upto: from,
            below,
            blocks: Vec::new(),
            bytes: 0,
            most: most.min(ENOUGH),
        })
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
        let Parking { topic, streams, passed, reader, upto, below, blocks, bytes, apart, whole_from, .. } =
            parking;
        let needs = |first: Seq| apart.iter().filter(move |a| a.has(first) && a.position <= first);
        // As the topic's reader would ask (see `next_of_side`).
        let mut want = |stream: &StreamName, range: SeqRange| {
            streams.iter().any(|(own, from)| own == stream && *from <= range.first)
                && claims.topic(stream, range.first).as_ref() == Some(topic)
                && !passed.iter().any(|p| p.is_settled_whole(stream, range.first))
                && (range.first >= *whole_from || needs(range.first).next().is_some())
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
                let first = info.range.first;
                let payload =
                    if first < *whole_from { only_own(needs(first), info.range, &payload) } else { payload };
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

/// A block of which only the events of some partitions are left; the others have left their places.
fn only_own<'a>(apart: impl Iterator<Item = &'a Apart>, range: SeqRange, payload: &[u8]) -> bytes::Bytes {
    let mut own = Bits::new(u32::try_from(range.len()).unwrap_or(u32::MAX));
    apart.for_each(|apart| own.add(&own_events(&apart.keys, range, payload)));
    let mut nothing = EventBatch::new();
    nothing.push(&Event::of_value(b""));
    let kept = (0u32..).zip(events(payload)).map(
        |(index, event)| {
            if own.get(index) { event } else { nothing.as_bytes() }
        },
    );
    kept.flatten().copied().collect::<Vec<u8>>().into()
}
