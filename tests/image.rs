//! The operator's image: what is in it, what its bill of materials says, and that the same input makes the same layers.
//!
//! The tests build it with `cluster/cluster build-image` from the programs of `make build` (`RELEASE`, a folder), with
//! caches of their own: twice, so that the one knows nothing of the other.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use serde_json::Value;
use tempfile::TempDir;

const SBOM: &str = "/usr/share/sbom/relocation-operator.cdx.json";

/// An image, unpacked.
struct Image {
    folder: TempDir,
    /// The digest by which a registry would know it; it covers the layers, their order, and how the image is started.
    digest: String,
}

impl Image {
    fn build() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let cache = folder.path().join("cache");
        std::fs::create_dir(&cache).expect("a folder");
        // What builds the bill of materials is the same for everybody and takes minutes to build.
        let tools = PathBuf::from(variable("RELOCATION_CACHE")).join("tools");
        std::os::unix::fs::symlink(tools, cache.join("tools")).expect("a link");
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("cluster/cluster");
        let mut build = Command::new(script);
        build.args(["build-image", "operator", &variable("RELEASE")]).env("RELOCATION_CACHE", &cache);
        said(build.output());
        let archive = folder.path().join("archive");
        unpack(&cache.join("images/relocation-operator.tar"), &archive);
        let index = json(&archive.join("index.json"));
        let digest = index["manifests"][0]["digest"].as_str().expect("a digest").to_owned();
        let blob = |digest: &str| archive.join("blobs").join(digest.replace(':', "/"));
        let manifest = json(&blob(&digest));
        for layer in manifest["layers"].as_array().expect("layers") {
            unpack(&blob(layer["digest"].as_str().expect("a digest")), &folder.path().join("root"));
        }
        Self { folder, digest }
    }

    fn root(&self) -> PathBuf {
        self.folder.path().join("root")
    }

    fn sbom(&self) -> Value {
        json(&self.root().join(&SBOM[1..]))
    }

    /// The digest of each file, by its path in the image.
    fn files(&self) -> BTreeMap<String, String> {
        let mut digests = Command::new("find");
        digests.args([".", "-type", "f", "-exec", "sha256sum", "{}", "+"]).current_dir(self.root());
        let lines = said(digests.output());
        let files = lines.lines().map(|line| line.split_once("  .").expect("a digest and a path"));
        files.map(|(digest, path)| (path.to_owned(), digest.to_owned())).collect()
    }
}

fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set; `make test-image` sets it"))
}

/// What a program printed; it must have succeeded.
fn said(output: std::io::Result<Output>) -> String {
    let output = output.expect("it starts; `make setup` installs what is needed");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

fn unpack(archive: &Path, folder: &Path) {
    std::fs::create_dir_all(folder).expect("a folder");
    said(Command::new("tar").arg("-xf").arg(archive).arg("-C").arg(folder).output());
}

fn json(file: &Path) -> Value {
    let text = std::fs::read(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    serde_json::from_slice(&text).expect("JSON")
}

/// One image for all tests, and one more that was built after it and apart from it.
fn images() -> &'static [Image; 2] {
    static IMAGES: OnceLock<[Image; 2]> = OnceLock::new();
    IMAGES.get_or_init(|| [Image::build(), Image::build()])
}

#[test]
fn the_same_programs_make_the_same_image_to_the_last_bit() {
    let [one, other] = images();
    assert_eq!(one.files(), other.files());
    assert_eq!(one.digest, other.digest);
}

#[test]
fn the_image_holds_two_programs_and_no_shell() {
    let [image, _] = images();
    let files = image.files();
    let (libraries, rest): (BTreeSet<&str>, BTreeSet<&str>) =
        files.keys().map(String::as_str).partition(|path| path.starts_with("/lib"));
    let expected = [
        "/etc/group",
        "/etc/nsswitch.conf",
        "/etc/passwd",
        "/etc/ssl/certs/ca-certificates.crt",
        "/usr/local/bin/relocation-mover",
        "/usr/local/bin/relocation-operator",
        SBOM,
    ];
    assert_eq!(rest, BTreeSet::from(expected));
    assert!(libraries.iter().all(|path| path.contains(".so")), "{libraries:?}");
}

#[test]
fn the_bill_of_materials_lists_every_file_with_its_digest() {
    let [image, _] = images();
    let mut files = image.files();
    files.remove(SBOM).expect("the bill itself");
    assert_eq!(listed_files(&image.sbom()), files);
}

#[test]
fn the_bill_of_materials_lists_both_programs_and_their_crates_and_no_others() {
    let [image, _] = images();
    let sbom = image.sbom();
    assert_eq!(
        (&sbom["bomFormat"], &sbom["metadata"]["component"]["name"]),
        (&"CycloneDX".into(), &"relocation-operator".into())
    );
    let crates: BTreeSet<(&str, &str)> = components(&sbom)
        .iter()
        .filter(|component| component["purl"].as_str().is_some_and(|purl| purl.starts_with("pkg:cargo/")))
        .map(|component| (word(component, "name"), word(component, "version")))
        .collect();
    let mut tree = Command::new(env!("CARGO"));
    tree.args([
        "tree",
        "--locked",
        "--offline",
        "--edges",
        "normal,no-proc-macro",
        "--prefix",
        "none",
        "--format",
        "{lib} {p}",
    ]);
    let tree = said(tree.current_dir(env!("CARGO_MANIFEST_DIR")).output());
    for line in tree.lines().filter(|line| !line.contains("relocation-operator")) {
        let words: Vec<&str> = line.split(' ').collect();
        let (name, version) = (words[1], words[2].trim_start_matches('v'));
        assert!(crates.contains(&(name, version)), "{name} {version} is compiled in and not listed");
    }
    let programs: Vec<&str> = sbom["metadata"]["component"]["components"]
        .as_array()
        .expect("programs")
        .iter()
        .map(|program| word(program, "name"))
        .collect();
    assert_eq!(programs, ["relocation-mover", "relocation-operator"]);
    for name in ["stateright", "mlua", "proptest", "expect-test"] {
        assert!(!crates.iter().any(|(known, _)| *known == name), "{name} is for tests alone");
    }
    let unlicensed = components(&sbom).iter().filter(|component| {
        component["purl"].as_str().is_some_and(|purl| purl.starts_with("pkg:cargo/")) && component["licenses"].is_null()
    });
    assert_eq!(unlicensed.count(), 0);
}

fn components(sbom: &Value) -> &Vec<Value> {
    sbom["components"].as_array().expect("components")
}

fn word<'v>(value: &'v Value, field: &str) -> &'v str {
    value[field].as_str().unwrap_or_else(|| panic!("no {field} in {value}"))
}

/// The digest of each file that is listed, by its path, whether it belongs to a package or stands alone.
fn listed_files(sbom: &Value) -> BTreeMap<String, String> {
    let mut files = BTreeMap::new();
    for component in components(sbom) {
        let nested = component["components"].as_array().into_iter().flatten();
        for file in nested.chain([component]).filter(|component| component["type"] == "file") {
            assert_eq!(file["hashes"][0]["alg"], "SHA-256");
            let known = files.insert(word(file, "name").to_owned(), word(&file["hashes"][0], "content").to_owned());
            assert!(known.is_none(), "{file} is listed twice");
        }
    }
    files
}
