//! Topics and partitions, and who leads them.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::code::{self, Code};
use super::log::Log;
use super::options::{Storage, TargetError, TargetOptions};
use super::store::Store;
use crate::ids::TopicName;

/// A topic; its id is drawn anew when a topic of the same name is made again.
#[derive(Debug)]
pub(super) struct Topic {
    pub(super) name: String,
    pub(super) id: [u8; 16],
    pub(super) partitions: Vec<Arc<Partition>>,
    settings: Mutex<BTreeMap<String, String>>,
}

impl Topic {
    /// What was set of its configuration. It is told, and nothing else comes of it but [`Topic::stamps_records`].
    pub(super) fn settings(&self) -> BTreeMap<String, String> {
        lock(&self.settings).clone()
    }

    /// Whether its records have the time of their append.
    pub(super) fn stamps_records(&self) -> bool {
        lock(&self.settings).get("message.timestamp.type").is_some_and(|kind| kind == "LogAppendTime")
    }

    pub(super) fn set(&self, key: &str, value: &str) {
        lock(&self.settings).insert(key.to_owned(), value.to_owned());
    }
}

/// One partition: its leader and its log. Neither lock is held across an await or a sync.
#[derive(Debug)]
pub(super) struct Partition {
    leadership: Mutex<Leadership>,
    log: Mutex<Log>,
}

/// Who leads a partition, and the how-manieth leader that is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Leadership {
    pub(super) leader: Option<i32>,
    pub(super) epoch: i32,
}

/// A poisoned lock is taken all the same: what it guards is consistent after every single step.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Partition {
    pub(super) fn leadership(&self) -> Leadership {
        *lock(&self.leadership)
    }

    pub(super) fn lead(&self, leader: Option<i32>) {
        let mut leadership = lock(&self.leadership);
        *leadership = Leadership { leader, epoch: leadership.epoch.saturating_add(1) };
    }

    #[cfg(test)]
    pub(super) fn lead_again(&self, leader: i32, epoch: i32) {
        *lock(&self.leadership) = Leadership { leader: Some(leader), epoch };
    }

    pub(super) fn log(&self) -> MutexGuard<'_, Log> {
        lock(&self.log)
    }
}

/// Every topic of the cluster.
#[derive(Debug, Default)]
pub(super) struct Topics {
    by_name: Mutex<BTreeMap<String, Arc<Topic>>>,
}

/// More than any test or demonstration has.
const MAX_TOPICS: usize = 10_000;
const MAX_PARTITIONS: i32 = 10_000;

impl Topics {
    pub(super) fn get(&self, name: &str) -> Option<Arc<Topic>> {
        lock(&self.by_name).get(name).cloned()
    }

    pub(super) fn by_id(&self, id: [u8; 16]) -> Option<Arc<Topic>> {
        lock(&self.by_name).values().find(|t| t.id == id).cloned()
    }

    pub(super) fn all(&self) -> Vec<Arc<Topic>> {
        lock(&self.by_name).values().cloned().collect()
    }

    /// The partition, if `node` leads it.
    pub(super) fn led_by(&self, node: i32, topic: &str, index: i32) -> Result<Arc<Partition>, Code> {
        let partition = self.partition(topic, index).ok_or(code::UNKNOWN_TOPIC_OR_PARTITION)?;
        match partition.leadership().leader {
            Some(leader) if leader == node => Ok(partition),
            _ => Err(code::NOT_LEADER_OR_FOLLOWER),
        }
    }

    pub(super) fn partition(&self, topic: &str, index: i32) -> Option<Arc<Partition>> {
        self.get(topic)?.partitions.get(usize::try_from(index).ok()?).cloned()
    }

    pub(super) fn remove(&self, name: &str) -> bool {
        lock(&self.by_name).remove(name).is_some()
    }

    /// Whether a topic of this name and size could be made.
    pub(super) fn check_new(&self, name: &str, partitions: i32) -> Result<(), Code> {
        let topics = lock(&self.by_name);
        match () {
            () if TopicName::new(name).is_err() => Err(code::INVALID_TOPIC),
            () if topics.contains_key(name) => Err(code::TOPIC_ALREADY_EXISTS),
            () if !(1..=MAX_PARTITIONS).contains(&partitions) => Err(code::INVALID_PARTITIONS),
            () if topics.len() >= MAX_TOPICS => Err(code::INVALID_PARTITIONS),
            () => Ok(()),
        }
    }

    /// Makes a topic, its partitions led by the brokers in turn.
    pub(super) fn create(
        &self,
        name: &str,
        partitions: i32,
        options: &TargetOptions,
    ) -> Result<Arc<Topic>, TargetError> {
        self.check_new(name, partitions)
            .map_err(|code| TargetError::Topic { name: name.to_owned(), code })?;
        let mut id = [0; 16];
        getrandom::fill(&mut id).map_err(|e| TargetError::Random(std::io::Error::other(e.to_string())))?;
        let partitions = (0..partitions).map(|index| partition(name, index, options));
        let partitions = partitions.collect::<Result<_, _>>()?;
        let topic = Topic { name: name.to_owned(), id, partitions, settings: Mutex::default() };
        let topic = Arc::new(topic);
        lock(&self.by_name).insert(name.to_owned(), Arc::clone(&topic));
        Ok(topic)
    }
}

fn partition(topic: &str, index: i32, options: &TargetOptions) -> Result<Arc<Partition>, TargetError> {
    let store = match &options.storage {
        Storage::Memory => Store::Memory(Vec::new()),
        Storage::Directory { path, .. } => {
            let path: PathBuf = path.join(format!("{topic}-{index}.log"));
            Store::create(&path).map_err(|source| TargetError::Log { path, source })?
        }
    };
    let brokers = i32::try_from(options.brokers.max(1)).unwrap_or(1);
    let leadership = Leadership { leader: Some(index % brokers), epoch: 0 };
    Ok(Arc::new(Partition {
        leadership: Mutex::new(leadership),
        log: Mutex::new(Log::new(store, options.max_log_bytes)),
    }))
}
