//! Agents that answer what a test wants.

use std::io::{Read, Write};
use std::net::TcpListener;

use crate::config::model::HostPort;

/// Answers each connection with the next of `answers`, byte for byte, then closes it.
pub(super) fn agent(answers: Vec<String>) -> HostPort {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for answer in answers {
            let (mut stream, _) = listener.accept().unwrap();
            let mut head = Vec::new();
            let mut byte = [0];
            while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap() == 1 {
                head.push(byte[0]);
            }
            stream.write_all(answer.as_bytes()).unwrap();
        }
    });
    HostPort { host: "127.0.0.1".into(), port }
}

pub(super) fn ok(body: &str) -> String {
    answer("200 OK", body)
}

pub(super) fn answer(status: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}
