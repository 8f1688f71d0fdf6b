//! One POST over a stream.

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::task::AbortOnDropHandle;
use zeroize::Zeroizing;

/// Largest answer to take.
const MAX_BODY: usize = 64 * 1024;

/// What to post.
pub(super) struct Post {
    pub(super) host: String,
    pub(super) path: String,
    pub(super) authorization: Zeroizing<String>,
    pub(super) form: String,
}

/// What came back.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: Bytes,
}

/// Posts a form. The caller sets the time limit.
pub(super) async fn post<S>(stream: S, post: Post) -> Result<Answer, String>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let broken = |e: hyper::Error| format!("HTTP failed: {e}");
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
    let _driver = AbortOnDropHandle::new(tokio::spawn(connection));
    let mut authorization = HeaderValue::from_str(&post.authorization)
        .map_err(|_| "the credentials fit into no header".to_owned())?;
    authorization.set_sensitive(true);
    let request = hyper::Request::post(post.path)
        .header(HOST, post.host)
        .header(AUTHORIZATION, authorization)
        .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
        .header(ACCEPT, "application/json")
        .body(Full::new(Bytes::from(post.form)))
        .map_err(|e| format!("the request can't be made: {e}"))?;
    let answer = sender.send_request(request).await.map_err(broken)?;
    let status = answer.status().as_u16();
    let body = Limited::new(answer.into_body(), MAX_BODY).collect().await;
    let body = body.map_err(|e| format!("its answer can't be read: {e}"))?.to_bytes();
    Ok(Answer { status, body })
}
