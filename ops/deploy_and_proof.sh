#!/bin/sh
# Deploys one program: restarts it on the checked-out commit, proves it, records it in the ledger;
# takes it back, and records that, if it does not prove itself. docs/deploys.md
#
# Usage: ops/deploy_and_proof.sh PROGRAM [options]     (the same as ./run deploy; --help lists them)
#   STRICT_LEDGER=true   fail (exit 1) if the ledger does not record it (default: false, a warning)
# Exit codes: 0 deployed; 1 refused; 2 usage; 3 taken back; 4 no such program; 5 nothing works;
#   69 Redis unreachable; 75 another deploy of it is under way; 78 settings
set -eu
case $0 in */*) root=${0%/*}/.. ;; *) root=.. ;; esac
root=$(CDPATH='' cd -- "$root" && pwd)
if [ $# -eq 0 ]; then
    printf 'usage: ops/deploy_and_proof.sh PROGRAM [options]; --help lists them\n' >&2
    exit 2
fi
case $1 in
-* | *[!A-Za-z0-9_.-]* | '') ;; # options, and names that ./run deploy refuses in its own words
*)
    # Told at once, not after a virtual environment was made for it.
    if ! [ -f "$root/supervisor/conf.d/$1.conf" ]; then
        printf '%s: no such program in this checkout (no supervisor/conf.d/%s.conf); %s\n' \
            "$1" "$1" 'nothing was changed, nothing recorded' >&2
        exit 4
    fi
    ;;
esac
exec "$root/run" deploy "$@"
