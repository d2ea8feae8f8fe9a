# shellcheck shell=sh disable=SC2034,SC2154 # shared with the script that sources this
# Sourced: runs the audit that a script is, on another machine. Nothing is installed there.
#
# What runs there is sent over standard input, arguments included: the command line that the remote
# shell gets to see is always "sh -s". There it needs sh and redis-cli 7. Expects $name, $host, $key,
# $limit_s and ops/lib/words.sh; gives check_remote, preamble and remotely (runs its standard input
# there, and exits as that did).
#
# From the environment: PERMIT_AUDIT_HOST, PERMIT_AUDIT_KEY; PERMIT_AUDIT_KNOWN_HOSTS (else ssh's
# own); PERMIT_AUDIT_DIR (the checkout there, /home/qt/quantum_trader); PERMIT_AUDIT_REDIS_URL (else
# what is set there, else what runs in that checkout, else its default port).

# Sets $host and $key, or tells what is wrong with them.
check_remote() {
    host=${host:-${PERMIT_AUDIT_HOST-}} key=${key:-${PERMIT_AUDIT_KEY-}}
    [ -n "$host" ] || misused "--remote needs a host: --host user@host or PERMIT_AUDIT_HOST"
    [ -n "$key" ] || misused "--remote needs a key: --key FILE or PERMIT_AUDIT_KEY"
    case $host in
    -* | *[!A-Za-z0-9._@:/%+-]*)
        misused "--host $(quote "$host"): write user@host, a name of ssh's configuration, or ssh://user@host:port"
        ;;
    esac
    [ -f "$key" ] && [ -r "$key" ] || misused "--key $(quote "$key"): there is no such file, or it cannot be read"
    case ${PERMIT_AUDIT_KNOWN_HOSTS-} in
    *[\"%]*) misused "PERMIT_AUDIT_KNOWN_HOSTS: a path with \" or % in it cannot be given to ssh" ;;
    esac
    command -v ssh >/dev/null 2>&1 || fail "there is no ssh here (apt-get install openssh-client)"
}

# What every remote script begins with.
preamble() {
    printf 'root=%s name=%s\n' "$(quote "${PERMIT_AUDIT_DIR:-/home/qt/quantum_trader}")" "$(quote "$name")"
    if [ -n "${PERMIT_AUDIT_REDIS_URL-}" ]; then
        printf 'REDIS_URL=%s\n' "$(quote "$PERMIT_AUDIT_REDIS_URL")"
    fi
    # shellcheck disable=SC2016 # expanded there
    printf '%s\n' 'fail() { printf "%s: %s\n" "$name" "$*" >&2; exit 1; }'
}

remotely() {
    # No question is ever asked, no unknown host is taken, nothing of this machine is lent to it.
    set -- -T -o BatchMode=yes -o StrictHostKeyChecking=yes -o IdentitiesOnly=yes \
        -o ConnectTimeout=10 -o ServerAliveInterval=5 -o ServerAliveCountMax=3 \
        -o ForwardAgent=no -o ForwardX11=no -o ClearAllForwardings=yes -o PermitLocalCommand=no \
        -i "$key"
    if [ -n "${PERMIT_AUDIT_KNOWN_HOSTS-}" ]; then
        set -- "$@" -o "UserKnownHostsFile=\"$PERMIT_AUDIT_KNOWN_HOSTS\"" -o GlobalKnownHostsFile=/dev/null
    fi
    code=0
    if command -v timeout >/dev/null 2>&1; then
        timeout "$limit_s" ssh "$@" -- "$host" sh -s || code=$?
    else
        ssh "$@" -- "$host" sh -s || code=$?
    fi
    case $code in
    0 | 1 | 2 | 3) ;;
    124) fail "no answer from $host within $limit_s s (PERMIT_AUDIT_TIMEOUT_SEC)" ;;
    *) fail "ssh to $host ended with $code" ;;
    esac
    exit "$code"
}
