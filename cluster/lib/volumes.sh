# shellcheck shell=bash
# Storage: a default class whose claims are really provisioned, and volumes that can be full.

create_storage_class() {
  kubectl get storageclass standard >/dev/null 2>&1 || kubectl apply -f "$CLUSTER_DIR/storage-class.yaml" >/dev/null
}

small_volume_folder() { printf '%s/small-volumes/%s\n' "$STATE" "$1"; }

# small_volume NAME SIZE: a PersistentVolume that holds SIZE and not one byte more, because it is a file system of its own.
# A claim gets it with `volumeName: NAME` and `storageClassName: ""`.
small_volume() {
  local volume=$1 size=$2 folder bytes
  folder=$(small_volume_folder "$volume")
  [[ $size =~ ^[1-9][0-9]*Mi$ ]] || fail "SIZE is whole mebibytes, like 8Mi; '$size' is not"
  [[ ! -e $folder ]] || fail "there is a small volume '$volume' already; remove-small-volume removes it"
  bytes=$((${size%Mi} * 1024 * 1024))
  mkdir -p "$folder"
  inside mount -t tmpfs -o "size=$bytes,mode=0777" "small-volume-$volume" "$folder"
  kubectl apply -f - <<END
apiVersion: v1
kind: PersistentVolume
metadata: {name: $volume}
spec:
  capacity: {storage: $size}
  accessModes: [ReadWriteOnce]
  persistentVolumeReclaimPolicy: Retain
  hostPath: {path: $folder, type: Directory}
END
}

remove_small_volume() {
  local folder
  folder=$(small_volume_folder "$1")
  [[ -e $folder ]] || fail "there is no small volume '$1'"
  kubectl delete persistentvolume "$1" --ignore-not-found --wait=false
  # Lazily: a pod that is just ending may still hold it.
  inside umount --lazy "$folder"
  rmdir "$folder"
}
