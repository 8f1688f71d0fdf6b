//! The wire between an agent and a broker, in hand: answers are kept from the agent, connections are cut.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

#[derive(Default)]
struct State {
    /// Answers go nowhere.
    deaf: bool,
    ends: Vec<TcpStream>,
}

/// Listens on a port of its own, and carries everything to a broker on this host and back.
pub struct Wire {
    /// Where the agent connects to.
    pub port: u16,
    /// The same with its address.
    pub address: SocketAddr,
    broker: u16,
    state: Arc<Mutex<State>>,
}

impl Wire {
    /// To the broker's listener at a port.
    pub fn to(broker: u16) -> Self {
        Self::on(TcpListener::bind("127.0.0.1:0").expect("a port"), broker)
    }

    /// The same from a listener that is there already.
    pub fn on(listener: TcpListener, broker: u16) -> Self {
        let address = listener.local_addr().expect("its address");
        let state = Arc::new(Mutex::new(State::default()));
        let carried = Arc::clone(&state);
        thread::spawn(move || {
            for agent in listener.incoming().flatten() {
                // While the broker is away the agent sees a connection that ends.
                if let Ok(end) = TcpStream::connect(("127.0.0.1", broker)) {
                    carry(&agent, &end, &carried);
                }
            }
        });
        Self { port: address.port(), address, broker, state }
    }

    /// What a destination has to say to go by this wire.
    pub fn lines(&self) -> String {
        format!("address_map = {{ \"127.0.0.1:{}\" = \"{}\" }}", self.broker, self.address)
    }

    /// From now on the agent hears nothing any more.
    pub fn deafen(&self) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).deaf = true;
    }

    /// Ends all connections; those that follow are carried both ways.
    pub fn cut(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.deaf = false;
        for end in state.ends.drain(..) {
            let _ = end.shutdown(Shutdown::Both);
        }
    }
}

fn carry(agent: &TcpStream, broker: &TcpStream, state: &Arc<Mutex<State>>) {
    let copy = |end: &TcpStream| end.try_clone().expect("another handle");
    state.lock().unwrap_or_else(PoisonError::into_inner).ends.extend([copy(agent), copy(broker)]);
    let (requests, answers) = ((copy(agent), copy(broker)), (copy(broker), copy(agent)));
    thread::spawn(move || pump(requests, || true));
    let state = Arc::clone(state);
    thread::spawn(move || pump(answers, || !state.lock().unwrap_or_else(PoisonError::into_inner).deaf));
}

fn pump((mut from, mut to): (TcpStream, TcpStream), passes: impl Fn() -> bool) {
    let mut buffer = [0; 64 << 10];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        if passes() && to.write_all(&buffer[..count]).is_err() {
            break;
        }
    }
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}
