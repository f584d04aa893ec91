# `make` lists what there is to do.
#
# CLUSTER=local (the default) starts a real Kubernetes on this machine and needs root.
# KUBERNETES=1.34 starts that version, as a cluster of its own; cluster/README.md says which there are.
# CLUSTER=current uses the kubeconfig you have and needs none; IMAGE then names the operator's image your cluster can pull.

CLUSTER ?= local
# Which of examples/ `make demo` shows: volume-to-volume, volume-to-s3 or s3-to-s3.
EXAMPLE ?= volume-to-volume
RELOCATION_CACHE ?= $(HOME)/.cache/relocation-operator
CARGO_TARGET_DIR ?= $(RELOCATION_CACHE)/target
export RELOCATION_CACHE CARGO_TARGET_DIR

ifeq ($(CLUSTER),local)
  # The local cluster's kubeconfig, and its kubectl first in PATH, for every command below.
  cluster := RELOCATION_CACHE=$(RELOCATION_CACHE) $(if $(NAME),NAME=$(NAME)) $(if $(KUBERNETES),KUBERNETES=$(KUBERNETES)) $(if $(RELOCATION_STATE),RELOCATION_STATE=$(RELOCATION_STATE)) cluster/cluster
  export KUBECONFIG := $(shell $(cluster) kubeconfig)
  export PATH := $(shell $(cluster) programs):$(PATH)
  IMAGE := localhost/relocation-operator:dev
  TOOLS_IMAGE := localhost/relocation-tools:dev
  S3_IMAGE := localhost/relocation-s3:dev
  helm := $(cluster) helm
  IMAGE_CONTENT = $(shell cat $(RELOCATION_CACHE)/images/relocation-operator.tar.content 2>/dev/null)
else ifeq ($(CLUSTER),current)
  TOOLS_IMAGE := docker.io/library/busybox:1.37
  S3_IMAGE := docker.io/versity/versitygw:v1.8.0
  helm := command -v helm || cluster/cluster helm
  IMAGE_CONTENT = $(IMAGE)
else
  $(error CLUSTER is 'local' or 'current', not '$(CLUSTER)')
endif
export IMAGE TOOLS_IMAGE S3_IMAGE IMAGE_CONTENT EXAMPLE

scripts := cluster/cluster $(wildcard cluster/lib/*.sh) deploy/cargo-tool.sh deploy/image-root.sh deploy/install.sh deploy/sbom.sh deploy/krew/manifest.sh demo/demo.sh .ci/run .ci/suites
# Every test that needs no cluster: the library's, the programs', and each file of tests/ but these.
unit_tests := $(filter-out acceptance alerts e2e faults helm image network plugin store,$(basename $(notdir $(wildcard tests/*.rs))))

.DEFAULT_GOAL := help
.PHONY: help setup cluster-up cluster-down cluster-status build images load-images crds crds-check install-crds install demo demo-s3 \
	chart test test-long test-model test-helm test-alerts test-image test-mover test-network test-store test-oldest lint lint-format lint-clippy lint-scripts lint-deny test-unit test-acceptance \
	test-plugin test-faults test-e2e no-operator bench bench-record bench-porter bench-porter-record clean build-plugin install-plugin

help: ## List these targets
	@awk 'BEGIN { FS = ":.*## " } /^[a-z0-9-]+:.*## / { printf "  %-18s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo "  CLUSTER=current    with any of them: use the current kubeconfig instead of a local cluster"

setup: ## Install the Debian packages that are missing
	@command -v cargo >/dev/null || { echo "error: 'cargo' is not in PATH; install Rust 1.95 or newer, with rustfmt and clippy" >&2; exit 1; }
ifeq ($(CLUSTER),local)
	@$(cluster) packages
endif

cluster-up: ## Start the local cluster, or mend it (first time about 10 minutes, later seconds)
ifeq ($(CLUSTER),local)
	@$(cluster) up
else
	@echo "CLUSTER=current: using the current kubeconfig ($$(kubectl config current-context)), nothing to start"
endif

cluster-down: ## End the local cluster and remove all it left
ifeq ($(CLUSTER),local)
	@$(cluster) down
else
	@echo "CLUSTER=current: your cluster is not ours to take down"
endif

cluster-status: ## Show what runs, and fail unless all of it works
ifeq ($(CLUSTER),local)
	@$(cluster) status
else
	@kubectl get --raw /readyz && echo && kubectl get nodes
endif

build: ## Compile the operator and the mover for the image (first time 5 to 8 minutes)
	@echo "compiling the operator and the mover (first time 5 to 8 minutes)"
	cargo build --release --locked --bin relocation-operator --bin relocation-mover

images: ## Build the images, if their content is new
ifeq ($(CLUSTER),local)
images: setup build
	@$(cluster) build-image operator $(CARGO_TARGET_DIR)/release
	@$(cluster) build-image tools
else
	@if [ -z "$(IMAGE)" ]; then \
	  echo "error: set IMAGE to a name your cluster can pull: docker build -t IMAGE . && docker push IMAGE" >&2; exit 1; fi
	@echo "CLUSTER=current: your cluster pulls $(IMAGE) and $(TOOLS_IMAGE)"
endif

# The images, where the cluster's pods find them.
load-images: cluster-up images
ifeq ($(CLUSTER),local)
	@$(cluster) load-image relocation-operator
	@$(cluster) load-image relocation-tools
endif

crds: ## Write crds/ from the types
	cargo run --quiet --locked --bin crdgen -- crds

# Fails when crds/ is not what the types say.
crds-check:
	@mkdir -p $(CARGO_TARGET_DIR)/crds && rm -f $(CARGO_TARGET_DIR)/crds/*
	cargo run --quiet --locked --bin crdgen -- $(CARGO_TARGET_DIR)/crds
	@diff -r crds $(CARGO_TARGET_DIR)/crds || { echo "error: crds/ is not what the types say; run 'make crds'" >&2; exit 1; }

install-crds: cluster-up
	@kubectl apply --server-side --force-conflicts -f crds/

chart: crds ## Write what the chart has from crds/ and values.yaml: its kinds, and the table of its page
	UPDATE_EXPECT=1 cargo test --quiet --locked --test generated

install: load-images ## Install the chart, or upgrade it
	@HELM=$$($(helm)) && HELM=$$HELM deploy/install.sh

build-plugin:
	cargo build --release --locked --bin kubectl-relocation

# PREFIX/bin must be in PATH: kubectl finds its plugins there.
PREFIX ?= $(HOME)/.local
install-plugin: build-plugin ## Install the kubectl plugin into PREFIX/bin (default ~/.local/bin)
	@install -D -m 755 $(CARGO_TARGET_DIR)/release/kubectl-relocation $(PREFIX)/bin/kubectl-relocation
	@$(PREFIX)/bin/kubectl-relocation completion kubectl > $(PREFIX)/bin/kubectl_complete-relocation
	@chmod 755 $(PREFIX)/bin/kubectl_complete-relocation
	@echo "installed $(PREFIX)/bin/kubectl-relocation; try: kubectl relocation list"

# The S3 server of the examples, where the cluster's pods find it.
demo-s3: cluster-up
ifeq ($(CLUSTER),local)
	@$(cluster) build-image s3
	@$(cluster) load-image relocation-s3
endif

demo: install build-plugin $(if $(findstring s3,$(EXAMPLE)),demo-s3) ## Move real data through six steps, stop at the fence, go on, compare
	@PATH="$(abspath $(CARGO_TARGET_DIR))/release:$$PATH" demo/demo.sh

test: ## Run every suite and count (first time less than an hour)
	@.ci/suites

# The model as in test-unit, with wider bounds.
test-model:
	RELOCATION_MODEL=deep cargo test --locked --lib lifecycle::tests::model -- --nocapture --test-threads=1

lint: lint-format lint-clippy lint-scripts lint-deny ## Check format, clippy, shell scripts, and the crates by deny.toml

lint-format:
	cargo fmt --check

lint-clippy:
	cargo clippy --all-targets --locked -- -D warnings

lint-scripts:
	shellcheck -x $(scripts)

# cargo-deny is built first, once.
lint-deny:
	@deny=$$(deploy/cargo-tool.sh cargo-deny) && $$deny --locked check --hide-inclusion-graph --deny unmatched-skip bans licenses sources

test-unit: ## Run the tests that need no cluster
	cargo test --locked --lib --bins $(addprefix --test ,$(unit_tests))
	cargo test --locked --doc

# Tests start operators of their own and count what they write: one in the cluster would take part.
no-operator:
	@if kubectl get deployment/relocation-operator --namespace relocation-system >/dev/null 2>&1; then \
	  echo "scaling the operator in the cluster to 0; 'make install' brings it back"; \
	  kubectl scale deployment/relocation-operator --namespace relocation-system --replicas 0; \
	  kubectl wait --for=delete pod --selector app.kubernetes.io/name=relocation-operator,app.kubernetes.io/component=operator --namespace relocation-system --timeout=60s; fi

test-acceptance: install-crds no-operator ## Run the scenarios against the cluster's API server and Job controller
	cargo test --locked --test acceptance

test-plugin: install-crds no-operator ## Run the kubectl plugin as people do, against the cluster's API server
	cargo test --locked --test plugin

ifeq ($(CLUSTER),local)
test-faults: install-crds no-operator ## Stop, kill and restore the components of the local cluster in mid-run
	cargo test --locked --test faults
else
test-faults:
	@echo "CLUSTER=current: test-faults needs the local cluster, because it stops and kills the API server and etcd"
endif

# Full counts of what every run tries a few times.
test-long: export RELOCATION_RACES ?= 2000
test-long: export RELOCATION_WRITERS ?= 200
test-long: export RELOCATION_CHANGES ?= 10000
test-long: export RELOCATION_KILLED_STEPS ?= 6
test-long: export RELOCATION_LOSSES ?= 6
test-long: export RELOCATION_FAILOVERS ?= 6
test-long: export RELOCATION_MOVER_KILLS ?= 200
test-long: export RELOCATION_MOVER_TREES ?= 500
test-long: export RELOCATION_MOVER_FILES ?= 100000
test-long: export RELOCATION_MOVER_DEPTH ?= 10000
test-long: test-mover test-model test-acceptance test-store test-faults test-oldest ## Run the model, races and faults with full counts, and the oldest Kubernetes

OLDEST := 1.34
ifeq ($(CLUSTER),local)
# With the usual counts, and in a cluster with a name of its own.
test-oldest: oldest = $(MAKE) KUBERNETES=$(OLDEST) NAME=$(if $(NAME),$(NAME)-oldest)
test-oldest: ## Run the scenarios on the oldest Kubernetes that is tried (built first, about 10 minutes)
	@unset RELOCATION_RACES RELOCATION_WRITERS RELOCATION_CHANGES RELOCATION_KILLED_STEPS RELOCATION_FAILOVERS; \
	  $(oldest) test-acceptance; code=$$?; $(oldest) cluster-down; exit $$code
else
test-oldest:
	@echo "CLUSTER=current: test-oldest needs the local cluster, because it starts another one"
endif

test-e2e: install-crds load-images demo-s3 no-operator ## Run the tests that move real data with real pods
	cargo test --locked --test e2e

test-helm: install-crds load-images no-operator ## Run the tests that install, upgrade and remove the chart
	@HELM=$$($(helm)) && HELM=$$HELM cargo test --locked --test helm

ifeq ($(CLUSTER),local)
test-network: install-crds load-images no-operator ## Run the test of the chart's NetworkPolicy, with a firewall that acts on it
	@cluster/cluster kube-router >/dev/null && HELM=$$($(helm)) && HELM=$$HELM cargo test --locked --test network
else
test-network:
	@echo "CLUSTER=current: test-network starts a firewall in the local cluster; whether yours acts on policies is known to who set it up"
endif

ifeq ($(CLUSTER),local)
test-image: setup build ## Run the tests that build the operator's image twice and look into it
	@deploy/cargo-tool.sh cargo-cyclonedx >/dev/null
	RELEASE=$(CARGO_TARGET_DIR)/release cargo test --locked --test image
else
test-image:
	@echo "CLUSTER=current: test-image builds images on this machine and needs root; CLUSTER=local does"
endif

test-alerts: install-crds no-operator ## Run the tests of the metrics, alerts and dashboard with Prometheus (built first, a few minutes)
	@promtool=$$(cluster/cluster promtool) && prometheus=$$(cluster/cluster prometheus) && \
	  PROMTOOL=$$promtool PROMETHEUS=$$prometheus cargo test --locked --test alerts

# Part of test-unit, and with full counts of test-long.
test-mover:
	cargo test --locked --test mover

test-store: ## Run the tests of the mover with an S3 server and emulators of Google and Azure (built first, about 4 minutes)
	@cluster/cluster packages clouds
	@versitygw=$$(cluster/cluster versitygw) && google=$$(cluster/cluster fake-gcs-server) && azurite=$$(cluster/cluster azurite) && \
	  VERSITYGW=$$versitygw FAKE_GCS_SERVER=$$google AZURITE=$$azurite cargo test --locked --test store

# BENCH=quick is a trial of about 3 minutes; docs/benchmarks.md lists what else can be set.
# kwok, which plays the pods, is built here and nowhere else.
bench bench-record: install-crds no-operator
	@echo "compiling the operator and the benchmark (first time 5 to 8 minutes)"
	cargo bench --locked --bench operator --no-run
	@kwok=$$(cluster/cluster kwok) && RUST_LOG=$${RUST_LOG:-info} KWOK=$$kwok BENCH_RECORD=$(BENCH_RECORD) \
	  cargo bench --locked --bench operator

# Needs no cluster. rclone is built here and nowhere else; rsync and restic are Debian's.
bench-porter bench-porter-record:
	@cluster/cluster packages benchmark
	@echo "compiling the mover and the benchmark (first time 5 to 8 minutes)"
	cargo bench --locked --bench porter --no-run
	@rclone=$$(cluster/cluster rclone) && versitygw=$$(cluster/cluster versitygw) && \
	  RCLONE=$$rclone VERSITYGW=$$versitygw BENCH_RECORD=$(PORTER_RECORD) cargo bench --locked --bench porter

bench-porter: PORTER_RECORD = $(CARGO_TARGET_DIR)/bench/porter.md
bench-porter: ## Measure the mover next to rclone, rsync and restic (BENCH=quick: with smaller sizes)
bench-porter-record: PORTER_RECORD = $(CURDIR)/docs/bench/porter.md
bench-porter-record: ## The same, and keep the tables in docs/bench/porter.md

bench: BENCH_RECORD = $(CARGO_TARGET_DIR)/bench/results.md
bench: bench-porter ## Measure the operator next to a bare client (25 minutes on 2 idle cores; BENCH=quick: 3), and the mover as below
bench-record: BENCH_RECORD = docs/bench/results.md
bench-record: bench-porter-record ## The same, and keep the tables in docs/bench/

clean: ## Remove what cargo built (the cluster's programs and images stay in RELOCATION_CACHE)
	cargo clean
