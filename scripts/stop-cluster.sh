#!/usr/bin/env bash
# Stops the nodes that start-cluster.sh started, and waits for their end. What they stored stays.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/cluster.sh"

usage() {
  cat <<'TEXT'
usage: scripts/stop-cluster.sh [-d DIR]

  -d DIR   as it was given to start-cluster.sh (default: ./cluster)
TEXT
}

directory="cluster"
while getopts ':d:h' option; do
  case "$option" in
    d) directory="$OPTARG" ;;
    h) usage; exit 0 ;;
    *) usage >&2; exit 2 ;;
  esac
done
shift $((OPTIND - 1))
if [ $# -gt 0 ]; then
  usage >&2
  exit 2
fi
cd "$directory" 2>/dev/null || fail "there is no folder $directory"

shopt -s nullglob
files=(node-*.pid)
[ ${#files[@]} -gt 0 ] || say "nothing was started in $PWD"
for file in "${files[@]}"; do
  if is_running "$file"; then
    kill -TERM "$(cat "$file")"
  else
    say "${file%.pid} does not run"
    rm -f "$file"
  fi
done
for file in "${files[@]}"; do
  while is_running "$file"; do
    [ "$SECONDS" -le "$patience_seconds" ] || fail "${file%.pid} (pid $(cat "$file")) does not end"
    sleep 0.1
  done
  if [ -f "$file" ]; then
    rm -f "$file"
    say "${file%.pid} stopped"
  fi
done
