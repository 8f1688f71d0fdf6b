use super::*;

fn config(text: &str) -> Result<CommandConfig, String> {
    understand(&Properties::parse(text)).map_err(|(key, what)| format!("{key} {what}"))
}

const SCRAM: &str = "sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required \\\n \
                     username=\"relay\" password=\"hunter2\";\nsasl.mechanism=SCRAM-SHA-512\n";

#[test]
fn kafkas_own_file_gives_brokers_tls_and_sasl() {
    let read = config(&format!(
        "bootstrap.servers=a:9092\nsecurity.protocol=SASL_SSL\nclient.id=x\nrequest.timeout.ms=5000\n\
         ssl.truststore.type=PEM\nssl.truststore.location=/etc/ca.pem\n\
         ssl.keystore.type=PEM\nssl.keystore.location=/etc/me.pem\nacks=all\n{SCRAM}"
    ))
    .unwrap();
    assert_eq!((read.client_id.as_deref(), read.request_timeout), (Some("x"), Some(Duration::from_secs(5))));
    let tls = read.tls.as_ref().unwrap();
    assert_eq!(tls.ca, Some(Pem::File("/etc/ca.pem".into())));
    assert_eq!(tls.identity.as_ref().unwrap().key, Pem::File("/etc/me.pem".into()));
    assert!(!format!("{read:?}").contains("hunter2"));
    let Some(Sasl::Password { mechanism: Mechanism::ScramSha512, username, password }) = &read.sasl else {
        panic!("{read:?}")
    };
    assert_eq!((username.as_str(), password.read().unwrap().reveal()), ("relay", "hunter2"));
}

#[test]
fn a_token_endpoint_is_read_with_its_client() {
    let read = config(
        "security.protocol=SASL_PLAINTEXT\nsasl.mechanism=OAUTHBEARER\n\
         sasl.oauthbearer.token.endpoint.url=https://login/token\n\
         sasl.jaas.config=x.OAuthBearerLoginModule required clientId=\"c\" clientSecret=\"s\" scope=\"w\";",
    );
    let Some(Sasl::Token(grant)) = read.unwrap().sasl else { panic!("no token") };
    assert_eq!((grant.client_id.as_str(), grant.scope.as_deref()), ("c", Some("w")));
    assert_eq!(grant.url.to_string(), "https://login:443/token");
}

#[test]
fn what_would_be_less_safe_than_it_says_is_refused_with_the_remedy() {
    let ssl = "security.protocol=SSL\n";
    for (text, says) in [
        (format!("{ssl}ssl.truststore.location=/x.jks"), "ssl.truststore.type is JKS"),
        (format!("{ssl}ssl.keystore.location=/x\nssl.keystore.type=PKCS12"), "PEM alone"),
        (format!("{ssl}ssl.endpoint.identification.algorithm="), "always makes"),
        (format!("{ssl}ssl.key.password=hunter2"), "encrypted key"),
        ("security.protocol=KERBEROS".to_owned(), "one of PLAINTEXT"),
        ("security.protocol=SASL_SSL".to_owned(), "sasl.mechanism is GSSAPI"),
        ("security.protocol=SASL_SSL\nsasl.mechanism=PLAIN".to_owned(), "sasl.jaas.config is missing"),
        (
            format!("security.protocol=SASL_SSL\n{SCRAM}sasl.mechanism=PLAIN"),
            "must begin with PlainLoginModule",
        ),
        ("request.timeout.ms=soon".to_owned(), "milliseconds"),
    ] {
        let told = config(&text).unwrap_err();
        assert!(told.contains(says), "{says}: {told}");
        assert!(!told.contains("hunter2"), "{told}");
    }
}

#[test]
fn a_file_that_can_not_be_read_is_named() {
    let missing = read(Path::new("/nowhere")).unwrap_err();
    assert!(missing.message().starts_with("/nowhere can't be read: "), "{missing:?}");
}
