#!/usr/bin/env bash
# Proves from Redis alone whether the universe that gates use is fresh. Read-only.
#
# Usage: bash ops/proof_universe.sh [--json]
#   server: REDIS_URL, or REDIS_HOST/REDIS_PORT/REDIS_DB/REDIS_PASSWORD, else the running system's,
#   else 127.0.0.1:6379
# Exit codes: 0 fresh; 2 stale (by flag or by age); 1 missing, unreadable, or an error
set -u
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
json=false

usage() { sed -n '2,8s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; }
fail() {
    printf 'proof_universe: %s\n' "$*" >&2
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
        printf 'proof_universe: unknown option %q\n' "$1" >&2
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

prefix=quantum:cfg:universe
# Two reads are no transaction: a commit between them would look like a contradiction. Both tell the
# moment of the commit, so a pair that disagrees is read again.
for _ in 1 2 3; do
    get GET $prefix:active
    active=${got%$'\n'}
    get HMGET $prefix:meta stale checked_epoch asof_epoch last_ok_epoch refresh_sec count \
        epoch sha256 symbols_sha256 quarantined mode error
    meta=$got
    case $active in *"\"asof_epoch\": $(sed -n 3p <<<"$meta"),"*) break ;; esac
    [ -n "$active" ] || break
done
exists=1
if [ -z "$active" ]; then
    get EXISTS $prefix:active
    exists=${got%%[!0-9]*}
fi

fields=()
while IFS= read -r line; do fields+=("$line"); done < <(printf '%s' "$meta")
stale=${fields[0]-} checked=${fields[1]-} asof=${fields[2]-} last_ok=${fields[3]-}
refresh=${fields[4]-} count=${fields[5]-} epoch=${fields[6]-} sha=${fields[7]-}
symbols_sha=${fields[8]-} quarantined=${fields[9]-} mode=${fields[10]-} error=${fields[11]-}

if command -v jq >/dev/null 2>&1; then
    symbols=$(jq -r '.symbols[]' <<<"$active" 2>/dev/null)
    [ -n "$mode" ] || mode=$(jq -r '.mode // ""' <<<"$active" 2>/dev/null)
    [ -n "$asof" ] || asof=$(jq -r '.asof_epoch // ""' <<<"$active" 2>/dev/null)
else
    # By brackets and commas, not by what a symbol may look like: official ones need not be ASCII.
    symbols=$(tr -d '\n' <<<"$active" | sed -n 's/.*"symbols": *\[\([^]]*\)\].*/\1/p' | tr ',' '\n' |
        sed 's/^ *"//; s/" *$//' | sed '/^$/d')
    [ -n "$mode" ] || mode=$(sed -n 's/.*"mode": *"\([^"]*\)".*/\1/p' <<<"$active")
    [ -n "$asof" ] || asof=$(sed -n 's/.*"asof_epoch": *\([0-9]*\).*/\1/p' <<<"$active")
fi
found=0
[ -n "$symbols" ] && found=$(wc -l <<<"$symbols" | tr -d ' ')

now=$(date +%s)
refresh=${refresh:-60}
limit=
[[ $refresh =~ ^[0-9]{1,6}(\.[0-9]{1,6})?$ ]] && limit=$(awk -v r="$refresh" 'BEGIN { printf "%d", r * 3 + 0.5 }')
seen=${checked:-$asof}
age=
# 10#: a leading zero would mean octal.
whole "$seen" && age=$((now - 10#$seen))

status=fresh reason=
if [ "$exists" = 0 ]; then
    status=missing reason="no universe was ever published"
elif [ -z "${meta//$'\n'/}" ]; then
    status=stale reason="meta is missing"
elif [ "$stale" != 0 ]; then
    status=stale reason="flagged: ${error:-no reason given}"
elif [ ${#fields[@]} -ne 12 ]; then
    status=stale reason="unreadable: a field of meta holds a line feed"
elif [ -z "$age" ]; then
    status=stale reason="unreadable: the time of the last check is ${seen:-not told}"
elif [ -z "$limit" ]; then
    status=stale reason="unreadable: refresh_sec of meta is $refresh"
elif [ "$age" -gt "$limit" ]; then
    status=stale reason="checked $age s ago, more than 3 x $refresh s: the producer is dead or cut off"
elif [ "$age" -lt "-$(((limit + 2) / 3))" ]; then
    status=stale reason="checked $((-age)) s in the future: a clock is wrong"
elif [ "$found" -eq 0 ]; then
    status=stale reason="the document holds no symbols"
elif [ -n "$count" ] && [ "$count" != "$found" ]; then
    status=stale reason="meta counts $count symbols, the document holds $found"
elif [ -n "$symbols_sha" ] && command -v sha256sum >/dev/null 2>&1; then
    digest=$(printf '%s' "$(LC_ALL=C sort <<<"$symbols")" | sha256sum | cut -d' ' -f1)
    # Without jq a symbol that is not ASCII stays escaped, and its hash cannot be told here.
    case $symbols in *\\*) digest=$symbols_sha ;; esac
    [ "$digest" = "$symbols_sha" ] || status=stale reason="the symbols do not have the hash that meta tells"
fi
case $status in
fresh) code=0 mark="✅ FRESH" ;;
stale) code=2 mark="⚠️  STALE" ;;
*) code=1 mark="❌ MISSING" ;;
esac

if $json; then
    printf '{"status":"%s","reason":%s,"mode":%s,"count":%s,"epoch":%s,"asof_epoch":%s,' "$status" \
        "$(text "$reason")" "$(text "$mode")" "$found" "$(number "$epoch")" "$(number "$asof")"
    printf '"checked_epoch":%s,"last_ok_epoch":%s,"age_s":%s,"quarantined":%s,"sha256":%s}\n' \
        "$(number "$checked")" "$(number "$last_ok")" "${age:-null}" "$(number "$quarantined")" "$(text "$sha")"
    exit $code
fi

row() { printf '%-13s %s\n' "$1:" "$(safe "${2:--}")"; }
printf '%s\nQuantum Trader Universe Proof\n%s\n' $frame $frame
row Mode "$mode"
row Symbols "$found"
row "As of" "$(moment "$asof")"
row Checked "$(moment "$checked")"
row Age "${age:+$age s}"
row "Last ok" "$(moment "$last_ok")"
row Epoch "$epoch"
row SHA-256 "$sha"
row Quarantined "$quarantined"
row Error "$error"
row First "$(head -n 5 <<<"$symbols" | tr '\n' ' ')"
printf '\nSTATUS: %s%s\n%s\n' "$mark" "$(safe "${reason:+ - $reason}")" $frame
exit $code
