//! Through a proxy: SOCKS5 (RFC 1928, 1929) or HTTP's CONNECT (RFC 9110, section 9.3.6). The proxy resolves names.

use std::io;
use std::net::IpAddr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use zeroize::Zeroizing;

use crate::config::model::{HostPort, Proxy, ProxyKind};
use crate::secret::without;

/// Most that a proxy may say before the connection is ours.
const MAX_HEAD: usize = 16 * 1024;

/// Why the proxy does not let us through.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProxyError {
    /// It says no.
    #[error("the proxy refuses: {0}")]
    Refused(String),
    /// It wants other credentials, or some.
    #[error("the proxy does not take the credentials: {0}")]
    Credentials(String),
    /// It is no proxy of that kind.
    #[error("what answers is no {0} proxy")]
    Foreign(&'static str),
    /// The connection to it broke.
    #[error("the connection to the proxy broke: {0}")]
    Io(#[from] io::Error),
}

impl ProxyError {
    pub(crate) const fn hint(&self) -> &'static str {
        match self {
            Self::Refused(_) => "check that the proxy may connect to this address, and reaches it",
            Self::Credentials(_) => "correct user and password in `proxy`",
            Self::Foreign(_) => "correct `proxy`: its scheme says what the proxy speaks",
            Self::Io(_) => "check the proxy, and the network between here and there",
        }
    }
}

/// Asks the proxy on the other end of `stream` to connect it with `target`.
pub(crate) async fn connect_through<S>(
    stream: &mut S,
    proxy: &Proxy,
    target: &HostPort,
) -> Result<(), ProxyError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    match proxy.kind {
        ProxyKind::Socks5 => {
            greet(stream, proxy).await?;
            socks_connect(stream, target).await
        }
        ProxyKind::Http => http_connect(stream, proxy, target).await,
    }
}

const SOCKS: ProxyError = ProxyError::Foreign("SOCKS5");
const NO_LOGIN: u8 = 0;
const PASSWORD: u8 = 2;

async fn greet<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S, proxy: &Proxy) -> Result<(), ProxyError> {
    let offer: &[u8] = if proxy.login.is_some() { &[5, 2, NO_LOGIN, PASSWORD] } else { &[5, 1, NO_LOGIN] };
    stream.write_all(offer).await?;
    let mut chosen = [0; 2];
    stream.read_exact(&mut chosen).await?;
    match (chosen, &proxy.login) {
        ([5, NO_LOGIN], _) => Ok(()),
        ([5, PASSWORD], Some((user, password))) => log_in(stream, user, password.reveal()).await,
        ([5, _], Some(_)) => Err(ProxyError::Credentials("it wants another kind of them".to_owned())),
        ([5, _], None) => Err(ProxyError::Credentials("it wants some, and none are configured".to_owned())),
        _ => Err(SOCKS),
    }
}

async fn log_in<S>(stream: &mut S, user: &str, password: &str) -> Result<(), ProxyError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut message = Zeroizing::new(vec![1]);
    for text in [user, password] {
        // At most 255 bytes each: the configuration has made sure.
        message.push(u8::try_from(text.len()).unwrap_or(u8::MAX));
        message.extend_from_slice(text.as_bytes());
    }
    stream.write_all(&message).await?;
    let mut verdict = [0; 2];
    stream.read_exact(&mut verdict).await?;
    match verdict {
        [_, 0] => Ok(()),
        [_, code] => Err(ProxyError::Credentials(format!("status {code}"))),
    }
}

async fn socks_connect<S>(stream: &mut S, target: &HostPort) -> Result<(), ProxyError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut request = vec![5, 1, 0];
    match target.host.parse::<IpAddr>() {
        Ok(IpAddr::V4(ip)) => {
            request.push(1);
            request.extend_from_slice(&ip.octets());
        }
        Ok(IpAddr::V6(ip)) => {
            request.push(4);
            request.extend_from_slice(&ip.octets());
        }
        Err(_) => {
            let len = u8::try_from(target.host.len());
            let len = len.map_err(|_| ProxyError::Refused("the name is too long for SOCKS5".to_owned()))?;
            request.extend_from_slice(&[3, len]);
            request.extend_from_slice(target.host.as_bytes());
        }
    }
    request.extend_from_slice(&target.port.to_be_bytes());
    stream.write_all(&request).await?;
    let mut head = [0; 4];
    stream.read_exact(&mut head).await?;
    let [5, code, _, kind] = head else { return Err(SOCKS) };
    if code != 0 {
        return Err(ProxyError::Refused(socks_reason(code)));
    }
    let address = match kind {
        1 => 4,
        4 => 16,
        3 => usize::from(stream.read_u8().await?),
        _ => return Err(SOCKS),
    };
    // Where it connects from, which is of no use here.
    let mut rest = vec![0; address + 2];
    stream.read_exact(&mut rest).await?;
    Ok(())
}

fn socks_reason(code: u8) -> String {
    match code {
        2 => "its rules forbid it".to_owned(),
        3 => "the network can't be reached".to_owned(),
        4 => "the host can't be reached".to_owned(),
        5 => "the host refuses the connection".to_owned(),
        6 => "nothing answered in time".to_owned(),
        code => format!("SOCKS error {code}"),
    }
}

async fn http_connect<S>(stream: &mut S, proxy: &Proxy, target: &HostPort) -> Result<(), ProxyError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut request = Zeroizing::new(format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n"));
    let mut login = Zeroizing::new(String::new());
    if let Some((user, password)) = &proxy.login {
        let plain = Zeroizing::new(format!("{user}:{}", password.reveal()));
        login = Zeroizing::new(STANDARD.encode(plain.as_bytes()));
        request.push_str("Proxy-Authorization: Basic ");
        request.push_str(&login);
        request.push_str("\r\n");
    }
    request.push_str("\r\n");
    stream.write_all(request.as_bytes()).await?;
    let head = read_head(stream).await?;
    let first = head.lines().next().unwrap_or_default();
    let mut words = first.splitn(3, ' ');
    let version = words.next().unwrap_or_default();
    let status = words.next().unwrap_or_default();
    let password = proxy.login.as_ref().map_or("", |(_, password)| password.reveal());
    let reason = without(words.next().unwrap_or_default(), &[&login, password]);
    let reason: String = reason.chars().filter(|c| !c.is_control()).take(80).collect();
    match status {
        _ if !version.starts_with("HTTP/1.") => Err(ProxyError::Foreign("HTTP")),
        "200" => Ok(()),
        "407" => Err(ProxyError::Credentials(format!("407 {reason}"))),
        status if status.len() == 3 => Err(ProxyError::Refused(format!("{status} {reason}"))),
        _ => Err(ProxyError::Foreign("HTTP")),
    }
}

/// Reads up to the empty line, and not a byte more: what follows is the broker's.
async fn read_head<S: AsyncRead + Unpin>(stream: &mut S) -> Result<String, ProxyError> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() >= MAX_HEAD {
            return Err(ProxyError::Foreign("HTTP"));
        }
        head.push(stream.read_u8().await?);
    }
    Ok(String::from_utf8_lossy(&head).into_owned())
}

#[cfg(test)]
mod tests;
