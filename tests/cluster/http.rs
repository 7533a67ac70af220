//! A plain HTTP/1.1 client over a socket: one request per connection, nothing clever, so that a test sees what was sent.

use std::io::{Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// How long one request may take.
pub const REQUEST_WITHIN: Duration = Duration::from_secs(60);

/// What came back.
#[derive(Clone)]
pub struct Response {
    /// Status code.
    pub status: u16,
    /// Header names in lower case, with their values.
    pub headers: Vec<(String, String)>,
    /// The body, without its transfer encoding.
    pub body: Vec<u8>,
}

impl Response {
    /// A header's value.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    ///
    /// # Panics
    /// When it is none.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{} {}: {error}", self.status, self.text()))
    }
}

/// Sends a request and reads the whole answer.
///
/// # Errors
/// When the connection fails before the answer is whole.
pub fn request(method: &str, url: &str, headers: &[(&str, &str)], body: &[u8]) -> Result<Response> {
    request_within(REQUEST_WITHIN, method, url, headers, body)
}

/// The same, where nobody waits so long: what was sent may still be done.
///
/// # Errors
/// As [`request`].
pub fn request_within(
    within: Duration,
    method: &str,
    url: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Result<Response> {
    let (host, path) = split(url)?;
    let mut head = format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n");
    if !body.is_empty() || ["POST", "PUT"].contains(&method) {
        head.push_str(&format!("Content-Length: {}\r\n", body.len()));
    }
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    let mut stream = connect(&host)?;
    stream.set_read_timeout(Some(within))?;
    stream.write_all(head.as_bytes())?;
    // A server may refuse by its head alone and close; its answer counts more than our unsent rest.
    let sent = stream.write_all(body);
    let mut raw = Vec::new();
    let read = stream.read_to_end(&mut raw);
    if raw.is_empty() {
        sent.context("sending the body")?;
        read.context("reading the answer")?;
        bail!("{method} {url}: closed without an answer");
    }
    parse(&raw, method == "HEAD").with_context(|| format!("{method} {url}"))
}

/// A connection with time limits, for requests no client would send.
///
/// # Errors
/// When nobody listens.
pub fn connect(host: &str) -> Result<TcpStream> {
    let address = host.to_socket_addrs()?.next().context("an address")?;
    let stream = TcpStream::connect_timeout(&address, Duration::from_secs(5))?;
    stream.set_read_timeout(Some(REQUEST_WITHIN))?;
    stream.set_write_timeout(Some(REQUEST_WITHIN))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Host with port, and path, of an address.
///
/// # Errors
/// When it is no plain HTTP address.
pub fn split(url: &str) -> Result<(String, String)> {
    let rest = url.strip_prefix("http://").with_context(|| format!("`{url}` is no plain HTTP address"))?;
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    Ok((host.to_owned(), format!("/{path}")))
}

/// Takes an answer apart.
///
/// # Errors
/// When it is no whole answer.
pub fn parse(raw: &[u8], is_head: bool) -> Result<Response> {
    let end = raw.windows(4).position(|four| four == b"\r\n\r\n").context("no end of the head")?;
    let head = String::from_utf8_lossy(&raw[..end]).into_owned();
    let mut lines = head.lines();
    let status = lines.next().and_then(|line| line.split(' ').nth(1)).context("no status")?.parse()?;
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let rest = &raw[end + 4..];
    let mut response = Response { status, headers, body: Vec::new() };
    if is_head || status == 204 {
        return Ok(response);
    }
    response.body = if response.header("transfer-encoding").is_some_and(|value| value.contains("chunked")) {
        unchunk(rest)?
    } else if let Some(length) = response.header("content-length") {
        let length: usize = length.parse()?;
        rest.get(..length).context("the body is cut")?.to_vec()
    } else {
        rest.to_vec()
    };
    Ok(response)
}

fn unchunk(mut rest: &[u8]) -> Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let end = rest.windows(2).position(|two| two == b"\r\n").context("a chunk without a length")?;
        let length = usize::from_str_radix(std::str::from_utf8(&rest[..end])?.split(';').next().unwrap_or(""), 16)?;
        rest = &rest[end + 2..];
        if length == 0 {
            return Ok(body);
        }
        body.extend_from_slice(rest.get(..length).context("a chunk is cut")?);
        rest = rest.get(length + 2..).context("a chunk has no end")?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_taken_apart_in_both_framings_and_a_cut_one_is_refused() {
        let plain = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-A: b\r\n\r\nok";
        let parsed = parse(plain, false).unwrap();
        assert_eq!((parsed.status, parsed.body.as_slice(), parsed.header("x-a")), (200, &b"ok"[..], Some("b")));
        let chunked = b"HTTP/1.1 429 No\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n3\r\nay!\r\n0\r\n\r\n";
        assert_eq!(parse(chunked, false).unwrap().text(), "okay!");
        assert!(parse(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok", false).is_err());
        assert!(parse(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nok", false).is_err());
    }
}
