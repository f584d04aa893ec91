//! What holds for S3 holds for Google and Azure, tried with an emulator of each (see [`crate::google`], [`crate::azurite`]).
//! What has arrived is judged by the emulator's own answers and by `diff`.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::azurite::{self, Azurite};
use crate::bench::{self, Bench, Done, name, snapshot};
use crate::google::{self, Google};
use crate::killing::{Chance, run_and_kill};
use crate::proxy::{ALL, Proxy};
use crate::work::{command_between, noise};

/// What is said about an object: its headers, and other metadata as `meta-NAME`.
pub type Said = BTreeMap<String, String>;

/// A cloud of a test's own.
enum Cloud {
    Google(Google),
    Azure(Azurite),
}

#[derive(Debug, Clone, Copy)]
enum Which {
    Google,
    Azure,
}

const BOTH: [Which; 2] = [Which::Google, Which::Azure];
const STEPS: [&str; 5] = ["upload", "preprocess", "validate", "import", "postprocess"];

impl Cloud {
    fn put(&self, bucket: &str, key: &str, content: &[u8], said: &[(&str, &str)]) {
        let said = said.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        match self {
            Self::Google(google) => google.put(bucket, key, content, &said),
            Self::Azure(azure) => azure.put(bucket, key, content, &said),
        }
    }

    fn remove(&self, bucket: &str, key: &str) {
        match self {
            Self::Google(google) => google.remove(bucket, key),
            Self::Azure(azure) => azure.remove(bucket, key),
        }
    }

    fn objects(&self, bucket: &str) -> BTreeMap<String, Said> {
        match self {
            Self::Google(google) => google.objects(bucket),
            Self::Azure(azure) => azure.objects(bucket),
        }
    }

    fn keys(&self, bucket: &str) -> Vec<String> {
        self.objects(bucket).into_keys().collect()
    }

    fn read(&self, bucket: &str, key: &str) -> Vec<u8> {
        match self {
            Self::Google(google) => google.read(bucket, key),
            Self::Azure(azure) => azure.read(bucket, key),
        }
    }

    /// What users set in the environment.
    fn variables(&self) -> Vec<(&'static str, String)> {
        let text = str::to_owned;
        match self {
            Self::Google(google) => vec![
                ("GOOGLE_BASE_URL", format!("http://127.0.0.1:{}", google.port())),
                ("GOOGLE_BEARER_TOKEN", text(google::TOKEN)),
                ("GOOGLE_ALLOW_HTTP", text("true")),
            ],
            Self::Azure(azure) => vec![
                ("AZURE_STORAGE_ENDPOINT", azure.endpoint()),
                ("AZURE_STORAGE_ACCOUNT_NAME", text(azurite::ACCOUNT)),
                ("AZURE_STORAGE_ACCOUNT_KEY", text(azurite::SECRET)),
                ("AZURE_ALLOW_HTTP", text("true")),
            ],
        }
    }
}

/// A move to, from or within a cloud.
struct Journey {
    bench: Bench,
    cloud: Cloud,
    source: String,
    target: String,
    staging: &'static str,
    uuid: &'static str,
    /// Said in the environment, too.
    variables: Vec<(&'static str, String)>,
}

impl Journey {
    fn new(which: Which, staging: &'static str) -> Self {
        let bench = Bench::new();
        let cloud = match which {
            Which::Google => Cloud::Google(Google::start_in(bench.root.path())),
            Which::Azure => Cloud::Azure(Azurite::start_in(bench.root.path())),
        };
        let source = bench.path("source").to_str().unwrap().to_owned();
        let uuid = "11111111-2222-3333-4444-555555555555";
        Self {
            target: address(which, "target/some/prefix"),
            bench,
            cloud,
            source,
            staging,
            uuid,
            variables: Vec::new(),
        }
    }

    /// The way back: another relocation, from where the first went, into an empty folder.
    fn back(self) -> Self {
        let workspace = self.bench.path("workspace");
        fs::remove_dir_all(&workspace).unwrap();
        fs::create_dir(workspace).unwrap();
        let target = self.bench.path("target").to_str().unwrap().to_owned();
        let uuid = "66666666-7777-8888-9999-000000000000";
        Self { source: self.target, target, staging: "none", uuid, ..self }
    }

    fn command(&self, step: &str) -> Command {
        let mut command = command_between(&self.bench, step, &self.source, &self.target, self.staging);
        command.env("RELOCATION_UUID", self.uuid).env("TMPDIR", self.bench.root.path());
        command.envs(self.cloud.variables()).envs(self.variables.clone());
        command
    }

    fn run(&self, step: &str) -> Done {
        self.finish(self.command(step))
    }

    fn run_with(&self, step: &str, arguments: &[&str]) -> Done {
        let mut command = self.command(step);
        command.args(arguments);
        self.finish(command)
    }

    #[track_caller]
    fn finish(&self, command: Command) -> Done {
        let done = self.bench.finish(command);
        let said = format!("{} {} {}", done.stdout, done.stderr, done.result);
        assert!(!said.contains(google::TOKEN) && !said.contains(azurite::SECRET), "{said}");
        done
    }

    #[track_caller]
    fn run_all(&self, steps: &[&str]) -> Done {
        bench::run_all(steps, |step| self.run(step))
    }

    #[track_caller]
    fn move_all(&self) -> Done {
        bench::move_all(|step| self.run(step))
    }

    /// Moves everything, and starts a step again as long as it says that this may help. The last time without what is said in the environment, too.
    #[track_caller]
    fn move_as_the_operator_does(mut self) -> Self {
        for step in STEPS {
            let mut tries = 0;
            loop {
                self.bench.token += 1;
                let mut command = self.command(step);
                if tries == 4 {
                    command.envs(self.cloud.variables());
                }
                let done = self.finish(command);
                assert!(matches!(done.code, Some(0 | 1)) && tries < 5, "{step}: {done:?}");
                if done.code == Some(0) {
                    assert!(step != "validate" || done.verdict() == "VALID", "{done:?}");
                    break;
                }
                assert!(done.message().contains("the next attempt"), "{step}: {done:?}");
                tries += 1;
            }
        }
        self
    }

    /// Adds a file of five parts, and imports slowly until the cloud has the first of them and the journal says so.
    fn import_until_a_part_is_there(&self) -> Child {
        fs::write(self.bench.path("source/large"), noise(40 << 20, 3)).unwrap();
        self.run_all(&["upload"]);
        let mut command = self.command("import");
        command.args(["--bandwidth", "5M", "--concurrency", "2"]).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut import = command.spawn().unwrap();
        let start = Instant::now();
        let journal = || fs::read_to_string(self.bench.path("workspace/import.journal.jsonl")).unwrap_or_default();
        while !journal().contains("\n{\"part\"") {
            assert!(start.elapsed() < Duration::from_mins(1), "no part is sent");
            assert!(import.try_wait().unwrap().is_none(), "it is over too soon");
        }
        import
    }

    /// Writes what the emulator has of files below the target's prefix into a folder of their names.
    fn dump(&self) -> PathBuf {
        let folder = self.bench.path("dump");
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir(&folder).unwrap();
        for (key, said) in self.cloud.objects("target") {
            let Some(path) = key.strip_prefix("some/prefix/") else { continue };
            if said.contains_key("meta-relocationtype") || path == "theirs" {
                continue;
            }
            let path = folder.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, self.cloud.read("target", &key)).unwrap();
        }
        folder
    }
}

fn address(which: Which, path: &str) -> String {
    match which {
        Which::Google => format!("gs://{path}"),
        Which::Azure => format!("az://{path}"),
    }
}

/// Fails where two folders differ, by `diff`.
#[track_caller]
fn assert_same(one: &Path, other: &Path, options: &[&str]) {
    let output = Command::new("diff").arg("-r").args(options).args([one, other]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

/// Small files with names of every kind, links, empty folders, and one file that is more than a part in either direction.
fn fill(journey: &Journey) {
    fill_with(journey, 70 << 20);
}

fn fill_with(journey: &Journey, large: usize) {
    let root = journey.bench.path("source");
    let write = |path: &str, content: &[u8]| {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    };
    write("a/one", b"one");
    write("a-b", b"sorts before a/one");
    write("a/two.css", b"two two");
    write("a/deep/er/three", b"3");
    write("empty", b"");
    write("100%25 & <b> 'q' \"z\" + ~ #? ä", b"a name that needs escaping somewhere");
    write("large", &noise(large, 7));
    fs::create_dir_all(root.join("nothing/in/it")).unwrap();
    symlink("../away", root.join("a/to-link")).unwrap();
    fs::set_permissions(root.join("a/one"), fs::Permissions::from_mode(0o4711)).unwrap();
}

#[test]
fn a_tree_arrives_in_a_cloud_and_comes_back_as_it_was() {
    for which in BOTH {
        let there = Journey::new(which, "copy");
        fill(&there);
        let done = there.move_all();
        assert_eq!((done.count("files"), done.count("links"), done.count("extra")), (7, 1, 0), "{done:?}");
        // The emulator's own list.
        let objects = there.cloud.objects("target");
        assert_eq!(objects.len(), 7 + 1 + 6, "{objects:?}");
        for (key, mode) in [("a/one", "4711"), ("large", "0644")] {
            let said = &objects[&format!("some/prefix/{key}")];
            assert_eq!(said["meta-relocationmode"], mode, "{said:?}");
        }
        assert_same(
            &there.bench.path("source"),
            &there.dump(),
            &["--no-dereference", "-x", "nothing", "-x", "to-link"],
        );
        // Names that a key cannot hold, once what the emulator has was compared by its names.
        fs::write(there.bench.path("source").join(name(b"odd\x01\xff 100%")), "odd").unwrap();
        fs::write(there.bench.path("source").join(r"back\slash"), "odd").unwrap();
        let there = Journey { staging: "none", ..there };
        there.run_all(&["upload", "validate", "import", "postprocess"]);
        let keys = there.cloud.keys("target");
        let slash = if matches!(which, Which::Azure) { "some/prefix/back%5Cslash" } else { r"some/prefix/back\slash" };
        for key in ["some/prefix/odd%01%FF 100%25", slash] {
            assert!(keys.iter().any(|there| there == key), "{keys:?}");
        }

        let back = there.back();
        back.move_all();
        let (source, target) = (back.bench.path("source"), back.bench.path("target"));
        assert_same(&source, &target, &["--no-dereference"]);
        assert_eq!(snapshot(&target), snapshot(&source), "modes and times too");
    }
}

#[test]
fn what_is_there_already_is_judged_as_the_plan_says() {
    for which in BOTH {
        let journey = Journey::new(which, "none");
        fill(&journey);
        journey.run_all(&["upload"]);
        journey.cloud.put("target", "some/prefix/a/one", b"one", &[]);
        journey.cloud.put("target", "some/prefix/large", b"theirs", &[]);
        journey.run("preprocess").assert_stopped(
            65,
            &["'a/one' exists at the target and has the same content but is not from this relocation"],
        );
        let import = |existing: &str| journey.run_with("import", &["--existing", existing]);
        import("fail").assert_stopped(65, &["exists at the target and has"]);
        import("skip-equal").assert_stopped(65, &["'large' exists at the target and has another size"]);
        assert_eq!(journey.cloud.read("target", "some/prefix/large"), b"theirs");
        let done = import("overwrite");
        assert_eq!((done.code, done.count("replaced")), (Some(0), 1), "{done:?}");
        journey.run_all(&["postprocess"]);
        let ignored = ["--no-dereference", "-x", "nothing", "-x", "to-link"];
        assert_same(&journey.bench.path("source"), &journey.dump(), &ignored);
        assert_eq!(journey.cloud.objects("target")["some/prefix/large"]["meta-relocationmode"], "0644");
    }
}

#[test]
fn an_object_that_comes_while_a_large_file_is_sent_is_not_replaced() {
    for which in BOTH {
        let journey = Journey::new(which, "none");
        let import = journey.import_until_a_part_is_there();
        journey.cloud.put("target", "some/prefix/large", b"theirs", &[]);
        let output = import.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(65), "{output:?}");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains("'large' exists at the target and has another size"), "{said}");
        assert_eq!(journey.cloud.read("target", "some/prefix/large"), b"theirs");
    }
}

#[test]
fn wrong_credentials_and_a_bucket_that_is_not_there_are_final_and_named() {
    for which in BOTH {
        let mut journey = Journey::new(which, "none");
        fill(&journey);
        journey.run_all(&["upload"]);
        let secret = "wrongSecretThatNobodyShowsEither";
        let (variable, value, sentence) = match which {
            Which::Google => {
                let sentence =
                    "the store does not accept the credentials (AuthenticationRequired); correct the credentials";
                ("TARGET_GOOGLE_BEARER_TOKEN", secret.to_owned(), sentence)
            }
            // That is what azurite calls a wrong signature. Azure itself says AuthenticationFailed.
            Which::Azure => {
                let sentence =
                    "the store does not allow it to these credentials (AuthorizationFailure); allow these credentials";
                ("TARGET_AZURE_STORAGE_ACCOUNT_KEY", secret.to_owned(), sentence)
            }
        };
        for step in ["preprocess", "import", "postprocess", "cleanup"] {
            let mut command = journey.command(step);
            command.env(variable, &value);
            let done = journey.finish(command);
            if step == "cleanup" {
                // There is no journal, so nobody asks.
                assert_eq!(done.code, Some(0), "{done:?}");
                continue;
            }
            done.assert_stopped(65, &[sentence]);
            assert!(!format!("{done:?}").contains(secret));
        }
        let before = std::mem::replace(&mut journey.target, address(which, "nobodys/prefix"));
        for step in ["preprocess", "import", "postprocess"] {
            journey
                .run(step)
                .assert_stopped(65, &["the store has no such bucket; make the bucket or correct its name"]);
        }
        assert_eq!(journey.cloud.keys("target"), [""; 0]);
        journey.target = before;
        // A listing is refused in its own way.
        journey.source = address(which, "source/data");
        let mut command = journey.command("upload");
        command.env(variable.replace("TARGET_", "SOURCE_"), &value);
        journey.finish(command).assert_stopped(65, &[sentence]);
        // From a bucket that is not there.
        journey.source = address(which, "nobodys/prefix");
        journey
            .run("upload")
            .assert_stopped(65, &["the store has no such bucket; make the bucket or correct its name"]);
    }
}

#[test]
fn credentials_that_nothing_can_be_made_of_are_final() {
    let mut journey = Journey::new(Which::Azure, "none");
    journey.source = "az://source".to_owned();
    let mut command = journey.command("upload");
    command.env("AZURE_STORAGE_ACCOUNT_KEY", "no base64: %%%");
    let done = journey.finish(command);
    done.assert_stopped(65, &["credentials or endpoint are missing or malformed; correct the environment"]);
    assert!(!format!("{done:?}").contains("%%%"));
}

#[test]
fn a_cloud_keeps_the_records_of_a_plan_without_a_workspace() {
    for which in BOTH {
        let mut journey = Journey::new(which, "none");
        journey.bench = journey.bench.without_workspace();
        fill_with(&journey, 20 << 20);
        for step in STEPS {
            // Each launch records itself, and knows what the others did.
            journey.bench.token += 1;
            journey.run_all(&[step]);
        }
        let records = |journey: &Journey| {
            let keys = journey.cloud.keys("target").into_iter();
            keys.filter(|key| key.contains(".relocation-") && !key.ends_with("/.relocation-directory")).count()
        };
        assert!(records(&journey) > 0);
        journey.run_all(&["notify"]);
        assert_eq!(records(&journey), 0, "{:?}", journey.cloud.keys("target"));
        let ignored = ["--no-dereference", "-x", "nothing", "-x", "to-link"];
        assert_same(&journey.bench.path("source"), &journey.dump(), &ignored);
        // One that is called off leaves nothing.
        journey.target = address(which, "target/called/off");
        journey.run_all(&["upload", "import"]);
        assert_eq!(journey.run_all(&["cleanup"]).count("removedFiles"), 8);
        assert!(journey.cloud.keys("target").iter().all(|key| key.starts_with("some/prefix/")));
    }
}

/// Some hundred small files beside those of [`fill`].
fn add_files(journey: &Journey) {
    for number in 0..100_u64 {
        let path = journey.bench.path(&format!("source/many/{}/{number}", number % 5));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, noise(usize::try_from(number * 97 % 30_000).unwrap(), number)).unwrap();
    }
}

#[test]
fn killed_inside_a_large_file_it_goes_on_and_ends_right() {
    for which in BOTH {
        let mut journey = Journey::new(which, "none");
        // Before the large one in order.
        fs::create_dir(journey.bench.path("source/a")).unwrap();
        for number in 0..20 {
            fs::write(journey.bench.path(&format!("source/a/{number}")), format!("{number}")).unwrap();
        }
        let mut import = journey.import_until_a_part_is_there();
        import.kill().unwrap();
        import.wait().unwrap();
        assert!(!journey.cloud.keys("target").contains(&"some/prefix/large".to_owned()), "half of it shows");
        if let Cloud::Google(google) = &journey.cloud {
            google.begin("some/prefix/theirs");
        }
        // The next attempt is another launch, and records itself.
        journey.bench.token += 1;
        let done = journey.run_all(&["import"]);
        assert_eq!((done.count("alreadyThere"), done.count("written")), (20, 1), "{done:?}");
        // What the journal says and the cloud has is not sent again.
        assert!(done.count("resumedBytes") >= 8 << 20, "{done:?}");
        assert_eq!(done.count("resumedBytes") + done.count("writtenBytes"), 40 << 20, "{done:?}");
        match &journey.cloud {
            Cloud::Google(google) => assert_eq!(google.unfinished(), ["some/prefix/theirs"]),
            Cloud::Azure(azure) => assert!(!azure.has_parts_of("target", "some/prefix/large")),
        }
        // One that comes late is refused.
        journey.bench.token -= 1;
        let older = ["fencing token 100 is older than 101, which the target has already seen"];
        journey.run("import").assert_stopped(65, &older);
        journey.run("postprocess").assert_stopped(65, &older);
        journey.bench.token += 2;
        journey.run_all(&["import", "postprocess"]);
        assert_same(&journey.bench.path("source"), &journey.dump(), &[]);
        assert!(journey.cloud.keys("target").iter().all(|key| !key.contains("fence")), "nothing of ours stays");
    }
}

#[test]
fn parts_that_the_cloud_has_dropped_are_sent_again() {
    for which in BOTH {
        let journey = Journey::new(which, "none");
        let mut import = journey.import_until_a_part_is_there();
        import.kill().unwrap();
        import.wait().unwrap();
        match &journey.cloud {
            Cloud::Google(google) => google.forget_uploads(),
            Cloud::Azure(azure) => {
                azure.put_block("target", "some/prefix/large");
                azure.commit_block("target", "some/prefix/large");
                azure.remove("target", "some/prefix/large");
            }
        }
        let done = journey.run_all(&["import"]);
        assert_eq!((done.count("resumedBytes"), done.count("writtenBytes")), (0, 40 << 20), "{done:?}");
        journey.run_all(&["postprocess"]);
        assert_same(&journey.bench.path("source"), &journey.dump(), &[]);
    }
}

#[test]
fn blocks_of_somebody_else_are_not_taken_for_ours() {
    let journey = Journey::new(Which::Azure, "none");
    let mut import = journey.import_until_a_part_is_there();
    import.kill().unwrap();
    import.wait().unwrap();
    let Cloud::Azure(azure) = &journey.cloud else { unreachable!() };
    azure.put_block("target", "some/prefix/large");
    azure.commit_block("target", "some/prefix/large");
    azure.remove("target", "some/prefix/large");
    azure.put_block("target", "some/prefix/large");
    // Ours are gone, which shows only when an object is to be made of them.
    journey.run("import").assert_stopped(
        1,
        &["cannot write 'large' of the target", "could not do it now (InvalidBlockList); the next attempt tries again"],
    );
    assert_eq!(journey.cloud.keys("target").len(), 1, "the fence");
    let done = journey.run_all(&["import"]);
    assert_eq!((done.count("resumedBytes"), done.count("writtenBytes")), (0, 40 << 20), "{done:?}");
    journey.run_all(&["postprocess"]);
    assert_same(&journey.bench.path("source"), &journey.dump(), &[]);
}

#[test]
fn uploads_of_a_killed_import_that_nobody_knows_are_ended_and_those_of_others_are_not() {
    let journey = Journey::new(Which::Google, "none");
    let mut import = journey.import_until_a_part_is_there();
    import.kill().unwrap();
    import.wait().unwrap();
    let Cloud::Google(google) = &journey.cloud else { unreachable!() };
    for key in ["some/prefix/a b & +", "some/prefix/theirs", "some/other"] {
        google.begin(key);
    }
    // As a machine leaves it that has lost what it had not yet written to its disk.
    let path = journey.bench.path("workspace/import.journal.jsonl");
    let text = fs::read_to_string(&path).unwrap();
    let kept: Vec<&str> = text.split_inclusive('\n').take_while(|line| !line.starts_with("{\"upload\"")).collect();
    fs::write(&path, kept.concat()).unwrap();
    let done = journey.run_all(&["import"]);
    assert_eq!((done.count("leftoversRemoved"), done.count("resumedBytes")), (1, 0), "{done:?}");
    assert_eq!(google.unfinished(), ["some/other", "some/prefix/a b & +", "some/prefix/theirs"]);
}

#[test]
fn a_shared_access_signature_is_enough_and_never_shown() {
    let mut journey = Journey::new(Which::Azure, "none");
    let token = Azurite::shared_access_signature("target");
    let signature = token.split_once("sig=").unwrap().1.to_owned();
    journey.variables = vec![("AZURE_STORAGE_ACCOUNT_KEY", String::new()), ("AZURE_STORAGE_SAS_TOKEN", token.clone())];
    fill(&journey);
    let mut import = journey.import_until_a_part_is_there();
    import.kill().unwrap();
    import.wait().unwrap();
    let done = journey.run_all(&["preprocess", "validate", "import"]);
    assert!(done.count("resumedBytes") >= 8 << 20, "{done:?}");
    journey.run_all(&["postprocess"]);
    let ignored = ["--no-dereference", "-x", "nothing", "-x", "to-link"];
    assert_same(&journey.bench.path("source"), &journey.dump(), &ignored);
    let said = &journey.cloud.objects("target")["some/prefix/large"];
    assert_eq!(said["meta-relocationmode"], "0644", "{said:?}");
    // One that may do less, as its signature is of something else.
    journey.variables[1].1 = token.replace("sp=rwdlac", "sp=rl");
    for step in ["preprocess", "import", "postprocess"] {
        let done = journey.run(step);
        done.assert_stopped(65, &["does not allow it to these credentials (AuthorizationFailure)"]);
        let shown = format!("{done:?}");
        assert!(!shown.contains(&signature) && !shown.contains("sig="), "{shown}");
    }
}

/// Kills every step up to three times, and lets it end then. A tenth of `RELOCATION_MOVER_KILLS` is the number of rounds, and at least 2: the emulators are slow.
fn check_kills(mut journey: Journey) {
    let rounds = std::env::var("RELOCATION_MOVER_KILLS").map_or(0, |text| text.parse::<u64>().unwrap() / 10).max(2);
    let mut times = Vec::new();
    for step in STEPS {
        let start = Instant::now();
        journey.run_all(&[step]);
        times.push(start.elapsed());
    }
    let is_to_cloud = !journey.target.starts_with('/');
    let mut chance = Chance(0x9e37_79b9_7f4a_7c15);
    for round in 0..rounds {
        let workspace = journey.bench.path("workspace");
        fs::remove_dir_all(&workspace).unwrap();
        fs::create_dir(&workspace).unwrap();
        if is_to_cloud {
            journey.cloud.keys("target").iter().for_each(|key| journey.cloud.remove("target", key));
        } else {
            fs::remove_dir_all(&journey.target).unwrap();
            fs::create_dir(&journey.target).unwrap();
        }
        for (step, time) in STEPS.into_iter().zip(&times) {
            for _ in 0..=chance.below(3) {
                journey.bench.token += 1;
                let delay = chance.below(u64::try_from(time.as_micros()).unwrap());
                run_and_kill(journey.command(step), Duration::from_micros(delay));
            }
            journey.bench.token += 1;
            let done = journey.run(step);
            assert_eq!(done.code, Some(0), "round {round}: {step}: {done:?}");
            assert!(step != "validate" || done.verdict() == "VALID", "round {round}: {done:?}");
            assert!(step != "postprocess" || done.count("extra") == 0, "round {round}: {done:?}");
        }
        let arrived = if is_to_cloud { journey.dump() } else { journey.target.clone().into() };
        assert_same(&journey.bench.path("source"), &arrived, &["--no-dereference", "-x", "nothing", "-x", "to-link"]);
    }
}

#[test]
fn killed_at_random_moments_a_tree_comes_back_from_a_cloud() {
    for which in BOTH {
        let there = Journey::new(which, "copy");
        fill(&there);
        add_files(&there);
        there.move_all();
        check_kills(there.back());
    }
}

#[test]
fn killed_at_random_moments_a_tree_arrives_in_a_cloud() {
    for which in BOTH {
        let there = Journey::new(which, "none");
        fill_with(&there, 20 << 20);
        add_files(&there);
        check_kills(there);
    }
}

#[test]
fn cleanup_removes_what_the_relocation_has_written_and_nothing_else() {
    for which in BOTH {
        let journey = Journey::new(which, "none");
        fill(&journey);
        journey.cloud.put("target", "some/prefix/theirs", b"theirs", &[]);
        journey.cloud.put("target", "some/prefix/a/theirs", b"theirs", &[]);
        journey.cloud.put("target", "some/other", b"theirs", &[]);
        journey.run_all(&["upload", "import"]);
        // Somebody has replaced one of ours meanwhile.
        journey.cloud.put("target", "some/prefix/a/one", b"changed", &[]);
        let done = journey.run_all(&["cleanup"]);
        assert_eq!((done.count("removedFiles"), done.count("kept")), (7, 1), "{done:?}");
        let left = ["some/other", "some/prefix/a/one", "some/prefix/a/theirs", "some/prefix/theirs"];
        assert_eq!(journey.cloud.keys("target"), left);
        let again = journey.run_all(&["cleanup"]);
        assert!(again.message().contains("has written nothing"), "{again:?}");
    }
}

#[test]
fn within_a_cloud_what_is_said_about_an_object_goes_with_it() {
    for which in BOTH {
        let mut journey = Journey::new(which, "none");
        journey.source = address(which, "source/data");
        journey.target = address(which, "target");
        let said = [("content-type", "text/css"), ("cache-control", "no-store"), ("meta-colour", "red")];
        journey.cloud.put("source", "data/small", b"b{}", &said);
        journey.cloud.put("source", "data/large", &noise(70 << 20, 5), &said);
        journey.cloud.put("source", "other", b"not meant", &said);
        journey.move_all();
        let objects = journey.cloud.objects("target");
        assert_eq!(objects.keys().collect::<Vec<_>>(), ["large", "small"]);
        for (key, said) in &objects {
            let of = |name: &str| said.get(name).map(String::as_str);
            assert_eq!((of("content-type"), of("meta-colour")), (Some("text/css"), Some("red")), "{said:?}");
            assert!(of("meta-relocationby").is_some() && of("meta-relocationmode").is_none(), "{said:?}");
            let source = journey.cloud.read("source", &format!("data/{key}"));
            assert!(journey.cloud.read("target", key) == source, "{key} differs");
        }
    }
}

#[test]
fn what_google_keeps_packed_stays_packed() {
    let mut journey = Journey::new(Which::Google, "copy");
    let text = journey.bench.write("text", "a text that is packed".repeat(100));
    let packed = Command::new("gzip").arg("-c").arg(&text).output().unwrap().stdout;
    journey.cloud.put("source", "data/text.gz", &packed, &[("content-encoding", "gzip")]);
    journey.source = "gs://source/data".to_owned();
    journey.target = journey.bench.path("target").to_str().unwrap().to_owned();
    journey.move_all();
    assert_eq!(fs::read(journey.bench.path("target/text.gz")).unwrap(), packed);
}

#[test]
fn metadata_that_azure_cannot_hold_are_named_before_anything_is_written() {
    let mut journey = Journey::new(Which::Azure, "none");
    let google = Cloud::Google(Google::start_in(journey.bench.root.path()));
    google.put("source", "data/fine", b"fine", &[("meta-colour", "red")]);
    google.put("source", "data/odd", b"odd", &[("meta-two-words", "red")]);
    journey.source = "gs://source/data".to_owned();
    let run = |step: &str, arguments: &[&str]| {
        let mut command = journey.command(step);
        command.args(arguments).envs(google.variables());
        journey.finish(command)
    };
    assert_eq!(run("upload", &[]).code, Some(0));
    run("preprocess", &[])
        .assert_stopped(65, &["Azure takes no metadata called 'two-words', as the source says of 'odd'"]);
    assert_eq!(journey.cloud.keys("target"), [""; 0]);
    // Who goes on by hand is told so by Azure.
    run("import", &["--concurrency", "1"]).assert_stopped(
        65,
        &["cannot write 'odd' of the target az://target/some/prefix: the store does not take the metadata of this object (InvalidMetadata)"],
    );
    // Without it all goes from one cloud to the other.
    assert_eq!(run("upload", &["--exclude", "odd"]).code, Some(0));
    for step in ["preprocess", "validate", "import", "postprocess"] {
        let done = run(step, &[]);
        assert_eq!(done.code, Some(0), "{step}: {done:?}");
    }
    assert_eq!(journey.cloud.read("target", "some/prefix/fine"), b"fine");
}

#[test]
fn through_a_bad_network_a_tree_arrives_in_a_cloud_and_comes_back() {
    for which in BOTH {
        let mut there = Journey::new(which, "none");
        fill_with(&there, 20 << 20);
        let port = match &there.cloud {
            Cloud::Google(google) => google.port(),
            Cloud::Azure(azure) => azure.port(),
        };
        let proxy = Proxy::before(port, &ALL, 10, 0x9e37_79b9_7f4a_7c15);
        there.variables = match which {
            Which::Google => vec![("GOOGLE_BASE_URL", proxy.endpoint())],
            Which::Azure => vec![("AZURE_STORAGE_ENDPOINT", format!("{}/{}", proxy.endpoint(), azurite::ACCOUNT))],
        };
        let there = there.move_as_the_operator_does();
        assert_same(
            &there.bench.path("source"),
            &there.dump(),
            &["--no-dereference", "-x", "nothing", "-x", "to-link"],
        );
        let back = there.back().move_as_the_operator_does();
        assert_eq!(snapshot(&back.bench.path("target")), snapshot(&back.bench.path("source")));
        assert!(proxy.met() > 0, "no request met a fault");
    }
}
