//! One request at a client's patience, and what is known when no answer came: surely not sent, or nobody knows.

use std::io::{Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

use domicile_tests::cluster::http::{self, Response};
use domicile_tests::cluster::region::Region;
use serde_json::Value;

/// What came of a request.
pub enum Sent {
    /// An answer.
    Answered(Response),
    /// The connection was refused before a byte was sent: nothing happened.
    Refused(String),
    /// Nobody knows.
    Lost(String),
}

/// Which of a region's two doors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    /// The Elasticsearch API.
    Elastic,
    /// The native API.
    Native,
}

/// A request to a region's door with a role's key.
pub struct Request<'a> {
    /// Where.
    pub door: Door,
    /// As whom.
    pub role: &'a str,
    /// `GET` or `POST`.
    pub method: &'a str,
    /// Path.
    pub path: &'a str,
    /// More headers.
    pub headers: &'a [(&'a str, &'a str)],
    /// Body.
    pub body: &'a [u8],
}

/// Sends it and waits no longer than `within`.
pub fn send(region: &Region, request: &Request<'_>, within: Duration) -> Sent {
    let base = if request.door == Door::Elastic { &region.doors.es } else { &region.doors.api };
    let Ok((host, _)) = http::split(base) else { return Sent::Refused("no address".to_owned()) };
    let Some(address) = host.to_socket_addrs().ok().and_then(|mut all| all.next()) else {
        return Sent::Refused("no address".to_owned());
    };
    let deadline = Instant::now() + within;
    let mut stream = match TcpStream::connect_timeout(&address, within) {
        Ok(stream) => stream,
        Err(error) => return Sent::Refused(error.kind().to_string()),
    };
    let mut head = format!(
        "{} {} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nAuthorization: {}\r\nContent-Length: {}\r\n",
        request.method,
        request.path,
        region.authorization(request.role),
        request.body.len()
    );
    let is_json = !request.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-type"));
    if is_json {
        head.push_str("Content-Type: application/json\r\n");
    }
    request.headers.iter().for_each(|(name, value)| head.push_str(&format!("{name}: {value}\r\n")));
    head.push_str("\r\n");
    let mut whole = head.into_bytes();
    whole.extend_from_slice(request.body);
    match exchange(&mut stream, &whole, deadline) {
        Ok(raw) => http::parse(&raw, false).map_or_else(|error| Sent::Lost(error.to_string()), Sent::Answered),
        Err(error) => Sent::Lost(error.kind().to_string()),
    }
}

fn exchange(stream: &mut TcpStream, whole: &[u8], deadline: Instant) -> std::io::Result<Vec<u8>> {
    let left = || deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
    stream.set_nodelay(true)?;
    stream.set_write_timeout(Some(left()))?;
    stream.write_all(whole)?;
    let mut raw = Vec::new();
    let mut buffer = [0; 16 << 10];
    loop {
        if Instant::now() >= deadline {
            return Err(std::io::ErrorKind::TimedOut.into());
        }
        stream.set_read_timeout(Some(left()))?;
        match stream.read(&mut buffer)? {
            0 => return Ok(raw),
            length => raw.extend_from_slice(&buffer[..length]),
        }
    }
}

/// A JSON request; the answer's status and body, if there was one.
pub fn json(
    region: &Region,
    door: Door,
    role: &str,
    path: &str,
    body: &Value,
    within: Duration,
) -> Option<(u16, Value)> {
    let bytes = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
    let method = if body.is_null() { "GET" } else { "POST" };
    let request = Request { door, role, method, path, headers: &[], body: &bytes };
    match send(region, &request, within) {
        Sent::Answered(answer) => Some((answer.status, serde_json::from_slice(&answer.body).unwrap_or(Value::Null))),
        Sent::Refused(_) | Sent::Lost(_) => None,
    }
}
