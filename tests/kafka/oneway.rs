//! A link of which one direction is cut: packets vanish, and neither end is told.

use std::fs::File;
use std::net::TcpListener;
use std::os::fd::AsFd;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::broker::Broker;
use crate::support::agent::{Setup, assert_accounts_balance};
use crate::support::load::{Load, Plan};
use crate::topic::Topic;
use crate::wire::Wire;

/// A half-open link has to be noticed within this.
const NOTICED: Duration = Duration::from_secs(30);
const SOON: Duration = Duration::from_secs(60);
/// An address of hardware that nobody has: what is sent there is dropped by whoever gets it.
const NOBODY: &str = "02:00:00:00:00:99";

/// Two ends of a cable: one in this network, one in a network of its own.
struct Cable {
    /// Of the other network and of this end.
    name: String,
    here: String,
    there: String,
}

/// Which packets vanish.
#[derive(Debug, Clone, Copy)]
enum Cut {
    /// From the agent.
    Requests,
    /// To the agent.
    Answers,
}

impl Cable {
    fn lay(number: u8) -> Self {
        // Tests of other runs have cables of their own.
        let run = std::process::id();
        let (name, net) = (format!("spw{run}-{number}"), format!("10.{}.{}", 200 + number, run % 250));
        let cable = Self { name, here: format!("{net}.1"), there: format!("{net}.2") };
        let Self { name, here, there } = &cable;
        ip(&["netns", "add", name]);
        ip(&["link", "add", name, "type", "veth", "peer", "name", "far", "netns", name]);
        ip(&["addr", "add", &format!("{here}/30"), "dev", name]);
        ip(&["-n", name, "addr", "add", &format!("{there}/30"), "dev", "far"]);
        ip(&["link", "set", name, "up"]);
        ip(&["-n", name, "link", "set", "far", "up"]);
        cable
    }

    /// A listener at the other end. Sockets belong to the network that their thread was in when they were made.
    fn listen(&self) -> TcpListener {
        let (network, address) = (format!("/var/run/netns/{}", self.name), (self.there.clone(), 0));
        let listening = thread::spawn(move || {
            let network = File::open(network).expect("the other network");
            move_into_link_name_space(network.as_fd(), Some(LinkNameSpaceType::Network)).expect("root");
            TcpListener::bind((address.0.as_str(), address.1)).expect("a port there")
        });
        listening.join().expect("a listener")
    }

    fn neighbour(&self, cut: Cut, change: &str, more: &[&str]) {
        let (place, device, whose) = match cut {
            Cut::Requests => (&[][..], self.name.as_str(), self.there.as_str()),
            Cut::Answers => (&["-n", self.name.as_str()][..], "far", self.here.as_str()),
        };
        ip(&[place, &["neigh", change, whose], more, &["dev", device]].concat());
    }

    fn cut(&self, cut: Cut) {
        self.neighbour(cut, "replace", &["lladdr", NOBODY, "nud", "permanent"]);
    }

    fn mend(&self, cut: Cut) {
        self.neighbour(cut, "del", &[]);
    }
}

impl Drop for Cable {
    fn drop(&mut self) {
        // Its end here goes with it.
        let _ = Command::new("ip").args(["netns", "del", &self.name]).status();
    }
}

fn ip(arguments: &[&str]) {
    let output = Command::new("ip").args(arguments).output().expect("ip (Debian: iproute2)");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "ip {}: {said}", arguments.join(" "));
}

/// Why there are no such links here.
pub fn missing() -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        return Some("only root can make networks".to_owned());
    }
    let tried = Command::new("unshare").args(["--net", "ip", "link", "add", "type", "veth"]).output();
    match tried {
        Ok(output) if output.status.success() => None,
        Ok(output) => {
            Some(format!("no network can be made: {}", String::from_utf8_lossy(&output.stderr).trim()))
        }
        Err(error) => Some(format!("unshare can't be run: {error}")),
    }
}

fn story(name: &str, cut: Cut, number: u8) {
    let broker = Broker::shared();
    let topic = Topic::create(broker, name, 3);
    let cable = Cable::lay(number);
    let wire = Wire::on(cable.listen(), broker.port);
    let destination = format!(
        "[[destination]]\nname = \"home\"\nbootstrap = [\"{}\"]\ncompression = \"none\"\n{}",
        wire.address,
        wire.lines()
    );
    let setup = Setup::new(name).without_tcp().section(&destination);
    let agent = setup.start();
    let load = Load::http(Plan::new(setup.http, name, 1).batch(50).rate(1_000));
    load.wait_accepted(2_000, SOON);
    agent.wait_status("delivers nothing", SOON, |s| s["accounts"][0]["delivered"].as_u64() > Some(0));

    cable.cut(cut);
    let (began, before) = (Instant::now(), load.accepted());
    let is_down = |s: &serde_json::Value| s["destinations"][0]["up"] == false;
    agent.wait_status("still calls the half-open link up", NOTICED, is_down);
    let noticed = began.elapsed();
    load.wait_accepted(before + 10_000, SOON);
    // The cut is one way, and the right one: what was sent is there and unanswered, or never came.
    let (there, told) = (topic.len(), agent.status()["accounts"][0]["delivered"].as_u64());
    match cut {
        Cut::Answers => assert!(Some(there) > told, "{there} there, {told:?} answered"),
        Cut::Requests => assert_eq!(Some(there), told),
    }

    cable.mend(cut);
    let mended = Instant::now();
    agent.wait_status("does not see Kafka again", SOON, |s| !is_down(s));
    let books = [load.stop()];
    let status = agent.wait_drained(None, SOON);
    assert_accounts_balance(&status);
    assert_eq!(status["destinations"][0]["possibly_doubled"], 0, "{status:#}");
    agent.stop();
    let verdict = topic.judge(&books);
    println!(
        "{name}: noticed after {noticed:?}, drained {:?} after it was mended: {verdict}",
        mended.elapsed()
    );
    verdict.assert_exact();
}

pub fn a_link_that_brings_no_answers_any_more_is_noticed_and_costs_nothing() {
    story("no-answers", Cut::Answers, 1);
}

pub fn a_link_that_takes_no_requests_any_more_is_noticed_and_costs_nothing() {
    story("no-requests", Cut::Requests, 2);
}
