# The habits of this project. `just` alone lists them.

default:
    @just --list --unsorted

# What CI asks of the code: format and lints, warnings as errors
check:
    cargo fmt --check
    cargo clippy --all-targets -- -D warnings

# Every test; the ones on a real Kafka are ignored, with the reason, where Java or Maven is missing
test:
    cargo test

# Only the end-to-end tests on a real Kafka; here a missing Java or Maven is a failure
test-kafka *filter:
    SPOOLWAY_KAFKA_TESTS=required cargo test --test kafka -- {{filter}}

# The agent killed at so many random moments: alone, with its broker, and while three brokers are stopped, killed and frozen in turn
soak-kills times="50":
    SPOOLWAY_KILLS={{times}} SPOOLWAY_KAFKA_TESTS=required cargo test --test kafka -- --nocapture kill

# So many relays, each with a backlog, whose cluster comes back all at once (about 10 MB of memory each)
soak-fleet relays="1000":
    SPOOLWAY_FLEET={{relays}} SPOOLWAY_KAFKA_TESTS=required cargo test --test kafka -- --nocapture fleet

# A link that comes and goes for so many hours, on a real Kafka, with the agent's memory watched
soak-hours hours="24":
    SPOOLWAY_HOURS={{hours}} SPOOLWAY_KAFKA_TESTS=required cargo test --test kafka -- --nocapture hours

# The tests on Kafka 3.9: any version on Maven Central that the harness can start is chosen so
test-kafka-39 *filter:
    SPOOLWAY_KAFKA_VERSION=3.9.1 SPOOLWAY_KAFKA_TESTS=required cargo test --test kafka -- {{filter}}

# Only the tests on real file systems: power cuts, full and failing disks, kills at system calls (root; ext4, XFS, Python 3)
test-disk *filter:
    SPOOLWAY_DISK_TESTS=required cargo test --test disk -- {{filter}}

# The long version of everything about the spool: hours. What it prints belongs into docs/reliability.md
soak-spool:
    SPOOLWAY_SOAK=1 cargo test --release --lib -- --nocapture --test-threads 1 spool::tests::sim agent::beside state::ledger engine::tests::days
    SPOOLWAY_SOAK=1 SPOOLWAY_DISK_TESTS=required cargo test --release --test disk -- --nocapture

# The model of delivery at length: the stories numbered so of copies, of partitions that come and go (of one kind with
# SPOOLWAY_ALSO=growth), of topics made anew, and of routes that change meanwhile; and so many of each of the others, drawn
soak-model stories="0..1000" cases="1000":
    SPOOLWAY_STORIES={{stories}} cargo test --release --lib -- --nocapture --ignored engine::tests::partitions engine::tests::copies engine::tests::shrinking engine::tests::rerouting
    SPOOLWAY_CASES={{cases}} cargo test --release --lib -- engine::tests --skip engine::tests::days

# The real disks alone, for so many seconds each
soak-disk seconds="3600":
    SPOOLWAY_SOAK=1 SPOOLWAY_SECONDS={{seconds}} SPOOLWAY_DISK_TESTS=required cargo test --test disk -- --nocapture

# Every mutant of spool, disk, state and tracker, all in one build, each a run of the tests of these rooms until one
# fails (needs `cargo install cargo-mutants`): an hour or two; docs/mutants.md has what was run.
# `just mutants --every 20` does a twentieth; `just mutants --only janitor` those of one file. What was run stands
# in target/mutants/out.jsonl and is not run again while that is there
mutants *options:
    mkdir -p target/mutants
    cargo mutants --list --json --no-shuffle --file 'src/spool/**' --file 'src/disk/**' --file 'src/state/**' --file 'src/deliver/tracker/**' --exclude '**/tests/**' --exclude 'src/disk/sim/**' --exclude src/spool/stepped.rs > target/mutants/list.json
    cargo mutants --list --json --no-shuffle > target/mutants/functions.json
    python3 tests/mutants/syncs.py target/mutants/list.json target/mutants/functions.json .
    python3 tests/mutants/schemata.py target/mutants/list.json . target/mutants/copy
    python3 tests/mutants/hunt.py {{options}} target/mutants/list.json target/mutants/copy target/mutants/out.jsonl

# The program proving itself, with nothing else installed
demo:
    cargo run -- demo

# Speed and memory as ratios of one run: append and batches alone, then the agent against a real Kafka
bench *what:
    cargo build --release
    cargo bench -q --bench append
    cargo bench -q --bench batch
    python3 benches/relay.py {{what}}

# Feed a parser hostile bytes (needs a nightly toolchain and `cargo install cargo-fuzz`)
fuzz target="event" seconds="60":
    mkdir -p fuzz/corpus/{{target}}
    cargo +nightly fuzz run {{target}} fuzz/corpus/{{target}} fuzz/seeds/{{target}} -- -max_total_time={{seconds}}

# Every fuzz target in turn
fuzz-all seconds="300":
    for t in event block config segment recovery slots journal letters parked http unpack responses records requests; do just fuzz $t {{seconds}} || exit 1; done

# Bans, licences and sources of dependencies, and the advisories where their database can be had
deny:
    dist/deny

# The static binaries, into target/dist, with their checksums: `just dist x86_64 aarch64` (docs/install.md says what it needs)
dist *archs:
    dist/build {{archs}}

# The .deb and .rpm of the binaries in target/dist
packages:
    dist/packages/build

# Those installed, upgraded, removed in a copy of this system that is thrown away (root)
packages-try:
    dist/packages/try

# Another release takes a spool over under load, and back, on a real Kafka: two programs (Java, Maven)
upgrade old new:
    dist/upgrade {{old}} {{new}}

# The container image of the binary in target/dist, run once (root; buildah)
image:
    dist/image/build

# What systemd says of the unit: at most 1.5
systemd-check:
    dist/systemd/check

# The .deb under a real systemd, in a copy of this system that is booted and thrown away (root, cgroup2)
systemd-try *deb:
    dist/systemd/try {{deb}}

# The Kubernetes base against the schemas of the newest Kubernetes
kubernetes-check:
    dist/kubernetes/check

# The bill of materials (CycloneDX), into target/dist
sbom:
    dist/sbom

# Before a release: everything that is shipped, built twice and compared byte by byte
release-check *archs:
    dist/release-check {{archs}}

# All of CI
ci:
    bash .ci/run
