#!/usr/bin/env bash
# Runs the end-to-end suites of tests/e2e by name, against a cluster that they start, or a running one.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/cluster.sh"

suites=()
for file in "$root"/tests/e2e/test_*.py; do
  name="$(basename "$file" .py)"
  suites+=("${name#test_}")
done

usage() {
  cat <<TEXT
usage: scripts/test-cluster.sh [--soak] [SUITE…] [-- PYTEST-OPTION…]

Without SUITE all of them run: ${suites[*]}

  --soak   the long runs too
  SCRIBE_URLS="http://127.0.0.1:8001 http://127.0.0.1:8002 …" has them use that cluster; suites that stop or cut off
           nodes always start their own
TEXT
}

chosen=() options=(-m 'not soak')
while [ $# -gt 0 ]; do
  case "$1" in
    -h | --help) usage; exit 0 ;;
    --soak) options=(-m 'cluster or s3' --override-ini faulthandler_timeout=3600) ;;
    --) shift; options+=("$@"); break ;;
    *)
      [ -f "$root/tests/e2e/test_$1.py" ] || { usage >&2; fail "there is no suite $1"; }
      chosen+=("tests/e2e/test_$1.py")
      ;;
  esac
  shift
done

python="$(find_command python)"
cd "$root"
exec "$python" -m pytest -n0 -v -s "${options[@]}" "${chosen[@]:-tests/e2e}"
