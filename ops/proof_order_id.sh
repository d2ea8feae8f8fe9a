#!/bin/sh
# Proves from quantum:stream:apply.result that an order was executed. Read-only, local by default.
#
# Usage: ops/proof_order_id.sh [--count N] [--symbol S] [--plan_id ID] [--json]
#                              [--follow [--timeout S]] [--remote [--host user@host] [--key FILE]]
#   --count N     look at the last N entries (default 50); a plan is found however old, by its index
#   --symbol S    only executions in this symbol, written as the exchange writes it
#   --plan_id ID  only the execution of this plan
#   --follow      wait for a proof to come, --timeout seconds (default 60, at most 86400)
#   --json        one JSON object (docs/audit-scripts.md tells its fields)
#   --remote      on another machine by ssh: --host and --key, or PERMIT_AUDIT_HOST, PERMIT_AUDIT_KEY
#   server: REDIS_URL, or REDIS_HOST/REDIS_PORT/REDIS_DB/REDIS_PASSWORD, else the running system's,
#   else 127.0.0.1:6379
# Exit codes: 0 proof found, an order_id is there; 3 no proof; 1 an error
set -u
name=proof_order_id valued='--count --symbol --plan_id --timeout --host --key'
case $0 in */*) root=${0%/*}/.. ;; *) root=.. ;; esac
root=$(CDPATH='' cd -- "$root" && pwd) || exit 1
# shellcheck source=ops/lib/words.sh
. "$root/ops/lib/words.sh"
# shellcheck source=ops/lib/options.sh
. "$root/ops/lib/options.sh"

count=50 symbol='' plan_id='' follow=false timeout_s=60 json=false remote=false host='' key=''
while [ $# -gt 0 ]; do
    option "$@"
    shift "$shifted"
    case $option in
    --count)
        within --count "$value" 1 100000000
        count=$number
        ;;
    --symbol) symbol=$value ;;
    --plan_id) plan_id=$value ;;
    --follow) follow=true ;;
    --timeout)
        within --timeout "$value" 1 86400
        timeout_s=$number
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
lua=$(lines "$root/ops/lib/text.lua" && lines "$root/ops/lib/proofs.lua")

if $remote; then
    # shellcheck source=ops/lib/remote.sh
    . "$root/ops/lib/remote.sh"
    check_remote
    limit_s=${PERMIT_AUDIT_TIMEOUT_SEC:-60}
    if $follow; then limit_s=$((limit_s + timeout_s)); fi
    # In braces: a shell that gets only a part of it does nothing.
    {
        printf '{\n'
        preamble
        printf 'count=%s symbol=%s plan_id=%s follow=%s timeout_s=%s json=%s lua=%s\n' "$count" \
            "$(quote "$symbol")" "$(quote "$plan_id")" "$follow" "$timeout_s" "$json" "$(quote "$lua")"
        lines "$root/ops/lib/words.sh"
        lines "$root/ops/lib/redis.sh"
        lines "$root/ops/lib/proofs.sh"
        printf 'prove_execution </dev/null\n}\n'
    } | remotely
    exit $?
fi

# shellcheck source=ops/lib/local.sh
. "$root/ops/lib/local.sh"
set -- proof "--count=$count"
if [ -n "$symbol" ]; then set -- "$@" "--symbol=$symbol"; fi
if [ -n "$plan_id" ]; then set -- "$@" "--plan_id=$plan_id"; fi
if $follow; then set -- "$@" --follow "--timeout=$timeout_s"; fi
if $json; then set -- "$@" --json; fi
locally "$@"
# shellcheck source=ops/lib/redis.sh
. "$root/ops/lib/redis.sh"
# shellcheck source=ops/lib/proofs.sh
. "$root/ops/lib/proofs.sh"
prove_execution
