# shellcheck shell=bash
# A machine beside the cluster: a network namespace with one link to the API server, for tests that cut it.
# Its addresses exist only in the two namespaces, so every cluster uses the same.

machine_netns() { printf '%s-machine\n' "$NAME"; }

# Prints where the namespace is; `nsenter --net=PATH` enters it.
add_machine() {
  local netns
  netns=$(machine_netns)
  [[ ! -e /run/netns/$netns ]] || fail "there is a machine already; remove-machine removes it"
  ip netns add "$netns"
  nsenter --net="$(netns_path)" ip link add machine type veth peer name eth0 netns "$netns"
  nsenter --net="$(netns_path)" ip address add 10.248.0.1/30 dev machine
  mend_machine
  nsenter --net="/run/netns/$netns" -- bash -euo pipefail <<END
ip link set lo up
ip address add 10.248.0.2/30 dev eth0
ip link set eth0 up
ip route add default via 10.248.0.1
END
  printf '/run/netns/%s\n' "$netns"
}

cut_machine() { nsenter --net="$(netns_path)" ip link set machine down; }

mend_machine() { nsenter --net="$(netns_path)" ip link set machine up; }

# The link goes with either of its ends. What still runs inside keeps the namespace until it ends.
remove_machine() {
  if nsenter --net="$(netns_path)" ip link show machine >/dev/null 2>&1; then
    nsenter --net="$(netns_path)" ip link delete machine
  fi
  if [[ -e /run/netns/$(machine_netns) ]]; then ip netns delete "$(machine_netns)"; fi
}
