//! Whether a request's `Host` may be answered.

use std::net::IpAddr;

/// Whether `host` (a `Host` header: name or address, maybe with a port) is one that a program on this
/// machine uses to reach a loopback address: an IP literal, `localhost` or a name under it.
///
/// A web page that makes a name of its own resolve to 127.0.0.1 (DNS rebinding) sends that name, so it is
/// refused. Names under `localhost` never leave the host (RFC 6761, 6.3).
#[must_use]
pub(super) fn is_local(host: &str) -> bool {
    let name = without_port(host);
    if let Some(v6) = name.strip_prefix('[').and_then(|n| n.strip_suffix(']')) {
        return v6.parse::<std::net::Ipv6Addr>().is_ok();
    }
    let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
    name == "localhost" || name.ends_with(".localhost") || name.parse::<IpAddr>().is_ok_and(|ip| ip.is_ipv4())
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    }
}

#[cfg(test)]
mod tests {
    use super::is_local;

    #[test]
    fn addresses_and_localhost_are_local() {
        for host in [
            "127.0.0.1:9674",
            "127.0.0.1",
            "[::1]:9674",
            "[::1]",
            "localhost:80",
            "LocalHost.",
            "a.localhost",
            "10.0.0.7:1",
        ] {
            assert!(is_local(host), "{host}");
        }
    }

    #[test]
    fn names_that_anybody_can_point_here_are_not() {
        for host in [
            "",
            "evil.example",
            "evil.example:9674",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "[evil]",
            "notlocalhost",
            "::1:x",
            "[::1",
            "user@127.0.0.1",
        ] {
            assert!(!is_local(host), "{host}");
        }
    }
}
