#!/usr/bin/env bash
# Starts a cluster on this machine and returns when all of its nodes are voters. Nodes that run already are left alone.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/cluster.sh"

usage() {
  cat <<'TEXT'
usage: scripts/start-cluster.sh [-d DIR] [-c DIR] [-p PORT] [-r PORT] [-w SECONDS] [N]

  N        how many nodes (default: 3)
  -d DIR   where folders, logs and pid files go (default: ./cluster)
  -c DIR   where config-node1.toml, config-node2.toml … are (default: the checkout, which has three)
  -p PORT  HTTP port of the first node, and -r PORT its Raft port (default: 8001 and 9001); the next nodes have the
           next ports
  -w SECONDS  how long to wait for all of them (default: 60)

With -p, -r or more nodes than there are settings files, settings are written to DIR. Those that are there are kept, and
are used again where neither -c, -p nor -r is given. A port that somebody else listens on is refused before anything starts.
TEXT
}

directory="cluster" configs="" http_port="" raft_port=""
while getopts ':d:c:p:r:w:h' option; do
  case "$option" in
    d) directory="$OPTARG" ;;
    c) configs="$(cd "$OPTARG" && pwd)" ;;
    p) http_port="$OPTARG" ;;
    r) raft_port="$OPTARG" ;;
    w) patience_seconds="$OPTARG" ;;
    h) usage; exit 0 ;;
    *) usage >&2; exit 2 ;;
  esac
done
shift $((OPTIND - 1))
count="${1:-3}"
if [ $# -gt 1 ] || ! [[ "$count" =~ ^[1-9][0-9]?$ && "$http_port$raft_port$patience_seconds" =~ ^[0-9]+$ ]]; then
  usage >&2
  exit 2
fi

scribe_node="$(find_command scribe-node)"
mkdir -p "$directory"
cd "$directory"

# Settings for one node of several on this machine.
write_settings() {
  local number="$1" seeds="" other
  for ((other = 1; other <= count; other++)); do
    [ "$other" = "$number" ] || seeds+="${seeds:+, }\"127.0.0.1:$((raft_port + other - 1))\""
  done
  cat <<TOML
[node]
id = $number
address = "127.0.0.1"
data_dir = "./node-$number"

[network]
client_port = $((http_port + number - 1))
raft_port = $((raft_port + number - 1))
seed_peers = [$seeds]
TOML
}

# A number of a settings file, if there is one: the first line that sets it.
number_in() { [ ! -f "$1" ] || sed -n "s/^$2 *= *\([0-9]*\).*/\1/p" "$1" | sed -n 1p; }

[ -n "$configs$http_port$raft_port" ] || [ ! -f config-node1.toml ] || configs="$PWD"
configs="${configs:-$root}"
if [ -n "$http_port$raft_port" ] || [ ! -f "$configs/config-node$count.toml" ]; then
  http_port="${http_port:-$(number_in config-node1.toml client_port)}" http_port="${http_port:-8001}"
  raft_port="${raft_port:-$(number_in config-node1.toml raft_port)}" raft_port="${raft_port:-9001}"
  for ((number = 1; number <= count; number++)); do
    [ -f "config-node$number.toml" ] || write_settings "$number" >"config-node$number.toml"
  done
  configs="$PWD"
fi

# The settings that a node runs with, or is to be started with.
settings_of() {
  local running=""
  if is_running "node-$1.pid"; then
    running="$(ps -ww -p "$(cat "node-$1.pid")" -o args= | sed -n 's/.* -c \(.*\.toml\).*/\1/p')"
  fi
  say "${running:-$configs/config-node$1.toml}"
}

port_of() { say "${ports[$1]}"; }

# Whoever listens there would answer for a node that cannot start.
refuse_taken_ports() {
  local number="$1" port
  for port in "${ports[$number]}" "$(number_in "$(settings_of "$number")" raft_port)"; do
    if [ -n "$port" ] && is_taken "$port"; then
      fail "port $port of node $number is taken by another program: choose others with -p and -r, and another -d"
    fi
  done
}

ports=()
for ((number = 1; number <= count; number++)); do
  ports[number]="$(number_in "$(settings_of "$number")" client_port)"
  is_running "node-$number.pid" || refuse_taken_ports "$number"
done

for ((number = 1; number <= count; number++)); do
  if is_running "node-$number.pid"; then
    say "node $number runs already (pid $(cat "node-$number.pid"), http://127.0.0.1:$(port_of "$number"))"
    continue
  fi
  # A lone node has no seeds that would make it a member.
  flags=()
  [ "$count" -gt 1 ] || flags=(--bootstrap)
  nohup "$scribe_node" -c "$configs/config-node$number.toml" "${flags[@]}" >>"node-$number.log" 2>&1 </dev/null &
  say "$!" >"node-$number.pid"
  say "node $number started (pid $!, log $PWD/node-$number.log)"
done

serves() {
  local answer
  answer="$(ask "$(port_of "$1")" /health)"
  [[ "$answer" == 'HTTP/1.1 200'* ]]
}

leader_of() { ask "$(port_of "$1")" /cluster/leader | sed -n 's/.*"leader_id": *\([0-9][0-9]*\).*/\1/p'; }

all_serve() {
  local number
  for ((number = 1; number <= count; number++)); do
    if ! is_running "node-$number.pid"; then
      tail -n 5 "node-$number.log" >&2
      fail "node $number ended; its log is $PWD/node-$number.log"
    fi
    serves "$number" || return 1
  done
}

voters_of() { ask "$(port_of "$1")" /cluster/status | sed -n 's/.*"voters": *\([0-9][0-9]*\).*/\1/p'; }

# Each knows that all count for the majority. Until then what is acknowledged may be on one disk only.
all_vote() {
  local number voters
  for ((number = 1; number <= count; number++)); do
    voters="$(voters_of "$number")"
    [ "${voters:-0}" -ge "$count" ] || return 1
  done
}

# All name the same one, and it is known.
one_leader() {
  local number leader first=""
  for ((number = 1; number <= count; number++)); do
    leader="$(leader_of "$number")"
    [ -n "$leader" ] && [ "${first:=$leader}" = "$leader" ] || return 1
  done
  say "$first"
}

# Nodes that were started here once, and are not to be started now.
resting() {
  local file number
  for file in node-*.log; do
    number="${file#node-}" number="${number%.log}"
    [ "$number" -le "$count" ] || is_running "node-$number.pid" || say "$number"
  done
}

# What a node says that does not serve, or is no voter.
reason_of() {
  local answer field
  answer="$(ask "$(port_of "$1")" /health/ready)"
  for field in message hint; do
    sed -n "s/.*\"$field\": *\"\(\([^\"\\]\|\\\\.\)*\)\".*/\1/p" <<<"$answer"
  done
}

until [ "$SECONDS" -gt "$patience_seconds" ]; do
  if all_serve && all_vote && leader="$(one_leader)"; then
    voters="$(voters_of 1)"
    say "the cluster serves with $voters voters; node $leader leads"
    mapfile -t others < <(resting)
    if [ "$voters" -gt "$count" ] && [ ${#others[@]} -gt 0 ]; then
      say "not running: node ${others[*]}; each is one failure less that the cluster bears"
    fi
    for ((number = 1; number <= count; number++)); do
      say "http://127.0.0.1:$(port_of "$number")"
    done
    exit 0
  fi
  sleep 0.1
done
for ((number = 1; number <= count; number++)); do
  mapfile -t reasons < <(reason_of "$number")
  [ ${#reasons[@]} -eq 0 ] || say "node $number: ${reasons[*]}" >&2
done
fail "not all of the $count nodes are voters within $patience_seconds s; the logs are $PWD/node-*.log"
