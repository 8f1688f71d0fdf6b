//! A slice on an older Kafka than the others run on: all of them run there with `just test-kafka-39`.

use crate::broker::Broker;
use crate::{crash, letters, times};

pub fn killed_brokers_and_agents_and_letters_are_what_they_are_on_the_newest() {
    let broker = Broker::older();
    crash::both_killed(broker, "older-both", 4);
    letters::one_refused(broker, "older-compacted");
    times::bounded(broker, "older-bounded");
}
