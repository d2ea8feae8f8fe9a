#!/usr/bin/env bash
# Proves which allowlist each live P3.3 process uses: the universe, or its fallback. Read-only.
#
# Usage: bash ops/proof_p33_universe_source.sh [--json]
#   server: REDIS_URL, or REDIS_HOST/REDIS_PORT/REDIS_DB/REDIS_PASSWORD, else the running system's,
#   else 127.0.0.1:6379
#   logs: QUANTUM_HOME/log/p33-*.log (supervisord), else journald's quantum-position-state-brain
# Exit codes: 0 all on the universe; 2 one on its fallback or behind; 1 no P3.3, or an error
set -u
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
json=false

usage() { sed -n '2,9s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; }
fail() {
    printf 'proof_p33_universe_source: %s\n' "$*" >&2
    exit 1
}

while [ $# -gt 0 ]; do
    case $1 in
    --json) json=true ;;
    -h | --help)
        usage
        exit 0
        ;;
    *)
        printf 'proof_p33_universe_source: unknown option %q\n' "$1" >&2
        usage >&2
        exit 1
        ;;
    esac
    shift
done

# shellcheck source=ops/lib/words.sh
. "$root/ops/lib/words.sh"
# shellcheck source=ops/lib/redis.sh
. "$root/ops/lib/redis.sh"

# A change is told by each process at once; this long after one, an older epoch means that it hangs.
grace_s=10
now=$(date +%s)

get HMGET quantum:cfg:universe:meta epoch stale count checked_epoch changed_epoch
meta=()
while IFS= read -r line; do meta+=("$line"); done < <(printf '%s' "$got")
epoch=${meta[0]-} stale=${meta[1]-} count=${meta[2]-} checked=${meta[3]-} changed=${meta[4]-}

# SCAN, never KEYS: the server serves others meanwhile.
keys=() cursor=0
while :; do
    get SCAN "$cursor" MATCH 'quantum:ops:heartbeat:p33:*' COUNT 1000
    cursor=$(head -n 1 <<<"$got")
    whole "$cursor" || [[ $cursor =~ ^[0-9]{1,20}$ ]] || fail "SCAN answered $(safe "$cursor")"
    while IFS= read -r line; do [ -n "$line" ] && keys+=("$line"); done < <(tail -n +2 <<<"$got")
    [ "$cursor" = 0 ] && break
done

# What the log of process $1 said last: the source, and when.
logged() {
    local line='' file
    file=$home/log/p33-$(printf '%02d' "$((10#$1))").log
    if [ -r "$file" ]; then
        line=$(grep -a 'Allowlist source=' "$file" | tail -n 1)
    elif command -v journalctl >/dev/null 2>&1; then
        line=$(limited journalctl -u quantum-position-state-brain -n 5000 --no-pager 2>/dev/null |
            grep -a 'Allowlist source=' | tail -n 1)
    fi
    said=$(sed -n 's/.*Allowlist source=\([a-z]*\).*/\1/p' <<<"$line")
    said_at=$(sed -n 's/.*"at": *"\([^"]*\)".*/\1/p' <<<"$line")
}

code=0 rows=() objects=() worst=''
worse() {
    [ "$code" -lt 2 ] && worst=$1
    code=2
}
seen=' '
for key in ${keys[@]+"${keys[@]}"}; do
    number=${key##*:}
    # SCAN may give a key twice.
    case $seen in *" $number "*) continue ;; esac
    seen="$seen$number "
    whole "$number" || continue
    get HMGET "$key" allowlist_source allowlist_reason allowlist_count universe_epoch updated_ms
    beat=()
    while IFS= read -r line; do beat+=("$line"); done < <(printf '%s' "$got")
    source=${beat[0]-} reason=${beat[1]-} listed=${beat[2]-} mine=${beat[3]-} updated=${beat[4]-}
    if [ ${#beat[@]} -ne 5 ]; then
        # A value with a line feed shifts the others: none of them can be told.
        source=unreadable reason='' listed='' mine='' beat_age=-
    elif [[ $updated =~ ^[0-9]{13}$ ]]; then
        beat_age=$((now - 10#${updated%???}))
    else
        continue # it expired between SCAN and now: the process is gone
    fi
    name=p33-$(printf '%02d' "$((10#$number))")
    logged "$number"
    note=
    case $source in
    universe) ;;
    fallback) worse "$name is on its fallback: $reason" ;;
    unreadable)
        note='its heartbeat cannot be read'
        worse "$name: $note"
        ;;
    *)
        note='has not looked at the universe yet'
        worse "$name $note"
        ;;
    esac
    if [ "$source" = universe ] && [ -n "$epoch" ] && [ "$mine" != "$epoch" ] &&
        whole "$changed" && [ $((now - 10#$changed)) -gt $grace_s ]; then
        note="behind: the universe is at epoch $epoch"
        worse "$name is at epoch $mine, the universe at $epoch"
    fi
    if [ -n "$said" ] && [ "$said" != "$source" ]; then
        note="${note:+$note; }its log says $said"
    fi
    rows+=("$(printf '%-9s %-9s %-13s %5s symbols  epoch %-6s %3s s ago  %s' "$name" \
        "$(safe "$source")" "$(safe "$reason")" "$(safe "$listed")" "$(safe "$mine")" "$beat_age" \
        "$(safe "$note")")")
    objects+=("{\"process\":$(text "$name"),\"source\":$(text "$source"),\"reason\":$(text "$reason"),\
\"count\":$(number "$listed"),\"epoch\":$(number "$mine"),\"age_s\":$(number "$beat_age"),\
\"log_source\":$(text "$said"),\"log_at\":$(text "$said_at"),\"note\":$(text "$note")}")
done
if [ ${#rows[@]} -eq 0 ]; then
    logged 0
    worst="no P3.3 process is alive${said:+; its log said last: Allowlist source=$said}"
    code=1
fi

age=
whole "$checked" && age=$((now - 10#$checked))
if $json; then
    joined=$(
        IFS=,
        printf '%s' "${objects[*]-}"
    )
    printf '{"exit_code":%s,"reason":%s,"universe":{"epoch":%s,"stale":%s,"count":%s,"age_s":%s},"processes":[%s]}\n' \
        "$code" "$(text "$worst")" "$(number "$epoch")" "$(text "$stale")" "$(number "$count")" \
        "${age:-null}" "$joined"
    exit $code
fi

case $code in
0) status='✅ ALL ON THE UNIVERSE' ;;
2) status="⚠️  $(safe "$worst")" ;;
*) status="❌ $(safe "$worst")" ;;
esac
# shellcheck disable=SC2154 # from ops/lib/redis.sh
printf '%s\nQuantum Trader P3.3 Universe Source Proof\n%s\n' "$frame" "$frame"
printf 'Universe: epoch %s, %s symbols, stale=%s, checked %s s ago\n\n' "$(safe "${epoch:--}")" \
    "$(safe "${count:--}")" "$(safe "${stale:--}")" "${age:--}"
for row in ${rows[@]+"${rows[@]}"}; do printf '%s\n' "$row"; done
printf '\nSTATUS: %s\n%s\n' "$status" "$frame"
exit $code
