//! `notify` against a server of the test.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};

use serde_json::Value;

use super::bench::{Bench, Done};

struct Request {
    head: String,
    body: Value,
}

fn receive(stream: &mut TcpStream) -> Request {
    let mut reader = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        assert_ne!(reader.read_line(&mut head).unwrap(), 0);
    }
    let head = head.to_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap().parse().unwrap();
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    Request { head, body: serde_json::from_slice(&body).unwrap() }
}

/// Runs `notify` against a server that answers once with `answer`.
fn notify(bench: &Bench, answer: &str, environment: &[(&str, &str)]) -> (Done, Request) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://user:secret@{}/events?key=secret", listener.local_addr().unwrap());
    let mut command = bench.command("notify");
    command.args(["--url", &url]).envs(environment.iter().copied());
    std::thread::scope(|scope| {
        let server = scope.spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let request = receive(&mut stream);
            write!(stream, "HTTP/1.1 {answer}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").unwrap();
            request
        });
        let done = bench.finish(command);
        (done, server.join().unwrap())
    })
}

#[test]
fn an_event_says_what_was_moved() {
    let bench = Bench::new().with_source();
    bench.run_all(&["upload"]);
    let environment = [
        ("RELOCATION_NAME", "acme"),
        ("RELOCATION_NAMESPACE", "prod"),
        ("RELOCATION_OWNER", "Ac\"me"),
        ("RELOCATION_STEP", "NOTIFYING"),
        ("RELOCATION_TASK", "mail"),
    ];
    let (done, request) = notify(&bench, "202 Accepted", &environment);
    assert_eq!(done.code, Some(0), "{done:?}");
    assert!(request.head.starts_with("post /events?key=secret http/1.1"), "{}", request.head);
    assert!(request.head.contains("content-type: application/cloudevents+json"), "{}", request.head);
    let event = request.body;
    assert_eq!(event["specversion"], "1.0");
    assert_eq!(event["id"], "11111111-2222-3333-4444-555555555555/NOTIFYING/mail");
    assert_eq!(event["source"], "/apis/relocation.dev/v1alpha1/namespaces/prod/relocations/acme");
    assert_eq!(event["type"], "dev.relocation.moved");
    assert_eq!(event["data"]["owner"], "Ac\"me");
    assert_eq!(event["data"]["moved"]["files"], 3);
    assert!(event["time"].as_str().unwrap().ends_with('Z'), "{event}");
    // The next attempt is the same event.
    let (_, again) = notify(&bench, "202 Accepted", &environment);
    assert_eq!(again.body["id"], event["id"]);
}

#[test]
fn an_ending_is_an_event_of_its_own() {
    let (done, request) = notify(
        &Bench::new(),
        "200 OK",
        &[
            ("RELOCATION_RESULT", "FAILURE"),
            ("RELOCATION_REASON", "Aborted"),
            ("RELOCATION_FAILURE_ID", "IMPORTING-1-0123abcd"),
        ],
    );
    assert_eq!(done.code, Some(0), "{done:?}");
    assert_eq!(request.body["type"], "dev.relocation.ended");
    assert_eq!(request.body["data"]["reason"], "Aborted");
    assert!(request.body["id"].as_str().unwrap().ends_with("/FAILURE/IMPORTING-1-0123abcd"));
}

#[test]
fn the_receivers_answer_decides_whether_it_is_tried_again() {
    for (answer, code) in [
        ("400 Bad Request", 65),
        ("404 Not Found", 65),
        ("302 Found\r\nlocation: /", 65),
        ("429 Too Many Requests", 1),
        ("500 Oops", 1),
        ("503 Busy", 1),
    ] {
        let (done, _) = notify(&Bench::new(), answer, &[]);
        done.assert_stopped(code, &["127.0.0.1:", &answer[..3]]);
        assert!(!done.message().contains("secret") && !done.stderr.contains("secret"), "{done:?}");
    }
}

#[test]
fn no_url_is_a_log_line() {
    for arguments in [&[][..], &["--url", ""]] {
        let bench = Bench::new();
        let mut command = bench.command("notify");
        command.args(arguments);
        let done = bench.finish(command);
        assert_eq!(done.code, Some(0));
        assert_eq!(done.stderr, "no URL is given, so nobody is told\n");
    }
}

#[test]
fn a_url_that_is_none_is_permanent_and_a_receiver_that_is_away_is_not() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let plain = TcpListener::bind("127.0.0.1:0").unwrap();
    let tls = format!("https://{}/", plain.local_addr().unwrap());
    let server = std::thread::spawn(move || {
        let (mut stream, _) = plain.accept().unwrap();
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").unwrap();
        let _ = stream.read(&mut [0; 1024]);
    });
    let refused = format!("http://{free}/");
    for (url, code) in [
        ("nonsense", 65),
        ("ftp://example.invalid/", 65),
        ("http://", 65),
        (refused.as_str(), 1),
        (tls.as_str(), 1),
        ("http://name.invalid/", 1),
    ] {
        let bench = Bench::new();
        let mut command = bench.command("notify");
        command.args(["--url", url]);
        let done = bench.finish(command);
        assert_eq!(done.code, Some(code), "{url}: {done:?}");
    }
    server.join().unwrap();
}

#[test]
fn sigterm_ends_it_at_once() {
    let bench = Bench::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut command = bench.command("notify");
    command.args(["--url", &format!("http://{}/", listener.local_addr().unwrap())]).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    let (mut stream, _) = listener.accept().unwrap();
    receive(&mut stream);
    assert!(Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap().success());
    assert_eq!(child.wait().unwrap().code(), Some(143));
}
