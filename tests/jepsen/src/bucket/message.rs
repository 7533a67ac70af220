//! HTTP/1.1 messages as they cross a wire: as much of them as a relay needs that passes whole ones on.

use std::io::{Error, ErrorKind};

use tokio::io::{AsyncBufRead, AsyncBufReadExt as _, AsyncReadExt as _};

/// What belongs to one connection and is not passed on; the length is written anew.
const OF_A_HOP: [&str; 6] =
    ["connection", "keep-alive", "proxy-connection", "transfer-encoding", "content-length", "expect"];

/// A request or an answer, whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Message {
    /// Its first line.
    pub(super) start: String,
    /// Names as they were written, and values.
    pub(super) headers: Vec<(String, String)>,
    /// Its body without its framing.
    pub(super) body: Vec<u8>,
}

impl Message {
    /// The next request of a connection; none where the other end is done.
    pub(super) async fn request(from: &mut (impl AsyncBufRead + Unpin)) -> Result<Option<Self>, Error> {
        let Some(mut message) = Self::head(from).await? else { return Ok(None) };
        // A request without a length has no body.
        message.body = message.framed(from).await?.unwrap_or_default();
        Ok(Some(message))
    }

    /// The answer to a request of this method.
    pub(super) async fn answer(from: &mut (impl AsyncBufRead + Unpin), method: &str) -> Result<Self, Error> {
        loop {
            let Some(mut message) = Self::head(from).await? else { return Err(ErrorKind::UnexpectedEof.into()) };
            let status = message.status();
            if status / 100 == 1 {
                continue;
            }
            if method != "HEAD" && status != 204 && status != 304 {
                message.body = match message.framed(from).await? {
                    Some(body) => body,
                    // It ends with its connection.
                    None => {
                        let mut body = Vec::new();
                        from.read_to_end(&mut body).await?;
                        body
                    }
                };
            }
            return Ok(message);
        }
    }

    async fn head(from: &mut (impl AsyncBufRead + Unpin)) -> Result<Option<Self>, Error> {
        let mut start = String::new();
        if from.read_line(&mut start).await? == 0 {
            return Ok(None);
        }
        let mut headers = Vec::new();
        loop {
            let line = line(from).await?;
            if line.is_empty() {
                return Ok(Some(Self { start: start.trim_end().to_owned(), headers, body: Vec::new() }));
            }
            let (name, value) = line.split_once(':').ok_or(ErrorKind::InvalidData)?;
            headers.push((name.to_owned(), value.trim().to_owned()));
        }
    }

    /// A body that says how long it is; none where it does not.
    async fn framed(&self, from: &mut (impl AsyncBufRead + Unpin)) -> Result<Option<Vec<u8>>, Error> {
        let mut body = Vec::new();
        if self.header("transfer-encoding").is_some_and(|value| value.to_ascii_lowercase().contains("chunked")) {
            loop {
                let size = line(from).await?;
                let size = size.split(';').next().unwrap_or_default().trim();
                let size = usize::from_str_radix(size, 16).map_err(|_| ErrorKind::InvalidData)?;
                if size == 0 {
                    while !line(from).await?.is_empty() {}
                    return Ok(Some(body));
                }
                let begun = body.len();
                body.resize(begun + size, 0);
                from.read_exact(&mut body[begun..]).await?;
                line(from).await?;
            }
        }
        let Some(length) = self.header("content-length") else { return Ok(None) };
        body.resize(length.parse().map_err(|_| ErrorKind::InvalidData)?, 0);
        from.read_exact(&mut body).await?;
        Ok(Some(body))
    }

    /// A header's value, whatever its name is written like.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    /// The first word of a request.
    pub(super) fn method(&self) -> &str {
        self.start.split(' ').next().unwrap_or_default()
    }

    /// The status of an answer; 0 where it has none.
    pub(super) fn status(&self) -> u16 {
        self.start.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_default()
    }

    /// Whether whoever sent it sends nothing more on this connection.
    pub(super) fn closes(&self) -> bool {
        let is_old = self.start.ends_with("HTTP/1.0");
        self.header("connection").map_or(is_old, |value| value.to_ascii_lowercase().contains("close"))
    }

    /// Its bytes, for a connection that ends with it or goes on.
    pub(super) fn bytes(&self, length: Option<usize>, closes: bool) -> Vec<u8> {
        let mut head = format!("{}\r\n", self.start);
        let is_passed = |(name, _): &&(String, String)| !OF_A_HOP.iter().any(|hop| name.eq_ignore_ascii_case(hop));
        for (name, value) in self.headers.iter().filter(is_passed) {
            head += &format!("{name}: {value}\r\n");
        }
        if let Some(length) = length {
            head += &format!("Content-Length: {length}\r\n");
        }
        head += if closes { "Connection: close\r\n\r\n" } else { "Connection: keep-alive\r\n\r\n" };
        [head.as_bytes(), &self.body].concat()
    }

    /// How long an answer to a request of this method says that its body is.
    pub(super) fn told_length(&self, method: &str) -> Option<usize> {
        match (method, self.status()) {
            (_, 204 | 304) => None,
            ("HEAD", _) => self.header("content-length").and_then(|length| length.parse().ok()),
            _ => Some(self.body.len()),
        }
    }
}

async fn line(from: &mut (impl AsyncBufRead + Unpin)) -> Result<String, Error> {
    let mut line = String::new();
    if from.read_line(&mut line).await? == 0 {
        return Err(ErrorKind::UnexpectedEof.into());
    }
    Ok(line.trim_end().to_owned())
}
