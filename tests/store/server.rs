//! A versitygw of a test's own: an S3 server whose buckets are folders, so that what it holds can be read without it.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

pub const KEY: &str = "rootkey";
/// Distinctive, so that a search for it finds nothing else.
pub const SECRET: &str = "rootSecretThatNobodyShows7141";

/// Where the server keeps older versions, if it does, and the bucket that has some.
const VERSIONS: &str = "versions";

pub struct Server {
    root: TempDir,
    port: u16,
    child: Child,
}

impl Server {
    /// Starts one below `parent`, with the buckets `source` and `target`.
    pub fn start_in(parent: &Path) -> Self {
        Self::start_with(parent, &["data", "users"])
    }

    /// The same with one more bucket, `versions`, that keeps the versions of its objects.
    #[allow(dead_code)] // the benchmark has no versions
    pub fn start_with_versions_in(parent: &Path) -> Self {
        let server = Self::start_with(parent, &["data", "users", VERSIONS]);
        server.make_bucket(VERSIONS);
        let enabled = "<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>";
        let (status, body) = server.curl(&["-X", "PUT", "--data", enabled], "versions?versioning=");
        assert_eq!(status, 200, "{body}");
        server
    }

    fn start_with(parent: &Path, folders: &[&str]) -> Self {
        let root = TempDir::new_in(parent).unwrap();
        for name in folders {
            fs::create_dir(root.path().join(name)).unwrap();
        }
        let (port, child) = start(root.path());
        let server = Self { root, port, child };
        for bucket in ["source", "target"] {
            server.make_bucket(bucket);
        }
        server
    }

    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// Whether a folder is one of its own, that it makes when an object needs it.
    pub fn has_made(&self, folder: &Path) -> bool {
        folder.starts_with(self.root.path())
    }

    /// What a bucket holds, as files.
    pub fn bucket(&self, name: &str) -> PathBuf {
        self.root.path().join("data").join(name)
    }

    pub fn make_bucket(&self, name: &str) {
        assert_eq!(self.curl(&["-X", "PUT"], name).0, 200, "{name}");
    }

    /// A user who may do nothing but what a policy says.
    pub fn make_user(&self, name: &str, secret: &str) {
        let status = Command::new(program())
            .args(["admin", "--access", KEY, "--secret", SECRET, "--endpoint-url", &self.endpoint()])
            .args(["create-user", "--access", name, "--secret", secret, "--role", "user"])
            .stdout(Stdio::null())
            .status();
        assert!(status.unwrap().success());
    }

    /// A request by curl, signed by the root user: status and body.
    pub fn curl(&self, arguments: &[&str], path: &str) -> (u16, String) {
        let output = Command::new("curl")
            .args(["-sS", "--aws-sigv4", "aws:amz:us-east-1:s3", "--user", &format!("{KEY}:{SECRET}")])
            .args(["-H", "x-amz-content-sha256: UNSIGNED-PAYLOAD", "-w", "\n%{http_code}"])
            .args(arguments)
            .arg(format!("{}/{path}", self.endpoint()))
            .output()
            .unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let (body, status) = text.rsplit_once('\n').unwrap();
        (status.parse().unwrap(), body.to_owned())
    }

    /// Puts an object there by curl.
    pub fn put(&self, path: &str, content: &str, headers: &[&str]) {
        let mut arguments = vec!["-X", "PUT", "--data-binary", content];
        for header in headers {
            arguments.extend(["-H", header]);
        }
        assert_eq!(self.curl(&arguments, path).0, 200, "{path}");
    }

    /// Puts every file below a folder there, by one curl.
    pub fn put_tree(&self, start: &str, folder: &Path) {
        let mut config = String::new();
        let mut open = vec![folder.to_owned()];
        while let Some(dir) = open.pop() {
            for entry in fs::read_dir(dir).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    open.push(path);
                    continue;
                }
                let key = path.strip_prefix(folder).unwrap().to_str().unwrap();
                let file = path.to_str().unwrap().replace('\\', "\\\\").replace('"', "\\\"");
                let url = format!("{}/{start}/{}", self.endpoint(), encoded(key));
                config.push_str(&request(&file, &url));
            }
        }
        let config_file = self.root.path().join("curl");
        fs::write(&config_file, config.trim_end_matches("next\n")).unwrap();
        let status = Command::new("curl").arg("--config").arg(config_file).status().unwrap();
        assert!(status.success());
    }

    /// The keys of a bucket, as the server lists them.
    pub fn keys(&self, bucket: &str) -> Vec<String> {
        let (status, body) = self.curl(&[], &format!("{bucket}?list-type=2"));
        assert_eq!(status, 200, "{body}");
        between(&body, "<Key>", "</Key>")
    }

    /// Keys of uploads that were never completed.
    pub fn unfinished(&self, bucket: &str) -> Vec<String> {
        between(&self.curl(&[], &format!("{bucket}?uploads=")).1, "<Key>", "</Key>")
    }

    /// What the server calls these uploads.
    pub fn unfinished_ids(&self, bucket: &str) -> Vec<String> {
        between(&self.curl(&[], &format!("{bucket}?uploads=")).1, "<UploadId>", "</UploadId>")
    }

    /// How many requests the server has answered, by its access log.
    #[allow(dead_code)] // the benchmark counts them
    pub fn all_requests(&self) -> usize {
        fs::read_to_string(self.root.path().join("requests")).unwrap_or_default().lines().count()
    }

    /// How many requests with this method the server has answered for a path that starts so.
    ///
    /// By its access log, which has operations instead of methods. What it says on standard output is written piece by piece,
    /// and pieces of two requests mix.
    pub fn requests(&self, method: &str, start: &str) -> usize {
        let operations = match method {
            "PUT" => ["s3_PutObject", "s3_UploadPart"],
            "GET" => ["s3_GetObject", "s3_ListObjectsV2"],
            other => panic!("say here which operations are {other}"),
        };
        let log = fs::read_to_string(self.root.path().join("requests")).unwrap();
        let is_one = |line: &&str| {
            let mut words = line.split(' ');
            words.any(|word| operations.contains(&word)) && words.any(|word| word.starts_with(start))
        };
        log.lines().filter(is_one).count()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub fn program() -> std::ffi::OsString {
    std::env::var_os("VERSITYGW").unwrap_or_else(|| "versitygw".into())
}

/// Starts the server on a port that is free, and tries another one if somebody else was faster.
fn start(root: &Path) -> (u16, Child) {
    for _ in 0..10 {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let log = fs::File::create(root.join("log")).unwrap();
        let mut command = Command::new(program());
        command
            .args(["--port", &format!("127.0.0.1:{port}"), "--access", KEY, "--secret", SECRET, "--keep-alive"])
            .arg("--access-log")
            .arg(root.join("requests"))
            .arg("--iam-dir")
            .arg(root.join("users"))
            .arg("posix");
        let versions = root.join(VERSIONS);
        if versions.exists() {
            command.arg("--versioning-dir").arg(versions);
        }
        let mut child = command
            .arg(root.join("data"))
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .expect("versitygw starts; set VERSITYGW to the program, as `make test-store` does");
        let started = Instant::now();
        loop {
            if child.try_wait().unwrap().is_some() {
                break;
            }
            // Its own words say that it is ours that answers at this port.
            if fs::read_to_string(root.join("log")).unwrap().contains("service listening on")
                && std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()
            {
                return (port, child);
            }
            assert!(started.elapsed() < Duration::from_mins(1), "versitygw does not start");
            std::thread::yield_now();
        }
    }
    panic!("versitygw found no free port");
}

/// One upload of a curl configuration.
fn request(file: &str, url: &str) -> String {
    let options = [
        ("upload-file", file),
        ("url", url),
        ("aws-sigv4", "aws:amz:us-east-1:s3"),
        ("user", &format!("{KEY}:{SECRET}")),
        ("header", "x-amz-content-sha256: UNSIGNED-PAYLOAD"),
        ("output", "/dev/null"),
    ];
    let lines: Vec<String> = options.iter().map(|(name, value)| format!("{name} = \"{value}\"\n")).collect();
    lines.concat() + "fail\nsilent\nshow-error\nnext\n"
}

/// A key as a path of a URL.
pub fn encoded(key: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte);
    key.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

pub fn between(text: &str, open: &str, close: &str) -> Vec<String> {
    text.split(open).skip(1).map(|rest| rest.split(close).next().unwrap().to_owned()).collect()
}
