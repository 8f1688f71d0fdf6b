//! `[admin]`

use std::net::SocketAddr;
use std::time::Duration;

use crate::config::model::Admin;
use crate::config::scalar::{self, Scalar, Wrong, quoted, show_duration};
use crate::config::section::{Section, bounds, within};
use crate::config::text::Place;

use super::guard::guard;

/// The admin settings, and where the addresses stand.
pub(in crate::config) struct ReadAdmin {
    pub(in crate::config) admin: Admin,
    pub(in crate::config) listen: Place,
    pub(in crate::config) metrics_listen: Place,
}

const OFF: &str = "off";

pub(in crate::config) fn admin(section: Section<'_>) -> ReadAdmin {
    let default = Admin::default();
    let listen = section.value("listen", default.listen, |s| or_off(s, scalar::listen), show_address);
    let insecure = section.flag("insecure", false);
    let guard = guard(&section, "admin.tls", true);
    if let Some(listen) = listen {
        section.check_open(listen, insecure, &guard, true);
        check_needed(&section, listen);
    }
    let ready_max_lag = section.value(
        "ready_max_lag",
        default.ready_max_lag,
        |s| or_off(s, max_lag),
        |lag| quoted(&lag.map_or_else(|| OFF.to_owned(), show_duration)),
    );
    // Metrics hold no events and change nothing, so they may leave the host (interface.md).
    let metrics_listen =
        section.value("metrics_listen", default.metrics_listen, |s| or_off(s, scalar::listen), show_address);
    let places = (section.place_of("listen"), section.place_of("metrics_listen"));
    section.finish();
    let admin = Admin { listen, guard, ready_max_lag, metrics_listen };
    ReadAdmin { admin, listen: places.0, metrics_listen: places.1 }
}

/// What comes from this host is asked for nothing, so on loopback there is nobody to ask.
fn check_needed(section: &Section<'_>, listen: SocketAddr) {
    let useless = ["tls", "token"].into_iter().find(|key| section.has(key) && listen.ip().is_loopback());
    if let Some(key) = useless {
        let what = "is for other hosts, and none reaches admin.listen".to_owned();
        section.refuse(key, (what, format!("remove it, or listen on \"0.0.0.0:{}\"", listen.port())));
    }
}

fn or_off<T>(scalar: &Scalar, read: impl Fn(&Scalar) -> Result<T, Wrong>) -> Result<Option<T>, Wrong> {
    if scalar.as_text() == Some(OFF) {
        return Ok(None);
    }
    read(scalar).map(Some).map_err(|(what, help)| (what, format!("{help}; or \"off\"")))
}

fn max_lag(scalar: &Scalar) -> Result<Duration, Wrong> {
    let lag =
        bounds(Duration::from_secs(1)..=Duration::from_hours(24 * 30), "beyond it the agent is not ready");
    within(scalar::duration(scalar)?, &lag, |d| show_duration(*d))
}

fn show_address(address: &Option<SocketAddr>) -> String {
    quoted(&address.map_or_else(|| OFF.to_owned(), |a| a.to_string()))
}
