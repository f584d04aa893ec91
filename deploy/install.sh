#!/usr/bin/env bash
# Installs the chart into the cluster of the current kubeconfig, or upgrades it; waits until the operator is ready.
#
#   HELM           the program; default: helm in PATH
#   IMAGE          the operator's image, if not the local one
#   IMAGE_CONTENT  what changes when the image's content does; the Deployment rolls then
set -euo pipefail

CHECKOUT=$(cd "$(dirname "$(realpath "${BASH_SOURCE[0]}")")/.." && pwd)
HELM=${HELM:-helm}
IMAGE=${IMAGE:-localhost/relocation-operator:dev}
IMAGE_CONTENT=${IMAGE_CONTENT:-$IMAGE}
NAMESPACE=relocation-system
RELEASE=relocation-operator

main() {
  command -v "$HELM" >/dev/null || { echo "error: '$HELM' is not in PATH; install Helm 3.17 or newer, or set HELM" >&2; exit 1; }
  echo "installing the chart with the image $IMAGE" >&2
  kubectl apply --server-side -f - >/dev/null <<END
apiVersion: v1
kind: Namespace
metadata:
  name: $NAMESPACE
  labels:
    pod-security.kubernetes.io/enforce: restricted
END
  # --take-ownership: the kinds may be there already, applied from crds/.
  # --force-conflicts: whoever scaled the Deployment away for a test must not keep it away.
  "$HELM" upgrade --install "$RELEASE" "$CHECKOUT/charts/relocation-operator" --namespace "$NAMESPACE" \
    --take-ownership --force-conflicts --wait --timeout 120s \
    --set-string "image.repository=$(repository),image.tag=$(tag),image.digest=$(digest)" \
    --set-string "podAnnotations.relocation\.dev/image-content=$IMAGE_CONTENT" >/dev/null || explain
}

# registry:5000/name:tag@sha256:… has up to three parts that Helm wants apart.
repository() {
  local name=${IMAGE%@*}
  if [[ ${name##*/} == *:* ]]; then name=${name%:*}; fi
  printf '%s' "$name"
}

tag() {
  local name=${IMAGE%@*}
  name=${name##*/}
  if [[ $name == *:* ]]; then printf '%s' "${name##*:}"; else printf 'latest'; fi
}

digest() { if [[ $IMAGE == *@* ]]; then printf '%s' "${IMAGE#*@}"; fi; }

explain() {
  kubectl -n "$NAMESPACE" get pods >&2
  kubectl -n "$NAMESPACE" logs "deployment/$RELEASE" --tail=20 >&2 || true
  echo "error: the operator was not installed, or is not ready after two minutes; Helm's words, its pods and its last words are above" >&2
  exit 1
}

main
