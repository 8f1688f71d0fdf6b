//! A destination in this process: the embedded Kafka, with one topic, and what it holds.

use spoolway::kafka::batch::BatchReader;
use spoolway::target::{Target, TargetOptions};
use tokio::runtime::Runtime;

use crate::support::agent::Setup;
use crate::support::ports::free_port;

/// The stream, and the topic.
pub const STREAM: &str = "events";
const PARTITIONS: i32 = 3;
const LARGEST: usize = 64 << 20;

/// A running destination.
pub struct Site {
    target: Option<Target>,
    runtime: Runtime,
}

/// A record as it was read back.
pub struct Record {
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
        setup.destination("home", self.target().brokers()[0].port(), lines)
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

    /// What each partition holds from batch `seen` on, in the order of offsets; `seen` is moved.
    pub fn read(&self, seen: &mut [usize; PARTITIONS as usize]) -> Vec<Record> {
        let mut records = Vec::new();
        for (partition, seen) in (0..).zip(seen) {
            let batches = self.target().batches(STREAM, partition).expect("the topic is there");
            for (_, bytes) in batches.iter().skip(*seen) {
                for batch in BatchReader::new(bytes, LARGEST) {
                    let batch = batch.expect("the target takes whole batches only");
                    records.extend(batch.records().map(|record| {
                        let record = record.expect("a record that can be read");
                        Record {
                            partition,
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
