# shellcheck shell=bash
# The cluster's own certificate authority, and one client certificate per component.
# Made once per cluster; they live and go with its state folder.

create_certificates() {
  [[ -e $PKI/complete ]] && return
  say "  certificates"
  rm -rf "$PKI"
  mkdir -m 0700 "$PKI"
  openssl_quietly req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 3650 -subj "/CN=$NAME" \
    -keyout "$PKI/ca.key" -out "$PKI/ca.crt"
  openssl_quietly genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$PKI/service-accounts.key"
  openssl_quietly pkey -in "$PKI/service-accounts.key" -pubout -out "$PKI/service-accounts.pub"
  certificate kube-apiserver "/CN=kube-apiserver" \
    "IP:$(node_address),IP:127.0.0.1,IP:$FIRST_SERVICE_ADDRESS,DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc,DNS:localhost"
  certificate kubelet-server "/CN=$NAME" "IP:$(node_address),DNS:$NAME"
  certificate apiserver-to-kubelet "/O=system:masters/CN=kube-apiserver-kubelet-client"
  client admin "/O=system:masters/CN=admin"
  client kube-controller-manager "/CN=system:kube-controller-manager"
  client kube-scheduler "/CN=system:kube-scheduler"
  client kube-proxy "/CN=system:kube-proxy"
  client kubelet "/O=system:nodes/CN=system:node:$NAME"
  install_user_kubeconfig
  touch "$PKI/complete"
}

openssl_quietly() {
  local output
  output=$(openssl "$@" 2>&1) || fail "openssl $1 failed: $output"
}

# certificate FILE SUBJECT [SUBJECT-ALTERNATIVE-NAMES]
certificate() {
  local file=$PKI/$1 subject=$2 names=${3:-}
  openssl_quietly req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "$subject" \
    -keyout "$file.key" -out "$file.csr"
  {
    echo "extendedKeyUsage=clientAuth,serverAuth"
    [[ -z $names ]] || echo "subjectAltName=$names"
  } >"$file.ext"
  openssl_quietly x509 -req -days 3650 -in "$file.csr" -extfile "$file.ext" \
    -CA "$PKI/ca.crt" -CAkey "$PKI/ca.key" -CAcreateserial -out "$file.crt"
  rm "$file.csr" "$file.ext"
}

# client WHO SUBJECT: a certificate and a kubeconfig that carries it.
client() {
  certificate "$1" "$2"
  cat >"$PKI/$1.kubeconfig" <<END
apiVersion: v1
kind: Config
current-context: $NAME
clusters:
  - name: $NAME
    cluster:
      server: https://$(node_address):6443
      certificate-authority-data: $(base64 -w 0 "$PKI/ca.crt")
contexts:
  - name: $NAME
    context: {cluster: $NAME, user: $1}
users:
  - name: $1
    user:
      client-certificate-data: $(base64 -w 0 "$PKI/$1.crt")
      client-key-data: $(base64 -w 0 "$PKI/$1.key")
END
}

# For people and tests: at a fixed place, readable by whoever called sudo.
install_user_kubeconfig() {
  install -m 0600 "$PKI/admin.kubeconfig" "$KUBECONFIG_FILE"
  [[ -z ${SUDO_UID:-} ]] || chown "$SUDO_UID:${SUDO_GID:-$SUDO_UID}" "$KUBECONFIG_FILE"
}
