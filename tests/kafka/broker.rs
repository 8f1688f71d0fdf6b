//! A real Kafka broker (KRaft, alone or one of three) as a process that can be stopped, killed, frozen and started again.

use std::fs;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, OnceLock};
use std::time::Duration;

use super::java;
use crate::support::ports::free_port;
use crate::support::process::{Process, Signal, scratch};

/// One broker: its own cluster, or a node of one.
pub struct Broker {
    /// Port of its client listener on 127.0.0.1; stays the same over restarts.
    pub port: u16,
    /// Of Kafka.
    version: String,
    dir: PathBuf,
    process: Mutex<Option<Process>>,
}

const START_LIMIT: Duration = Duration::from_secs(60);
const STOP_LIMIT: Duration = Duration::from_secs(30);

impl Broker {
    /// Formats and starts a broker; it is gone when dropped.
    pub fn start(name: &str) -> Self {
        let broker = Self::create(name);
        broker.run();
        broker
    }

    /// Formats a broker that does not run yet.
    pub fn create(name: &str) -> Self {
        Self::create_of(&java::version(), name)
    }

    fn create_of(version: &str, name: &str) -> Self {
        let controller = free_port();
        Self::node((version, name), 1, &[controller], &cluster_id(controller))
    }

    /// The broker of [`java::OLDER`] that tests share which do it no lasting harm.
    pub fn older() -> &'static Self {
        static OLDER: OnceLock<Broker> = OnceLock::new();
        OLDER.get_or_init(|| {
            let broker = Self::create_of(java::OLDER, "older");
            broker.run();
            broker
        })
    }

    /// Formats and starts a cluster of three, whose topics have three replicas, two of them in sync.
    pub fn cluster(name: &str) -> [Self; 3] {
        let controllers = [free_port(), free_port(), free_port()];
        let id = cluster_id(controllers[0]);
        let version = java::version();
        let node = |node| Self::node((&version, &format!("{name}-{node}")), node, &controllers, &id);
        let brokers = [1, 2, 3].map(node);
        // Alone each would wait for a quorum.
        std::thread::scope(|scope| brokers.iter().for_each(|broker| drop(scope.spawn(|| broker.run()))));
        brokers
    }

    fn node((version, name): (&str, &str), node: usize, controllers: &[u16], id: &str) -> Self {
        let (version, dir) = (version.to_owned(), scratch(&format!("kafka-{name}")));
        let broker = Self { port: free_port(), version, dir, process: Mutex::new(None) };
        fs::write(broker.properties(), broker.configuration(node, controllers))
            .expect("a writable directory");
        broker.format(id, &[]);
        broker
    }

    /// Formats a broker with more listeners (name, port, protocol), lines of configuration and arguments for formatting.
    pub fn create_with(name: &str, more: &[(&str, u16, &str)], lines: &str, formatting: &[&str]) -> Self {
        let (port, controller) = (free_port(), free_port());
        let (version, dir) = (java::version(), scratch(&format!("kafka-{name}")));
        let broker = Self { port, version, dir, process: Mutex::new(None) };
        let own = format!("PLAINTEXT://127.0.0.1:{port}");
        let listeners: String =
            more.iter().map(|(name, port, _)| format!(",{name}://127.0.0.1:{port}")).collect();
        let protocols: String =
            more.iter().map(|(name, _, protocol)| format!(",{name}:{protocol}")).collect();
        // Of a property that is given twice, the last counts.
        let configuration = format!(
            "{base}listeners={own},CONTROLLER://127.0.0.1:{controller}{listeners}\n\
             advertised.listeners={own}{listeners}\n\
             listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT{protocols}\n\
             {lines}",
            base = broker.configuration(1, &[controller]),
        );
        fs::write(broker.properties(), configuration).expect("a writable directory");
        broker.format(&cluster_id(controller), formatting);
        broker
    }

    /// The broker that tests share which do it no harm. It lives as long as the test binary.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<Broker> = OnceLock::new();
        SHARED.get_or_init(|| Self::start("shared"))
    }

    /// `127.0.0.1:port`.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    fn properties(&self) -> PathBuf {
        self.dir.join("server.properties")
    }

    fn configuration(&self, node: usize, controllers: &[u16]) -> String {
        let (port, controller, copies) = (self.port, controllers[node - 1], controllers.len());
        let voters = controllers.iter().zip(1..).map(|(port, id)| format!("{id}@127.0.0.1:{port}"));
        let voters = voters.collect::<Vec<_>>().join(",");
        format!(
            "process.roles=broker,controller\n\
             node.id={node}\n\
             controller.quorum.voters={voters}\n\
             default.replication.factor={copies}\n\
             min.insync.replicas={in_sync}\n\
             broker.session.timeout.ms=6000\n\
             controlled.shutdown.retry.backoff.ms=500\n\
             listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}\n\
             advertised.listeners=PLAINTEXT://127.0.0.1:{port}\n\
             controller.listener.names=CONTROLLER\n\
             listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT\n\
             log.dirs={data}\n\
             auto.create.topics.enable=false\n\
             num.network.threads=2\n\
             num.io.threads=4\n\
             log.cleaner.enable=false\n\
             group.initial.rebalance.delay.ms=0\n\
             offsets.topic.replication.factor={copies}\n\
             offsets.topic.num.partitions=1\n\
             transaction.state.log.replication.factor={copies}\n\
             transaction.state.log.min.isr={in_sync}\n\
             transaction.state.log.num.partitions=3\n",
            data = self.dir.join("data").display(),
            in_sync = if copies > 1 { 2 } else { 1 },
        )
    }

    fn format(&self, id: &str, more: &[&str]) {
        let properties = self.properties();
        let properties = properties.to_str().expect("a UTF-8 path");
        let arguments = [&["format", "-t", id, "-c", properties][..], more].concat();
        java::tool_of(&self.version, "kafka.tools.StorageTool", &arguments);
    }

    fn slot(&self) -> MutexGuard<'_, Option<Process>> {
        self.process.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Starts it and waits until it serves.
    pub fn run(&self) {
        let mut slot = self.slot();
        assert!(slot.is_none(), "it runs already");
        let mut command = java::java_of(&self.version, "kafka.Kafka");
        command.arg(self.properties());
        let process = Process::spawn("kafka", command);
        let up = process.output().wait_for("Kafka Server started", START_LIMIT);
        assert!(up, "Kafka does not start; {}", process.output().tail());
        *slot = Some(process);
    }

    /// Stops it in good order, as `kafka-server-stop` does.
    pub fn stop(&self) {
        self.end(Signal::TERM);
    }

    /// SIGKILL.
    pub fn kill(&self) {
        self.end(Signal::KILL);
    }

    fn end(&self, signal: Signal) {
        let process = self.slot().take().expect("it runs");
        process.signal(signal);
        process.wait(STOP_LIMIT);
    }

    /// SIGSTOP: connections stay open, nothing answers.
    pub fn freeze(&self) {
        self.slot().as_ref().expect("it runs").signal(Signal::STOP);
    }

    /// SIGCONT.
    pub fn thaw(&self) {
        self.slot().as_ref().expect("it runs").signal(Signal::CONT);
    }

    /// Bytes of a topic's records on its disk.
    pub fn log_bytes(&self, topic: &str) -> u64 {
        let of_topic = |name: &str| name.rsplit_once('-').is_some_and(|(of, _)| of == topic);
        let partitions = fs::read_dir(self.dir.join("data")).expect("its data").flatten();
        let own = partitions.filter(|entry| of_topic(&entry.file_name().to_string_lossy()));
        let files = own.flat_map(|entry| fs::read_dir(entry.path()).expect("a partition").flatten());
        let logs = files.filter(|file| file.path().extension().is_some_and(|e| e == "log"));
        logs.map(|log| log.metadata().expect("a length").len()).sum()
    }

    /// Takes away what the stopped broker knows of producers: without snapshots, after a clean stop, it starts
    /// with an empty cache (`LogLoader` skips reading the log then). Returns how many were removed.
    pub fn forget_producers(&self) -> usize {
        assert!(self.slot().is_none(), "it runs");
        let mut removed = 0;
        for partition in fs::read_dir(self.dir.join("data")).expect("its data").flatten() {
            for file in fs::read_dir(partition.path()).into_iter().flatten().flatten() {
                let metadata = partition.file_name().to_string_lossy().starts_with("__cluster_metadata");
                if !metadata && file.path().extension().is_some_and(|e| e == "snapshot") {
                    fs::remove_file(file.path()).expect("a snapshot can be removed");
                    removed += 1;
                }
            }
        }
        removed
    }
}

/// 16 bytes in base64url without padding, different for each cluster.
fn cluster_id(port: u16) -> String {
    format!("{:A<21}A", format!("{}-{port}", std::process::id()))
}
