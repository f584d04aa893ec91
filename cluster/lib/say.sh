# shellcheck shell=bash
# Words to the person at the terminal.
# Everything goes to standard error: standard output belongs to what was asked for (a path, a table).

say() { printf '%s\n' "$*" >&2; }

fail() {
  say "error: $*"
  exit 1
}

# seconds_since START: whole seconds since $SECONDS was START.
seconds_since() { printf '%d s' "$((SECONDS - $1))"; }

need_root() {
  [[ $(id -u) -eq 0 ]] ||
    fail "the local cluster needs root (namespaces, mounts, cgroups); run it as root, or use a cluster you have with CLUSTER=current"
}

# wait_until SECONDS WHAT COMMAND...: runs COMMAND until it succeeds, and says what was waited for when it never did.
wait_until() {
  local limit=$1 what=$2 start=$SECONDS
  shift 2
  until "$@" >/dev/null 2>&1; do
    if ((SECONDS - start >= limit)); then
      say "waited $limit s in vain: $what"
      return 1
    fi
    sleep 0.2
  done
}
