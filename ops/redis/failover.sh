#!/usr/bin/env bash
# A planned change of the Redis master that loses nothing: for maintenance of its host.
#
#   ops/redis/failover.sh [--sentinel HOST:PORT]... [--service NAME] [--pause SECONDS] [--tls] [--check]
#
# SENTINEL FAILOVER alone loses what was written meanwhile: the old master takes writes for some ten
# seconds more, which its other replica may even acknowledge. So writes are held here (CLIENT PAUSE)
# until all replicas have everything, and until the old master is a replica itself: one to two
# seconds, of which a sentinel takes the most until it notices that its choice is promoted.
#
# Meanwhile sentinels have to be patient (down-after-milliseconds), which is noted on the master first,
# under quantum:ops:failover: what a killed run leaves is set back by the next one, --check as well.
#
# Sentinels and service come from REDIS_URL=sentinel://... unless named. Logins: REDISCLI_AUTH (and
# REDIS_USERNAME), else that of REDIS_URL, for the servers; REDIS_SENTINEL_PASSWORD (and
# REDIS_SENTINEL_USERNAME) for sentinels.
# With sentinels://..., or --tls, all is asked over TLS: REDIS_TLS_CA, REDIS_TLS_CERT, REDIS_TLS_KEY.
# Exit codes: 0 done (or, with --check, possible), 1 broken off and writes go on where they were,
# 2 usage, 3 nothing was touched: no replica is fit, one is behind, a sentinel does not answer, or
# another run is under way.
set -uo pipefail

sentinels=() service='' pause_s=30 check=no tls=() patience_s=5
answers=() downs=() patient=()
held=no master_host='' master_port='' new_host='' new_port='' noted=no
note_key=quantum:ops:failover

say() { printf '%s\n' "$*"; }
fail() { local code=$1; shift; printf 'failover: %s\n' "$*" >&2; exit "$code"; }

usage() { sed -n '2,21s/^# \{0,1\}//p' "$0"; exit "$1"; }

while [ $# -gt 0 ]; do
    case $1 in
        --sentinel) [ $# -ge 2 ] || usage 2; sentinels+=("$2"); shift 2 ;;
        --service) [ $# -ge 2 ] || usage 2; service=$2; shift 2 ;;
        --pause) [ $# -ge 2 ] || usage 2; pause_s=$2; shift 2 ;;
        --tls) tls=(--tls); shift ;;
        --check) check=yes; shift ;;
        -h | --help) usage 0 ;;
        *) usage 2 >&2 ;;
    esac
done
case $pause_s in '' | *[!0-9]*) fail 2 "--pause $pause_s: is no whole number of seconds" ;; esac
# Killed in between, writes stay held until it is over; and what has more digits wraps around.
[ ${#pause_s} -le 9 ] && [ $((10#$pause_s)) -le 300 ] || fail 2 "--pause $pause_s: is above 300 s"
pause_s=$((10#$pause_s))
# Should it run out before the old master is a replica, what that one takes then is lost.
[ "$pause_s" -ge 5 ] || fail 2 "--pause $pause_s: is below 5 s; the sentinels alone may need two of them"
plain() { printf '%b' "$(sed 's/\\/\\\\/g; s/%/\\x/g' <<<"$1")"; } # what stands behind %XX
command -v redis-cli >/dev/null || fail 2 'needs redis-cli: apt-get install redis-tools'
case ${REDIS_URL:-} in
    sentinel://* | sentinels://*)
        [ "${REDIS_URL%%:*}" = sentinel ] || tls=(--tls)
        rest=${REDIS_URL#*://} query=''
        case $rest in *\?*) query=${rest#*\?} rest=${rest%%\?*} ;; esac
        path=${rest#*/} hosts=${rest%%/*}
        case $hosts in
            *@*)
                # Whoever moves the master may need another login than programs have: that comes first.
                if [ -z "${REDISCLI_AUTH:-}" ]; then
                    login=${hosts%@*}
                    case $login in *:*) REDISCLI_AUTH=$(plain "${login#*:}"); export REDISCLI_AUTH ;; esac
                    [ -n "${REDIS_USERNAME:-}" ] || REDIS_USERNAME=$(plain "${login%%:*}")
                fi
                ;;
        esac
        [ -n "$service" ] || service=${path%%/*}
        [ ${#sentinels[@]} -gt 0 ] || IFS=, read -ra sentinels <<<"${hosts##*@}"
        ;;
esac
[ ${#sentinels[@]} -gt 0 ] && [ -n "$service" ] ||
    fail 2 'names no sentinel: set REDIS_URL=sentinel://HOST:PORT,.../SERVICE, or --sentinel and --service'

file_of() { # OPTION SETTING: the file of TLS that REDIS_URL's query names, else the setting's
    local part
    while IFS= read -r part; do
        case $part in "$1"=*) part=${part#*=}; plain "${part//+/ }"; return ;; esac
    done < <(tr '&' '\n' <<<"${query:-}")
    printf '%s' "$2"
}
if [ ${#tls[@]} -gt 0 ]; then
    ca=$(file_of ssl_ca_certs "${REDIS_TLS_CA:-}") cert=$(file_of ssl_certfile "${REDIS_TLS_CERT:-}")
    key=$(file_of ssl_keyfile "${REDIS_TLS_KEY:-}")
    tls+=(${ca:+--cacert "$ca"} ${cert:+--cert "$cert"} ${key:+--key "$key"})
fi

# ask HOST PORT COMMAND...: the plain reply of a server. Never with a password on the command line.
# Without a command those on stdin, a line each: starting redis-cli takes longer than most replies.
ask() {
    local host=$1 port=$2; shift 2
    timeout "$patience_s" redis-cli -e --raw -h "$host" -p "$port" "${tls[@]}" \
        ${REDIS_USERNAME:+--user "$REDIS_USERNAME"} "$@"
}

# sentinel HOST:PORT COMMAND...
sentinel() {
    local at=$1 host; shift
    host=${at%:*} host=${host#[} host=${host%]}
    (
        unset REDISCLI_AUTH # set to nothing it would be sent, too
        [ -z "${REDIS_SENTINEL_PASSWORD:-}" ] || export REDISCLI_AUTH=$REDIS_SENTINEL_PASSWORD
        exec timeout 5 redis-cli -e --raw -h "$host" -p "${at##*:}" "${tls[@]}" \
            ${REDIS_SENTINEL_USERNAME:+--user "$REDIS_SENTINEL_USERNAME"} SENTINEL "$@"
    )
}

named() { sentinel "$1" GET-MASTER-ADDR-BY-NAME "$service" | tr '\n' ' '; }

# down_after HOST:PORT [MS]: after how long that sentinel takes the master for dead, or set it.
down_after() {
    if [ $# -gt 1 ]; then
        sentinel "$1" SET "$service" down-after-milliseconds "$2"
    else
        sentinel "$1" MASTER "$service" | awk 'NR % 2 { name = $0; next } name == "down-after-milliseconds"'
    fi
}

# How long a note is believed that somebody is at work, beyond the pause, if it cannot be looked.
slow_s=60

# The note: server's second until which the run may last, host, pid, the patience in ms, and for each
# sentinel HOST:PORT=MS, what it was before.
take_note() { # HOST:PORT=MS...
    local reply now
    now=$(server_s)
    case $now in '' | *[!0-9]*) fail 3 "$master_host:$master_port does not tell the time" ;; esac
    reply=$(ask "$master_host" "$master_port" SET "$note_key" \
        "$((now + pause_s + slow_s)) $(uname -n) $$ $((pause_s * 1000)) $*" NX)
    [ "$reply" = OK ] || fail 3 "cannot note on the master ($note_key) what the sentinels are set back to: ${reply:-another run has begun}"
    noted=yes
}

server_s() { ask "$master_host" "$master_port" TIME | head -1; }

# at_work HOST PID UNTIL: whether the run of a note goes on, or may.
at_work() {
    [ "$1" != "$(uname -n)" ] || case $(LC_ALL=C kill -0 "$2" 2>&1) in *'No such process'*) return 1 ;; esac
    local now
    now=$(server_s)
    [ "${now:-0}" -lt "$3" ]
}

# set_back: what a run left that was killed. Only what has not been set by anybody since.
set_back() {
    local note until host pid raised pairs pair at was is end reply patience_s=5
    note=$(ask "$master_host" "$master_port" GET "$note_key") || fail 3 "$note_key cannot be read: $note"
    [ -n "$note" ] || return 0
    [[ $note =~ ^[0-9]{1,15}\ [^\ ]+\ [0-9]{1,15}\ [1-9][0-9]{0,9}(\ [^\ =]+:[0-9]+=[0-9]{1,10})+$ ]] ||
        fail 3 "$note_key is no note of this script: look at it (GET), set the sentinels right, DEL it"
    read -r until host pid raised pairs <<<"$note"
    ! at_work "$host" "$pid" "$until" ||
        fail 3 "another run (process $pid on $host) is under way, or was killed: for $((until - $(server_s))) s more nobody can tell"
    # Impatient before that run's pause is over, sentinels would begin a failover of their own.
    end=$((SECONDS + raised / 1000 + 5)) patience_s=2
    until reply=$(ask "$master_host" "$master_port" SET "$note_key" "$note" XX) && [ "$reply" = OK ]; do
        [ $SECONDS -lt $end ] || fail 3 "$master_host:$master_port takes no writes, so what a killed run left is not set back: ${reply:-no answer}"
        say "waiting   until a killed run's pause is over, $((end - SECONDS)) s at most"
        sleep 0.5
    done
    for pair in $pairs; do
        at=${pair%=*} was=${pair##*=}
        is=$(down_after "$at") || fail 3 "sentinel $at does not answer; a killed run left it with down-after-milliseconds $raised, $was before"
        [ "$is" = "$raised" ] || continue
        [ "$(down_after "$at" "$was")" = OK ] || fail 3 "sentinel $at does not let its down-after be set back to $was ms (SENTINEL SET)"
        say "set back  $at waits $was ms again, not $raised: a run was killed"
        changed=yes
    done
    ask "$master_host" "$master_port" DEL "$note_key" >/dev/null || fail 3 "cannot remove $note_key"
}

replication() { ask "$master_host" "$master_port" INFO replication; }

# online INFO: host, port and acknowledged offset of each replica that the master has on the line.
online() {
    awk -F'[:,=]' '/^slave[0-9]+:/ && /state=online/ {
        for (i = 2; i < NF; i++) { if ($i == "ip") ip = $(i + 1); if ($i == "port") port = $(i + 1)
            if ($i == "offset") offset = $(i + 1) }
        print ip, port, offset }' <<<"$1"
}

# fit: how many replicas the sentinel might choose; what it takes for dead it does not.
fit() {
    sentinel "$first" REPLICAS "$service" | awk '
        NR % 2 { name = $0; next }
        name == "flags" { bad = $0 ~ /s_down|o_down|disconnected/ }
        name == "slave-priority" { n += !bad && $0 != 0 }
        END { print n + 0 }'
}

# in_step OFFSET COUNT: 0 if so many replicas have all up to there, 1 if not yet, 2 if one is gone.
# What the master knows is up to a second old, so a replica that seems behind is asked itself.
in_step() {
    local host port acked has info n=0 patience_s=2
    info=$(replication) || return 1
    while read -r host port acked; do
        n=$((n + 1))
        [ "${acked:-0}" -ge "$1" ] && continue
        has=$(ask "$host" "$port" ROLE | sed -n 5p)
        [ "${has:-0}" -ge "$1" ] || return 1
    done < <(online "$info")
    [ "$n" -ge "$2" ] || return 2
}

# shellcheck disable=SC2317 # called by the trap
let_go() {
    [ "$held" != yes ] || ask "$master_host" "$master_port" CLIENT UNPAUSE >/dev/null
    local i is_back=yes patience_s=2
    for i in "${!patient[@]}"; do
        [ "$(down_after "${answers[i]}" "${patient[i]}")" = OK ] && continue
        is_back=no
        printf 'failover: %s waits %s ms before it calls a master dead: redis-cli ... SENTINEL SET %s down-after-milliseconds %s\n' \
                "${answers[i]}" $((pause_s * 1000)) "$service" "${patient[i]}" >&2
    done
    # While writes are held it cannot go, and is found to be over by the next run.
    [ "$noted$is_back" != yesyes ] || ask "${new_host:-$master_host}" "${new_port:-$master_port}" DEL "$note_key" >/dev/null 2>&1
}
trap let_go EXIT
trap 'exit 1' INT TERM HUP

for at in "${sentinels[@]}"; do
    case $at in *]) at=$at:26379 ;; *:*) ;; *) at=$at:26379 ;; esac
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
changed=no
set_back
for at in "${answers[@]}"; do
    down=$(down_after "$at")
    case $down in '' | *[!0-9]*) fail 3 "sentinel $at does not say after how long a master is dead" ;; esac
    downs+=("$down")
done
in_quorum=$(sentinel "$first" CKQUORUM "$service") || fail 3 "no quorum: $in_quorum"
count=$(online "$(replication)" | wc -l)
[ "$count" -gt 0 ] || fail 3 "$master_host:$master_port has no replica that is online"
fit=$(fit)
[ "$fit" -gt 0 ] || fail 3 "the sentinel $first knows no replica that it may promote"
# It chooses by what it knew up to ten seconds ago: one that lost its master since may win.
[ "$fit" -le "$count" ] ||
    fail 3 "of $fit replicas that may be promoted only $count are online at $master_host:$master_port: wait until the others are, or stop them"
say "master    $master_host:$master_port of $service, replicas online: $count, down-after: ${downs[*]} ms"
if [ "$check" = yes ]; then
    [ "$changed" = no ] || { say 'possible; nothing else was changed'; exit 0; }
    say 'possible; nothing was changed'
    exit 0
fi

# What the sentinels publish on the master is held like a write, and their pings behind it: after
# down-after they would begin a failover of their own, across this one.
hasty=()
for i in "${!answers[@]}"; do
    [ "${downs[i]}" -ge $((pause_s * 1000)) ] || hasty[i]=${answers[i]}=${downs[i]}
done
[ ${#hasty[@]} -eq 0 ] || take_note "${hasty[@]}"
for i in "${!hasty[@]}"; do
    patient[i]=${downs[i]}
    [ "$(down_after "${answers[i]}" $((pause_s * 1000)))" = OK ] ||
        fail 3 "sentinel ${answers[i]} does not let its down-after be set (SENTINEL SET)"
done
began=$(date +%s%N)
ms() { echo $((($(date +%s%N) - began) / 1000000)); }
held=yes
paused=$(ask "$master_host" "$master_port" <<<"CLIENT PAUSE $((pause_s * 1000)) WRITE
INFO replication")
[ "${paused%%$'\n'*}" = OK ] || fail 1 'the master does not hold writes'
say "held      writes, for $pause_s s at most"
# Only pings are added from here on.
offset=$(sed -n 's/^master_repl_offset:\([0-9]*\).*/\1/p' <<<"$paused")
case $offset in '' | *[!0-9]*) fail 1 'the master does not say how far it is; writes go on as before' ;; esac
until in_step "$offset" "$count"; do
    [ $? -eq 1 ] || fail 1 'a replica lost its line; writes go on as before'
    [ "$(ms)" -lt $((pause_s * 500)) ] || fail 1 'a replica does not catch up; writes go on as before'
    sleep 0.05
done
[ "$(ms)" -lt $((pause_s * 500)) ] || fail 1 'half of the pause is over; writes go on as before'
say "in step   all replicas at offset $offset, after $(ms) ms"
sentinel "$first" FAILOVER "$service" >/dev/null || fail 1 'the sentinel refuses; writes go on as before'
# From here on an end of the pause may lose writes: broken off, it is left to run out.
held=asked
until [ -n "$new_host" ]; do
    [ "$(ms)" -lt $((pause_s * 800)) ] || fail 1 "no new master yet, writes are held for $pause_s s in all: look at the logs of the sentinels"
    sleep 0.05
    read -r host port <<<"$(named "$first")"
    [ "$host $port" != "$master_host $master_port" ] || continue
    [ "$(ask "$host" "$port" ROLE | head -1)" = master ] && new_host=$host new_port=$port
done
say "promoted  $new_host:$new_port, after $(ms) ms"
# The sentinels would do this, too, but some ten seconds later; until then it would take writes.
ask "$master_host" "$master_port" REPLICAOF "$new_host" "$new_port" >/dev/null ||
    fail 1 "$master_host:$master_port does not follow; it takes writes again in $pause_s s: stop it"
# Whoever waits for replicas would find none yet, and wait in vain for its whole patience.
until_ms=$(($(ms) + 1000))
until [ "$(online "$(ask "$new_host" "$new_port" INFO replication)" | wc -l)" -ge "$count" ]; do
    [ "$(ms)" -lt $until_ms ] || break
    sleep 0.05
done
ask "$master_host" "$master_port" >/dev/null <<<'CLIENT KILL TYPE normal SKIPME yes
CLIENT UNPAUSE'
say "done      $master_host:$master_port follows; writes were held for $(ms) ms"
