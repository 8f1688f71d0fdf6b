//! Java, and Kafka's jars: found, or the reason why not.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};

const POM: &str = include_str!("pom.xml");
/// The version of the pom; that of the tools, whatever the brokers are.
const NEWEST: &str = "4.4.0";
/// The last line that still speaks the old versions of the protocol, and runs in many places.
pub const OLDER: &str = "3.9.1";

/// The version of the brokers: `SPOOLWAY_KAFKA_VERSION`, or the newest known here.
pub fn version() -> String {
    let wish = std::env::var("SPOOLWAY_KAFKA_VERSION").ok();
    wish.filter(|v| !v.is_empty()).unwrap_or_else(|| NEWEST.to_owned())
}

/// Whether brokers of a version can be started here, and be judged with the tools.
///
/// # Errors
/// Why not, for a person.
pub fn can_run(version: &str) -> Result<(), String> {
    kafka_libs(NEWEST)?;
    kafka_libs(version).map(drop)
}

/// The directory with a version's jars, resolved once for all test processes on this machine.
fn kafka_libs(version: &str) -> Result<PathBuf, String> {
    static LIBS: Mutex<BTreeMap<String, Result<PathBuf, String>>> = Mutex::new(BTreeMap::new());
    let mut libs = LIBS.lock().unwrap_or_else(PoisonError::into_inner);
    libs.entry(version.to_owned()).or_insert_with(|| resolve(version)).clone()
}

fn resolve(version: &str) -> Result<PathBuf, String> {
    runs("java", "-version")?;
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().ok_or("target/tmp has no parent")?;
    let name = if version == NEWEST { "kafka-libs".to_owned() } else { format!("kafka-libs-{version}") };
    let (libs, stamp) = (target.join(&name), target.join(format!("{name}.pom.xml")));
    let io = |e: std::io::Error| format!("{}: {e}", target.display());
    // One process resolves, the others wait for it. The lock goes with the file handle.
    let lock = File::create(target.join("kafka-libs.lock")).map_err(io)?;
    lock.lock().map_err(io)?;
    // The pom that was resolved completely: written last, so an interrupted download is done again.
    if fs::read_to_string(&stamp).is_ok_and(|resolved| resolved == POM) {
        return Ok(libs);
    }
    runs("mvn", "-version")?;
    let _ = fs::remove_dir_all(&libs);
    copy_dependencies(&libs, version)?;
    fs::write(&stamp, POM).map_err(io)?;
    Ok(libs)
}

fn copy_dependencies(libs: &Path, version: &str) -> Result<(), String> {
    let pom = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/kafka/pom.xml");
    let output = Command::new("mvn")
        .args(["-q", "-B", "-f"])
        .arg(pom)
        .arg("dependency:copy-dependencies")
        .arg(format!("-Dkafka.version={version}"))
        .arg(format!("-DoutputDirectory={}", libs.display()))
        .stdin(Stdio::null())
        .output()
        .map_err(|e| format!("mvn does not start: {e}"))?;
    if output.status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let first = text.lines().find(|l| l.contains("ERROR")).unwrap_or("no message").to_owned();
    Err(format!("Maven could not fetch Kafka {version} ({first})"))
}

fn runs(program: &str, argument: &str) -> Result<(), String> {
    let quiet = Command::new(program)
        .arg(argument)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    match quiet {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("`{program} {argument}` fails ({status})")),
        Err(error) => Err(format!("{program} is missing ({error})")),
    }
}

/// A `java` command for a class of Kafka in the version of the tools.
pub fn java(class: &str) -> Command {
    java_of(NEWEST, class)
}

/// A `java` command for a class of a version of Kafka: small heap, one GC thread, the quick compiler only, since two
/// cores are shared by all that the tests start.
pub fn java_of(version: &str, class: &str) -> Command {
    let libs = kafka_libs(version).unwrap_or_else(|reason| panic!("{reason}"));
    let mut command = Command::new("java");
    command
        .args(["-Xmx400m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:-UsePerfData"])
        .arg("-Dorg.slf4j.simpleLogger.defaultLogLevel=warn")
        .arg("-Dorg.slf4j.simpleLogger.log.kafka.server.KafkaRaftServer=info")
        .arg("-cp")
        .arg(libs.join("*"))
        .arg(class)
        .stdin(Stdio::null());
    command
}

/// Runs a Kafka tool to its end and returns what it printed on standard output.
pub fn tool(class: &str, arguments: &[&str]) -> String {
    tool_of(NEWEST, class, arguments)
}

/// Runs a tool of a version of Kafka to its end and returns what it printed on standard output.
pub fn tool_of(version: &str, class: &str, arguments: &[&str]) -> String {
    let output = java_of(version, class).args(arguments).output().expect("java starts");
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    let problem = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{class} {arguments:?}: {}\n{printed}\n{problem}", output.status);
    printed
}
