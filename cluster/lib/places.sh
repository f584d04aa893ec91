# shellcheck shell=bash
# Where things are. Sourced first; every other file uses these names.
#
# RELOCATION_CACHE  what can be made again: the cluster's programs, images, cargo's target folder
# RELOCATION_STATE  what a running cluster owns: one folder per cluster
# KUBERNETES        which version, like 1.34: one that has a module folder here; by default the newest
# NAME              which cluster; two with different names run side by side

# shellcheck disable=SC2034  # used by the files that are sourced after this one

RELOCATION_CACHE=${RELOCATION_CACHE:-$HOME/.cache/relocation-operator}
RELOCATION_STATE=${RELOCATION_STATE:-/var/lib/relocation-operator}
KUBERNETES=${KUBERNETES:-}
# Another version is another cluster: the state of a newer one is nothing that an older one could go on with.
NAME=${NAME:-relocation-${KUBERNETES:+kubernetes-${KUBERNETES//./-}-}dev}

# The name becomes a folder, a node, a network namespace and a control group.
[[ $NAME =~ ^[a-z]([-a-z0-9]{0,38}[a-z0-9])?$ ]] ||
  fail "NAME=$NAME: a cluster's name is a lower-case letter, then letters, digits and dashes, at most 40 characters"

KUBERNETES_MODULE=kubernetes${KUBERNETES:+-$KUBERNETES}
[[ -e $CLUSTER_DIR/$KUBERNETES_MODULE/go.mod ]] ||
  fail "KUBERNETES=$KUBERNETES: no such version is built here; leave it out for the newest, or set it to one of: $(cd "$CLUSTER_DIR" && printf '%s\n' kubernetes-*/go.mod | sed 's/kubernetes-//; s/\/go.mod//' | tr '\n' ' ')"

STATE=$RELOCATION_STATE/$NAME
KUBECONFIG_FILE=$STATE/kubeconfig
RUN=$STATE/run
LOGS=$STATE/logs
PKI=$STATE/pki
CONFIG=$STATE/config
CONTAINERD_SOCKET=$STATE/containerd/containerd.sock

# These two ranges exist only inside the cluster's network namespace, so every cluster uses the same.
POD_CIDR=10.244.0.0/16
SERVICE_CIDR=10.96.0.0/16
FIRST_SERVICE_ADDRESS=10.96.0.1
# The kubelet's root group for all pods of this cluster.
CGROUP=relocation-operator-$NAME

PAUSE_IMAGE=localhost/relocation-pause:1
