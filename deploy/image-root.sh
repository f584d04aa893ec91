#!/usr/bin/env bash
# image-root.sh DESTINATION PROGRAM...
#
# Lays out the root file system of an image that holds PROGRAMs and nothing else that runs:
# the shared libraries they are linked with, the certificate authorities this machine trusts, a name for the user,
# and the bill of materials. Every file has the same time, so that the same input makes the same layer.
# The Dockerfile's build stage uses it, and so does whoever builds the image from programs that exist already.
set -euo pipefail

main() {
  local destination=$1 program
  shift
  mkdir -p "$destination"/{etc,tmp,usr/local/bin}
  chmod 1777 "$destination/tmp"
  for program in "$@"; do
    install -m 0755 "$program" "$destination/usr/local/bin/"
    copy_libraries "$program" "$destination"
  done
  echo 'relocation:x:65532:65532:relocation operator:/:/sbin/nologin' >"$destination/etc/passwd"
  echo 'relocation:x:65532:' >"$destination/etc/group"
  echo 'hosts: files dns' >"$destination/etc/nsswitch.conf"
  copy_certificates "$destination"
  "$(dirname "$(realpath "${BASH_SOURCE[0]}")")/sbom.sh" "$destination"
  find "$destination" -exec touch --no-dereference --date=@0 {} +
}

# Under the same paths as here, because that is where the loader inside looks.
copy_libraries() {
  local program=$1 destination=$2 library
  # A static program has none, and ldd says so with an error.
  for library in $(ldd "$program" 2>/dev/null | grep -o '/[^ ]*'); do
    mkdir -p "$destination${library%/*}"
    install -m 0755 "$(realpath "$library")" "$destination$library"
  done
}

copy_certificates() {
  local bundle=/etc/ssl/certs/ca-certificates.crt
  if [[ -e $bundle ]]; then
    mkdir -p "$1/etc/ssl/certs"
    install -m 0644 "$bundle" "$1$bundle"
  fi
}

main "$@"
