//! A broker with everything that this project's links know: TLS, certificates on both sides, and each SASL mechanism.

use std::path::PathBuf;
use std::sync::OnceLock;

use super::broker::Broker;
use crate::support::certificates::{Authority, put};
use crate::support::ports::free_port;
use crate::support::process::scratch;

/// The broker; its plain listener is for those that judge.
pub struct Secured {
    /// The broker.
    pub broker: Broker,
    /// Signs its certificate, and is trusted by it.
    pub authority: Authority,
    /// Holds `ca.pem`.
    pub dir: PathBuf,
    /// SCRAM over TLS; user `relay`, password [`PASSWORD`].
    pub scram: u16,
    /// PLAIN over TLS; the same user; sessions end after 3 s.
    pub plain: u16,
    /// OAUTHBEARER over TLS with unsecured tokens; sessions end after 4 s at the latest.
    pub token: u16,
    /// TLS with certificates on both sides.
    pub mutual: u16,
}

/// Of user `relay`.
pub const PASSWORD: &str = "relay-secret";

impl Secured {
    /// Formats and starts one.
    pub fn start(name: &str) -> Self {
        let dir = scratch(&format!("secured-{name}"));
        let authority = Authority::new("the test's authority");
        put(&dir, "ca.pem", authority.pem());
        let signed = authority.sign(&["127.0.0.1", "localhost"]);
        put(&dir, "server.pem", &format!("{}{}", signed.key, signed.certificate));
        let [scram, plain, token, mutual] = [(); 4].map(|()| free_port());
        let listeners = [
            ("SCRAM", scram, "SASL_SSL"),
            ("PLAIN", plain, "SASL_SSL"),
            ("TOKEN", token, "SASL_SSL"),
            ("MUTUAL", mutual, "SSL"),
        ];
        let at = dir.display();
        let modules = "org.apache.kafka.common.security";
        let lines = format!(
            "ssl.keystore.type=PEM\n\
             ssl.keystore.location={at}/server.pem\n\
             ssl.truststore.type=PEM\n\
             ssl.truststore.location={at}/ca.pem\n\
             listener.name.mutual.ssl.client.auth=required\n\
             listener.name.scram.sasl.enabled.mechanisms=SCRAM-SHA-512\n\
             listener.name.plain.sasl.enabled.mechanisms=PLAIN\n\
             listener.name.token.sasl.enabled.mechanisms=OAUTHBEARER\n\
             listener.name.scram.scram-sha-512.sasl.jaas.config={modules}.scram.ScramLoginModule required;\n\
             listener.name.plain.plain.sasl.jaas.config={modules}.plain.PlainLoginModule required user_relay=\"{PASSWORD}\";\n\
             listener.name.token.oauthbearer.sasl.jaas.config={modules}.oauthbearer.OAuthBearerLoginModule required;\n\
             listener.name.plain.plain.connections.max.reauth.ms=3000\n\
             listener.name.token.oauthbearer.connections.max.reauth.ms=4000\n"
        );
        let user = format!("SCRAM-SHA-512=[name=relay,password={PASSWORD}]");
        let broker =
            Broker::create_with(&format!("secured-{name}"), &listeners, &lines, &["--add-scram", &user]);
        broker.run();
        Self { broker, authority, dir, scram, plain, token, mutual }
    }

    /// The one that tests share which do it no harm.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<Secured> = OnceLock::new();
        SHARED.get_or_init(|| Self::start("shared"))
    }

    /// `tls = { ca = "…" }`, with more keys.
    pub fn tls(&self, more: &str) -> String {
        format!("compression = \"none\"\ntls = {{ ca = \"{}/ca.pem\"{more} }}\n", self.dir.display())
    }
}
