#!/usr/bin/env python3
"""Measures a release build of the agent against a real Kafka, in one run on one machine, and prints ratios.

    python3 benches/relay.py [drain] [journal] [latency] [cost] [two] [link] [memory] [four] [partition]    see --help; all without

Needs Java and Maven for Kafka (tests/kafka/pom.xml, resolved into target/kafka-libs as the tests do) and a
release build (`cargo build --release`). librdkafka is measured when PyPI's confluent-kafka can be had.
Python's standard library only. Absolute figures are this machine's; only ratios of one run travel.
"""
import argparse
import json
import os
import queue
import random
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")).resolve()
SCRATCH = TARGET / "bench"
LIBS = TARGET / "kafka-libs"
SIZE = 200  # bytes of an event, the newline not counted
LINES = 100_000  # different ones
MIB = 1 << 20


def say(text=""):
    print(text, flush=True)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


# ---------------------------------------------------------------------------------------------- Kafka


def kafka_libs():
    """As tests/kafka/java.rs does it, and into the same place."""
    pom = ROOT / "tests/kafka/pom.xml"
    stamp = TARGET / "kafka-libs.pom.xml"
    if not (stamp.exists() and stamp.read_text() == pom.read_text()):
        say("fetching Kafka with Maven")
        shutil.rmtree(LIBS, ignore_errors=True)
        command = ["mvn", "-q", "-B", "-f", str(pom), "dependency:copy-dependencies", f"-DoutputDirectory={LIBS}"]
        subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
        stamp.write_text(pom.read_text())
    return LIBS


def java(name, heap, *arguments):
    quiet = "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"
    loud = "-Dorg.slf4j.simpleLogger.log.kafka.server.KafkaRaftServer=info"
    # The collector and the heaps of Kafka's own start scripts.
    flags = [f"-Xmx{heap}", "-server", "-XX:+UseG1GC", "-XX:MaxGCPauseMillis=20", "-XX:-UsePerfData", quiet, loud]
    return ["java", *flags, "-cp", f"{LIBS}/*", name, *arguments]


class Broker:
    """One KRaft node with the settings of the tests."""

    def __init__(self, first=None):
        """`first`: the node whose cluster this one joins, as a broker alone."""
        self.port, self.controller = free_port(), first.controller if first else free_port()
        self.cluster = first.cluster if first else f"bench-{self.port}".ljust(21, "A") + "A"
        self.dir = SCRATCH / ("kafka-2" if first else "kafka")
        shutil.rmtree(self.dir, ignore_errors=True)
        self.dir.mkdir(parents=True)
        self.properties = self.dir / "server.properties"
        listeners = f"PLAINTEXT://127.0.0.1:{self.port}"
        own = f",CONTROLLER://127.0.0.1:{self.controller}"
        self.properties.write_text(
            f"process.roles={'broker' if first else 'broker,controller'}\nnode.id={2 if first else 1}\n"
            f"controller.quorum.voters=1@127.0.0.1:{self.controller}\nlisteners={listeners}{'' if first else own}\n"
            f"advertised.listeners={listeners}\ncontroller.listener.names=CONTROLLER\n"
            "listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT\n"
            f"log.dirs={self.dir / 'data'}\nauto.create.topics.enable=false\nlog.cleaner.enable=false\n"
            "offsets.topic.replication.factor=1\ntransaction.state.log.replication.factor=1\n"
            "transaction.state.log.min.isr=1\nshare.coordinator.state.topic.replication.factor=1\n"
            "share.coordinator.state.topic.min.isr=1\n"
        )
        self.tool("kafka.tools.StorageTool", "format", "-t", self.cluster, "-c", str(self.properties))
        self.process = None

    @property
    def address(self):
        return f"127.0.0.1:{self.port}"

    def start(self):
        log = open(self.dir / "log", "wb")
        command = java("kafka.Kafka", "1G", str(self.properties))
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        deadline = time.monotonic() + 90
        while b"Kafka Server started" not in (self.dir / "log").read_bytes():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"Kafka does not start; see {self.dir / 'log'}")
            time.sleep(0.2)

    def topic(self, name, partitions=1, brokers=""):
        """`brokers`: the broker of each partition, such as `1,1,2`, instead of their number."""
        where = ["--replica-assignment", brokers] if brokers else ["--partitions", str(partitions), "--replication-factor", "1"]
        self.tool("org.apache.kafka.tools.TopicCommand", "--bootstrap-server", self.address, "--create", "--topic", name, *where)

    def tool(self, name, *arguments):
        return subprocess.run(java(name, "512M", *arguments), check=True, capture_output=True, text=True,
                              stdin=subprocess.DEVNULL).stdout

    def stop(self):
        if self.process:
            self.process.kill()
            self.process.wait()
            self.process = None


# ---------------------------------------------------------------------------------------------- agent


class Agent:
    """The release build on a data directory."""

    def __init__(self, name, broker_port, topic="bench", spool="", destination="", more=""):
        """`more`: further sections of the configuration, as text."""
        self.dir = SCRATCH / name
        self.admin, self.tcp, self.http = free_port(), free_port(), free_port()
        self.data = self.dir / "data"
        self.config = self.dir / "spoolway.toml"
        self.dir.mkdir(parents=True, exist_ok=True)
        self.config.write_text(
            f'[relay]\nid = "bench"\ndata_dir = "{self.data}"\n[spool]\n{spool}\n'
            f'[[source]]\ntype = "tcp"\nlisten = "127.0.0.1:{self.tcp}"\nstream = "bench"\n'
            f'[[source]]\ntype = "http"\nlisten = "127.0.0.1:{self.http}"\n'
            f'[[destination]]\nname = "kafka"\nbootstrap = ["127.0.0.1:{broker_port}"]\n{destination}\n'
            f'[[route]]\nstreams = ["*"]\nto = "kafka"\ntopic = "{topic}"\n'
            f'[admin]\nlisten = "127.0.0.1:{self.admin}"\n{more}\n'
        )
        self.process = None

    def start(self):
        """Starts it and returns the seconds until it can take events."""
        command = [str(TARGET / "release/spoolway"), "run", "-c", str(self.config)]
        began = time.monotonic()
        with open(self.dir / "log", "ab") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        while not self.ready():
            if self.process.poll() is not None:
                raise SystemExit(f"the agent does not start; see {self.dir / 'log'}")
            time.sleep(0.002)
        return time.monotonic() - began

    def ready(self):
        try:
            self.get("/readyz?for=accept")
        except (OSError, urllib.error.URLError):
            return False
        return True

    def get(self, path):
        with urllib.request.urlopen(f"http://127.0.0.1:{self.admin}{path}", timeout=10) as answer:
            return answer.read()

    def post(self, stream, value):
        """One event; it may be refused while the lane is full."""
        url = f"http://127.0.0.1:{self.http}/v1/events/{stream}"
        try:
            urllib.request.urlopen(url, value, timeout=10).close()
        except OSError:
            pass

    def accounts(self):
        return {account["destination"]: account for account in json.loads(self.get("/status"))["accounts"]}

    def account(self):
        return self.accounts()["kafka"]

    def parked(self):
        """Bytes in the park lane; files that go meanwhile don't count."""
        total = 0
        for path in self.data.rglob("parked/**/*"):
            try:
                total += path.stat().st_size if path.is_file() else 0
            except FileNotFoundError:
                pass
        return total

    def memory(self):
        """Resident now and at most, in MiB."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return tuple(int(re.search(rf"{name}:\s+(\d+)", status)[1]) / 1024 for name in ("VmRSS", "VmHWM"))

    def processor_seconds(self):
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def wait(self, accepted=None, delivered=None, limit=600):
        deadline = time.monotonic() + limit
        while time.monotonic() < deadline:
            account = self.account()
            if account["accepted"] >= (accepted or 0) and account["delivered"] >= (delivered or 0):
                return
            time.sleep(0.05)
        raise SystemExit(f"the agent did not get there in {limit} s: {self.account()}")

    def stop(self):
        if self.process:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(15)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
            self.process = None

    def remove(self):
        self.stop()
        shutil.rmtree(self.dir, ignore_errors=True)


# -------------------------------------------------------------------------------------------- payload


def payload():
    """A file of LINES different lines as applications log them, SIZE bytes each; the same in every run."""
    path = SCRATCH / "payload.ndjson"
    draw = random.Random(2026)
    words = "timeout order accepted payment retry customer shipped cache miss upstream refused session".split()
    lines = []
    for number in range(LINES):
        line = (f'{{"ts":"2026-11-21T06:{draw.randrange(60):02}:{draw.randrange(60):02}.{draw.randrange(1000):03}Z",'
                f'"level":"{draw.choice(["info", "info", "warn", "debug"])}","service":"shop-{draw.randrange(20)}",'
                f'"trace":"{draw.getrandbits(64):016x}","n":{number},"msg":"')
        while len(line) < SIZE - 2:
            line += draw.choice(words) + " "
        lines.append(line[:SIZE - 2] + '"}')
    path.write_text("\n".join(lines) + "\n")
    assert all(len(line) == SIZE for line in lines)
    return path


def send_lines(port, path, count):
    """Sends `count` lines of the file over TCP, in random order by thousands, and closes."""
    lines = path.read_bytes().splitlines(keepends=True)
    random.Random(7).shuffle(lines)
    pieces = [b"".join(lines[i:i + 1000]) for i in range(0, len(lines), 1000)]
    with socket.create_connection(("127.0.0.1", port)) as stream:
        for number in range(count // 1000):
            stream.sendall(pieces[number * 31 % len(pieces)])
        stream.shutdown(socket.SHUT_WR)
        stream.recv(1)


# ---------------------------------------------------------------------------------------------- drain


def performance(broker, path, count, batch):
    """Kafka's own ProducerPerformance; events a second."""
    settings = [f"bootstrap.servers={broker.address}", "acks=all", "compression.type=lz4"]
    if batch:
        settings += [f"batch.size={batch}", "linger.ms=5"]
    printed = broker.tool("org.apache.kafka.tools.ProducerPerformance", "--topic", "theirs", "--num-records",
                          str(count), "--throughput", "-1", "--payload-file", str(path), "--producer-props", *settings)
    return float(re.findall(r"([\d.]+) records/sec", printed)[-1])


RDKAFKA = """
import random, sys, time
from confluent_kafka import Producer
address, path, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
lines = open(path, "rb").read().splitlines()
producer = Producer({"bootstrap.servers": address, "acks": "all", "compression.type": "lz4", "linger.ms": 5,
                     "batch.size": 921600, "queue.buffering.max.messages": 1000000, "enable.idempotence": True})
order = [random.choice(lines) for _ in range(count)]
produce, poll, began = producer.produce, producer.poll, time.monotonic()
for n, line in enumerate(order):
    while True:
        try:
            produce("rdkafka", line)
            break
        except BufferError:
            poll(0.01)
    if n % 10000 == 0:
        poll(0)
assert producer.flush(120) == 0
print(count / (time.monotonic() - began))
"""


def rdkafka_python():
    """A Python that has confluent-kafka, or None."""
    python = TARGET / "bench-venv/bin/python"
    try:
        if not python.exists():
            subprocess.run([sys.executable, "-m", "venv", str(python.parent.parent)], check=True, capture_output=True)
            subprocess.run([str(python), "-m", "pip", "-q", "install", "confluent-kafka"], check=True,
                           capture_output=True)
        subprocess.run([str(python), "-c", "import confluent_kafka"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        say(f"librdkafka is left out: {error}")
        return None
    return python


def rdkafka(python, broker, path, count):
    command = [str(python), "-c", RDKAFKA, broker.address, str(path), str(count)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def spooled(broker_port, path, count):
    """A data directory with `count` events that nobody has delivered."""
    agent = Agent("spooled", broker_port, topic="ours")
    agent.start()
    began = time.monotonic()
    send_lines(agent.tcp, path, count)
    agent.wait(accepted=count)
    say(f"spooled {count:,} events through TCP, fsync included: {count / (time.monotonic() - began):,.0f}/s")
    agent.stop()
    return agent


def drain_once(template, broker_port, count, destination="", topic="ours"):
    """Seconds from "ready" to the last acknowledgement, on a copy of the spool; and processor seconds, and memory."""
    agent = Agent("drain", broker_port, topic=topic, destination=destination)
    shutil.rmtree(agent.data, ignore_errors=True)
    shutil.copytree(template.data, agent.data)
    os.sync()
    agent.start()
    began = time.monotonic()
    agent.wait(delivered=count)
    took = time.monotonic() - began
    used, (_, most) = agent.processor_seconds(), agent.memory()
    agent.remove()
    return count / took, used, most


def drain(options):
    say(f"\n== drain: {options.events:,} spooled events of {SIZE} bytes, one partition, lz4, acks=all")
    path, broker = payload(), Broker()
    template = spooled(broker.port, path, options.events)
    python = rdkafka_python()
    figures = {}

    def note(name, rate):
        figures.setdefault(name, []).append(rate)
        say(f"  {name:34} {rate:12,.0f} events/s")

    try:
        broker.start()
        for topic in ("ours", "theirs", "rdkafka"):
            broker.topic(topic)
        for number in range(options.rounds + 1):
            say(f" round {number}" if number else " warm-up round of the broker, not counted")
            if not number:
                performance(broker, path, options.events // 2, None)
                continue
            rate, used, most = drain_once(template, broker.port, options.events)
            note("spoolway", rate)
            say(f"  {'':34} {used:.2f} processor seconds, {most:.1f} MiB at most")
            note("ProducerPerformance, defaults", performance(broker, path, options.events, None))
            note("ProducerPerformance, 900 KiB batch", performance(broker, path, options.events, 900 << 10))
            if python:
                note("librdkafka (from Python)", rdkafka(python, broker, path, options.events))
    finally:
        broker.stop()
        template.remove()
    ours = statistics.median(figures["spoolway"])
    say(" medians")
    for name, rates in figures.items():
        say(f"  {name:34} {statistics.median(rates):12,.0f} events/s   spoolway is {ours / statistics.median(rates):.2f} x")


def journal(options):
    say(f"\n== journal: {options.events:,} spooled events of {SIZE} bytes drained with and without it")
    path, broker = payload(), Broker()
    template = spooled(broker.port, path, options.events)
    figures = {}
    try:
        broker.start()
        for partitions in (1, 12):
            broker.topic(f"of{partitions}", partitions)
        for number in range(options.rounds + 1):
            for partitions in (1, 12):
                for delivery in ("at-least-once", "exactly-once"):
                    rate, used, _ = drain_once(
                        template, broker.port, options.events, f'delivery = "{delivery}"', f"of{partitions}"
                    )
                    if number:
                        figures.setdefault((partitions, delivery), []).append(rate)
                        say(f"  {partitions:3} partitions, {delivery:14} {rate:12,.0f} events/s, {used:.2f} processor seconds")
    finally:
        broker.stop()
        template.remove()
    for partitions in (1, 12):
        exact, least = (statistics.median(figures[partitions, d]) for d in ("exactly-once", "at-least-once"))
        say(f"  {partitions:3} partitions: exactly-once is {exact / least:.2f} x at-least-once (medians of {options.rounds})")


# -------------------------------------------------------------------------------------------- latency


def load(agent, broker, topic, options):
    """Sends at a steady rate and consumes; prints what the bench prints, and returns its p99 in ms by line."""
    command = ["cargo", "bench", "-q", "--bench", "latency", "--", f"127.0.0.1:{agent.http}", broker.address,
               topic, str(options.rate), str(options.seconds), str(options.connections)]
    printed = subprocess.run(command, check=True, cwd=ROOT, stdout=subprocess.PIPE, text=True).stdout
    say(printed.rstrip())
    return {name.strip(): float(p99) for name, p99 in re.findall(r"^  (.*?) p50 .*?p99 +([\d.]+) ms", printed, re.M)}


def latency(options):
    say(f"\n== latency: {options.rate:,} single-event HTTP requests a second for {options.seconds} s, fsync before each answer")
    broker = Broker()
    agent = Agent("latency", broker.port, topic="latency")
    try:
        broker.start()
        broker.topic("latency")
        agent.start()
        for number in range(options.rounds + 1):
            say(f" round {number}" if number else " warm-up round of the broker, not counted")
            before = agent.processor_seconds()
            load(agent, broker, "latency", options)
            say(f"  agent: {agent.processor_seconds() - before:.2f} processor seconds, "
                f"{agent.memory()[1]:.1f} MiB resident at most")
    finally:
        agent.remove()
        broker.stop()


def compare(options, broker, topic, agents, prepare=None):
    """Loads two agents in turn, for as many rounds as are asked for; the p99 of the second less that of the first."""
    figures, resident = {}, {}
    try:
        broker.start()
        broker.topic(topic)
        for number in range(options.rounds + 1):
            for name, agent in agents.items():
                agent.start()
                if prepare and not number:
                    prepare(agent)
                say(f" round {number}, {name}" if number else f" warm-up, {name}, not counted")
                for line, p99 in load(agent, broker, topic, options).items():
                    if number:
                        figures.setdefault(line, {}).setdefault(name, []).append(p99)
                if number:
                    resident.setdefault(name, []).append(agent.memory()[1])
                agent.stop()
    finally:
        for agent in agents.values():
            agent.remove()
        broker.stop()
    say(f" p99, ms; medians of {options.rounds}")
    one, other = agents
    for line, by in figures.items():
        first, second = (statistics.median(by[name]) for name in (one, other))
        say(f"  {line:32} {one} {first:8.2f}   {other} {second:8.2f}   more by {second - first:+.2f}")
    say(" resident at most, MiB: " + ", ".join(f"{name} {statistics.median(resident[name]):.1f}" for name in agents))


def cost(options):
    say(f"\n== cost: what the journal adds at {options.rate:,} single-event HTTP requests a second, {options.seconds} s each, in turn")
    broker = Broker()
    agents = {d: Agent(f"cost-{d}", broker.port, topic="cost", destination=f'delivery = "{d}"')
              for d in ("at-least-once", "exactly-once")}
    compare(options, broker, "cost", agents)


def dead(options):
    say(f"\n== dead: what a second cluster that is dead, with a million events waiting for it, adds at {options.rate:,} single-event "
        f"HTTP requests a second, {options.seconds} s each, in turn")
    broker, path = Broker(), payload()
    second = (f'[[destination]]\nname = "dead"\nbootstrap = ["127.0.0.1:{free_port()}"]\n'
              '[[route]]\nstreams = ["*"]\nto = "dead"\ntopic = "any"\n')
    agents = {"alone": Agent("dead-alone", broker.port, topic="dead"),
              "beside": Agent("dead-beside", broker.port, topic="dead", more=second)}

    def prepare(agent):
        count = 1_000_000
        send_lines(agent.tcp, path, count)
        agent.wait(accepted=count)
        deadline = time.monotonic() + 300
        while agent.accounts()["kafka"]["delivered"] < count:
            if time.monotonic() > deadline:
                raise SystemExit(f"it does not get there: {agent.accounts()}")
            time.sleep(0.1)

    compare(options, broker, "dead", agents, prepare)


# ----------------------------------------------------------------------------------------------- links


class Link:
    """A proxy to a broker that holds back every byte for half of `round_trip` in each direction."""

    def __init__(self, port, round_trip):
        self.delay, self.target = round_trip / 2, port
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def mapped(self, broker):
        """What a destination's section says so that all of it goes this way."""
        return f'address_map = {{ "{broker.address}" = "127.0.0.1:{self.port}" }}'

    def accept(self):
        while True:
            try:
                near, _ = self.listener.accept()
            except OSError:
                return
            far = socket.create_connection(("127.0.0.1", self.target))
            for one, other in ((near, far), (far, near)):
                one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                waiting = queue.SimpleQueue()
                threading.Thread(target=self.take, args=(one, waiting), daemon=True).start()
                threading.Thread(target=self.give, args=(other, waiting), daemon=True).start()

    def take(self, source, waiting):
        data = b"-"
        while data:
            try:
                data = source.recv(1 << 18)
            except OSError:
                data = b""
            waiting.put((time.monotonic() + self.delay, data))

    @staticmethod
    def give(sink, waiting):
        data = b"-"
        while data:
            due, data = waiting.get()
            time.sleep(max(0, due - time.monotonic()))
            try:
                sink.sendall(data) if data else sink.shutdown(socket.SHUT_WR)
            except OSError:
                return

    def close(self):
        self.listener.close()


def link(options):
    say(f"\n== link: {options.events:,} spooled events of {SIZE} bytes over a round trip of {options.round_trip} ms, one partition")
    path, broker = payload(), Broker()
    way = Link(broker.port, options.round_trip / 1000)
    template = spooled(broker.port, path, options.events)
    sizes = {"default": "", "2MiB": 'batch_size = "2MiB"'}
    rates = {}
    try:
        broker.start()
        broker.topic("far")
        for number in range(options.rounds):
            for size, setting in sizes.items():
                destination = f"{way.mapped(broker)}\n{setting}"
                rate, used, _ = drain_once(template, way.port, options.events, destination, "far")
                rate *= SIZE / 1e6
                rates.setdefault(size, []).append(rate)
                say(f"  round {number + 1}, batch_size {size:8} {rate:6.2f} MB/s of events uncompressed, {used:.2f} processor seconds")
    finally:
        broker.stop()
        way.close()
        template.remove()
    for size, of in rates.items():
        say(f"  batch_size {size:8} median {statistics.median(of):6.2f} MB/s (target: 8)")


def two(options):
    trip = options.round_trip / 5
    say(f"\n== two: {options.events:,} spooled events to two destinations over links of {trip:.0f} ms, each alone and both")
    path, broker = payload(), Broker()
    ways = {name: Link(broker.port, trip / 1000) for name in ("kafka", "second")}

    def agent(name, *with_port):
        sections = {n: ways[n].mapped(broker) for n in ways}
        port = ways["kafka"].port if "kafka" in with_port else free_port()
        second = ways["second"].port if "second" in with_port else free_port()
        more = (f'[[destination]]\nname = "second"\nbootstrap = ["127.0.0.1:{second}"]\n{sections["second"]}\n'
                '[[route]]\nstreams = ["*"]\nto = "second"\ntopic = "second"\n')
        return Agent(name, port, topic="first", destination=sections["kafka"], more=more)

    template = agent("spooled")
    template.start()
    send_lines(template.tcp, path, options.events)
    template.wait(accepted=options.events)
    template.stop()
    figures = {}

    def run(*names):
        """Events a second of each of them; the others can't be reached."""
        one = agent("two", *names)
        shutil.rmtree(one.data, ignore_errors=True)
        shutil.copytree(template.data, one.data)
        os.sync()
        one.start()
        began, done = time.monotonic(), {}
        while len(done) < len(names):
            accounts = one.accounts()
            for name in names:
                if accounts[name]["delivered"] >= options.events:
                    done.setdefault(name, options.events / (time.monotonic() - began))
            time.sleep(0.02)
        used = one.processor_seconds()
        one.remove()
        for name in names:
            figures.setdefault((name, len(names)), []).append(done[name])
        rates = "   ".join(f"{name} {rate:10,.0f}/s" for name, rate in sorted(done.items()))
        say(f"  {' and '.join(names):18} {rates}   {used:.2f} processor seconds of the agent")

    try:
        broker.start()
        broker.topic("first")
        broker.topic("second")
        for number in range(options.rounds + 1):
            say(f" round {number}" if number else " warm-up, not counted")
            run("kafka")
            run("second")
            run("kafka", "second")
            if not number:
                figures.clear()
    finally:
        broker.stop()
        template.remove()
        for way in ways.values():
            way.close()
    for name in ways:
        alone, both = (statistics.median(figures[name, n]) for n in (1, 2))
        say(f"  {name:8} alone {alone:10,.0f}/s   beside the other {both:10,.0f}/s   {both / alone:.2f} of it (target: 0.9)")


# --------------------------------------------------------------------------------------------- memory


def memory(options):
    say("\n== resident memory (MiB) and start time")
    path, broker = payload(), Broker()
    idle = Agent("idle", broker.port)
    loaded = Agent("memory", broker.port, topic="memory", spool='compression = "none"')
    count = options.backlog * 1_000_000_000 // SIZE // 1000 * 1000
    try:
        took = idle.start()
        time.sleep(3)
        say(f"  idle, Kafka absent                  {idle.memory()[0]:8.1f}   start {took * 1000:.0f} ms")
        idle.stop()
        loaded.start()
        sender = threading.Thread(target=send_lines, args=(loaded.tcp, path, count))
        sender.start()
        while sender.is_alive():
            sender.join(0.5)
        loaded.wait(accepted=count)
        say(f"  accepting flat out, Kafka absent    {loaded.memory()[1]:8.1f}   at most")
        time.sleep(2)
        bytes_kept = sum(f.stat().st_size for f in loaded.data.rglob("*") if f.is_file())
        say(f"  {options.backlog} GB backlog, Kafka absent        {loaded.memory()[0]:8.1f}   ({bytes_kept / 1e9:.2f} GB on disk)")
        loaded.stop()
        starts = []
        for _ in range(3):
            starts.append(loaded.start())
            time.sleep(1)
            resident = loaded.memory()[0]
            loaded.stop()
        say(f"  after a start with that backlog     {resident:8.1f}   start {statistics.median(starts) * 1000:.0f} ms"
            f" (median of {len(starts)}, exec to ready)")
        broker.start()
        broker.topic("memory")
        broker.topic("bench")
        loaded.start()
        more = 2_000_000
        sender = threading.Thread(target=send_lines, args=(loaded.tcp, path, more))
        sender.start()
        loaded.wait(accepted=count + more, delivered=count + more)
        sender.join()
        say(f"  draining it while accepting         {loaded.memory()[1]:8.1f}   at most")
        time.sleep(5)
        say(f"  idle afterwards                     {loaded.memory()[0]:8.1f}")
        loaded.remove()
        idle.start()
        time.sleep(5)
        say(f"  idle, Kafka present                 {idle.memory()[0]:8.1f}")
        idle.remove()
        many_senders(broker, path)
    finally:
        idle.remove()
        loaded.remove()
        broker.stop()


def many_senders(broker, path):
    """4 million events to drain to 12 partitions while 16 senders add 2 million as fast as they can."""
    agent = Agent("many", broker.port, topic="many")
    count, senders, each = 4_000_000, 16, 125_000
    try:
        agent.start()
        send_lines(agent.tcp, path, count)
        agent.wait(accepted=count)
        broker.topic("many", 12)
        threads = [threading.Thread(target=send_lines, args=(agent.tcp, path, each)) for _ in range(senders)]
        for thread in threads:
            thread.start()
        agent.wait(accepted=count + senders * each, delivered=count + senders * each)
        for thread in threads:
            thread.join()
        say(f"  16 senders flat out, 12 partitions  {agent.memory()[1]:8.1f}   at most")
        time.sleep(5)
        say(f"  idle afterwards                     {agent.memory()[0]:8.1f}")
    finally:
        agent.remove()


def four(options):
    """Four destinations, one dead, one topic that is missing and goes to the park lane, while senders go on."""
    four_of("four", "one topic parked", "waiting.{stream}", options)


def partition(options):
    """The same with a single partition of three that has lost its broker, and goes to the park lane."""
    four_of("partition", "one partition parked", "apart", options)


def four_of(name, stuck, stuck_topic, options):
    say(f"\n== {name}: resident memory (MiB) with four destinations, one dead, and {stuck}")
    path, broker = payload(), Broker()
    other = Broker(broker)
    more = "".join(
        f'[[destination]]\nname = "{name}"\nbootstrap = ["127.0.0.1:{port}"]\nrequired = {required}\n'
        f'[[route]]\nstreams = ["*"]\nto = "{name}"\ntopic = "{topic}"\n'
        for name, port, topic, required in (
            ("second", broker.port, "second", "true"),
            ("waiting", broker.port, stuck_topic, "true"),
            ("dead", free_port(), "any", "false"),
        )
    )
    spool = 'max_size = "256MiB"\nsegment_size = "16MiB"\npark_size = "2GiB"\nwhen_full = "block"\ncompression = "none"'
    agent = Agent(name, broker.port, topic="four", spool=spool, more=more)
    count, senders, parked = options.events // 4 // 1000 * 1000, 4, 0
    try:
        broker.start()
        other.start()
        for topic, brokers in (("four", "1" * 12), ("second", "111"), ("waiting.other", "1"), ("apart", "112")):
            broker.topic(topic, brokers=",".join(brokers))
        other.stop()
        agent.start()
        time.sleep(3)
        say(f"  idle                                {agent.memory()[0]:8.1f}")
        threads = [threading.Thread(target=send_lines, args=(agent.tcp, path, count)) for _ in range(senders)]
        for thread in threads:
            thread.start()
        deadline, sent = time.monotonic() + 600, 0
        while sent < count * senders or not all(
            a["delivered"] >= sent for name, a in agent.accounts().items() if name in ("kafka", "second")
        ):
            agent.post("other", b"this one's topic is there")
            sent = agent.account()["accepted"]
            parked = max(parked, agent.parked())
            if time.monotonic() > deadline:
                raise SystemExit(f"it does not get there: {agent.accounts()}")
            time.sleep(0.2)
        for thread in threads:
            thread.join()
        time.sleep(5)
        for name, account in agent.accounts().items():
            say(f"   {name:8} delivered {account['delivered']:10,}  dropped {account['dropped']:10,}  waiting {account['pending']:10,}")
        if not parked:
            raise SystemExit("nothing was parked: that is what is measured")
        say(f"   parked: {parked / MIB:.0f} MiB on disk at most")
        say(f"  {senders} senders flat out               {agent.memory()[1]:8.1f}   at most (target: 48)")
        say(f"  idle afterwards                     {agent.memory()[0]:8.1f}")
    finally:
        agent.remove()
        other.stop()
        broker.stop()


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("what", nargs="*", help="drain, journal, latency, cost, two, link, memory, four, partition, dead; all without")
    parser.add_argument("--events", type=int, default=2_000_000, help="to drain")
    parser.add_argument("--rounds", type=int, default=3, help="of each but memory, four and partition")
    parser.add_argument("--rate", type=int, default=10_000, help="requests a second, for latency")
    parser.add_argument("--seconds", type=int, default=10, help="of latency, each round")
    parser.add_argument("--connections", type=int, default=100, help="of latency")
    parser.add_argument("--round-trip", type=int, default=100, help="of the link, in ms; a fifth of it for `two`")
    parser.add_argument("--backlog", type=int, default=2, help="gigabytes of events, for memory")
    options = parser.parse_args()
    chosen = {"drain": drain, "journal": journal, "latency": latency, "cost": cost, "two": two, "link": link,
              "memory": memory, "four": four, "partition": partition, "dead": dead}
    unknown = set(options.what) - set(chosen)
    if unknown:
        parser.error(f"unknown: {', '.join(sorted(unknown))}")
    if not (TARGET / "release/spoolway").exists():
        raise SystemExit("there is no release build: cargo build --release")
    SCRATCH.mkdir(parents=True, exist_ok=True)
    kafka_libs()
    others = os.getloadavg()[0]
    say(f"{time.strftime('%Y-%m-%d %H:%M')}, {os.cpu_count()} processors, load {others:.1f}")
    if others > 0.5:
        say("note: this machine is busy with something else; figures are lower, ratios noisy")
    for name in options.what or chosen:
        chosen[name](options)


if __name__ == "__main__":
    main()
