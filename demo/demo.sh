#!/usr/bin/env bash
# The demonstration: a relocation moves a real directory tree through six steps, stops where it was told,
# goes on when it is told, and what arrived is compared with what was there, by programs that are not ours.
#
# `make demo` sets everything up and calls this.
# It needs a kubeconfig whose cluster has the operator installed, and kubectl-relocation in PATH.
#
#   EXAMPLE         which folder of examples/: volume-to-volume, volume-to-s3 or s3-to-s3
#   IMAGE           the image of the plan's tasks
#   TOOLS_IMAGE     a busybox
#   S3_IMAGE        a versitygw, the S3 server of the examples with one
#   DEMO_NAMESPACE  where it happens; it is deleted and made anew each time
#   DEMO_DATA       the tree to move; default: the source of Kubernetes from Go's module cache
set -euo pipefail

CHECKOUT=$(cd "$(dirname "$(realpath "${BASH_SOURCE[0]}")")/.." && pwd)
EXAMPLE=${EXAMPLE:-volume-to-volume}
IMAGE=${IMAGE:-localhost/relocation-operator:dev}
TOOLS_IMAGE=${TOOLS_IMAGE:-docker.io/library/busybox:1.37}
S3_IMAGE=${S3_IMAGE:-docker.io/versity/versitygw:v1.8.0}
DEMO_NAMESPACE=${DEMO_NAMESPACE:-demo}
RELOCATION=$EXAMPLE
LONGEST_MOVE=20m

main() {
  command -v kubectl-relocation >/dev/null ||
    fail "kubectl-relocation is not in PATH; run the demonstration with 'make demo', or install the plugin with: make install-plugin"
  [[ $EXAMPLE == volume-to-volume || $EXAMPLE == volume-to-s3 || $EXAMPLE == s3-to-s3 ]] ||
    fail "EXAMPLE is 'volume-to-volume', 'volume-to-s3' or 's3-to-s3', not '$EXAMPLE'"
  heading "1. A clean namespace"
  clean_namespace
  heading "2. Real data at the source"
  load_source
  heading "3. A plan, and a relocation that is to stop before IMPORTING"
  start_relocation
  heading "4. It runs, and stops at the fence"
  follow_until paused
  show_fence
  heading "5. It is told to go on"
  unpause
  follow_until succeeded
  heading "6. Source and target are compared"
  compare
  heading "7. Who asked for what"
  show relocation history "$RELOCATION"
  what_next
}

k() { kubectl --namespace "$DEMO_NAMESPACE" "$@"; }

relocation() { kubectl relocation "$@" --namespace "$DEMO_NAMESPACE"; }

heading() { printf '\n== %s (%d s so far)\n' "$1" "$SECONDS"; }

fail() {
  printf 'error: %s\n' "$*" >&2
  exit 1
}

# show k|relocation ARGUMENT...: a command as a person would type it, then what it says.
show() {
  local word line=''
  for word in "${@:2}"; do
    if [[ $word == *[[:space:]\{\}\"]* ]]; then line+=" '$word'"; else line+=" $word"; fi
  done
  case $1 in
    k) printf '$ kubectl -n %s%s\n' "$DEMO_NAMESPACE" "$line" ;;
    relocation) printf '$ kubectl relocation%s -n %s\n' "$line" "$DEMO_NAMESPACE" ;;
  esac
  "$@"
}

# Only a namespace that the demonstration made is ever deleted.
clean_namespace() {
  local ours
  if ours=$(kubectl get namespace "$DEMO_NAMESPACE" -o 'jsonpath={.metadata.labels.relocation\.dev/demo}' 2>/dev/null); then
    [[ $ours == "true" ]] ||
      fail "there is a namespace '$DEMO_NAMESPACE' that the demonstration did not make; choose another with DEMO_NAMESPACE=..."
    echo "deleting the namespace of the last demonstration"
    kubectl delete namespace "$DEMO_NAMESPACE" --timeout=180s >/dev/null
  fi
  kubectl create -f - >/dev/null <<END
apiVersion: v1
kind: Namespace
metadata:
  name: $DEMO_NAMESPACE
  labels:
    relocation.dev/demo: "true"
    pod-security.kubernetes.io/enforce: baseline
END
  # Pods are refused until it is there.
  kubectl --namespace "$DEMO_NAMESPACE" wait --for=create serviceaccount/default --timeout=30s >/dev/null
  echo "namespace $DEMO_NAMESPACE is ready"
}

# apply FILE: an example as it stands, with this cluster's images.
apply() {
  sed -e "s#localhost/relocation-operator:dev#$IMAGE#" -e "s#docker.io/library/busybox:1.37#$TOOLS_IMAGE#" \
    -e "s#docker.io/versity/versitygw:.*#$S3_IMAGE#" "$CHECKOUT/examples/$EXAMPLE/$1" |
    k apply -f -
}

# at_source COMMAND, at_target COMMAND: runs it in a shell of busybox, in the folder that holds the data.
# The S3 server keeps an object as a file, so its folder shows what arrived without asking it.
at_source() {
  case $EXAMPLE in
    volume-to-volume) k exec compare -- sh -c "cd /source && $1" ;;
    volume-to-s3) k exec load -- sh -c "cd /source && $1" ;;
    s3-to-s3) k exec s3 -c look -- sh -c "cd /data/source/data && $1" ;;
  esac
}

at_target() {
  case $EXAMPLE in
    volume-to-volume) k exec compare -- sh -c "cd /target && $1" ;;
    *) k exec s3 -c look -- sh -c "cd /data/target/data && $1" ;;
  esac
}

load_source() {
  local root folders count arrived
  read_data_folders
  count=$(cd "$root" && find "${folders[@]}" -type f | wc -l)
  ((count > 20000)) || [[ -n ${DEMO_DATA:-} ]] ||
    fail "only $count files were found below $root, and the demonstration promises more than 20,000"
  if [[ $EXAMPLE != volume-to-volume ]]; then
    apply s3.yaml
    k wait --for=condition=Ready pod/s3 --timeout=120s >/dev/null
  fi
  if [[ $EXAMPLE == s3-to-s3 ]]; then
    echo "streaming $count files into the source bucket (about 10 s)"
    k exec s3 -c look -- mkdir -p /data/source/data
    tar -C "$root" -cf - "${folders[@]}" | k exec -i s3 -c look -- tar -C /data/source/data -xf -
  else
    apply volumes.yaml
    apply load.yaml
    k wait --for=condition=Ready pod/load --timeout=120s >/dev/null
    echo "streaming $count files into the source volume (about 10 s)"
    tar -C "$root" -cf - "${folders[@]}" | k exec -i load -- tar -C /source -xf -
  fi
  if [[ $EXAMPLE == volume-to-volume ]]; then
    k delete pod load >/dev/null
    apply compare.yaml >/dev/null
    k wait --for=condition=Ready pod/compare --timeout=120s >/dev/null
  fi
  arrived=$(at_source 'find . -type f | wc -l')
  ((arrived == count)) || fail "$arrived files arrived at the source instead of $count"
  echo "the source holds $arrived files, $(at_source 'du -sh .' | cut -f 1)"
}

# Sets root and folders: what to put into the source volume, relative to root.
# Kubernetes' own source is real, public and large enough, and a local cluster's build has downloaded most of it already.
read_data_folders() {
  local modules
  if [[ -n ${DEMO_DATA:-} ]]; then
    [[ -d $DEMO_DATA ]] || fail "DEMO_DATA=$DEMO_DATA is not a folder"
    root=$DEMO_DATA
    folders=(.)
    return
  fi
  command -v go >/dev/null || fail "the demonstration moves the source of Kubernetes, which 'go' downloads, and 'go' is not in PATH; or name any folder with DEMO_DATA=..."
  echo "finding the source of Kubernetes in Go's module cache, downloading what is missing"
  root=$(go env GOMODCACHE)
  mapfile -t modules < <(awk '$1 ~ /^k8s\.io\// && $2 ~ /^(v|=>)/ { print $1 }' "$CHECKOUT/cluster/kubernetes/go.mod" | sort -u)
  # In a copy, because go adds what it downloads to go.sum, and the checkout's names the cluster's build.
  cp "$CHECKOUT"/cluster/kubernetes/go.{mod,sum} "$SCRATCH"
  mapfile -t folders < <(cd "$SCRATCH" && go mod download -json "${modules[@]}" | sed -n 's/^\t"Dir": "\(.*\)",\{0,1\}$/\1/p')
  folders=("${folders[@]#"$root"/}")
}

start_relocation() {
  printf '$ kubectl -n %s apply -f examples/%s/plan.yaml\n' "$DEMO_NAMESPACE" "$EXAMPLE"
  apply plan.yaml
  # The file holds no image, so what is shown is what is done.
  cd "$CHECKOUT"
  show relocation create -f "examples/$EXAMPLE/relocation.yaml"
}

# follow_until GOAL: shows what it does until the goal of `kubectl relocation wait` is reached; fails when it cannot be.
follow_until() {
  show relocation wait "$RELOCATION" --for "$1" --timeout "$LONGEST_MOVE" ||
    give_up "the wait for '$1' ended with exit code $?; 'kubectl relocation --help' says what it means"
}

give_up() {
  relocation explain "$RELOCATION" || true
  k get jobs,pods || true
  fail "$1"
}

show_fence() {
  local seen status written
  echo
  show relocation status "$RELOCATION" | tee "$SCRATCH/seen"
  seen=$(<"$SCRATCH/seen")
  [[ $seen == *"possible now"*"kubectl relocation unpause $RELOCATION"* ]] || give_up "the status does not say how to go on"
  status=$(k get reloc "$RELOCATION" -o 'jsonpath={.status.status} {.status.step}')
  [[ $status == "PAUSE IMPORTING" ]] || give_up "it stopped, but at '$status' and not at 'PAUSE IMPORTING'"
  if [[ $EXAMPLE == volume-to-volume ]]; then
    written=$(at_target 'find . -mindepth 1 | wc -l')
  else
    written=$(k exec s3 -c look -- sh -c "find /data/target -mindepth 1 -type f | wc -l")
  fi
  ((written == 0)) || give_up "IMPORTING has not been entered, but there are $written entries at the target"
  echo
  echo "nothing has been written: the target is empty"
}

unpause() {
  echo "without the plugin (--dry-run, so that the API server only says whether it would take it):"
  show k patch reloc "$RELOCATION" --type=merge -p '{"spec":{"pauseAtStep":null}}' --dry-run=server
  echo
  echo "with it:"
  show relocation unpause "$RELOCATION" --reason "the evidence is complete"
}

compare() {
  local status
  status=$(k get reloc "$RELOCATION" -o 'jsonpath={.status.status}')
  [[ $status == SUCCESS ]] || give_up "the relocation ended with '$status', not with SUCCESS"
  if [[ $EXAMPLE != volume-to-volume ]]; then
    # What stands for a folder of a volume is an object of its own, and no file.
    compare_lists "names and content of files" "find . -type f ! -name .relocation-directory -print0 | sort -z | xargs -0 sha256sum"
    compare_lists "sizes of files" "find . -type f ! -name .relocation-directory -print0 | sort -z | xargs -0 stat -c '%n %s'"
    return
  fi
  show k exec compare -- diff -r /source /target || give_up "diff found the differences above"
  echo "diff -r: no difference"
  compare_lists "content of files" "find . -type f -print0 | sort -z | xargs -0 sha256sum"
  compare_lists "mode, size and time of files" "find . -type f -print0 | sort -z | xargs -0 stat -c '%n %f %s %Y'"
  compare_lists "mode and time of folders" "find . -mindepth 1 -type d -print0 | sort -z | xargs -0 -r stat -c '%n %f %Y'"
  compare_lists "targets of links" "find . -type l -print0 | sort -z | xargs -0 -r -n 1 sh -c 'echo \"\$0 -> \$(readlink \"\$0\")\"'"
}

# compare_lists WHAT COMMAND: the same listing of both ends, made by busybox, must be the same.
compare_lists() {
  local what=$1 command=$2
  at_source "$command" >"$SCRATCH/source"
  at_target "$command" >"$SCRATCH/target"
  cmp --silent "$SCRATCH/source" "$SCRATCH/target" ||
    { diff "$SCRATCH/source" "$SCRATCH/target" | head -n 10; give_up "the ends differ in $what"; }
  printf '%s: %d lines, the same on both sides (%s)\n' "$what" "$(wc -l <"$SCRATCH/source")" "$(sha256sum <"$SCRATCH/source" | cut -c 1-16)"
}

# try COMMAND [WHAT]: a command to type next, and what it shows.
try() { if [[ -n ${2:-} ]]; then printf '  %-68s %s\n' "$1" "$2"; else printf '  %s\n' "$1"; fi; }

what_next() {
  heading "Done: it stopped where it was told, and what arrived is what was there"
  echo 'Try next:'
  try "export KUBECONFIG=${KUBECONFIG:-$HOME/.kube/config}"
  try 'make install-plugin' 'the plugin, where kubectl finds it'
  try "kubectl relocation status $RELOCATION -n $DEMO_NAMESPACE -o wide" 'its steps, tasks, Jobs, pods and times'
  try "kubectl relocation logs $RELOCATION -n $DEMO_NAMESPACE" 'what its tasks said'
  try "kubectl relocation pause $RELOCATION -n $DEMO_NAMESPACE" 'too late: the answer says why'
  try 'kubectl explain relocation.spec.pauseAtStep' 'what a fence is'
}

SCRATCH=$(mktemp -d)
trap 'rm -rf "$SCRATCH"' EXIT
main
