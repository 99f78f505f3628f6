# What start-cluster.sh, stop-cluster.sh and test-cluster.sh share. It is sourced, never run.

root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
patience_seconds=60

say() { printf '%s\n' "$*"; }

fail() {
  printf '%s: %s\n' "$(basename "$0")" "$*" >&2
  exit 1
}

# A command of the checkout's environment, or else of the PATH.
find_command() {
  if [ -x "$root/.venv/bin/$1" ]; then
    say "$root/.venv/bin/$1"
  elif command -v "$1" >/dev/null; then
    command -v "$1"
  else
    fail "$1 was not found: run \`make install\`, or activate an environment that has it"
  fi
}

# Whether the node of a pid file runs. A pid alone may have been given to another process since, or be a dead one's that
# nobody has reaped.
is_running() {
  local pid
  pid="$(cat "$1" 2>/dev/null)" && [ -n "$pid" ] &&
    ps -ww -p "$pid" -o stat=,args= 2>/dev/null | grep -v '^Z' | grep -q 'scribe-node'
}

# Whether somebody listens on a port of this machine.
is_taken() { timeout 2 bash -c 'exec 3<>"/dev/tcp/127.0.0.1/$1"' taken "$1" 2>/dev/null; }

# The answer to one GET, with its status line. Bash alone: curl need not be there.
ask() {
  local port="$1" path="$2"
  timeout 2 bash -c '
    exec 3<>"/dev/tcp/127.0.0.1/$1" || exit 1
    printf "GET %s HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n" "$2" >&3
    cat <&3
  ' ask "$port" "$path" 2>/dev/null || true
}
