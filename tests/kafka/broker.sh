#!/usr/bin/env bash
# One Apache Kafka broker for trying things out, from Maven (needs Java 17 and Maven).
#
#   tests/kafka/broker.sh start [PORT]          runs in the foreground; data in target/broker-PORT
#   tests/kafka/broker.sh topic NAME [PORT]     makes a topic with 3 partitions
#   tests/kafka/broker.sh read NAME [PORT]      prints a topic from its beginning: key, headers, value
set -euo pipefail
cd "$(dirname "$0")/../.."
libs=target/kafka-libs

# Shares its jars with the tests: the stamp is the pom that was fetched completely.
fetch() {
    mkdir -p target
    exec 9>target/kafka-libs.lock
    flock 9
    if ! cmp -s tests/kafka/pom.xml "$libs.pom.xml"; then
        rm -rf "$libs"
        mvn -q -B -f tests/kafka/pom.xml dependency:copy-dependencies -DoutputDirectory="$PWD/$libs" >&2
        cp tests/kafka/pom.xml "$libs.pom.xml"
    fi
    exec 9>&-
}

tool() { java -Xmx400m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -Dorg.slf4j.simpleLogger.defaultLogLevel=warn -cp "$libs/*" "$@"; }

start() {
    local port=$1 dir=target/broker-$1
    mkdir -p "$dir"
    cat >"$dir/server.properties" <<EOF
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:$((port + 1))
listeners=PLAINTEXT://127.0.0.1:$port,CONTROLLER://127.0.0.1:$((port + 1))
advertised.listeners=PLAINTEXT://127.0.0.1:$port
controller.listener.names=CONTROLLER
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs=$dir/log
auto.create.topics.enable=false
offsets.topic.replication.factor=1
offsets.topic.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
EOF
    [[ -e $dir/log/meta.properties ]] ||
        tool kafka.tools.StorageTool format -t MkU3OEVBNTcwNTJENDM2Qk -c "$dir/server.properties" >&2
    echo "Kafka on 127.0.0.1:$port; end it with Ctrl-C" >&2
    tool kafka.Kafka "$dir/server.properties"
}

fetch
case ${1:-} in
start) start "${2:-9092}" ;;
topic)
    tool org.apache.kafka.tools.TopicCommand --bootstrap-server "127.0.0.1:${3:-9092}" \
        --create --if-not-exists --topic "$2" --partitions 3
    ;;
read)
    tool org.apache.kafka.tools.consumer.ConsoleConsumer --bootstrap-server "127.0.0.1:${3:-9092}" \
        --topic "$2" --from-beginning --timeout-ms 10000 \
        --property print.key=true 2>/dev/null || true
    ;;
*)
    sed -n '2,7s/^# \{0,1\}//p' "$0" >&2
    exit 2
    ;;
esac
