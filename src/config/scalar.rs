//! Single values: what they may be written as, and how they are written back.

use std::net::SocketAddr;
use std::time::Duration;

use super::model::HostPort;

/// A value as it came from the file, the environment or another file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Scalar {
    /// Text of the configuration itself.
    Text(String),
    /// Text from elsewhere, which may stand for a number or a truth value too.
    Outside(String),
    /// A whole number.
    Integer(i64),
    /// True or false.
    Boolean(bool),
    /// Something that no key takes.
    Other(&'static str),
    /// Stands for a value that was not looked up (`check --no-environment`).
    Placeholder,
}

impl Scalar {
    /// What it is, in words.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Scalar::Text(_) | Scalar::Outside(_) | Scalar::Placeholder => "text",
            Scalar::Integer(_) => "a number",
            Scalar::Boolean(_) => "true or false",
            Scalar::Other(kind) => kind,
        }
    }

    pub(super) fn as_text(&self) -> Option<&str> {
        match self {
            Scalar::Text(text) | Scalar::Outside(text) => Some(text),
            _ => None,
        }
    }
}

/// Why a value can't be taken: what is wrong, and what would be right.
pub(super) type Wrong = (String, String);

fn wrong_kind(scalar: &Scalar, wanted: &str, help: &str) -> Wrong {
    (format!("must be {wanted}, not {}", scalar.kind()), help.to_owned())
}

const SIZE: &str = "sizes are written \"64MiB\" (1024), \"1MB\" (1000) or as a number of bytes";
const DURATION: &str = "durations are written \"100ms\", \"30s\", \"5m\", \"12h\", \"7d\"";

pub(super) fn size(scalar: &Scalar) -> Result<u64, Wrong> {
    if let Scalar::Integer(n) = scalar {
        return u64::try_from(*n).map_err(|_| ("must not be negative".to_owned(), SIZE.to_owned()));
    }
    let text = scalar.as_text().ok_or_else(|| wrong_kind(scalar, "a size", SIZE))?;
    let size = text.trim().parse::<bytesize::ByteSize>();
    size.map(|s| s.as_u64()).map_err(|_| (format!("must be a size, not {text:?}"), SIZE.to_owned()))
}

/// Bytes a second.
pub(super) fn rate(scalar: &Scalar) -> Result<u64, Wrong> {
    const RATE: &str = "rates are written \"2MiB/s\" or \"500KB/s\"";
    let text = scalar.as_text().ok_or_else(|| wrong_kind(scalar, "a rate", RATE))?;
    let wrong = || (format!("must be a rate, not {text:?}"), RATE.to_owned());
    let bytes = text.trim().strip_suffix("/s").ok_or_else(wrong)?;
    size(&Scalar::Text(bytes.to_owned())).map_err(|_| wrong())
}

pub(super) fn duration(scalar: &Scalar) -> Result<Duration, Wrong> {
    if let Scalar::Integer(n) = scalar {
        return Err((format!("must be a duration; {n} has no unit"), DURATION.to_owned()));
    }
    let text = scalar.as_text().ok_or_else(|| wrong_kind(scalar, "a duration", DURATION))?;
    humantime::parse_duration(text.trim())
        .map_err(|_| (format!("must be a duration, not {text:?}"), DURATION.to_owned()))
}

pub(super) fn integer(scalar: &Scalar) -> Result<u64, Wrong> {
    let help = "write it without quotes";
    let number = match scalar {
        Scalar::Integer(n) => u64::try_from(*n).ok(),
        Scalar::Outside(text) => text.trim().parse().ok(),
        other => return Err(wrong_kind(other, "a whole number", help)),
    };
    number.ok_or_else(|| ("must be a whole number from 0".to_owned(), help.to_owned()))
}

pub(super) fn boolean(scalar: &Scalar) -> Result<bool, Wrong> {
    let help = "write true or false, without quotes";
    match scalar {
        Scalar::Boolean(value) => Ok(*value),
        Scalar::Outside(text) if text.trim() == "true" => Ok(true),
        Scalar::Outside(text) if text.trim() == "false" => Ok(false),
        other => Err(wrong_kind(other, "true or false", help)),
    }
}

pub(super) fn text(scalar: &Scalar) -> Result<String, Wrong> {
    scalar.as_text().map(str::to_owned).ok_or_else(|| wrong_kind(scalar, "text", "write it between quotes"))
}

/// A path: not empty, and not what should stand in the file, such as a key, which no message is to repeat.
pub(super) fn path(scalar: &Scalar) -> Result<String, Wrong> {
    let text = text(scalar)?;
    if text.trim().contains(['\n', '\r']) {
        let help = "put these lines into a file, and write its name here";
        return Err(("must be a path, and has several lines".to_owned(), help.to_owned()));
    }
    if text.is_empty() || text.contains('\0') {
        return Err((
            "must be a path".to_owned(),
            "relative paths begin at the configuration file's folder".to_owned(),
        ));
    }
    Ok(text)
}

/// An address to bind: IP address and port.
pub(super) fn listen(scalar: &Scalar) -> Result<SocketAddr, Wrong> {
    let text = text(scalar)?;
    text.trim().parse().map_err(|_| {
        let help = match text.trim().rsplit_once(':') {
            Some(("", port)) => {
                format!("\"127.0.0.1:{port}\" for this host alone, \"0.0.0.0:{port}\" for all")
            }
            Some(("localhost", port)) => format!("write \"127.0.0.1:{port}\" or \"[::1]:{port}\""),
            _ => "for example \"127.0.0.1:8080\" or \"[::1]:8080\"".to_owned(),
        };
        (format!("must be an IP address and a port, not {text:?}"), help)
    })
}

/// A broker: host name or IP address, and port.
pub(super) fn host_port(text: &str) -> Result<HostPort, Wrong> {
    address(text, KAFKA)
}

/// The port that brokers mostly have, for what is said of an address without one.
const KAFKA: u16 = 9092;

fn address(text: &str, usual: u16) -> Result<HostPort, Wrong> {
    let text = text.trim();
    let wrong = |help: String| (format!("must be a host and a port, not {text:?}"), help);
    if let Some((scheme, rest)) = text.split_once("://") {
        return Err(wrong(format!("leave {scheme:?} and the slashes away: {rest:?}")));
    }
    let bare_v6 = text.parse::<std::net::Ipv6Addr>().is_ok();
    let (host, port) = match text.rsplit_once(':') {
        _ if bare_v6 => return Err(wrong(format!("write \"[{text}]:{usual}\""))),
        Some((host, port)) => (host, port),
        None => return Err(wrong(format!("add the port: \"{text}:{usual}\""))),
    };
    let port = port.parse::<u16>().ok().filter(|port| *port != 0);
    let port = port.ok_or_else(|| wrong("the port is a number from 1 to 65535".to_owned()))?;
    let inner = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
    let sound = match inner {
        Some(inner) => inner.parse::<std::net::Ipv6Addr>().is_ok(),
        None => is_host(host),
    };
    if !sound {
        return Err(wrong(format!(
            "for example \"host-1.example.org:{usual}\" or \"[2001:db8::1]:{usual}\""
        )));
    }
    Ok(HostPort { host: inner.unwrap_or(host).to_owned(), port })
}

/// Reads a broker's address as it stands in a configuration or on a command line.
///
/// # Errors
/// What is wrong with it and what would be right, in one line.
pub fn parse_host_port(text: &str) -> Result<HostPort, String> {
    host_port(text).map_err(|(what, help)| format!("it {what}: {help}"))
}

/// The same for an address that is mostly of another port than a broker's, which is what is said where it has none.
///
/// # Errors
/// As [`parse_host_port`].
pub fn parse_address(text: &str, usual: u16) -> Result<HostPort, String> {
    address(text, usual).map_err(|(what, help)| format!("it {what}: {help}"))
}

/// Whether a broker may be said to be reached there: a name or an address, with a zone perhaps.
#[must_use]
pub fn is_broker_host(host: &str) -> bool {
    let sound = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':' | '%');
    !host.is_empty() && host.len() <= 253 && host.chars().all(sound)
}

fn is_host(host: &str) -> bool {
    let sound = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    !host.is_empty() && host.len() <= 253 && host.chars().all(sound)
}

/// A size as a person writes it, exactly.
pub(super) fn show_size(bytes: u64) -> String {
    const UNITS: [(u64, &str); 6] = [
        (1 << 30, "GiB"),
        (1 << 20, "MiB"),
        (1 << 10, "KiB"),
        (1_000_000_000, "GB"),
        (1_000_000, "MB"),
        (1_000, "KB"),
    ];
    let unit = UNITS.iter().find(|(unit, _)| bytes >= *unit && bytes.is_multiple_of(*unit));
    unit.map_or_else(|| format!("{bytes}B"), |(unit, name)| format!("{}{name}", bytes / unit))
}

/// A duration as a person writes it, exactly.
pub(super) fn show_duration(duration: Duration) -> String {
    humantime::format_duration(duration).to_string()
}

/// Text as TOML.
pub(super) fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(t: &str) -> Scalar {
        Scalar::Text(t.to_owned())
    }

    #[test]
    fn sizes_are_read_in_both_systems_of_units() {
        assert_eq!(size(&text("64MiB")).unwrap(), 64 << 20);
        assert_eq!(size(&text("1MB")).unwrap(), 1_000_000);
        assert_eq!(size(&text("1.5 KiB")).unwrap(), 1536);
        assert_eq!(size(&Scalar::Integer(512)).unwrap(), 512);
        for bad in [text("64 potatoes"), text(""), text("-1MB"), Scalar::Integer(-1), Scalar::Boolean(true)] {
            assert!(size(&bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_duration_without_a_unit_is_refused() {
        assert_eq!(duration(&text("1m 30s")).unwrap(), Duration::from_secs(90));
        assert!(duration(&Scalar::Integer(30)).is_err());
        assert!(duration(&text("30")).is_err());
    }

    #[test]
    fn only_text_from_outside_may_stand_for_a_number() {
        assert_eq!(integer(&Scalar::Outside(" 7 ".into())).unwrap(), 7);
        assert!(integer(&text("7")).is_err());
        assert!(boolean(&Scalar::Outside("true".into())).unwrap());
        assert!(boolean(&text("true")).is_err());
    }

    #[test]
    fn brokers_are_read_and_what_is_missing_is_named() {
        for good in ["localhost:9092", "10.0.0.1:1", "[2001:db8::1]:9092", "k_0.svc:65535"] {
            assert_eq!(host_port(good).unwrap().to_string(), good);
        }
        let help = |bad: &str| host_port(bad).unwrap_err().1;
        assert_eq!(help("kafka"), "add the port: \"kafka:9092\"");
        assert_eq!(help("::1"), "write \"[::1]:9092\"");
        assert!(help("PLAINTEXT://kafka:9092").contains("\"kafka:9092\""));
        for bad in ["kafka:0", "kafka:65536", "kafka:", ":9092", "ka fka:9092", "[x]:1", "a:1,b:2"] {
            assert!(host_port(bad).is_err(), "{bad}");
        }
    }

    proptest::proptest! {
        #[test]
        fn sizes_and_durations_are_read_back_as_shown(bytes in 0..=(1u64 << 50), millis in 0..=(1u64 << 40)) {
            proptest::prop_assert_eq!(size(&text(&show_size(bytes))).unwrap(), bytes);
            let shown = show_duration(Duration::from_millis(millis));
            proptest::prop_assert_eq!(duration(&text(&shown)).unwrap(), Duration::from_millis(millis));
        }
    }
}
