//! When a certificate expires: the one field of X.509 that is told to people.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;

use crate::metrics::{DestinationCertificate, Metrics};

/// Brokers of one destination whose certificates are remembered. No cluster has as many.
const MOST: usize = 4096;

/// Tells the metrics when a destination's certificates expire: our own, and of the brokers' the one that does so first.
#[derive(Debug)]
pub(super) struct Expiry {
    gauges: Family<DestinationCertificate, Gauge>,
    destination: String,
    brokers: Mutex<BTreeMap<String, i64>>,
}

impl Expiry {
    pub(super) fn new(destination: &str, metrics: &Metrics) -> Self {
        let gauges = metrics.certificate_expiry.clone();
        Self { gauges, destination: destination.to_owned(), brokers: Mutex::default() }
    }

    fn set(&self, certificate: &str, seconds: i64) {
        let label = DestinationCertificate {
            destination: self.destination.clone(),
            certificate: certificate.to_owned(),
        };
        self.gauges.get_or_create(&label).set(seconds);
    }

    /// Our own certificate.
    pub(super) fn own(&self, der: &[u8]) {
        if let Some(seconds) = expires(der) {
            self.set("client", seconds);
        }
    }

    /// The one that a broker has shown.
    pub(super) fn broker(&self, host: &str, der: &[u8]) {
        let Some(seconds) = expires(der) else { return };
        let mut brokers = self.brokers.lock().unwrap_or_else(PoisonError::into_inner);
        if brokers.len() >= MOST {
            brokers.clear();
        }
        brokers.insert(host.to_owned(), seconds);
        let first = brokers.values().copied().min().unwrap_or(seconds);
        self.set("broker", first);
    }
}

const SEQUENCE: u8 = 0x30;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const VERSION: u8 = 0xa0;

/// `notAfter` in seconds since 1970; `None` for what is no certificate.
pub(super) fn expires(der: &[u8]) -> Option<i64> {
    let (certificate, _) = element(der, SEQUENCE)?;
    let (mut rest, _) = element(certificate, SEQUENCE)?;
    if rest.first() == Some(&VERSION) {
        rest = any(rest)?.2;
    }
    // Serial number, algorithm, issuer.
    for _ in 0..3 {
        rest = any(rest)?.2;
    }
    let (validity, _) = element(rest, SEQUENCE)?;
    let (tag, time, _) = any(any(validity)?.2)?;
    let text = std::str::from_utf8(time).ok()?.strip_suffix('Z')?;
    let full = match (tag, text.get(..2)?.parse::<u8>().ok()?) {
        (UTC_TIME, 50..) => format!("19{text}"),
        (UTC_TIME, _) => format!("20{text}"),
        (GENERALIZED_TIME, _) => text.to_owned(),
        _ => return None,
    };
    let at = DateTime::strptime("%Y%m%d%H%M%S", &full).ok()?;
    at.to_zoned(TimeZone::UTC).ok().map(|at| at.timestamp().as_second())
}

/// Content of the first element, which must have this tag, and what follows it.
fn element(der: &[u8], wanted: u8) -> Option<(&[u8], &[u8])> {
    let (tag, content, rest) = any(der)?;
    (tag == wanted).then_some((content, rest))
}

/// Tag and content of the first element, and what follows it.
fn any(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&[tag, len], rest) = der.split_first_chunk::<2>()?;
    let (len, rest) = if len < 0x80 {
        (usize::from(len), rest)
    } else {
        let (bytes, rest) = rest.split_at_checked(usize::from(len & 0x7f))?;
        if bytes.len() > 4 {
            return None;
        }
        (bytes.iter().fold(0, |len, byte| (len << 8) | usize::from(*byte)), rest)
    };
    let (content, rest) = rest.split_at_checked(len)?;
    Some((tag, content, rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn certificate(year: i32) -> Vec<u8> {
        let mut parameters = rcgen::CertificateParams::new(vec!["x".to_owned()]).unwrap();
        parameters.not_after = rcgen::date_time_ymd(year, 3, 1);
        let key = rcgen::KeyPair::generate().unwrap();
        parameters.self_signed(&key).unwrap().der().to_vec()
    }

    #[test]
    fn the_end_of_a_certificates_life_is_read_in_both_ways_of_writing_it() {
        assert_eq!(expires(&certificate(2030)), Some(1_898_553_600));
        assert_eq!(expires(&certificate(2060)), Some(2_845_324_800), "years from 2050 on have four digits");
    }

    proptest! {
        #[test]
        fn what_is_no_certificate_is_survived(at in 0usize..300, byte: u8, cut in 0usize..300) {
            let mut der = certificate(2030);
            let at = at.min(der.len() - 1);
            der[at] = byte;
            let _ = expires(&der);
            let _ = expires(&der[..cut.min(der.len())]);
        }
    }
}
