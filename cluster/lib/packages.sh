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
age                    age
zstd                   zstd
getfattr               attr
getfacl                acl
cc                     gcc
/usr/include/stdlib.h  libc6-dev
END
}

# The same for the tools that the porter is measured next to. Nothing else needs them.
benchmark_packages() {
  cat <<'END'
rsync   rsync
restic  restic
time    time
END
}

# What the emulator of Azure runs on. Only the porter's tests need it.
clouds_packages() {
  cat <<'END'
node  nodejs
npm   npm
END
}

# missing_packages LIST
missing_packages() {
  local sign package
  while read -r sign package; do
    if [[ $sign == /* ]]; then
      [[ -e $sign ]] || printf '%s\n' "$package"
    else
      command -v "$sign" >/dev/null || printf '%s\n' "$package"
    fi
  done < <("$1")
}

# install_packages [benchmark|clouds]
install_packages() {
  local missing list=packages
  case ${1:-} in
    '') ;;
    benchmark) list=benchmark_packages ;;
    clouds) list=clouds_packages ;;
    *) fail "there is no list of packages '$1'; leave it out, or say 'benchmark' or 'clouds'" ;;
  esac
  mapfile -t missing < <(missing_packages "$list")
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
