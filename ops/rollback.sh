#!/bin/sh
# Takes back one recorded deploy, by its id in the ledger, and records that. docs/deploys.md
#
# Usage: ops/rollback.sh OPS-YYYY-MM-DD-NNN [--why TEXT] [options]     (the same as ./run rollback)
#   STRICT_LEDGER=true   fail (exit 1) if the ledger does not record it (default: false, a warning)
# Exit codes: 0 taken back and ready; 1 refused; 2 usage; 4 no such operation; 5 not ready;
#   69 Redis unreachable; 75 a deploy of it is under way; 78 settings
set -eu
case $0 in */*) root=${0%/*}/.. ;; *) root=.. ;; esac
root=$(CDPATH='' cd -- "$root" && pwd)
exec "$root/run" rollback "$@"
