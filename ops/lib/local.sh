# shellcheck shell=sh disable=SC2034,SC2154 # shared with the script that sources this
# Sourced: what an audit does on this machine. With a set-up checkout it is ./run VERB (which knows
# Sentinel and reads permits and results by the auditors' own rules), else redis-cli does it.
#
# Expects $root, $name; locally VERB ARGUMENTS... exits if it could run.
locally() {
    home=${QUANTUM_HOME:-$root/var}
    case $home in /*) ;; *) home=$PWD/$home ;; esac
    # The stamp is written last: without it an environment is half made.
    if [ ! -f "$home/venv/quantum.stamp" ] || [ ! -x "$home/venv/bin/python" ]; then return; fi
    code=0
    (cd "$root" && export QUANTUM_HOME="$home" && exec "$home/venv/bin/python" -m ops "$@") || code=$?
    case $code in
    0 | 2 | 3 | 130 | 143) exit "$code" ;;
    # ./run has codes of its own for a server that is away or refuses us.
    *) exit 1 ;;
    esac
}
