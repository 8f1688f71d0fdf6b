//! Which cluster a command talks to: brokers on the command line, or a destination of the configuration.

use std::path::{Path, PathBuf};

use clap::Args;

use super::{ConfigFiles, Failure, command_config};
use crate::config::model::{Config, Destination, HostPort};
use crate::config::parse_host_port;
use crate::ids::DestinationName;
use crate::kafka::{Access, ConsumerOptions};

/// Options of commands that talk to a cluster.
#[derive(Debug, Clone, Default, Args)]
pub struct ClusterArgs {
    /// Brokers to begin with; several with commas, or by repeating the option. No configuration is needed then.
    #[arg(short, long, value_name = "HOST:PORT", value_delimiter = ',', value_parser = parse_host_port)]
    pub bootstrap_server: Vec<HostPort>,
    /// Properties of the connection, as Kafka's own tools take them.
    #[arg(long, value_name = "FILE", requires = "bootstrap_server")]
    pub command_config: Option<PathBuf>,
    /// Where the configuration is, without --bootstrap-server.
    #[command(flatten)]
    pub config: ConfigFiles,
    /// Which destination of the configuration; needed where there are several.
    #[arg(long, value_name = "NAME", conflicts_with = "bootstrap_server")]
    pub destination: Option<String>,
}

/// A cluster, and what is known of it.
#[derive(Debug)]
pub(super) struct ChosenCluster {
    /// How to reach it.
    pub(super) destination: Destination,
    /// The configuration it is from.
    pub(super) config: Option<Config>,
}

impl ClusterArgs {
    /// The cluster that is meant.
    ///
    /// # Errors
    /// A usage [`Failure`] when it is not clear which.
    pub(super) fn choose(&self) -> Result<ChosenCluster, Failure> {
        if self.bootstrap_server.is_empty() {
            let config = self.config.load_or("name the cluster's brokers with -b HOST:PORT")?.config;
            let destination = self.named(&config)?.clone();
            return Ok(ChosenCluster { destination, config: Some(config) });
        }
        let destination = destination("cluster", &self.bootstrap_server, self.command_config.as_deref())?;
        let config = if self.config.files.is_empty() { None } else { Some(self.config.load()?.config) };
        Ok(ChosenCluster { destination, config })
    }

    fn named<'a>(&self, config: &'a Config) -> Result<&'a Destination, Failure> {
        let all = &config.destinations;
        let names = || all.iter().map(|d| d.name.to_string()).collect::<Vec<_>>().join(", ");
        match (&self.destination, all.as_slice()) {
            (None, [only]) => Ok(only),
            (None, _) => Err(Failure::usage(format!(
                "the configuration has several destinations ({}): name one with --destination",
                names()
            ))),
            (Some(name), _) => all.iter().find(|d| d.name.as_str() == name).ok_or_else(|| {
                Failure::usage(format!("the configuration has no destination {name:?}; it has {}", names()))
            }),
        }
    }
}

/// A cluster that is named on the command line: its brokers, and the file that says how to reach them.
pub(super) fn destination(
    name: &str,
    brokers: &[HostPort],
    properties: Option<&Path>,
) -> Result<Destination, Failure> {
    let name = DestinationName::new(name).map_err(Failure::running)?;
    let mut destination = Destination::new(name, brokers.to_vec());
    if let Some(path) = properties {
        command_config::read(path)?.apply(&mut destination);
    }
    Ok(destination)
}

impl ChosenCluster {
    /// For reading it.
    pub(super) fn consumer(&self) -> ConsumerOptions {
        let Destination { bootstrap, address_map, client_id, connect_timeout, request_timeout, .. } =
            &self.destination;
        ConsumerOptions {
            address_map: address_map.clone(),
            client_id: client_id.clone(),
            connect_timeout: *connect_timeout,
            request_timeout: *request_timeout,
            access: Access::of(&self.destination),
            ..ConsumerOptions::new(bootstrap.clone())
        }
    }

    /// Brokers, as they are named in messages.
    pub(super) fn brokers(&self) -> String {
        self.destination.bootstrap.iter().map(HostPort::to_string).collect::<Vec<_>>().join(",")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(file: &str, destination: Option<&str>) -> Result<ChosenCluster, Failure> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.toml");
        std::fs::write(&path, file).unwrap();
        ClusterArgs {
            config: ConfigFiles { files: vec![path] },
            destination: destination.map(str::to_owned),
            ..ClusterArgs::default()
        }
        .choose()
    }

    const ONE: &str = "[[source]]\ntype = \"stdin\"\nstream = \"a\"\n[[destination]]\nname = \"home\"\nbootstrap = [\"a:1\"]\n\
                       address_map = { \"a:1\" = \"b:2\" }\n";

    #[test]
    fn the_only_destination_is_meant_and_of_several_one_has_to_be_named() {
        let one = args(ONE, None).unwrap();
        assert_eq!((one.brokers(), one.consumer().address_map.len()), ("a:1".to_owned(), 1));
        let two = format!(
            "{ONE}[[destination]]\nname = \"away\"\nbootstrap = [\"c:3\"]\n[[route]]\nstreams = [\"*\"]\nto = \"home\"\n"
        );
        assert!(args(&two, None).unwrap_err().message().contains("home, away"));
        assert_eq!(args(&two, Some("away")).unwrap().brokers(), "c:3");
        assert!(args(&two, Some("awya")).unwrap_err().message().contains("no destination"));
    }

    #[test]
    fn properties_are_those_of_the_connection_and_the_option_names_the_brokers() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("client.properties");
        std::fs::write(&path, "client.id = me\nsecurity.protocol: SSL\nbootstrap.servers=elsewhere:1\n")
            .unwrap();
        let bootstrap_server = vec![parse_host_port("a:1").unwrap()];
        let args =
            ClusterArgs { bootstrap_server, command_config: Some(path.clone()), ..ClusterArgs::default() };
        let chosen = args.choose().unwrap();
        assert_eq!((chosen.brokers().as_str(), chosen.consumer().client_id.as_str()), ("a:1", "me"));
        assert!(chosen.destination.tls.is_some());
        std::fs::write(&path, "security.protocol=SASL_SSL\n").unwrap();
        assert!(args.choose().unwrap_err().message().contains("sasl.mechanism"));
    }
}
