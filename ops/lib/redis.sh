# shellcheck shell=bash
# Sourced by the scripts here that read Redis from a shell: which server, which client, safe text.
#
# Expects $root (the checkout) and a function fail(). Gives: home, ask COMMAND... (prints the reply,
# one line a value), get COMMAND... (sets $got or fails), safe TEXT, whole TEXT, text TEXT and
# number TEXT (as JSON), moment EPOCH, frame.
# Which server.
home=${QUANTUM_HOME:-$root/var}
case $home in /*) ;; *) home=$PWD/$home ;; esac
if [ -z "${REDIS_URL-}" ] && [ -z "${REDIS_HOST-}" ] && [ -r "$home/run/current.env" ]; then
    REDIS_URL=$(sed -n 's/^REDIS_URL=//p' "$home/run/current.env")
fi
where=() user=${REDIS_USERNAME-} password=${REDIS_PASSWORD-} spoken=true
unescape() {
    local text=${1//\\/\\\\}
    printf '%b' "${text//%/\\x}"
}
if [ -n "${REDIS_URL-}" ]; then
    rest=${REDIS_URL#*://} query='' db='' login='' user='' password=''
    case $rest in *\?*) query=${rest#*\?} ;; esac
    rest=${rest%%\?*}
    case $rest in *@*) login=${rest%@*} ;; esac
    rest=${rest##*@}
    user=$(unescape "${login%%:*}")
    case $login in *:*) password=$(unescape "${login#*:}") ;; esac
    case $REDIS_URL in
    unix://*) where=(-s "$(unescape "$rest")") ;;
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
        where=(-h "${host%\]}" -p "$port")
        case $REDIS_URL in rediss://*) where+=(--tls) ;; esac
        ;;
    # Only our own client finds the master through Sentinel.
    *) spoken=false ;;
    esac
    while [ -n "$query" ]; do
        value=$(unescape "${query%%&*}")
        case $value in
        db=*) db=${value#*=} ;;
        username=*) user=${value#*=} ;;
        password=*) password=${value#*=} ;;
        esac
        case $query in *\&*) query=${query#*&} ;; *) query='' ;; esac
    done
    [ -n "$db" ] && where+=(-n "$db")
else
    where=(-h "${REDIS_HOST:-127.0.0.1}" -p "${REDIS_PORT:-6379}" -n "${REDIS_DB:-0}")
fi
[ -n "$user" ] && where+=(--user "$user")
# In the environment, not as an argument: ps shows arguments to everybody.
if [ -n "$password" ]; then export REDISCLI_AUTH=$password; fi

# Which client. A redis-cli before 7 has no -e; a server that hangs must not hang this script (our
# own client sees to that itself).
patience=${REDIS_TIMEOUT_SEC:-5}
limited() { "$@"; }
if command -v timeout >/dev/null 2>&1; then limited() { timeout "$patience" "$@"; }; fi
if $spoken && cli=$(command -v redis-cli || command -v valkey-cli) && "$cli" -e --version >/dev/null 2>&1; then
    ask() { limited "$cli" "${where[@]}" --no-auth-warning -e --raw "$@"; }
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

# Text from Redis is anybody's: nothing of it may steer the terminal or break the JSON, so what is
# not printable ASCII becomes a question mark.
safe() { printf '%s' "$1" | LC_ALL=C tr -c '[:print:]' '?' | cut -c1-300; }
# At most 11 digits: more would wrap round in the shell's arithmetic and pass for a good age.
whole() { case $1 in '' | *[!0-9]* | ????????????*) return 1 ;; esac; }

# Sets $got. -e: an error reply (WRONGTYPE, NOAUTH, LOADING) is an exit code, never taken for
# "missing". The letter at the end keeps $(...) from cutting empty lines, each of which is a field.
get() {
    local status=0
    got=$(ask "$@" 2>&1 && printf x) || status=$?
    # redis-cli goes on without a login that was refused.
    case $got in "AUTH failed"* | "SELECT "*" failed"*) status=1 got=${got%%$'\n'*} ;; esac
    [ $status -eq 124 ] && got="no answer within $patience s (REDIS_TIMEOUT_SEC)"
    [ $status -eq 0 ] || fail "Redis: $(safe "${got:-no answer}")"
    got=${got%x}
}

# As JSON.
text() {
    local v
    v=$(safe "$1")
    v=${v//\\/\\\\}
    printf '"%s"' "${v//\"/\\\"}"
}
number() { if whole "$1"; then printf '%s' "$((10#$1))"; else printf null; fi; }

moment() {
    whole "$1" || { printf -- '-' && return; }
    date -u -d "@$1" '+%Y-%m-%d %H:%M:%S UTC' 2>/dev/null || date -u -r "$1" '+%Y-%m-%d %H:%M:%S UTC'
}
# shellcheck disable=SC2034 # for the scripts that source this
frame=═══════════════════════════════════════════════════════════
