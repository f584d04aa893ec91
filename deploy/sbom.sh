#!/usr/bin/env bash
# sbom.sh ROOT: writes ROOT/usr/share/sbom/relocation-operator.cdx.json, the bill of materials of an image with this root file system.
#
# It is CycloneDX: every crate that the programs are built from, by cargo-cyclonedx, and every file of the image with its digest,
# those of Debian below the package and the version that they came with.
# It holds no time and no random number: the same input is the same file.
set -euo pipefail

CHECKOUT=$(cd "$(dirname "$(realpath "${BASH_SOURCE[0]}")")/.." && pwd)

main() {
  local root=$1 sbom work
  sbom=usr/share/sbom/relocation-operator.cdx.json
  work=$(mktemp -d)
  # shellcheck disable=SC2064  # the folder of now
  trap "rm -rf '$work'" EXIT
  crates "$work/crates.json"
  rm -f "$root/$sbom"
  mkdir -p "$root/${sbom%/*}"
  files "$root" >"$work/files.tsv"
  jq --sort-keys --rawfile files "$work/files.tsv" '
    def file: { type: "file", name: .[1], hashes: [{ alg: "SHA-256", content: .[0] }] };
    def package: { type: "library", name: .[2], version: .[3], purl: "pkg:deb/debian/\(.[2])@\(.[3] | @uri)?arch=\(.[4])" };
    ($files | split("\n") | map(select(. != "") | split("\t"))) as $files
    # The path of the checkout would make another file of it in another place.
    | walk(if type == "string" then sub("^path\\+file://[^#]*#"; "") else . end)
    | .metadata.component.components |= map(select("/usr/local/bin/" + .name | IN($files[][1])))
    | .components += [$files[] | select(.[2] == "") | file]
    | .components += [$files | map(select(.[2] != "")) | group_by(.[2])[] | (.[0] | package) + { components: map(file) }]
  ' "$work/crates.json" >"$root/$sbom"
}

# crates FILE: the crates of the programs, without those that only tests and build scripts use.
crates() {
  local target name=.sbom-$$
  target=$(rustc --version --verbose | sed -n 's/^host: //p')
  # It writes beside Cargo.toml and nowhere else. With this variable it leaves time and serial number out.
  SOURCE_DATE_EPOCH=0 "$("$CHECKOUT/deploy/cargo-tool.sh" cargo-cyclonedx)" cyclonedx --quiet \
    --manifest-path "$CHECKOUT/Cargo.toml" --format json --spec-version 1.5 --target "$target" --no-build-deps \
    --override-filename "$name"
  mv "$CHECKOUT/$name.json" "$1"
}

# Digest, path, package, version and architecture of every file, separated by tabs; the last three are empty for what is not Debian's.
files() {
  local path digest
  (cd "$1" && find . -type f -printf '/%P\n') | LC_ALL=C sort | while read -r path; do
    digest=$(sha256sum "$1$path" | cut -d ' ' -f 1)
    printf '%s\t%s\t%s\n' "$digest" "$path" "$(origin "$path")"
  done
}

origin() {
  local path=$1 package
  case $path in
    # Made by Debian's package when it was installed, and so in no list of its files.
    /etc/ssl/certs/ca-certificates.crt) package=ca-certificates ;;
    /lib*) package=$(owner "$path") || package=$(owner "$(realpath "$path")") || true ;;
    *) package= ;;
  esac
  if [[ -z $package ]]; then printf '\t\t'; else dpkg-query --show --showformat '${Package}\t${Version}\t${Architecture}' "$package"; fi
}

# owner FILE: the package of this machine that brought it; nothing where Debian's tools are missing.
owner() { dpkg-query --search "$1" 2>/dev/null | sed -n '1s/: .*//p' | grep .; }

main "$@"
