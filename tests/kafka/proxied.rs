//! A cluster that only a proxy reaches, under a name that only the proxy knows.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::broker::Broker;
use crate::support::agent::{Setup, assert_accounts_balance, spoolway};
use crate::support::certificates::put;
use crate::support::load::{Load, Plan};
use crate::topic::Topic;

const DRAIN: Duration = Duration::from_secs(90);
/// Nobody but the proxy resolves it.
const NAME: &str = "kafka.plant.invalid";
const USER: &str = "edge";
const PASSWORD: &str = "through@here";

#[derive(Default)]
struct State {
    /// How often each address was asked for.
    asked: BTreeMap<String, u32>,
    ends: Vec<TcpStream>,
}

/// Carries whoever says the password to a broker on this host, by SOCKS 5 or HTTP's CONNECT.
struct Proxy {
    port: u16,
    state: Arc<Mutex<State>>,
}

impl Proxy {
    fn to(broker: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("its port").port();
        let state = Arc::new(Mutex::new(State::default()));
        let shared = Arc::clone(&state);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let state = Arc::clone(&shared);
                thread::spawn(move || serve(client, broker, &state));
            }
        });
        Self { port, state }
    }

    fn cut(&self) {
        for end in self.state.lock().expect("no panic").ends.drain(..) {
            let _ = end.shutdown(Shutdown::Both);
        }
    }

    fn asked(&self) -> BTreeMap<String, u32> {
        self.state.lock().expect("no panic").asked.clone()
    }
}

fn serve(mut client: TcpStream, broker: u16, state: &Mutex<State>) -> io::Result<()> {
    let mut first = [0];
    client.read_exact(&mut first)?;
    let (address, yes): (_, &[u8]) = if first[0] == 5 {
        (socks(&mut client)?, &[5, 0, 0, 1, 0, 0, 0, 0, 0, 0])
    } else {
        (connect(&mut client)?, b"HTTP/1.1 200 Connection established\r\n\r\n")
    };
    *state.lock().expect("no panic").asked.entry(address.clone()).or_default() += 1;
    assert_eq!(address, format!("{NAME}:9092"), "this proxy knows of nothing else");
    let mut end = TcpStream::connect(("127.0.0.1", broker))?;
    client.write_all(yes)?;
    let (mut from, mut to) = (client.try_clone()?, end.try_clone()?);
    state.lock().expect("no panic").ends.extend([client.try_clone()?, end.try_clone()?]);
    thread::spawn(move || {
        let _ = io::copy(&mut from, &mut to);
        let _ = to.shutdown(Shutdown::Both);
    });
    let _ = io::copy(&mut end, &mut client);
    client.shutdown(Shutdown::Both)
}

fn read<const N: usize>(client: &mut TcpStream) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    client.read_exact(&mut bytes).map(|()| bytes)
}

fn text(client: &mut TcpStream) -> io::Result<String> {
    let [len] = read(client)?;
    let mut bytes = vec![0; len.into()];
    client.read_exact(&mut bytes)?;
    Ok(String::from_utf8(bytes).expect("text"))
}

/// RFC 1928 and 1929, behind the version: only with a password, and only by name.
fn socks(client: &mut TcpStream) -> io::Result<String> {
    let methods = text(client)?;
    assert!(methods.contains('\x02'), "no password is offered: {methods:?}");
    client.write_all(&[5, 2])?;
    assert_eq!(read(client)?, [1]);
    let login = (text(client)?, text(client)?);
    let knows = login == (USER.to_owned(), PASSWORD.to_owned());
    client.write_all(&[1, u8::from(!knows)])?;
    if !knows {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    assert_eq!(read(client)?, [5, 1, 0, 3], "CONNECT, by name");
    let (name, port) = (text(client)?, read(client)?);
    Ok(format!("{name}:{}", u16::from_be_bytes(port)))
}

/// The request behind its first letter.
fn connect(client: &mut TcpStream) -> io::Result<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.extend(read::<1>(client)?);
    }
    let head = String::from_utf8(head).expect("text");
    let login = format!("Proxy-Authorization: Basic {}\r\n", STANDARD.encode(format!("{USER}:{PASSWORD}")));
    if !head.to_lowercase().contains(&login.to_lowercase()) {
        client.write_all(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")?;
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    Ok(head.split(' ').nth(1).expect("an address").to_owned())
}

fn story(scheme: &str) {
    let broker = Broker::shared();
    let topic = Topic::create(broker, &format!("by-{scheme}"), 2);
    let proxy = Proxy::to(broker.port);
    let setup = Setup::new(&topic.name).without_tcp();
    let url = |password: &str| format!("{scheme}://{USER}:{password}@127.0.0.1:{}\n", proxy.port);
    put(&setup.dir, "proxy", &url("wrong"));
    // Brokers say where they are, as they see it: nothing of that can be reached from here.
    let setup = setup.section(&format!(
        "[[destination]]\nname = \"home\"\nbootstrap = [\"{NAME}:9092\"]\nproxy = {{ file = \"proxy\" }}\ncompression = \"gzip\"\n\
         address_map = {{ \"127.0.0.1:{}\" = \"{NAME}:9092\" }}\n",
        broker.port
    ));
    let agent = setup.start();
    let load = Load::http(Plan::new(setup.http, &topic.name, 1).batch(20).rate(1_000));
    let status = agent.wait_status("the proxy refuses", DRAIN, |s| {
        s["destinations"][0]["last_error"].to_string().contains("proxy")
    });
    assert!(!status.to_string().contains("wrong@"), "a secret is shown: {status:#}");
    assert!(proxy.asked().is_empty());
    agent.kill();
    put(&setup.dir, "proxy", &url("through%40here"));
    let agent = setup.start();
    for _ in 0..3 {
        load.wait_accepted(load.accepted() + 1_000, DRAIN);
        proxy.cut();
    }
    let path = setup.dir.join("spoolway.toml");
    let check = spoolway().args(["check", "--connect", "-c"]).arg(path).output().expect("it runs");
    assert!(check.status.success(), "{}", String::from_utf8_lossy(&check.stdout));
    let book = load.stop();
    let status = agent.wait_drained(None, DRAIN);
    assert_accounts_balance(&status);
    agent.stop();
    let verdict = topic.judge(&[book]);
    println!("{}: {verdict}, {:?}", topic.name, proxy.asked());
    verdict.assert_exact();
    assert!(verdict.distinct >= 3_000 && proxy.asked().len() == 1, "{:?}", proxy.asked());
}

pub fn a_cluster_behind_a_socks_proxy_that_cuts_its_connections_gets_everything_once() {
    story("socks5");
}

pub fn a_cluster_behind_an_http_proxy_that_cuts_its_connections_gets_everything_once() {
    story("http");
}
