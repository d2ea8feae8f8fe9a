#!/usr/bin/env bash
# A planned change of the Redis master that loses nothing: for maintenance of its host.
#
#   ops/redis/failover.sh [--sentinel HOST:PORT]... [--service NAME] [--pause SECONDS] [--check]
#
# SENTINEL FAILOVER alone loses what was written meanwhile: the old master takes writes for some ten
# seconds more, which its other replica may even acknowledge. So writes are held here (CLIENT PAUSE)
# until all replicas have everything, and until the old master is a replica itself.
#
# Sentinels and service come from REDIS_URL=sentinel://... unless named. Logins: REDISCLI_AUTH (and
# REDIS_USERNAME) for the servers, REDIS_SENTINEL_PASSWORD (and REDIS_SENTINEL_USERNAME) for sentinels.
# Exit codes: 0 done (or, with --check, possible), 1 broken off and writes go on where they were,
# 2 usage, 3 nothing was touched: no replica is fit, or a sentinel does not answer.
set -uo pipefail

sentinels=() service='' pause_s=30 check=no
held=no master_host='' master_port=''

say() { printf '%s\n' "$*"; }
fail() { local code=$1; shift; printf 'failover: %s\n' "$*" >&2; exit "$code"; }

usage() { sed -n '2,15s/^# \{0,1\}//p' "$0"; exit "$1"; }

while [ $# -gt 0 ]; do
    case $1 in
        --sentinel) [ $# -ge 2 ] || usage 2; sentinels+=("$2"); shift 2 ;;
        --service) [ $# -ge 2 ] || usage 2; service=$2; shift 2 ;;
        --pause) [ $# -ge 2 ] || usage 2; pause_s=$2; shift 2 ;;
        --check) check=yes; shift ;;
        -h | --help) usage 0 ;;
        *) usage 2 >&2 ;;
    esac
done
case $pause_s in '' | *[!0-9]*) fail 2 "--pause $pause_s: is no whole number of seconds" ;; esac
command -v redis-cli >/dev/null || fail 2 'needs redis-cli: apt-get install redis-tools'
case ${REDIS_URL:-} in
    sentinel://*)
        rest=${REDIS_URL#sentinel://} rest=${rest%%\?*}
        path=${rest#*/} hosts=${rest%%/*}
        [ -n "$service" ] || service=${path%%/*}
        [ ${#sentinels[@]} -gt 0 ] || IFS=, read -ra sentinels <<<"${hosts##*@}"
        ;;
esac
[ ${#sentinels[@]} -gt 0 ] && [ -n "$service" ] ||
    fail 2 'names no sentinel: set REDIS_URL=sentinel://HOST:PORT,.../SERVICE, or --sentinel and --service'

# ask HOST PORT COMMAND...: the plain reply of a server. Never with a password on the command line.
ask() {
    local host=$1 port=$2; shift 2
    timeout 5 redis-cli -e --raw -h "$host" -p "$port" ${REDIS_USERNAME:+--user "$REDIS_USERNAME"} "$@"
}

# sentinel HOST:PORT COMMAND...
sentinel() {
    local at=$1; shift
    (
        unset REDISCLI_AUTH # set to nothing it would be sent, too
        [ -z "${REDIS_SENTINEL_PASSWORD:-}" ] || export REDISCLI_AUTH=$REDIS_SENTINEL_PASSWORD
        exec timeout 5 redis-cli -e --raw -h "${at%:*}" -p "${at##*:}" \
            ${REDIS_SENTINEL_USERNAME:+--user "$REDIS_SENTINEL_USERNAME"} SENTINEL "$@"
    )
}

named() { sentinel "$1" GET-MASTER-ADDR-BY-NAME "$service" | tr '\n' ' '; }

replication() { ask "$master_host" "$master_port" INFO replication | tr -d '\r'; }

# in_step OFFSET: whether every replica that is online has all up to there.
in_step() {
    replication | awk -F: -v all="$1" '
        $1 ~ /^slave[0-9]+$/ && $2 ~ /state=online/ { n++; match($2, /offset=[0-9]+/)
            if (substr($2, RSTART + 7, RLENGTH - 7) + 0 < all + 0) behind = 1 }
        END { exit behind || n < 1 }'
}

# shellcheck disable=SC2317 # called by the trap
let_go() {
    [ "$held" != yes ] || ask "$master_host" "$master_port" CLIENT UNPAUSE >/dev/null
}
trap let_go EXIT
trap 'exit 1' INT TERM HUP

answers=()
for at in "${sentinels[@]}"; do
    [ "${at##*:}" != "$at" ] || at=$at:26379
    answers+=("$at")
    where=$(named "$at") || fail 3 "sentinel $at does not answer, or knows no service $service"
    [ -n "$where" ] || fail 3 "sentinel $at knows no service $service"
    [ -z "$master_host" ] || [ "$where" = "$master_host $master_port " ] ||
        fail 3 "sentinels disagree: $at names $where, another one $master_host $master_port"
    read -r master_host master_port <<<"$where"
done
first=${answers[0]}
[ "$(ask "$master_host" "$master_port" ROLE | head -1)" = master ] ||
    fail 3 "$master_host:$master_port does not answer as a master"
in_quorum=$(sentinel "$first" CKQUORUM "$service") || fail 3 "no quorum: $in_quorum"
online=$(replication | grep -c 'state=online') ||
    fail 3 "$master_host:$master_port has no replica that is online"
say "master    $master_host:$master_port of $service, replicas online: $online"
[ "$check" = no ] || { say 'possible; nothing was changed'; exit 0; }

began=$(date +%s%N)
ms() { echo $((($(date +%s%N) - began) / 1000000)); }
ask "$master_host" "$master_port" CLIENT PAUSE $((pause_s * 1000)) WRITE >/dev/null ||
    fail 1 'the master does not hold writes'
held=yes
say "held      writes, for $pause_s s at most"
# Only pings are added from here on.
offset=$(replication | sed -n 's/^master_repl_offset://p')
until in_step "$offset"; do
    [ "$(ms)" -lt $((pause_s * 500)) ] || fail 1 'a replica does not catch up; writes go on as before'
    sleep 0.1
done
say "in step   all replicas at offset $offset, after $(ms) ms"
sentinel "$first" FAILOVER "$service" >/dev/null || fail 1 'the sentinel refuses; writes go on as before'
# From here on an end of the pause may lose writes: broken off, it is left to run out.
held=asked
new_host='' new_port=''
until [ -n "$new_host" ]; do
    [ "$(ms)" -lt $((pause_s * 800)) ] || fail 1 "no new master yet, writes are held for $pause_s s in all: look at the logs of the sentinels"
    sleep 0.1
    read -r host port <<<"$(named "$first")"
    [ "$host $port" != "$master_host $master_port" ] || continue
    [ "$(ask "$host" "$port" ROLE | head -1)" = master ] && new_host=$host new_port=$port
done
say "promoted  $new_host:$new_port, after $(ms) ms"
# The sentinels would do this, too, but some ten seconds later; until then it would take writes.
ask "$master_host" "$master_port" REPLICAOF "$new_host" "$new_port" >/dev/null ||
    fail 1 "$master_host:$master_port does not follow; it takes writes again in $pause_s s: stop it"
ask "$master_host" "$master_port" CLIENT KILL TYPE normal SKIPME yes >/dev/null
ask "$master_host" "$master_port" CLIENT UNPAUSE >/dev/null
say "done      $master_host:$master_port follows; writes were held for $(ms) ms"
