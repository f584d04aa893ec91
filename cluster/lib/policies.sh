# shellcheck shell=bash
# Acting on NetworkPolicies: kube-router's firewall, for the test of the chart's policy.
# It is no part of the cluster otherwise, because every packet between two pods then takes a longer way.

start_policies() {
  build_kube_router
  [[ -e $STATE/filter ]] || inside iptables-save --table filter >"$STATE/filter"
  # Two pods of one node share a bridge; only so do their packets pass the firewall.
  inside sysctl -qw net.bridge.bridge-nf-call-iptables=1
  start_process kube-router "$KUBE_ROUTER" --kubeconfig="$PKI/admin.kubeconfig" --hostname-override="$NAME" \
    --run-firewall=true --run-router=false --run-service-proxy=false --run-loadbalancer=false \
    --service-cluster-ip-range="$SERVICE_CIDR" --health-port=0 --metrics-port=0
  wait_until 60 "kube-router's rules" inside iptables --list KUBE-ROUTER-FORWARD ||
    { last_words kube-router; fail "kube-router does not act on policies"; }
}

# Its own clean-up crashes where the kernel has no IPVS, so the rules go back to what they were.
stop_policies() {
  stop_process kube-router
  if [[ -e $STATE/filter ]]; then inside iptables-restore --table filter <"$STATE/filter"; fi
  inside ipset destroy
  inside sysctl -qw net.bridge.bridge-nf-call-iptables=0
  rm -f "$STATE/filter"
}
