//! A tree of many small files between the example's two volumes, and somebody who looks at the target all the time.

use super::ground::{create, follow, log, shell, wait_until_ready};
use super::support::Scenario;

/// Files of the tree, of 1 KiB each, in folders of a thousand.
pub const FILES: usize = 9000;

/// Slow enough that the first thousands of files, which get their names at once, have theirs long before the last.
pub const SLOW: &str = "512K";

/// Looks at the target again and again, as its tenant does: what differs from the source where both have a file, then how many have arrived.
const LOOK: &str = r#"
while :; do
  diff -rq /source /target 2>/dev/null | grep -v '^Only in' | sed 's/^/DIFFERENT /'
  echo "ARRIVED $(find /target -name 'part-*' | wc -l)"
  sleep 0.3
done
"#;

/// Fills the source and starts looking.
pub async fn make(scenario: &Scenario) {
    let fill = format!(
        "cd /source; i=0; while [ $i -lt {FILES} ]; do \
         [ $((i % 1000)) = 0 ] && mkdir -p $((i/1000)); printf '%1024s' $i > $((i/1000))/part-$i; i=$((i+1)); done"
    );
    shell(scenario, "fill", &fill).await.expect("the source is filled");
    create(scenario, super::ground::busybox("look", LOOK, &["source", "target"])).await;
    wait_until_ready(scenario, "look").await;
}

/// Waits until a part of the tree shows at the target.
pub async fn wait_until_some_arrived(scenario: &Scenario) {
    follow(scenario, "look", "main", "files have arrived", |line| arrived(line).filter(|arrived| *arrived > 0)).await;
}

/// No look may have shown a file that was not whole, and some must have been taken while a part of the tree was there.
pub async fn assert_nothing_half(scenario: &Scenario) {
    let lines = log(scenario, "look", "main").await;
    let different: Vec<&String> = lines.iter().filter(|line| line.starts_with("DIFFERENT")).collect();
    assert!(different.is_empty(), "{different:?}");
    let looks: Vec<usize> = lines.iter().filter_map(|line| arrived(line)).collect();
    let meanwhile = looks.iter().filter(|arrived| **arrived > 0 && **arrived < FILES).count();
    assert!(meanwhile > 2, "the target was looked at {} times, but {meanwhile} times in the middle", looks.len());
}

fn arrived(line: &str) -> Option<usize> {
    line.strip_prefix("ARRIVED ")?.trim().parse().ok()
}
