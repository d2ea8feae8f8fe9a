# shellcheck shell=sh
# Sourced by the scripts here that read Redis from a shell: which server, and with which client.
#
# POSIX, and no other program than redis-cli is needed (timeout is used where it is). Expects $root
# (the checkout), a function fail() and ops/lib/words.sh. Gives: home, ask COMMAND... (prints the
# reply, one line a value), get COMMAND... (sets $got or fails), moment EPOCH, frame.
# Which server.
home=${QUANTUM_HOME:-$root/var}
case $home in /*) ;; *) home=$PWD/$home ;; esac
if [ -z "${REDIS_URL-}" ] && [ -z "${REDIS_HOST-}" ] && [ -r "$home/run/current.env" ]; then
    while IFS= read -r line || [ -n "$line" ]; do
        case $line in
        REDIS_URL=*) REDIS_URL=${line#*=} ;;
        QUANTUM_ACL_DIR=*) QUANTUM_ACL_DIR=${line#*=} ;;
        esac
    done <"$home/run/current.env"
fi

# Sets $plain. What follows a % that is no byte stays as it is.
unescape() {
    coded=$1 plain=
    while :; do
        case $coded in *%*) ;; *) break ;; esac
        plain=$plain${coded%%\%*} coded=${coded#*%}
        case $coded in
        [0-9A-Fa-f][0-9A-Fa-f]*)
            byte=$(printf '%o' "0x${coded%"${coded#??}"}")
            # The letter at the end keeps $(...) from cutting a line feed.
            byte=$(printf '%bx' "\\0$byte")
            plain=$plain${byte%x} coded=${coded#??}
            ;;
        *) plain=$plain% ;;
        esac
    done
    plain=$plain$coded
}

socket='' host='' port='' tls='' db='' user=${REDIS_USERNAME-} password=${REDIS_PASSWORD-} spoken=true
if [ -n "${REDIS_URL-}" ]; then
    rest=${REDIS_URL#*://} query='' login='' user='' password=''
    case $rest in *\?*) query=${rest#*\?} ;; esac
    rest=${rest%%\?*}
    case $rest in *@*) login=${rest%@*} ;; esac
    rest=${rest##*@}
    unescape "${login%%:*}"
    user=$plain
    case $login in
    *:*)
        unescape "${login#*:}"
        password=$plain
        ;;
    esac
    case $REDIS_URL in
    unix://*)
        unescape "$rest"
        socket=$plain
        ;;
    redis://* | rediss://*)
        case $rest in */*) db=${rest#*/} ;; esac
        rest=${rest%%/*} port=6379
        case $rest in
        \[*\]:*) port=${rest##*:} host=${rest%:*} ;;
        \[*) host=$rest ;;
        *:*) port=${rest##*:} host=${rest%:*} ;;
        *) host=$rest ;;
        esac
        host=${host#\[}
        host=${host%\]}
        case $REDIS_URL in rediss://*) tls=--tls ;; esac
        ;;
    # Only our own client finds the master through Sentinel.
    *) spoken=false ;;
    esac
    while [ -n "$query" ]; do
        unescape "${query%%&*}"
        case $plain in
        db=*) db=${plain#*=} ;;
        username=*) user=${plain#*=} ;;
        password=*) password=${plain#*=} ;;
        esac
        case $query in *\&*) query=${query#*&} ;; *) query='' ;; esac
    done
else
    host=${REDIS_HOST:-127.0.0.1} port=${REDIS_PORT:-6379} db=${REDIS_DB:-0}
fi
# Where there are users, these scripts are the one that only reads.
if [ -z "$user$password" ] && [ -n "${QUANTUM_ACL_DIR-}" ] && [ -r "$QUANTUM_ACL_DIR/audit.password" ]; then
    IFS= read -r password <"$QUANTUM_ACL_DIR/audit.password" || :
    user=audit
fi
# In the environment, not as an argument: ps shows arguments to everybody.
if [ -n "$password" ]; then export REDISCLI_AUTH="$password"; fi

# Which client. A redis-cli before 7 has no -e; a server that hangs must not hang this script (our
# own client sees to that itself).
patience=${REDIS_TIMEOUT_SEC:-5}
if command -v timeout >/dev/null 2>&1; then
    limited() { timeout "$patience" "$@"; }
else
    limited() { "$@"; }
fi
if $spoken && cli=$(command -v redis-cli || command -v valkey-cli) && "$cli" -e --version >/dev/null 2>&1; then
    ask() {
        set -- --no-auth-warning -e --raw "$@"
        if [ -n "$user" ]; then set -- --user "$user" "$@"; fi
        if [ -n "$db" ]; then set -- -n "$db" "$@"; fi
        if [ -n "$socket" ]; then set -- -s "$socket" "$@"; else set -- -h "$host" -p "$port" "$@"; fi
        if [ -n "$tls" ]; then set -- --tls "$@"; fi
        limited "$cli" "$@"
    }
elif [ -x "$home/venv/bin/python" ]; then
    ask() {
        (cd "$root" && export QUANTUM_HOME="$home" QUANTUM_REDIS_CLI=builtin &&
            "$home/venv/bin/python" -m ops redis-cli -e --raw "$@")
    }
elif $spoken; then
    fail "there is neither redis-cli of version 7 (apt-get install redis-tools) nor a set-up checkout (./run --help sets one up)"
else
    fail "REDIS_URL: without a set-up checkout only redis://, rediss:// and unix:// can be read (./run --help sets one up)"
fi

# Sets $got. -e: an error reply (WRONGTYPE, NOAUTH, LOADING) is an exit code, never taken for
# "missing". The letter at the end keeps $(...) from cutting empty lines, each of which is a field.
get() {
    asked=0
    got=$(ask "$@" 2>&1 && printf x) || asked=$?
    # redis-cli goes on without a login that was refused.
    case $got in "AUTH failed"* | "SELECT "*" failed"*) asked=1 got=${got%%"$nl"*} ;; esac
    [ "$asked" -eq 124 ] && got="no answer within $patience s (REDIS_TIMEOUT_SEC)"
    [ "$asked" -eq 0 ] || fail "Redis: $(safe "${got:-no answer}")"
    got=${got%x}
}

moment() {
    whole "$1" || { printf '%s' - && return; }
    date -u -d "@$1" '+%Y-%m-%d %H:%M:%S UTC' 2>/dev/null || date -u -r "$1" '+%Y-%m-%d %H:%M:%S UTC'
}
# shellcheck disable=SC2034 # for the scripts that source this
frame=═══════════════════════════════════════════════════════════
