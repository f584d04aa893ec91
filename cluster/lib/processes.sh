# shellcheck shell=bash
# Starting and ending the cluster's processes, by the pid that was recorded at their start.
# A pid alone can be somebody else's by now: with it goes the start time the kernel gives, and both must match before anything is signalled.

# start_time PID: the kernel's start time of a process that lives; fails for one that ended or is a zombie.
start_time() {
  local line fields
  { read -r line <"/proc/$1/stat"; } 2>/dev/null || return 1
  # The program's name is in parentheses and may hold spaces; what follows the last one is plain.
  read -r -a fields <<<"${line##*) }"
  [[ ${fields[0]} != Z ]] && printf '%s\n' "${fields[19]}"
}

# recorded_pid COMPONENT: its pid if that very process is still alive.
recorded_pid() {
  local pid started
  { read -r pid started <"$RUN/$1.pid"; } 2>/dev/null || return 1
  [[ $(start_time "$pid") == "$started" ]] && printf '%s\n' "$pid"
}

# start_process COMPONENT COMMAND...: runs COMMAND inside the cluster's namespaces.
# The same command that is running already is left alone; a different one (other flags, configuration or build) replaces it.
start_process() {
  local component=$1 pid wanted
  shift
  wanted=$(command_record "$@")
  if [[ -n ${COMPARE_ONLY:-} ]]; then
    [[ $(cat "$RUN/$component.command" 2>/dev/null) == "$wanted" ]]
    return
  fi
  if recorded_pid "$component" >/dev/null; then
    [[ $(cat "$RUN/$component.command") != "$wanted" ]] || return 0
    say "  $component: its command or configuration changed, starting it again"
    stop_process "$component"
  fi
  printf '%s\n' "$wanted" >"$RUN/$component.command"
  # shellcheck disable=SC2154  # assigned by lock
  # The lock's descriptor must not live on in a process that outlives this script.
  setsid nsenter --net="$(netns_path)" --mount="$(mountns_path)" -- "$@" \
    </dev/null >>"$LOGS/$component.log" 2>&1 {cluster_lock}<&- &
  pid=$!
  printf '%s %s\n' "$pid" "$(start_time "$pid")" >"$RUN/$component.pid"
}

# runs_as_wanted COMPONENT: whether start_component would leave it alone.
runs_as_wanted() { COMPARE_ONLY=yes start_component "$1"; }

# write_config FILE: from standard input, and only if that changes it, because kube-proxy ends itself when its file is touched.
write_config() {
  cat >"$1.new"
  if cmp --silent "$1.new" "$1"; then rm "$1.new"; else mv "$1.new" "$1"; fi
}

# The command as one line, with the digest of the configuration file it names.
command_record() {
  local argument
  printf '%q ' "$@"
  for argument in "$@"; do
    [[ $argument != --config=* ]] || sha256sum <"${argument#--config=}"
  done
}

# stop_process COMPONENT [SIGNAL]: ends it, politely first unless SIGNAL is KILL.
stop_process() {
  local component=$1 signal=${2:-TERM} pid
  if pid=$(recorded_pid "$component"); then
    kill -"$signal" "$pid" 2>/dev/null || true
    wait_until 15 "$component (pid $pid) to end after SIG$signal" process_ended "$component" ||
      { kill -KILL "$pid" 2>/dev/null || true; wait_until 5 "$component (pid $pid) to end" process_ended "$component"; }
  fi
  rm -f "$RUN/$component.pid"
}

process_ended() { ! recorded_pid "$1"; }

# last_words COMPONENT: what it logged last, for the message that says it did not come up.
last_words() {
  say "the last lines of $LOGS/$1.log:"
  tail -n 5 "$LOGS/$1.log" 2>/dev/null | cut -c 1-400 | sed 's/^/  | /' >&2
}
