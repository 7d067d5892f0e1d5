//! As much of HTTP/1.1 (RFC 9112) as a health check and a page of metrics need: one GET, no redirections, no TLS.

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

/// Bytes of an answer, at most.
const MOST: usize = 16 << 20;

/// Where to ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Url {
    /// Host and port, as a socket takes them.
    address: String,
    /// Host and port, as the request names them.
    host: String,
    path: String,
}

/// What was answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
}

impl Url {
    /// Takes `http://HOST[:PORT][/PATH]` apart.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        if text.starts_with("https://") {
            return Err("https is not spoken here; give a plain http:// address, or a command that asks".into());
        }
        let rest = text.strip_prefix("http://").ok_or_else(|| format!("{text} is no http:// address"))?;
        let (host, path) = rest.find('/').map_or((rest, "/"), |at| rest.split_at(at));
        if host.is_empty() || host.contains(char::is_whitespace) || path.contains(char::is_whitespace) {
            return Err(format!("{text} is no http:// address"));
        }
        // The last colon parts the port, unless it is one of an IPv6 address: [::1].
        let has_port = host.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
        let address = if has_port { host.to_owned() } else { format!("{host}:80") };
        Ok(Self { address, host: host.to_owned(), path: path.to_owned() })
    }
}

/// Connects to `HOST:PORT` within a time. Names are looked up first, which takes as long as it takes.
pub(crate) fn connect(address: &str, timeout: Duration) -> io::Result<TcpStream> {
    let deadline = Instant::now() + timeout;
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in address.to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, left(deadline)?) {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Asks and reads the whole answer within a time.
pub(crate) fn get(url: &Url, timeout: Duration) -> io::Result<Answer> {
    let deadline = Instant::now() + timeout;
    let mut stream = connect(&url.address, timeout)?;
    stream.set_write_timeout(Some(left(deadline)?))?;
    let request = format!(
        "GET {} HTTP/1.1\r\nHost: {}\r\nUser-Agent: effigy\r\nAccept: */*\r\nConnection: close\r\n\r\n",
        url.path, url.host
    );
    stream.write_all(request.as_bytes())?;
    let mut bytes = Vec::new();
    let mut buffer = [0; 16 << 10];
    loop {
        stream.set_read_timeout(Some(left(deadline)?))?;
        let count = match stream.read(&mut buffer) {
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        bytes.extend_from_slice(&buffer[..count]);
        if bytes.len() > MOST {
            return Err(malformed("the answer is longer than 16 MiB"));
        }
        // A server that keeps the connection open has said all that it promised.
        if count == 0 || is_whole(&bytes) {
            return parse(&bytes);
        }
    }
}

/// Time that is left; an error when there is none.
fn left(deadline: Instant) -> io::Result<Duration> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(io::Error::new(io::ErrorKind::TimedOut, "no answer in time")) } else { Ok(left) }
}

fn malformed(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_owned())
}

/// The end of the head, behind its empty line.
fn head_end(bytes: &[u8]) -> Option<usize> {
    bytes.windows(4).position(|four| four == b"\r\n\r\n").map(|at| at + 4)
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().skip(1).find_map(|line| {
        let (found, value) = line.split_once(':')?;
        found.trim().eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

fn is_whole(bytes: &[u8]) -> bool {
    let Some(end) = head_end(&bytes[..bytes.len().min(64 << 10)]) else { return false };
    let head = String::from_utf8_lossy(&bytes[..end]);
    match header(&head, "content-length").and_then(|length| length.parse::<usize>().ok()) {
        Some(length) => bytes.len() - end >= length,
        None => {
            let chunked = header(&head, "transfer-encoding").is_some();
            chunked && bytes.ends_with(b"0\r\n\r\n") && joined(&bytes[end..]).is_ok()
        }
    }
}

fn parse(bytes: &[u8]) -> io::Result<Answer> {
    let end = head_end(bytes).ok_or_else(|| malformed("the answer has no head"))?;
    let head = String::from_utf8_lossy(&bytes[..end]);
    let status = head
        .strip_prefix("HTTP/1.")
        .and_then(|rest| rest.split_ascii_whitespace().nth(1))
        .and_then(|code| code.parse().ok())
        .ok_or_else(|| malformed("the answer is not HTTP/1.x"))?;
    let body = &bytes[end..];
    let chunked = header(&head, "transfer-encoding").is_some_and(|coding| coding.eq_ignore_ascii_case("chunked"));
    Ok(Answer { status, body: if chunked { joined(body)? } else { body.to_vec() } })
}

/// The chunks of a body in one piece.
fn joined(mut rest: &[u8]) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let line = rest.windows(2).position(|two| two == b"\r\n").ok_or_else(|| malformed("a chunk has no size"))?;
        let size = std::str::from_utf8(&rest[..line]).unwrap_or("").split(';').next().unwrap_or("").trim();
        let size = usize::from_str_radix(size, 16).map_err(|_| malformed("a chunk's size is no number"))?;
        let chunk = rest.get(line + 2..).unwrap_or_default();
        if size == 0 {
            return Ok(body);
        }
        body.extend_from_slice(chunk.get(..size).ok_or_else(|| malformed("a chunk is cut off"))?);
        rest = chunk.get(size + 2..).unwrap_or_default();
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn addresses() {
        let url = |text| Url::parse(text).map(|url| (url.address, url.path));
        assert_eq!(url("http://h:81/a?b"), Ok(("h:81".into(), "/a?b".into())));
        assert_eq!(url("http://h"), Ok(("h:80".into(), "/".into())));
        assert_eq!(url("http://[::1]/x"), Ok(("[::1]:80".into(), "/x".into())));
        assert!(url("https://h").is_err() && url("h:80").is_err() && url("http:///x").is_err());
        assert!(url("http://h/a b").is_err());
    }

    #[test]
    fn answers() {
        let plain = parse(b"HTTP/1.1 204 No\r\nA: b\r\n\r\nrest").unwrap();
        assert_eq!((plain.status, plain.body), (204, b"rest".to_vec()));
        let chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x\r\nde\r\n0\r\n\r\n";
        assert!(is_whole(chunked));
        assert_eq!(parse(chunked).unwrap().body, b"abcde");
        for hostile in
            [&b""[..], b"HTTP/1.1\r\n\r\n", b"HTTP/1.1 200\r\nTransfer-Encoding: chunked\r\n\r\nfffffffff\r\n"]
        {
            assert!(parse(hostile).is_err());
        }
    }

    #[test]
    fn a_server_that_says_nothing_is_not_waited_for() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = Url::parse(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
        let began = Instant::now();
        let error = get(&url, Duration::from_millis(200)).unwrap_err();
        assert!(matches!(error.kind(), io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock), "{error}");
        assert!(began.elapsed() < Duration::from_secs(5));
    }
}
