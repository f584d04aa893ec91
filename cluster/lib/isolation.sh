# shellcheck shell=bash
# What keeps a cluster apart from its host: a network namespace, a mount namespace, a control group.
#
# Every process of the cluster is in both namespaces, so what they mount and which addresses they use never shows on the host,
# and taking the namespaces away takes all of it away.
# The host sees one thing: its end of a veth pair, through which it reaches the API server.

netns_path() { printf '/run/netns/%s\n' "$NAME"; }
mountns_path() { printf '%s/namespace/mount\n' "$STATE"; }

# inside COMMAND...: runs it in the cluster's namespaces.
# (`ip netns exec` would hide /sys/fs/cgroup, which the kubelet needs.)
inside() { nsenter --net="$(netns_path)" --mount="$(mountns_path)" -- "$@"; }

# A file under $STATE/network, so a cluster keeps its addresses, and its certificates stay right, while it exists.
network_index() { cat "$STATE/network"; }
host_address() { printf '10.247.%d.1\n' "$(network_index)"; }
node_address() { printf '10.247.%d.2\n' "$(network_index)"; }
host_link() { printf 'reloc%d\n' "$(network_index)"; }

# Whole ones only: an interrupted start leaves no mark of completion, and a reboot leaves the mark without the mount.
namespaces_exist() { [[ -e $(netns_path) && -e $STATE/namespace/complete ]] && mountpoint -q "$(mountns_path)"; }

create_isolation() {
  choose_network
  namespaces_exist || { remove_isolation; create_netns; create_mountns; }
  create_cgroup
}

choose_network() {
  local index
  [[ -e $STATE/network ]] && return
  for index in {0..254}; do
    if ip -4 route show to match "10.247.$index.2" | grep -qv ^default; then continue; fi
    if grep -qsx "$index" "$RELOCATION_STATE"/*/network; then continue; fi
    printf '%d\n' "$index" >"$STATE/network"
    return
  done
  fail "no free address range 10.247.0.0/30 to 10.247.254.0/30 is left; take a cluster down first"
}

create_netns() {
  local link
  link=$(host_link)
  ip netns add "$NAME"
  ip link add "$link" type veth peer name eth0 netns "$NAME"
  ip address add "$(host_address)/30" dev "$link"
  ip link set "$link" up
  # The host answers the cluster, and forwards nothing for it.
  sysctl -qw "net.ipv4.conf.$link.forwarding=0"
  nsenter --net="$(netns_path)" -- bash -euo pipefail <<END
ip link set lo up
ip address add $(node_address)/30 dev eth0
ip link set eth0 up
ip route add default via $(host_address)
# Until kube-proxy has written its rules, service addresses must not leave by the default route.
ip route add $SERVICE_CIDR dev lo
sysctl -qw net.ipv4.ip_forward=1
nft -f - <<RULES
table inet relocation-fence {
  # Nothing leaves the machine, and whoever tries is told at once: a pod that pulls an image fails in seconds, not minutes.
  chain output { type filter hook output priority 0; oifname "eth0" ip daddr != $(host_address) reject; }
  chain forward { type filter hook forward priority 0; oifname "eth0" ip daddr != $(host_address) reject; }
  # Pods may talk to the host's end of the veth, which knows no way back to pod addresses.
  chain postrouting { type nat hook postrouting priority 100; ip saddr $POD_CIDR oifname "eth0" masquerade; }
}
RULES
END
}

# These programs have a few paths built in. Inside the mount namespace each is a folder of this cluster,
# so two clusters never share one, and taking the cluster down removes what was in it.
#   /tmp/hostpath_pv     where the controller manager's host-path provisioner puts volumes
#   /run/containerd      sockets of containerd's shims, state of runc
#   /var/log/containers  the kubelet's links to logs
#   /var/log/pods        the logs
#   /var/lib/cni         addresses given to pods
built_in_paths() { printf '%s\n' /tmp/hostpath_pv /run/containerd /var/log/containers /var/log/pods /var/lib/cni; }

create_mountns() {
  local path
  mkdir -p "$STATE/namespace"
  # A mount namespace can only be kept by name below a private mount.
  mount --bind "$STATE/namespace" "$STATE/namespace"
  mount --make-private "$STATE/namespace"
  touch "$(mountns_path)"
  unshare --mount="$(mountns_path)" --propagation slave true
  for path in $(built_in_paths); do mkdir -p "$path" "$STATE/paths$path"; done
  nsenter --mount="$(mountns_path)" -- bash -euo pipefail <<END
# Pods may ask for mounts to be passed on to the node, as on any node.
mount --make-rshared /
# A copy of another cluster's network namespace would keep that one alive after its end.
findmnt --noheadings --list --output TARGET | grep ^/run/netns/ | xargs --no-run-if-empty umount
for path in $(built_in_paths | tr '\n' ' '); do mount --bind "$STATE/paths\$path" "\$path"; done
END
  touch "$STATE/namespace/complete"
}

remove_isolation() {
  local link
  if mountpoint -q "$(mountns_path)"; then umount "$(mountns_path)"; fi
  if mountpoint -q "$STATE/namespace"; then umount "$STATE/namespace"; fi
  rm -rf "$STATE/namespace"
  if [[ -e $(netns_path) ]]; then ip netns delete "$NAME"; fi
  if [[ -e $STATE/network ]]; then
    link=$(host_link)
    if [[ -e /sys/class/net/$link ]]; then ip link delete "$link"; fi
  fi
}

cgroup_folders() {
  if [[ -e /sys/fs/cgroup/cgroup.controllers ]]; then
    printf '/sys/fs/cgroup/%s\n' "$CGROUP"
  else
    local hierarchy
    for hierarchy in /sys/fs/cgroup/*/; do printf '%s%s\n' "$hierarchy" "$CGROUP"; done
  fi
}

create_cgroup() {
  local folder file
  if [[ -e /sys/fs/cgroup/cgroup.controllers ]]; then
    echo "+cpu +cpuset +memory +pids" >/sys/fs/cgroup/cgroup.subtree_control
  fi
  for folder in $(cgroup_folders); do
    mkdir -p "$folder"
    # With cgroup v1 a new cpuset has no processors and no memory, and nothing can be put into it.
    for file in cpuset.cpus cpuset.mems; do
      [[ -e /sys/fs/cgroup/cgroup.controllers || ! -e $folder/$file ]] ||
        cat "${folder%/*}/$file" >"$folder/$file"
    done
  done
}

remove_cgroup() {
  local folder
  for folder in $(cgroup_folders); do
    [[ ! -d $folder ]] || find "$folder" -depth -type d -exec rmdir {} +
  done
}

# The pids of everything that runs in this cluster's pods.
pod_pids() {
  local folder
  for folder in $(cgroup_folders); do
    [[ ! -d $folder ]] || find "$folder" -name cgroup.procs -exec cat {} + 2>/dev/null
  done | sort -un
}

# The kernel's name of this cluster's mount namespace: from where it is kept or, should that be lost, from a component that lives in it.
mountns_identity() {
  local component pid
  if mountpoint -q "$(mountns_path)"; then
    printf 'mnt:[%s]\n' "$(stat -L -c %i "$(mountns_path)")"
    return
  fi
  for component in $(components); do
    if pid=$(recorded_pid "$component"); then readlink "/proc/$pid/ns/mnt"; return; fi
  done
}

# The pids of everything that lives in the mount namespace IDENTITY, recorded or not: the components and containerd's shims.
namespace_pids() {
  local process
  # A component that was only just started may still be in the host's.
  [[ -n $1 && $1 != "$(readlink /proc/self/ns/mnt)" ]] || return 0
  for process in /proc/[0-9]*; do
    [[ $(readlink "$process/ns/mnt" 2>/dev/null) != "$1" ]] || printf '%s\n' "${process#/proc/}"
  done
}

# end_members COMMAND...: ends the processes whose pids COMMAND prints. Membership is asked of the kernel each time, so no pid is mistaken.
end_members() {
  local pids
  for _ in {1..50}; do
    mapfile -t pids < <("$@")
    ((${#pids[@]})) || return 0
    kill -KILL "${pids[@]}" 2>/dev/null || true
    sleep 0.1
  done
  fail "these processes do not end: ${pids[*]}; look at them with 'ps -fp PID' and run the command again"
}
