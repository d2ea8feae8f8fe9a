#!/bin/sh
# Audits the three permits that an order needs, by what stands in Redis. Read-only, local by default.
#
# Usage: ops/permit_audit.sh [--sample N] [--json] [--remote [--host user@host] [--key FILE]]
#   --sample N   also show N permits of each kind (default 0, at most 1000)
#   --json       one JSON object (docs/audit-scripts.md tells its fields)
#   --remote     on another machine by ssh: --host and --key, or PERMIT_AUDIT_HOST, PERMIT_AUDIT_KEY
#   server: REDIS_URL, or REDIS_HOST/REDIS_PORT/REDIS_DB/REDIS_PASSWORD, else the running system's,
#   else 127.0.0.1:6379
# Exit codes: 0 all three kinds are there; 2 one or more are missing; 1 an error
set -u
name=permit_audit valued='--sample --host --key'
case $0 in */*) root=${0%/*}/.. ;; *) root=.. ;; esac
root=$(CDPATH='' cd -- "$root" && pwd) || exit 1
# shellcheck source=ops/lib/words.sh
. "$root/ops/lib/words.sh"
# shellcheck source=ops/lib/options.sh
. "$root/ops/lib/options.sh"

sample=0 json=false remote=false host='' key=''
while [ $# -gt 0 ]; do
    option "$@"
    shift "$shifted"
    case $option in
    --sample)
        within --sample "$value" 0 1000
        sample=$number
        ;;
    --json) json=true ;;
    --remote) remote=true ;;
    --host) host=$value ;;
    --key) key=$value ;;
    -h | --help)
        usage
        exit 0
        ;;
    *) misused "unknown option $(quote "$option")" ;;
    esac
done
lua=$(lines "$root/ops/lib/text.lua" && lines "$root/ops/lib/permits.lua")

if $remote; then
    # shellcheck source=ops/lib/remote.sh
    . "$root/ops/lib/remote.sh"
    check_remote
    limit_s=${PERMIT_AUDIT_TIMEOUT_SEC:-60}
    # In braces: a shell that gets only a part of it does nothing.
    {
        printf '{\n'
        preamble
        printf 'sample=%s json=%s lua=%s\n' "$sample" "$json" "$(quote "$lua")"
        lines "$root/ops/lib/words.sh"
        lines "$root/ops/lib/redis.sh"
        lines "$root/ops/lib/permits.sh"
        printf 'audit_permits </dev/null\n}\n'
    } | remotely
    exit $?
fi

# shellcheck source=ops/lib/local.sh
. "$root/ops/lib/local.sh"
set -- permits --sample "$sample"
if $json; then set -- "$@" --json; fi
locally "$@"
# shellcheck source=ops/lib/redis.sh
. "$root/ops/lib/redis.sh"
# shellcheck source=ops/lib/permits.sh
. "$root/ops/lib/permits.sh"
audit_permits
