# shellcheck shell=bash
# Debian's part of the cluster: installed when missing, never upgraded for the sake of it.

# COMMAND-OR-FILE PACKAGE
packages() {
  cat <<'END'
containerd             containerd
runc                   runc
/usr/lib/cni/bridge    containernetworking-plugins
nft                    nftables
ip                     iproute2
conntrack              conntrack
iptables               iptables
ipset                  ipset
buildah                buildah
openssl                openssl
/bin/busybox           busybox-static
shellcheck             shellcheck
jq                     jq
curl                   curl
flock                  util-linux
mount                  mount
faketime               faketime
strace                 strace
cc                     gcc
/usr/include/stdlib.h  libc6-dev
END
}

missing_packages() {
  local sign package
  while read -r sign package; do
    if [[ $sign == /* ]]; then
      [[ -e $sign ]] || printf '%s\n' "$package"
    else
      command -v "$sign" >/dev/null || printf '%s\n' "$package"
    fi
  done < <(packages)
}

install_packages() {
  local missing
  mapfile -t missing < <(missing_packages)
  ((${#missing[@]})) || return 0
  need_root
  command -v apt-get >/dev/null ||
    fail "these programs are missing and this is not a Debian or Ubuntu: install the equivalents of: ${missing[*]}"
  say "installing Debian packages (about 30 s): ${missing[*]}"
  apt_get update
  apt_get install --yes --no-install-recommends "${missing[@]}"
  if [[ " ${missing[*]} " == *" containerd "* ]]; then stop_packaged_containerd; fi
}

# Quiet unless it fails: then everything it said is shown.
apt_get() {
  local output
  output=$(DEBIAN_FRONTEND=noninteractive apt-get -q "$@" 2>&1 </dev/null) ||
    { say "$output"; fail "'apt-get $1' failed; its messages are above"; }
}

# The package starts a containerd of the host; ours runs apart from it, and nobody asked for the other one.
stop_packaged_containerd() {
  [[ -d /run/systemd/system ]] || return 0
  systemctl disable --now --quiet containerd.service
}
