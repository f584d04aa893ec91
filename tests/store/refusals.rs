//! What is wrong at the source has its own sentence and exit code, too, and nothing is written.

use std::fs;

use crate::bench::snapshot;
use crate::moves::fill;
use crate::work::Work;

#[test]
fn a_prefix_of_the_source_without_permission_is_named() {
    let work = Work::from_store("none");
    fill(&work);
    let secret = "theReadersOwnSecret31";
    work.server.make_user("reader", secret);
    let policy = serde_json::json!({"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Principal": ["reader"], "Action": ["s3:ListBucket"], "Resource": ["arn:aws:s3:::source"]},
        {"Effect": "Allow", "Principal": ["reader"], "Action": ["s3:GetObject"], "Resource": ["arn:aws:s3:::source/data/a*"]},
    ]});
    let put = work.server.curl(&["-X", "PUT", "--data-binary", &policy.to_string()], "source?policy=");
    assert!(put.0 < 300, "{put:?}");
    let mut command = work.command("upload");
    command.args(["--concurrency", "1", "--exclude", "100*"]);
    command.env("AWS_ACCESS_KEY_ID", "reader").env("AWS_SECRET_ACCESS_KEY", secret);
    let done = work.finish(command);
    done.assert_stopped(
        65,
        &[
            "cannot read 'd/parts' of the source s3://source/data: the store does not allow it to these credentials (AccessDenied)",
            "s3:GetObject",
        ],
    );
    assert!(!format!("{done:?}").contains(secret));
    assert!(!work.bench.path("workspace/manifest.jsonl").exists());
}

#[test]
fn a_source_that_vanishes_before_the_import_is_named_and_the_target_kept() {
    let work = Work::to_store("none");
    fill(&work);
    work.run_all(&["upload"]);
    let folder = work.source_folder();
    fs::rename(&folder, work.bench.path("away")).unwrap();
    for step in ["validate", "import"] {
        work.run(step)
            .assert_stopped(65, &["as the source: no such file or directory; mount the source's volume there"]);
    }
    // An empty volume in its place is as bad.
    fs::create_dir(&folder).unwrap();
    work.run("import").assert_stopped(65, &["' of the source is missing, so it has changed since it was recorded"]);
    assert!(
        work.server.keys("target").iter().all(|key| key.ends_with(".relocation-directory") || key.contains("fence"))
    );
    fs::remove_dir(&folder).unwrap();
    fs::rename(work.bench.path("away"), &folder).unwrap();
    work.run_all(&["validate", "import", "postprocess"]);
    work.assert_same_files();
}

#[test]
fn a_bucket_that_vanishes_before_the_import_is_named_and_the_target_kept() {
    let work = Work::from_store("none");
    fill(&work);
    work.run_all(&["upload"]);
    let target = work.target_folder();
    fs::write(target.join("theirs"), "theirs").unwrap();
    let bucket = work.server.bucket("source");
    fs::rename(&bucket, work.bench.path("away")).unwrap();
    let cause = "cannot use the source s3://source/data: the store has no such bucket; make the bucket";
    work.run("validate").assert_stopped(65, &[cause]);
    work.run("import").assert_stopped(65, &[cause]);
    let files = snapshot(&target).into_iter().filter(|(_, thing)| thing.kind == "file");
    assert_eq!(files.map(|(path, _)| path).collect::<Vec<_>>(), [b"theirs"]);
    fs::rename(work.bench.path("away"), &bucket).unwrap();
    fs::remove_file(target.join("theirs")).unwrap();
    work.run_all(&["validate", "import", "postprocess"]);
    work.assert_same_files();
}
