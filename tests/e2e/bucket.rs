//! The S3 server of the examples, with a log of every request and somebody who looks at the target all the time.
//!
//! The server keeps an object as a file, so its folder shows what a tenant sees, without asking the server.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::ground::{Example, create, follow, log, wait_until_ready};
use super::support::Scenario;

/// Objects that are moved, and bytes of each.
pub const OBJECTS: usize = 200;
const SIZE: u64 = 65536;
/// All of them.
pub const BYTES: u64 = OBJECTS as u64 * SIZE;

/// Slow enough that a kill meets IMPORTING in the middle: all of the data take twenty seconds.
pub const SLOW: &str = "640K";

/// What other people have at the target.
pub const THEIRS: &str = "./data/theirs ./elsewhere";

/// Fills a folder, each file with a content of its own.
pub fn fill(folder: &str) -> String {
    format!("i=0; while [ $i -lt {OBJECTS} ]; do yes \"part $i\" | head -c {SIZE} > {folder}/part-$i; i=$((i+1)); done")
}

/// Looks at the target again and again: each line says what differs from the source where both have a file,
/// then how many files have arrived, what all of them are when they are few, and what the network of the server has received.
const LOOK: &str = r#"
while :; do
  diff -rq /data/source/data /data/target/data 2>/dev/null | grep -v '^Only in' | sed 's/^/DIFFERENT /'
  cd /data/target
  echo "RECEIVED $(cat /sys/class/net/eth0/statistics/rx_bytes) ARRIVED $(find data -name 'part-*' 2>/dev/null | wc -l)" \
    "HOLDS $(echo $(find . -type f ! -path './.sgwtmp/*' | sort | head -n 8))"
  sleep 0.3
done
"#;

/// One look at the target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Look {
    pub received: u64,
    pub arrived: usize,
    pub holds: String,
}

/// Starts the example's server: its target has files of other people, its source what [`fill`] makes.
pub async fn serve(scenario: &Scenario, example: Example) {
    for mut object in example.objects("s3.yaml") {
        if object["kind"] == "Pod" {
            watch_over(&mut object);
        }
        create(scenario, object).await;
    }
    wait_until_ready(scenario, "s3").await;
}

fn watch_over(pod: &mut Value) {
    let init = format!(
        "set -e; mkdir -p /data/source/data /data/target/data; {}; echo theirs > /data/target/data/theirs; echo theirs > /data/target/elsewhere",
        fill("/data/source/data")
    );
    pod["spec"]["initContainers"][0]["command"] = json!(["sh", "-c", init]);
    for container in pod["spec"]["containers"].as_array_mut().expect("containers") {
        if container["name"] == "main" {
            // One line a request, in Amazon's format. (What --quiet silences is written piece by piece, and pieces of two requests mix.)
            container["args"].as_array_mut().expect("arguments").insert(0, json!("--access-log=stdout"));
        } else {
            container["command"] = json!(["sh", "-c", LOOK]);
        }
    }
}

/// Waits until the server has taken so many objects, and not one more than it takes to see that.
pub async fn wait_until_it_has(scenario: &Scenario, objects: usize) {
    let what = format!("{objects} objects have arrived");
    follow(scenario, "s3", "look", &what, |line| look(line).filter(|look| look.arrived >= objects)).await;
}

/// Waits until the target holds what other people put there, and nothing else.
pub async fn wait_until_only_theirs(scenario: &Scenario) {
    follow(scenario, "s3", "look", "the target holds theirs alone", |line| {
        look(line).filter(|look| look.holds == THEIRS)
    })
    .await;
}

fn look(line: &str) -> Option<Look> {
    let rest = line.strip_prefix("RECEIVED ")?;
    let (received, rest) = rest.split_once(" ARRIVED ")?;
    let (arrived, holds) = rest.split_once(" HOLDS")?;
    Some(Look { received: received.parse().ok()?, arrived: arrived.parse().ok()?, holds: holds.trim().to_owned() })
}

/// Everything that was seen at the target since the beginning: no look may have shown a file that was not whole,
/// and some must have been taken while a part of the files was there.
pub async fn assert_nothing_half(scenario: &Scenario) -> Vec<Look> {
    let lines = log(scenario, "s3", "look").await;
    let different: Vec<&String> = lines.iter().filter(|line| line.starts_with("DIFFERENT")).collect();
    assert!(different.is_empty(), "{different:?}");
    let looks: Vec<Look> = lines.iter().filter_map(|line| look(line)).collect();
    let meanwhile = looks.iter().filter(|look| look.arrived > 0 && look.arrived < OBJECTS).count();
    assert!(meanwhile > 2, "the target was looked at {} times, but {meanwhile} times in the middle", looks.len());
    looks
}

/// How often each object of the target was sent, whatever the server answered.
pub async fn uploads(scenario: &Scenario) -> BTreeMap<String, usize> {
    let mut uploads = BTreeMap::new();
    for line in log(scenario, "s3", "main").await {
        // owner bucket [time] address requester id operation key uri status …
        let words: Vec<&str> = line.split(' ').collect();
        let Some(operation) = words.iter().position(|word| ["s3_PutObject", "s3_UploadPart"].contains(word)) else {
            continue;
        };
        let key = words.get(operation + 1).expect("a key after the operation");
        if words[1] == "target" && key.starts_with("data/part-") {
            *uploads.entry((*key).to_owned()).or_insert(0) += 1;
        }
    }
    uploads
}
