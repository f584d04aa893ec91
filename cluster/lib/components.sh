# shellcheck shell=bash
# What runs in the cluster: each component's configuration and command, and how to see that it works.

# In the order of their start; they end in the reverse order.
components() { printf '%s\n' etcd kube-apiserver kube-controller-manager kube-scheduler containerd kubelet kube-proxy; }

need_component() {
  components | grep -qx -- "$1" ||
    fail "'$1' is no component; there are: $(components | tr '\n' ' ')"
}

program() { printf '%s/%s\n' "$PROGRAMS" "$1"; }

start_component() { "start_$1"; }

start_etcd() {
  # A development cluster may lose its last seconds when the machine loses power, but not when a process is killed:
  # what etcd wrote is in the page cache. Without the fsync a write costs a tenth.
  start_process etcd "$(program etcd)" --name="$NAME" --data-dir="$STATE/etcd" --unsafe-no-fsync \
    --listen-client-urls=http://127.0.0.1:2379 --advertise-client-urls=http://127.0.0.1:2379 \
    --listen-peer-urls=http://127.0.0.1:2380 --initial-advertise-peer-urls=http://127.0.0.1:2380 \
    --initial-cluster="$NAME=http://127.0.0.1:2380" --log-level=warn
}

start_kube-apiserver() {
  start_process kube-apiserver "$(program kube-apiserver)" \
    --etcd-servers=http://127.0.0.1:2379 --advertise-address="$(node_address)" --secure-port=6443 \
    --client-ca-file="$PKI/ca.crt" --tls-cert-file="$PKI/kube-apiserver.crt" --tls-private-key-file="$PKI/kube-apiserver.key" \
    --kubelet-certificate-authority="$PKI/ca.crt" \
    --kubelet-client-certificate="$PKI/apiserver-to-kubelet.crt" --kubelet-client-key="$PKI/apiserver-to-kubelet.key" \
    --kubelet-preferred-address-types=InternalIP \
    --service-account-issuer=https://kubernetes.default.svc --service-account-key-file="$PKI/service-accounts.pub" \
    --service-account-signing-key-file="$PKI/service-accounts.key" \
    --service-cluster-ip-range="$SERVICE_CIDR" --authorization-mode=Node,RBAC \
    --enable-admission-plugins=NodeRestriction --allow-privileged=true
}

start_kube-controller-manager() {
  # One process, so an election would only add writes.
  # The default of 20 requests a second is what caps a burst of Jobs.
  start_process kube-controller-manager "$(program kube-controller-manager)" \
    --kubeconfig="$PKI/kube-controller-manager.kubeconfig" --leader-elect=false --use-service-account-credentials \
    --kube-api-qps=200 --kube-api-burst=400 \
    --root-ca-file="$PKI/ca.crt" --service-account-private-key-file="$PKI/service-accounts.key" \
    --cluster-signing-cert-file="$PKI/ca.crt" --cluster-signing-key-file="$PKI/ca.key" \
    --enable-hostpath-provisioner
}

start_kube-scheduler() {
  write_config "$CONFIG/kube-scheduler.yaml" <<END
apiVersion: kubescheduler.config.k8s.io/v1
kind: KubeSchedulerConfiguration
leaderElection: {leaderElect: false}
clientConnection: {kubeconfig: $PKI/kube-scheduler.kubeconfig, qps: 200, burst: 400}
END
  start_process kube-scheduler "$(program kube-scheduler)" --config="$CONFIG/kube-scheduler.yaml"
}

start_containerd() {
  mkdir -p "$CONFIG/cni"
  write_config "$CONFIG/cni/10-bridge.conf" <<END
{
  "cniVersion": "0.4.0", "name": "pods", "type": "bridge", "bridge": "pods", "isDefaultGateway": true, "hairpinMode": true,
  "ipam": {"type": "host-local", "subnet": "$POD_CIDR"}
}
END
  # restrict_oom_score_adj: root without CAP_SYS_RESOURCE may not lower a score, and every pod would fail to start.
  write_config "$CONFIG/containerd.toml" <<END
version = 2
root = "$STATE/containerd/root"
state = "$STATE/containerd/state"
[grpc]
  address = "$CONTAINERD_SOCKET"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "$PAUSE_IMAGE"
  restrict_oom_score_adj = true
  netns_mounts_under_state_dir = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "$CONFIG/cni"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.internal.v1.opt"]
  path = "$STATE/containerd/opt"
END
  start_process containerd "$(command -v containerd)" --config="$CONFIG/containerd.toml" --log-level=warn
}

start_kubelet() {
  # clusterDNS: there is no DNS service; an address that refuses at once is better than one that never answers.
  # volumeStatsAggPeriod, imageGC, evictionHard: a small and fairly full disk is normal here, and images cannot be pulled again.
  # nodeStatusReportFrequency: the lease is the heartbeat; an unchanged status is not written again, so an idle cluster is silent.
  write_config "$CONFIG/kubelet.yaml" <<END
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
authentication: {anonymous: {enabled: false}, webhook: {enabled: true}, x509: {clientCAFile: $PKI/ca.crt}}
authorization: {mode: Webhook}
tlsCertFile: $PKI/kubelet-server.crt
tlsPrivateKeyFile: $PKI/kubelet-server.key
containerRuntimeEndpoint: unix://$CONTAINERD_SOCKET
cgroupDriver: cgroupfs
cgroupRoot: /$CGROUP
failCgroupV1: false
failSwapOn: false
enforceNodeAllocatable: []
oomScoreAdj: 0
clusterDomain: cluster.local
clusterDNS: [127.0.0.1]
maxPods: 200
serializeImagePulls: false
syncFrequency: 10s
nodeStatusUpdateFrequency: 5s
nodeStatusReportFrequency: 24h
kubeAPIQPS: 200
kubeAPIBurst: 400
eventRecordQPS: 0
volumeStatsAggPeriod: -1s
imageGCHighThresholdPercent: 100
evictionHard: {memory.available: 50Mi, nodefs.available: 10Mi, nodefs.inodesFree: "100", imagefs.available: 10Mi, imagefs.inodesFree: "100"}
END
  start_process kubelet "$(program kubelet)" --config="$CONFIG/kubelet.yaml" --kubeconfig="$PKI/kubelet.kubeconfig" \
    --root-dir="$STATE/kubelet" --hostname-override="$NAME" --node-ip="$(node_address)" --v=1
}

start_kube-proxy() {
  # conntrack: these limits belong to the host and are left alone.
  # masqueradeAll: two pods of one node share a bridge, and an answer that crosses it directly would come from the wrong address.
  write_config "$CONFIG/kube-proxy.yaml" <<END
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: nftables
hostnameOverride: $NAME
clusterCIDR: $POD_CIDR
clientConnection: {kubeconfig: $PKI/kube-proxy.kubeconfig}
conntrack: {maxPerCore: 0, min: 0, tcpEstablishedTimeout: 0s, tcpCloseWaitTimeout: 0s}
nftables: {masqueradeAll: true}
END
  start_process kube-proxy "$(program kube-proxy)" --config="$CONFIG/kube-proxy.yaml"
}

# component_works COMPONENT: asked from outside, as whoever depends on it would.
component_works() { recorded_pid "$1" >/dev/null && "works_$1"; }

ask() { curl --silent --fail --max-time 3 --output /dev/null "$@"; }

works_etcd() { inside curl --silent --fail --max-time 3 --output /dev/null http://127.0.0.1:2379/health; }
works_kube-apiserver() { ask --cacert "$PKI/ca.crt" "https://$(node_address):6443/readyz"; }
works_kube-controller-manager() { inside curl --silent --fail --insecure --max-time 3 --output /dev/null https://127.0.0.1:10257/healthz; }
works_kube-scheduler() { inside curl --silent --fail --insecure --max-time 3 --output /dev/null https://127.0.0.1:10259/readyz; }
works_containerd() { ctr_quietly version; }
works_kubelet() {
  inside curl --silent --fail --max-time 3 --output /dev/null http://127.0.0.1:10248/healthz || return 1
  [[ $(kubectl get node "$NAME" -o 'jsonpath={.status.conditions[?(@.type=="Ready")].status}' 2>/dev/null) == True ]]
}
# The service address of the API server answers: kube-proxy has written its rules.
works_kube-proxy() { inside curl --silent --fail --max-time 3 --output /dev/null --cacert "$PKI/ca.crt" "https://$FIRST_SERVICE_ADDRESS/readyz"; }

kubectl() { "$(program kubectl)" --kubeconfig="$KUBECONFIG_FILE" --request-timeout=10s "$@"; }

ctr_quietly() { ctr --address "$CONTAINERD_SOCKET" --connect-timeout 2s --namespace k8s.io "$@" >/dev/null 2>&1; }
