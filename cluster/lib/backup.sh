# shellcheck shell=bash
# A backup of the cluster's memory, and the way back to it.
# It is a copy of etcd's files while etcd is stopped: the programs of etcd that make snapshots of a running one are not built here.

# save_etcd FILE: what etcd holds, as a tar archive.
save_etcd() {
  stop_process kube-apiserver
  stop_process etcd
  tar --create --file="$1" --directory="$STATE" etcd
  bring_up etcd
  bring_up kube-apiserver
}

# restore_etcd FILE: goes back. Versions of objects go back with it, so everything that remembers later ones starts anew.
restore_etcd() {
  local component archive=$1
  tar --list --file="$archive" etcd/member >/dev/null 2>&1 || fail "'$archive' is no file that save-etcd made"
  for component in kube-proxy kubelet kube-scheduler kube-controller-manager kube-apiserver etcd; do
    stop_process "$component"
  done
  rm -rf "$STATE/etcd"
  tar --extract --file="$archive" --directory="$STATE"
  for component in etcd kube-apiserver kube-controller-manager kube-scheduler kubelet kube-proxy; do
    bring_up "$component"
  done
}
