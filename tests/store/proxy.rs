//! A bad network and a bad day of the store: a proxy between the mover and the server that refuses, cuts, loses, stalls and slows down at random.

use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::killing::Chance;

/// What can become of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// `503 SlowDown`; nothing is done.
    SlowDown,
    /// `500 InternalError`; nothing is done.
    InternalError,
    /// The connection ends in the middle of the request.
    CutRequest,
    /// It is done, and the connection ends before anything of the answer.
    LoseAnswer,
    /// It is done, and the connection ends in the middle of the answer.
    CutAnswer,
    /// Silence in the middle of the answer, and then the rest.
    Stall,
    /// The answer comes in small pieces.
    SlowAnswer,
    /// It is done, and nothing of the answer comes, for as long as the client waits.
    Silence,
}

/// Those after which the next try may come soon.
pub const ALL: [Fault; 7] = [
    Fault::SlowDown,
    Fault::InternalError,
    Fault::CutRequest,
    Fault::LoseAnswer,
    Fault::CutAnswer,
    Fault::Stall,
    Fault::SlowAnswer,
];

pub struct Proxy {
    port: u16,
    shared: Arc<Shared>,
}

struct Shared {
    server: u16,
    faults: Vec<Fault>,
    /// Of a hundred requests, so many meet a fault.
    percent: u64,
    chance: Mutex<Chance>,
    is_over: AtomicBool,
    met: AtomicU64,
}

impl Proxy {
    /// Starts one before the server at a port.
    pub fn before(server: u16, faults: &[Fault], percent: u64, seed: u64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared {
            server,
            faults: faults.to_vec(),
            percent,
            chance: Mutex::new(Chance(seed)),
            is_over: AtomicBool::new(false),
            met: AtomicU64::new(0),
        });
        let accepting = shared.clone();
        std::thread::spawn(move || {
            for client in listener.incoming() {
                if accepting.is_over.load(Ordering::Relaxed) {
                    return;
                }
                let shared = accepting.clone();
                // A connection that breaks is what this is for.
                std::thread::spawn(move || client.and_then(|client| shared.serve(&client)));
            }
        });
        Self { port, shared }
    }

    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// How many requests have met a fault.
    pub fn met(&self) -> u64 {
        self.shared.met.load(Ordering::Relaxed)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::Relaxed);
        // So that it looks.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

impl Shared {
    fn serve(&self, client: &TcpStream) -> io::Result<()> {
        let mut requests = BufReader::new(client);
        let server = TcpStream::connect(("127.0.0.1", self.server))?;
        let mut answers = BufReader::new(&server);
        let ended = loop {
            let Some(head) = head(&mut requests)? else { break Ok(()) };
            match self.exchange(&head, &mut requests, client, &mut answers, &server) {
                Ok(true) => {}
                Ok(false) => break Ok(()),
                Err(error) => break Err(error),
            }
        };
        let _ = client.shutdown(Shutdown::Both);
        let _ = server.shutdown(Shutdown::Both);
        ended
    }

    /// One request and its answer. Says whether the connection goes on.
    fn exchange(
        &self,
        head: &[u8],
        requests: &mut impl BufRead,
        mut client: &TcpStream,
        answers: &mut impl BufRead,
        mut server: &TcpStream,
    ) -> io::Result<bool> {
        let fault = self.pick();
        let length = length(head).unwrap_or(0);
        match fault {
            Some(Fault::SlowDown | Fault::InternalError) => {
                io::copy(&mut requests.take(length), &mut io::sink())?;
                let (status, code) = if fault == Some(Fault::SlowDown) {
                    ("503 Slow Down", "SlowDown")
                } else {
                    ("500 Oops", "InternalError")
                };
                let body = format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code></Error>");
                // The answer to a HEAD has no body.
                let (sent, told) = if head.starts_with(b"HEAD ") { ("", 0) } else { (body.as_str(), body.len()) };
                write!(
                    client,
                    "HTTP/1.1 {status}\r\nContent-Type: application/xml\r\nContent-Length: {told}\r\n\r\n{sent}"
                )?;
                return Ok(true);
            }
            Some(Fault::CutRequest) => {
                server.write_all(head)?;
                io::copy(&mut requests.take(length / 2), &mut server)?;
                return Ok(false);
            }
            Some(Fault::LoseAnswer | Fault::CutAnswer | Fault::Stall | Fault::SlowAnswer | Fault::Silence) | None => {
                server.write_all(head)?;
                io::copy(&mut requests.take(length), &mut server)?;
            }
        }
        let Some(answer) = self::head(answers)? else { return Ok(false) };
        let has_body =
            !head.starts_with(b"HEAD ") && !answer.starts_with(b"HTTP/1.1 204") && !answer.starts_with(b"HTTP/1.1 304");
        let mut body = Vec::new();
        if has_body {
            read_body(&answer, answers, &mut body)?;
        }
        let half = body.len() / 2;
        match fault {
            Some(Fault::LoseAnswer) => return Ok(false),
            Some(Fault::Silence) => {
                // Until it goes away.
                io::copy(requests, &mut io::sink())?;
                return Ok(false);
            }
            Some(Fault::CutAnswer) => {
                let whole = [answer.as_slice(), &body].concat();
                client.write_all(&whole[..if body.is_empty() { whole.len() / 2 } else { answer.len() + half }])?;
                return Ok(false);
            }
            Some(Fault::Stall) => {
                client.write_all(&answer)?;
                client.write_all(&body[..half])?;
                std::thread::sleep(Duration::from_millis(200));
                client.write_all(&body[half..])?;
            }
            Some(Fault::SlowAnswer) => {
                client.write_all(&answer)?;
                for piece in body.chunks((body.len() / 20).max(1)) {
                    std::thread::sleep(Duration::from_millis(10));
                    client.write_all(piece)?;
                }
            }
            Some(Fault::SlowDown | Fault::InternalError | Fault::CutRequest) | None => {
                client.write_all(&answer)?;
                client.write_all(&body)?;
            }
        }
        Ok(true)
    }

    fn pick(&self) -> Option<Fault> {
        let mut chance = self.chance.lock().unwrap();
        if chance.below(100) >= self.percent {
            return None;
        }
        self.met.fetch_add(1, Ordering::Relaxed);
        let which = chance.below(self.faults.len() as u64);
        Some(self.faults[usize::try_from(which).unwrap()])
    }
}

/// The head of a message; nothing where the other side has ended.
fn head(input: &mut impl BufRead) -> io::Result<Option<Vec<u8>>> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if input.read_until(b'\n', &mut head)? == 0 {
            return if head.is_empty() { Ok(None) } else { Err(ErrorKind::UnexpectedEof.into()) };
        }
    }
    Ok(Some(head))
}

fn header(head: &[u8], name: &str) -> Option<String> {
    let text = String::from_utf8_lossy(head).into_owned();
    text.lines().find_map(|line| {
        let (this, value) = line.split_once(':')?;
        this.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
    })
}

fn length(head: &[u8]) -> Option<u64> {
    header(head, "content-length").map(|text| text.parse().unwrap())
}

/// The body of an answer, with the sizes of its chunks where it has some.
fn read_body(head: &[u8], input: &mut impl BufRead, body: &mut Vec<u8>) -> io::Result<()> {
    if header(head, "transfer-encoding").is_none_or(|coding| !coding.eq_ignore_ascii_case("chunked")) {
        input.take(length(head).unwrap_or(0)).read_to_end(body)?;
        return Ok(());
    }
    loop {
        let start = body.len();
        input.read_until(b'\n', body)?;
        let size = String::from_utf8_lossy(&body[start..]).trim().to_owned();
        let size = u64::from_str_radix(&size, 16).map_err(|_| ErrorKind::InvalidData)?;
        input.take(size + 2).read_to_end(body)?;
        if size == 0 {
            return Ok(());
        }
    }
}
