//! Just enough of an HTTP client: one keep-alive connection to the agent.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const MAX_HEAD: usize = 16 << 10;
const MAX_BODY: usize = 4 << 20;
const PATIENCE: Duration = Duration::from_secs(40);

/// An answer.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: Bytes,
}

/// An open connection.
#[derive(Debug)]
pub(super) struct Http {
    stream: TcpStream,
    buffer: BytesMut,
}

fn broken(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_owned())
}

impl Http {
    pub(super) async fn open(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: BytesMut::new() })
    }

    pub(super) async fn get(&mut self, path: &str) -> io::Result<Answer> {
        self.ask(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").as_bytes()).await
    }

    pub(super) async fn post(&mut self, path: &str, body: &[u8]) -> io::Result<Answer> {
        let head =
            format!("POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n", body.len());
        self.ask(&[head.as_bytes(), body].concat()).await
    }

    async fn ask(&mut self, request: &[u8]) -> io::Result<Answer> {
        let exchange = async {
            self.stream.write_all(request).await?;
            self.answer().await
        };
        tokio::time::timeout(PATIENCE, exchange)
            .await
            .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
    }

    async fn answer(&mut self) -> io::Result<Answer> {
        let end = loop {
            if let Some(at) = self.buffer.windows(4).position(|w| w == b"\r\n\r\n") {
                break at + 4;
            }
            self.more(MAX_HEAD).await?;
        };
        let head = self.buffer.split_to(end);
        let (status, length) = parse_head(&String::from_utf8_lossy(&head))?;
        while self.buffer.len() < length {
            self.more(MAX_BODY).await?;
        }
        Ok(Answer { status, body: self.buffer.split_to(length).freeze() })
    }

    async fn more(&mut self, limit: usize) -> io::Result<()> {
        if self.buffer.len() > limit {
            return Err(broken("the answer is too long"));
        }
        match self.stream.read_buf(&mut self.buffer).await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }
}

/// Status and content length.
fn parse_head(head: &str) -> io::Result<(u16, usize)> {
    let mut lines = head.split("\r\n");
    let status = lines.next().and_then(|line| line.split(' ').nth(1)).and_then(|code| code.parse().ok());
    let length = lines.filter_map(|line| line.split_once(':')).find_map(|(name, value)| {
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse().ok())?
    });
    let length = length.filter(|l| *l <= MAX_BODY).ok_or_else(|| broken("no content length"))?;
    Ok((status.ok_or_else(|| broken("no status"))?, length))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_read_whatever_its_case() {
        let head = "HTTP/1.1 200 OK\r\nA: b\r\ncontent-LENGTH: 17\r\n\r\n";
        assert_eq!(parse_head(head).unwrap(), (200, 17));
        assert!(parse_head("HTTP/1.1 200 OK\r\n\r\n").is_err());
        assert!(parse_head("what\r\ncontent-length: 1\r\n\r\n").is_err());
        assert!(parse_head("HTTP/1.1 200 OK\r\ncontent-length: 99999999999\r\n\r\n").is_err());
    }
}
