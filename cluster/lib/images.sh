# shellcheck shell=bash
# Container images without a registry: built here into archives, imported into the cluster's containerd.
# Both steps are skipped while the content is the same.

image_archive() { printf '%s/images/%s.tar\n' "$RELOCATION_CACHE" "$1"; }

# build_image NAME REFERENCE DOCKERFILE CONTEXT [BUILDAH-OPTIONS]: writes image_archive NAME if its content is new.
build_image() {
  local name=$1 reference=$2 dockerfile=$3 context=$4 archive content
  shift 4
  archive=$(image_archive "$name")
  content=$(content_hash "$dockerfile" "$context")
  [[ -e $archive && $(cat "$archive.content" 2>/dev/null) == "$content" ]] && return
  say "building image $reference (a few seconds)"
  rm -f "$archive" "$archive.content"
  # --timestamp: an image that says when it was built is another one each time.
  buildah_quietly bud --isolation chroot --timestamp 0 --tag "$reference" --file "$dockerfile" "$@" "$context"
  # --disable-compression: the archive is imported once, on this machine.
  buildah_quietly push --disable-compression "$reference" "oci-archive:$archive.partial:$reference"
  # The archive is all that is needed; the builder's own copy would only grow.
  buildah_quietly rmi --all --force
  mv "$archive.partial" "$archive"
  printf '%s\n' "$content" >"$archive.content"
}

buildah_quietly() {
  local output
  output=$(buildah --storage-driver vfs --root "$RELOCATION_CACHE/buildah/storage" --runroot "$RELOCATION_CACHE/buildah/run" "$@" 2>&1 </dev/null) ||
    { say "$output"; fail "buildah $1 failed; its messages are above"; }
}

# content_hash DOCKERFILE FOLDER: of every file's path, mode and content, and every link's target.
content_hash() {
  {
    sha256sum <"$1"
    (cd "$2" && find . -printf '%p %m %l\n' | sort && find . -type f -print0 | sort -z | xargs -0 sha256sum)
  } | sha256sum | cut -c 1-64
}

# A folder to build from; what was in it before is gone.
fresh_context() {
  local context=$RELOCATION_CACHE/images/$1.context
  rm -rf "$context"
  mkdir -p "$context"
  printf '%s\n' "$context"
}

build_pause_image() {
  local context
  context=$(fresh_context pause)
  cp "$(program pause)" "$context/pause"
  build_image pause "$PAUSE_IMAGE" "$CLUSTER_DIR/images/pause.Dockerfile" "$context"
}

build_tools_image() {
  local context bin applet
  context=$(fresh_context relocation-tools)
  bin=$context/rootfs/bin
  mkdir -p "$bin" "$context/rootfs/tmp"
  chmod 1777 "$context/rootfs/tmp"
  cp "$(busybox_program)" "$bin/busybox"
  for applet in $("$bin/busybox" --list); do [[ $applet == busybox ]] || ln -s busybox "$bin/$applet"; done
  build_image relocation-tools localhost/relocation-tools:dev "$CLUSTER_DIR/images/tools.Dockerfile" "$context"
}

# build_s3_image: the S3 server of the examples.
build_s3_image() {
  local context
  build_versitygw
  context=$(fresh_context relocation-s3)
  cp "$VERSITYGW" "$context/versitygw"
  build_image relocation-s3 localhost/relocation-s3:dev "$CLUSTER_DIR/images/s3.Dockerfile" "$context"
}

busybox_program() { command -v /bin/busybox || fail "/bin/busybox is missing; 'make setup' installs it"; }

# build_operator_image RELEASE-FOLDER: the product's image from binaries that cargo has built there.
build_operator_image() {
  local release=$1 context checkout=$CLUSTER_DIR/..
  context=$(fresh_context relocation-operator)
  "$checkout/deploy/image-root.sh" "$context/dist" "$release/relocation-operator" "$release/relocation-mover"
  build_image relocation-operator localhost/relocation-operator:dev "$checkout/Dockerfile" "$context" --target local
}

# load_image ARCHIVE|NAME: an archive made by any tool, or one made here by its name.
load_image() {
  local archive=$1 loaded content
  [[ -f $archive ]] || archive=$(image_archive "$1")
  [[ -f $archive ]] ||
    fail "there is no image archive '$1', here or as $archive; 'make images' builds the product's"
  loaded=$STATE/images/$(basename "$archive")
  content=$(sha256sum <"$archive")
  [[ $(cat "$loaded" 2>/dev/null) == "$content" ]] && return
  say "  loading image $(basename "$archive" .tar) into cluster $NAME"
  ctr_loudly images import --digests=false "$archive"
  mkdir -p "$STATE/images"
  printf '%s\n' "$content" >"$loaded"
}

ctr_loudly() {
  local output
  output=$(ctr --address "$CONTAINERD_SOCKET" --namespace k8s.io "$@" 2>&1) ||
    { say "$output"; fail "containerd refused 'ctr $1 $2'; its message is above"; }
}
