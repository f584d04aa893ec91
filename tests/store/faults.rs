//! Everything that can be wrong with an end has its own sentence and exit code, and the state before is kept.

use std::fs;
use std::process::Command;

use crate::bench::{Bench, Done};
use crate::moves::fill;
use crate::server::SECRET;
use crate::work::{Work, noise};

/// A work whose source has been read, and nothing written.
fn uploaded(work: Work) -> Work {
    fill(&work);
    work.run_all(&["upload"]);
    work
}

fn run_with(work: &Work, step: &str, change: impl FnOnce(&mut Command)) -> Done {
    let mut command = work.command(step);
    change(&mut command);
    work.finish(command)
}

#[test]
fn wrong_credentials_are_named_and_not_shown() {
    let work = uploaded(Work::to_store("none"));
    for (variable, value, code) in [
        ("AWS_ACCESS_KEY_ID", "nobodysKey31", "InvalidAccessKeyId"),
        ("AWS_SECRET_ACCESS_KEY", "wrongSecret2718", "SignatureDoesNotMatch"),
    ] {
        for step in ["preprocess", "import", "postprocess"] {
            let done = run_with(&work, step, |command| {
                command.env(variable, value);
            });
            done.assert_stopped(
                65,
                &[
                    "cannot use the target s3://target/some/prefix: the store does not accept the credentials",
                    code,
                    "correct the credentials in the Secret that the plan's template mounts, then recover",
                ],
            );
            let said = format!("{} {} {}", done.stdout, done.stderr, done.result);
            assert!(!said.contains(value), "{said}");
        }
    }
    assert_eq!(work.server.keys("target"), [""; 0]);
}

#[test]
fn a_bucket_that_does_not_exist_is_named() {
    let mut work = uploaded(Work::to_store("none"));
    // One is not there, the other is no name of a bucket.
    for bucket in ["nowhere", "b"] {
        work.target = format!("s3://{bucket}/x");
        let sentence = format!("cannot use the target s3://{bucket}/x: the store has no such bucket; make the bucket");
        for step in ["preprocess", "import", "postprocess"] {
            work.run(step).assert_stopped(65, &[&sentence]);
        }
    }
    let mut work = Work::from_store("none");
    work.source = "s3://nowhere".to_owned();
    work.run("upload").assert_stopped(65, &["cannot use the source s3://nowhere: the store has no such bucket"]);
}

#[test]
fn a_prefix_without_permission_is_named() {
    let work = uploaded(Work::to_store("none"));
    let user_secret = "theUsersOwnSecret77";
    work.server.make_user("limited", user_secret);
    let policy = serde_json::json!({"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Principal": ["limited"], "Action": ["s3:ListBucket"], "Resource": ["arn:aws:s3:::target"]},
        {"Effect": "Allow", "Principal": ["limited"], "Action": ["s3:*"], "Resource": ["arn:aws:s3:::target/elsewhere/*"]},
    ]});
    let put = work.server.curl(&["-X", "PUT", "--data-binary", &policy.to_string()], "target?policy=");
    assert!(put.0 < 300, "{put:?}");
    for step in ["preprocess", "import"] {
        let done = run_with(&work, step, |command| {
            command.env("AWS_ACCESS_KEY_ID", "limited").env("AWS_SECRET_ACCESS_KEY", user_secret);
        });
        done.assert_stopped(
            65,
            &[
                "of the target s3://target/some/prefix: the store does not allow it to these credentials (AccessDenied)",
                "s3:PutObject",
            ],
        );
        assert!(!done.stderr.contains(user_secret));
    }
    assert_eq!(work.server.keys("target"), [""; 0]);
}

#[test]
fn a_server_that_is_not_there_is_tried_again_later() {
    let work = Work::from_store("none");
    // Nobody listens on the port that no service has.
    let done = run_with(&work, "upload", |command| {
        command.env("AWS_ENDPOINT_URL", "http://127.0.0.1:1");
    });
    done.assert_stopped(
        1,
        &["cannot list '.' of the source s3://source/data: the store could not do it now", "tries again"],
    );
}

#[test]
fn an_endpoint_without_encryption_that_nobody_has_allowed_is_final() {
    let work = Work::from_store("none");
    let done = run_with(&work, "upload", |command| {
        command.env_remove("AWS_ALLOW_HTTP");
    });
    done.assert_stopped(
        65,
        &[
            "cannot list '.' of the source s3://source/data: the store cannot do it: its endpoint is plain HTTP",
            "AWS_ALLOW_HTTP",
            "correct the settings of the store in the plan's template",
        ],
    );
}

#[test]
fn an_object_that_changes_or_vanishes_after_it_was_recorded_is_named() {
    let work = uploaded(Work::between_stores("none"));
    work.server.put("source/data/a/one", "eno", &[]);
    work.server.curl(&["-X", "DELETE"], "source/data/empty");
    let done = work.run("validate");
    assert_eq!(done.verdict(), "INVALID");
    assert!(done.message().contains("2 problems, the first: 'a/one' of the source was written to"), "{done:?}");
    work.run("import")
        .assert_stopped(65, &["'a/one' of the source has changed, so it has changed since it was recorded"]);
    assert!(!work.server.keys("target").contains(&"a/one".to_owned()), "nothing of it was written");
    // The first step again takes the source as it is now.
    work.run_all(&["upload", "validate", "import", "postprocess"]);
}

#[test]
fn what_comes_to_a_bucket_after_it_was_recorded_is_named_even_if_it_is_empty() {
    let work = Work::from_store("none");
    fill(&work);
    // As a console makes a folder.
    work.server.put("source/data/shown/", "", &[]);
    work.run_all(&["upload"]);
    assert_eq!(work.run("validate").verdict(), "VALID");
    work.server.put("source/data/new", "", &[]);
    let done = work.run("validate");
    assert_eq!((done.verdict(), done.count("extra")), ("INVALID", 1), "{done:?}");
    assert!(done.message().contains("'new' has come to the source since it was recorded"), "{done:?}");
}

#[test]
fn a_link_in_a_bucket_that_points_elsewhere_after_it_was_recorded_is_named() {
    let work = Work::from_store("none");
    fill(&work);
    let link = |target: &str| work.server.put("source/data/to-link", target, &["x-amz-meta-relocationtype: link"]);
    link("a/one");
    work.run_all(&["upload"]);
    assert_eq!(work.run("validate").verdict(), "VALID");
    link("a/deep/er/three");
    let done = work.run("validate");
    assert_eq!((done.verdict(), done.count("different")), ("INVALID", 1), "{done:?}");
    assert!(done.message().contains("'to-link' of the source was written to since it was recorded"), "{done:?}");
}

#[test]
fn a_file_that_changes_after_it_was_recorded_is_named() {
    let work = uploaded(Work::to_store("none"));
    let path = work.source_folder().join("a/one");
    let before = fs::metadata(&path).unwrap().modified().unwrap();
    // The same size and the same time: only the change time tells, and the digest.
    fs::write(&path, "eno").unwrap();
    fs::File::open(&path).unwrap().set_modified(before).unwrap();
    let done = work.run("import");
    done.assert_stopped(65, &["'a/one' of the source has other content than the manifest says, so it has changed"]);
    assert!(work.server.keys("target").iter().all(|key| !key.ends_with("a/one")));
    fs::write(&path, "longer").unwrap();
    work.run("import").assert_stopped(65, &["'a/one' of the source has another size"]);
    fs::remove_file(&path).unwrap();
    work.run("import").assert_stopped(65, &["'a/one' of the source is missing"]);
    assert_eq!(work.run("validate").verdict(), "INVALID");
}

#[test]
fn a_cycle_of_links_is_moved_and_not_followed() {
    let work = Work::to_store("none");
    let root = work.source_folder();
    fs::create_dir(root.join("a")).unwrap();
    std::os::unix::fs::symlink("../a", root.join("a/cycle-link")).unwrap();
    std::os::unix::fs::symlink("self-link", root.join("self-link")).unwrap();
    fs::write(root.join("a/file"), "file").unwrap();
    let done = work.move_all();
    assert_eq!((done.count("files"), done.count("links")), (1, 2));
}

#[test]
fn a_source_that_is_not_said_again_is_asked_for() {
    let work = uploaded(Work::to_store("none"));
    for step in ["validate", "import"] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_relocation-mover"));
        command.arg("--termination-log").arg(work.bench.path("result")).arg(step).arg("--workspace");
        command.arg(work.bench.path("workspace"));
        if step == "import" {
            command.args(["--target", &work.target]);
        }
        command.env_clear();
        work.finish(command)
            .assert_stopped(65, &["nothing was staged (upload --staging=none), so this step needs the same --source"]);
    }
}

#[test]
fn credentials_in_an_address_are_refused_and_not_shown() {
    let mut work = Work::to_store("none");
    work.source = format!("s3://key:{SECRET}@bucket");
    // A command line that does not parse names no file for the result, so it is on standard error and output.
    let done = work.run("upload");
    assert_eq!(done.code, Some(65), "{done:?}");
    assert!(
        done.stderr.contains("the command line is wrong") && done.stderr.contains("do not belong there"),
        "{done:?}"
    );
}

#[test]
fn an_object_that_is_also_a_folder_needs_a_store() {
    // versitygw keeps objects as files, so it cannot hold such keys; a target tree meets the same by a file in the way.
    let work = uploaded(Work::from_store("none"));
    fs::write(work.target_folder().join("d"), "a file").unwrap();
    for step in ["preprocess", "import"] {
        work.run(step).assert_stopped(65, &["'d' exists at the target and is of another type"]);
    }
}

/// Runs steps in a mount namespace of its own, where the server's folder is small.
#[test]
fn a_store_that_fills_up_keeps_what_it_has() {
    let bench = Bench::new();
    for number in 0..40 {
        bench.write(&format!("source/{number:02}"), noise(256 << 10, number + 1));
    }
    let script = r#"
        mkdir -p "$ROOT/data" "$ROOT/users" "$ROOT/metadata"
        mount -t tmpfs -o size=6m tmpfs "$ROOT/data"
        mkdir "$ROOT/data/target"
        for port in $PORTS; do
            "$VERSITYGW" --port "127.0.0.1:$port" --access k --secret s --iam-dir "$ROOT/users" posix --sidecar "$ROOT/metadata" "$ROOT/data" > "$ROOT/log" 2>&1 &
            server=$!
            until grep -q 'service listening on' "$ROOT/log" || ! kill -0 "$server" 2>/dev/null; do :; done
            if kill -0 "$server" 2>/dev/null; then break; fi
        done
        trap 'kill "$server"' EXIT
        export AWS_ENDPOINT_URL="http://127.0.0.1:$port"
        step() {
            step=$1; shift; code=0
            "$MOVER" --termination-log "$ROOT/result" "$step" --workspace "$ROOT/workspace" "$@" >/dev/null 2>&1 || code=$?
            printf '%s %s\n' "$code" "$(cat "$ROOT/result")"
        }
        step upload --staging=none --source "$ROOT/source"
        step import --source "$ROOT/source" --target s3://target/x
        mount -o remount,size=64m "$ROOT/data"
        step import --source "$ROOT/source" --target s3://target/x
        step postprocess --target s3://target/x
    "#;
    let ports: Vec<String> = (0..5)
        .map(|_| std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string())
        .collect();
    let mut command = Command::new("unshare");
    command.arg("--mount");
    if !crate::bench::is_root() {
        command.arg("--map-root-user");
    }
    command.args(["sh", "-euc", script]);
    command.env("ROOT", bench.root.path()).env("PORTS", ports.join(" ")).env("VERSITYGW", crate::server::program());
    command.env("MOVER", env!("CARGO_BIN_EXE_relocation-mover")).env("AWS_ALLOW_HTTP", "true");
    command.env("AWS_ACCESS_KEY_ID", "k").env("AWS_SECRET_ACCESS_KEY", "s").env("AWS_REGION", "us-east-1");
    command.env("RELOCATION_UUID", "full").env("RELOCATION_FENCING_TOKEN", "1");
    let output = command.output().unwrap();
    let stdout = String::from_utf8(output.stdout).unwrap();
    let steps: Vec<(&str, serde_json::Value)> = stdout
        .lines()
        .filter_map(|line| line.split_once(' '))
        .map(|(code, result)| (code, serde_json::from_str(result).unwrap()))
        .collect();
    assert_eq!(steps.len(), 4, "{stdout} {}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(steps[0].0, "0", "{steps:?}");
    let message = steps[1].1["message"].as_str().unwrap();
    let (cause, advice) = message.split_once("; ").unwrap();
    assert_eq!(steps[1].0, "65", "{message}");
    // Which file meets it depends on the others that are on their way.
    assert!(
        cause.starts_with("cannot write '")
            && cause.ends_with("' of the target s3://target/x: the store has no room left (InsufficientStorage)"),
        "{message}"
    );
    assert_eq!(
        advice,
        "raise the store's quota or free room there, then recover: what has been written is kept and not written again"
    );
    assert_eq!(steps[2].0, "0", "{steps:?}");
    let count = |name: &str| steps[2].1["counts"][name].as_u64().unwrap();
    assert!(count("alreadyThere") > 0 && count("alreadyThere") + count("written") == 40, "{steps:?}");
    assert_eq!(steps[3].0, "0", "{steps:?}");
}
