# shellcheck shell=bash
# The programs of the cluster, built from their Go modules into a cache outside the checkout.
# The cache folder is named after go.mod and go.sum, so a changed version is another folder and an old one is never mistaken for it.

kubernetes_version() { awk '$1 == "k8s.io/kubernetes" { print $2 }' "$CLUSTER_DIR/$KUBERNETES_MODULE/go.mod"; }

programs_hash() { cat "$CLUSTER_DIR"/{"$KUBERNETES_MODULE",etcd}/go.{mod,sum} | sha256sum | cut -c 1-16; }

# shellcheck disable=SC2034  # read by the other files
PROGRAMS=$RELOCATION_CACHE/cluster/$(programs_hash)

# NAME MODULE-FOLDER SOURCE: a package, or a C file of k8s.io/kubernetes (the process that holds a pod's namespaces is one). The API server comes first because it compiles most of what the others share.
programs() {
  cat <<END
etcd                    etcd go.etcd.io/etcd/server/v3
kube-apiserver          $KUBERNETES_MODULE k8s.io/kubernetes/cmd/kube-apiserver
kube-controller-manager $KUBERNETES_MODULE k8s.io/kubernetes/cmd/kube-controller-manager
kubectl                 $KUBERNETES_MODULE k8s.io/kubernetes/cmd/kubectl
kube-scheduler          $KUBERNETES_MODULE k8s.io/kubernetes/cmd/kube-scheduler
kube-proxy              $KUBERNETES_MODULE k8s.io/kubernetes/cmd/kube-proxy
kubelet                 $KUBERNETES_MODULE k8s.io/kubernetes/cmd/kubelet
pause                   $KUBERNETES_MODULE build/pause/linux/pause.c
END
}

# kwok plays nodes and pods without containers, for load. Only benchmarks need it, so it has a folder of its own and is built when asked for.
KWOK=$RELOCATION_CACHE/cluster/kwok-$(cat "$CLUSTER_DIR"/kwok/go.{mod,sum} | sha256sum | cut -c 1-16)/kwok

build_kwok() { build_tool kwok sigs.k8s.io/kwok/cmd/kwok "$KWOK" "about 2 minutes"; }

# Helm installs the operator. Whoever has a cluster of their own brings theirs, or builds this one.
HELM=$RELOCATION_CACHE/cluster/helm-$(cat "$CLUSTER_DIR"/helm/go.{mod,sum} | sha256sum | cut -c 1-16)/helm

build_helm() { build_tool helm helm.sh/helm/v4/cmd/helm "$HELM" "about 2 minutes"; }

# promtool judges the alerts and the metrics; Prometheus itself answers the dashboard's queries.
# It finds its targets in its own configuration here, and without the clients of all clouds the two build in half the time.
PROMETHEUS_PROGRAMS=$RELOCATION_CACHE/cluster/prometheus-$(cat "$CLUSTER_DIR"/prometheus/go.{mod,sum} | sha256sum | cut -c 1-16)
PROMTOOL=$PROMETHEUS_PROGRAMS/promtool
PROMETHEUS=$PROMETHEUS_PROGRAMS/prometheus

build_promtool() {
  GOFLAGS=-tags=remove_all_sd build_tool prometheus github.com/prometheus/prometheus/cmd/promtool "$PROMTOOL" "a few minutes"
}

build_prometheus() {
  GOFLAGS=-tags=remove_all_sd build_tool prometheus github.com/prometheus/prometheus/cmd/prometheus "$PROMETHEUS" "a few minutes"
}

# kube-router's firewall acts on NetworkPolicies. One test needs it.
KUBE_ROUTER=$RELOCATION_CACHE/cluster/kube-router-$(cat "$CLUSTER_DIR"/kube-router/go.{mod,sum} | sha256sum | cut -c 1-16)/kube-router

build_kube_router() { build_tool kube-router github.com/cloudnativelabs/kube-router/v2/cmd/kube-router "$KUBE_ROUTER" "about 2 minutes"; }

# versitygw is an S3 server over a folder, for the porter's tests and examples.
VERSITYGW=$RELOCATION_CACHE/cluster/versitygw-$(cat "$CLUSTER_DIR"/versitygw/go.{mod,sum} | sha256sum | cut -c 1-16)/versitygw

build_versitygw() { build_tool versitygw github.com/versity/versitygw/cmd/versitygw "$VERSITYGW" "about 2 minutes"; }

# rclone moves files between folders and stores, too. The porter is measured next to it.
RCLONE=$RELOCATION_CACHE/cluster/rclone-$(cat "$CLUSTER_DIR"/rclone/go.{mod,sum} | sha256sum | cut -c 1-16)/rclone

build_rclone() { build_tool rclone github.com/rclone/rclone "$RCLONE" "about 3 minutes"; }

# fake-gcs-server is a Google Cloud Storage of JSON requests over a folder, for the porter's tests.
FAKE_GCS_SERVER=$RELOCATION_CACHE/cluster/fake-gcs-server-$(cat "$CLUSTER_DIR"/fake-gcs-server/go.{mod,sum} | sha256sum | cut -c 1-16)/fake-gcs-server

build_fake_gcs_server() { build_tool fake-gcs-server github.com/fsouza/fake-gcs-server "$FAKE_GCS_SERVER" "about 2 minutes"; }

# azurite is an Azure Blob Storage over a folder, for the porter's tests. It comes from npm, and package-lock.json has the digest of each package.
AZURITE_FOLDER=$RELOCATION_CACHE/cluster/azurite-$(cat "$CLUSTER_DIR"/azurite/package{,-lock}.json | sha256sum | cut -c 1-16)
AZURITE=$AZURITE_FOLDER/node_modules/.bin/azurite-blob

install_azurite() {
  local azurite_lock start=$SECONDS partial=$AZURITE_FOLDER/partial
  [[ -e $AZURITE ]] && return
  command -v npm >/dev/null || fail "azurite is installed with npm, and no 'npm' is in PATH; run '$CLUSTER_DIR/cluster packages clouds'"
  mkdir -p "$AZURITE_FOLDER"
  exec {azurite_lock}>"$AZURITE_FOLDER/lock"
  flock "$azurite_lock"
  if [[ ! -e $AZURITE ]]; then
    printf '  installing %-13s(once; about 30 s) ' azurite >&2
    rm -rf "$partial"
    mkdir "$partial"
    cp "$CLUSTER_DIR"/azurite/package{,-lock}.json "$partial/"
    # Nothing that a package brings is run.
    (cd "$partial" && npm ci --ignore-scripts --omit=optional --no-audit --no-fund --loglevel=error >&2) ||
      fail "installing azurite failed; the messages above are npm's own"
    mv "$partial/node_modules" "$AZURITE_FOLDER/node_modules"
    rm -rf "$partial"
    say "$(seconds_since "$start")"
  fi
  exec {azurite_lock}>&-
}

# build_tool MODULE-FOLDER PACKAGE PROGRAM TIME: builds a program that has a module and a cache folder of its own, once.
build_tool() {
  local module=$1 package=$2 program=$3 time=$4 folder tool_lock start=$SECONDS
  folder=$(dirname "$program")
  [[ -e $program ]] && return
  need_go
  mkdir -p "$folder"
  exec {tool_lock}>"$folder/lock"
  flock "$tool_lock"
  if [[ ! -e $program ]]; then
    printf '  building %-15s(once; %s on 2 cores) ' "${program##*/}" "$time" >&2
    build_program "$CLUSTER_DIR/$module" "$package" "$program.partial" ||
      fail "building ${program##*/} failed; the messages above are Go's own"
    mv "$program.partial" "$program"
    say "$(seconds_since "$start")"
  fi
  exec {tool_lock}>&-
}

# build_programs: makes $PROGRAMS, all of it or nothing.
# Programs collect in a folder with another name, each under its final name only when it is complete, and the folder gets its name last.
# So an interrupted build costs only the program it was at, and never looks whole.
build_programs() {
  local partial=$PROGRAMS.partial
  [[ -d $PROGRAMS ]] && return
  need_go
  mkdir -p "$partial"
  exec {build_lock}>"$PROGRAMS.lock"
  flock --nonblock "$build_lock" || { say "somebody else is building these programs; waiting for that"; flock "$build_lock"; }
  if [[ ! -d $PROGRAMS ]]; then
    say "building the programs of Kubernetes $(kubernetes_version) from their Go modules (once; about 10 minutes on 2 cores)"
    build_missing_programs "$partial"
    mv "$partial" "$PROGRAMS"
  fi
  exec {build_lock}>&-
  rm -rf "$partial" "$PROGRAMS.lock"
}

build_missing_programs() {
  local partial=$1 name module package start count=0 total
  total=$(programs | wc -l)
  while read -r name module package; do
    count=$((count + 1))
    [[ -e $partial/$name ]] && continue
    start=$SECONDS
    printf '  [%d/%d] %-24s' "$count" "$total" "$name" >&2
    build_program "$CLUSTER_DIR/$module" "$package" "$partial/.$name" ||
      fail "building $name failed; the messages above are Go's own. Run the same command again to go on from here"
    mv "$partial/.$name" "$partial/$name"
    say "$(seconds_since "$start")"
  done < <(programs)
}

build_program() {
  local folder=$1 package=$2 output=$3 version major minor prefix=k8s.io/component-base/version
  if [[ $package == *.c ]]; then
    (cd "$folder" && cc -Os -static -o "$output" "$(go list -mod=readonly -m -f '{{.Dir}}' k8s.io/kubernetes)/$package")
    return
  fi
  version=$(kubernetes_version)
  IFS=. read -r major minor _ <<<"${version#v}"
  # -mod=readonly: a build never rewrites the committed go.mod and go.sum.
  (cd "$folder" && CGO_ENABLED=0 go build -mod=readonly -buildvcs=false -trimpath -o "$output" \
    -ldflags "-s -w -X $prefix.gitVersion=$version -X $prefix.gitMajor=$major -X $prefix.gitMinor=$minor" \
    "$package" </dev/null)
}

need_go() {
  command -v go >/dev/null ||
    fail "the cluster's programs are built with Go, and no 'go' is in PATH; install Go $(awk '$1 == "go" { print $2 }' "$CLUSTER_DIR/$KUBERNETES_MODULE/go.mod") or newer, or use a cluster you have with CLUSTER=current"
}
