#!/usr/bin/env bash
# Installs the operator into the cluster of the current kubeconfig: the kinds, then deploy/operator.yaml; waits until it is ready.
#
#   IMAGE          the operator's image, if not the local one
#   IMAGE_CONTENT  what changes when the image's content does; the Deployment rolls then
set -euo pipefail

CHECKOUT=$(cd "$(dirname "$(realpath "${BASH_SOURCE[0]}")")/.." && pwd)
IMAGE=${IMAGE:-localhost/relocation-operator:dev}
IMAGE_CONTENT=${IMAGE_CONTENT:-$IMAGE}

main() {
  echo "installing the kinds and the operator ($IMAGE)" >&2
  kubectl apply --server-side --force-conflicts -f "$CHECKOUT/crds/" >/dev/null
  kubectl wait --for=condition=Established --timeout=30s -f "$CHECKOUT/crds/" >/dev/null
  # --force-conflicts: whoever scaled the Deployment away for a test must not keep it away.
  sed -e "s#localhost/relocation-operator:dev#$IMAGE#" \
    -e "s#\(relocation.dev/image-content:\) .*#\1 \"$IMAGE_CONTENT\"#" "$CHECKOUT/deploy/operator.yaml" |
    kubectl apply --server-side --force-conflicts -f - >/dev/null
  kubectl -n relocation-system rollout status deployment/relocation-operator --timeout=120s >&2 || explain
}

explain() {
  kubectl -n relocation-system get pods >&2
  kubectl -n relocation-system logs deployment/relocation-operator --tail=20 >&2 || true
  echo "error: the operator is not ready after two minutes; its pods and its last words are above" >&2
  exit 1
}

main
