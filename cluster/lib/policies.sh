# shellcheck shell=bash
# Acting on NetworkPolicies: kube-router's firewall, for the test of the chart's policy.
# It is no part of the cluster otherwise, because every packet between two pods then takes a longer way.

start_policies() {
  build_kube_router
  # Two pods of one node share a bridge; only so do their packets pass the firewall.
  inside sysctl -qw net.bridge.bridge-nf-call-iptables=1
  start_process kube-router "$KUBE_ROUTER" --kubeconfig="$PKI/admin.kubeconfig" --hostname-override="$NAME" \
    --run-firewall=true --run-router=false --run-service-proxy=false --run-loadbalancer=false \
    --service-cluster-ip-range="$SERVICE_CIDR" --health-port=0 --metrics-port=0
  wait_until 60 "kube-router's rules" inside iptables --list KUBE-ROUTER-FORWARD ||
    { last_words kube-router; fail "kube-router does not act on policies"; }
}

stop_policies() {
  stop_process kube-router
  inside "$KUBE_ROUTER" --cleanup-config >>"$LOGS/kube-router.log" 2>&1
  inside sysctl -qw net.bridge.bridge-nf-call-iptables=0
}
