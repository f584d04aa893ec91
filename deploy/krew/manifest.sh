#!/usr/bin/env bash
# Writes the krew manifest of a release: manifest.sh HOMEPAGE BASE_URL DIRECTORY > relocation.yaml
# DIRECTORY holds the archives as they will stand below BASE_URL, kubectl-relocation_OS_ARCH.tar.gz, made with:
#   tar -czf kubectl-relocation_linux_amd64.tar.gz -C target/release kubectl-relocation -C "$PWD" LICENSE
set -euo pipefail

main() {
  if (($# != 3)); then
    echo "error: give HOMEPAGE, BASE_URL and DIRECTORY, as in: manifest.sh https://example.com https://example.com/v1 archives" >&2
    exit 1
  fi
  local homepage=$1 base=$2 directory=$3 archive name platform count=0
  sed "s|HOMEPAGE|$homepage|" "$(dirname "${BASH_SOURCE[0]}")/head.yaml"
  for archive in "$directory"/kubectl-relocation_*_*.tar.gz; do
    [[ -f $archive ]] || continue
    name=$(basename "$archive")
    platform=${name#kubectl-relocation_}
    platform=${platform%.tar.gz}
    cat <<END
    - selector:
        matchLabels:
          os: ${platform%_*}
          arch: ${platform#*_}
      uri: $base/$name
      sha256: $(sha256sum "$archive" | cut -d ' ' -f 1)
      bin: kubectl-relocation
END
    count=$((count + 1))
  done
  if ((count == 0)); then
    echo "error: $directory holds no archive named kubectl-relocation_OS_ARCH.tar.gz" >&2
    exit 1
  fi
}

main "$@"
