//! A destination in this process: the embedded Kafka, with a topic, others that are made later, and what they hold.

use spoolway::kafka::batch::BatchReader;
use spoolway::target::{Code, Target, TargetOptions};
use tokio::runtime::Runtime;

use crate::support::agent::Setup;
use crate::support::ports::free_port;

/// The stream, and the topic.
pub const STREAM: &str = "events";
/// A stream whose topic is missing until somebody makes it.
pub const ASIDE: &str = "aside";
const PARTITIONS: i32 = 3;
const TOPICS: [&str; 2] = [STREAM, ASIDE];
/// How many batches of each partition were read, of one topic after the other.
pub type Seen = [usize; PARTITIONS as usize * TOPICS.len()];
/// What a broker says of a record that the topic will never take.
const TOO_LARGE: Code = 10;
const LARGEST: usize = 64 << 20;

/// A running destination.
pub struct Site {
    target: Option<Target>,
    runtime: Runtime,
}

/// A record as it was read back.
pub struct Record {
    /// No two topics have one of the same number.
    pub partition: i32,
    pub offset: i64,
    pub key: Option<Vec<u8>>,
    pub value: Vec<u8>,
}

impl Site {
    pub fn start() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("a runtime");
        // A port that no client is given while the link is cut.
        let ports = vec![free_port()];
        let topics = vec![(STREAM.to_owned(), PARTITIONS)];
        let options = TargetOptions { ports, topics, ..TargetOptions::default() };
        let target = runtime.block_on(Target::start(options)).expect("a target");
        Self { target: Some(target), runtime }
    }

    fn target(&self) -> &Target {
        self.target.as_ref().expect("it runs until it is dropped")
    }

    /// `setup` with this as its destination.
    pub fn of(&self, setup: Setup, lines: &str) -> Setup {
        self.named("home", setup, lines)
    }

    /// As [`Site::of`], under a name of its own.
    pub fn named(&self, name: &str, setup: Setup, lines: &str) -> Setup {
        setup.destination(name, self.target().brokers()[0].port(), lines)
    }

    /// Refuses every connection, until [`Site::restore`].
    pub fn cut(&self) {
        self.runtime.block_on(self.target().faults().cut());
    }

    /// Lets what the agent sends now vanish on the way, then refuses every connection, until [`Site::restore`].
    pub fn swallow(&self) {
        self.stall();
        std::thread::sleep(std::time::Duration::from_millis(30)); // for something to be sent
        self.cut();
        self.resume();
    }

    pub fn restore(&self) {
        self.runtime.block_on(self.target().faults().restore()).expect("its ports are its own");
    }

    /// Takes connections and answers nothing, until [`Site::resume`]. What is sent meanwhile is worked on then.
    pub fn stall(&self) {
        self.target().faults().stall();
    }

    pub fn resume(&self) {
        self.target().faults().resume();
    }

    /// How many records it has taken.
    pub fn records(&self) -> u64 {
        self.target().counts().borrow().records
    }

    /// Makes a topic; nothing is wrong if it is there.
    pub fn make(&self, topic: &str) {
        if self.target().end_offset(topic, 0).is_none() {
            self.target().create_topic(topic, PARTITIONS).expect("a topic of that name may be made");
        }
    }

    /// Refuses every batch for a topic for good, until [`Site::take_all`].
    pub fn refuse(&self, topic: &str) {
        for partition in 0..PARTITIONS {
            self.target().faults().refuse_produce(topic, partition, TOO_LARGE, u32::MAX);
        }
    }

    pub fn take_all(&self) {
        self.target().faults().clear_planned();
    }

    /// What each partition holds from batch `seen` on, in the order of offsets; `seen` is moved.
    pub fn read(&self, seen: &mut Seen) -> Vec<Record> {
        let logs =
            TOPICS.into_iter().flat_map(|topic| (0..PARTITIONS).map(move |partition| (topic, partition)));
        let mut records = Vec::new();
        for ((number, (topic, partition)), seen) in (0..).zip(logs).zip(seen) {
            if self.target().end_offset(topic, partition).is_none() {
                continue; // it was not made yet
            }
            let batches = self.target().batches(topic, partition).expect("the topic is there");
            for (_, bytes) in batches.iter().skip(*seen) {
                for batch in BatchReader::new(bytes, LARGEST) {
                    let batch = batch.expect("the target takes whole batches only");
                    records.extend(batch.records().map(|record| {
                        let record = record.expect("a record that can be read");
                        Record {
                            partition: number,
                            offset: record.offset,
                            key: record.key.map(<[u8]>::to_vec),
                            value: record.value.unwrap_or_default().to_vec(),
                        }
                    }));
                }
            }
            *seen = batches.len();
        }
        records
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        let _inside = self.runtime.enter();
        self.target.take();
    }
}
