#!/usr/bin/env bash
# cargo-tool.sh NAME: prints the path of a program of cargo's registry; built once into RELOCATION_CACHE, by version.
set -euo pipefail

CACHE=${RELOCATION_CACHE:-$HOME/.cache/relocation-operator}/tools

version() {
  case $1 in
    cargo-cyclonedx) echo 0.5.9 ;; # lists the crates of a program in CycloneDX; OWASP's own
    cargo-deny) echo 0.20.2 ;; # judges licences, versions and sources of crates
    *) echo "error: there is no tool '$1'; see deploy/cargo-tool.sh for what there is" >&2; exit 1 ;;
  esac
}

main() {
  local name=$1 version folder
  version=$(version "$name")
  folder=$CACHE/$name-$version
  if [[ ! -x $folder/bin/$name ]]; then
    echo "building $name $version (once; a few minutes on 2 cores)" >&2
    mkdir -p "$CACHE"
    # Built under another name: an interrupted build never looks whole. Its objects are of no use to the checkout's own.
    # Not optimised: they run for seconds, and half of the build would go into it.
    env -u CARGO_TARGET_DIR CARGO_PROFILE_DEV_DEBUG=none cargo install --debug --quiet --locked --version "$version" --root "$folder.partial" "$name" >&2
    rm -rf "$folder"
    mv "$folder.partial" "$folder"
  fi
  echo "$folder/bin/$name"
}

main "$@"
