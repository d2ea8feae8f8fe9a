# shellcheck shell=sh
# The only place that makes the virtual environment in $QUANTUM_HOME/venv. Sourced by run and test.
#
#   bootstrap ROOT LOCK    exports QUANTUM_HOME (absolute), sets PYTHON_BIN; exits 1 with the cure
#
# The environment is ready when venv/quantum.stamp stands: it is written last, taken away before
# anything is changed, and names the place the environment was made for. So a kill -9 half-way or
# a moved checkout is always seen. Everything is installed from hash-pinned wheels, nothing is
# built here. Written to: QUANTUM_HOME only (downloads lie in QUANTUM_HOME/cache).
#
#   PYTHON=/path/python3.13      this interpreter and no other
#   QUANTUM_BOOTSTRAP=WAY        uv|venv|pip|apt|wheel: this way and no other
#   QUANTUM_OFFLINE=1            no network; the wheels lie in the folder QUANTUM_WHEELS

say() { printf '%s\n' "$*" >&2; }

die() {
    printf 'error: %s\n' "$1" >&2
    shift
    [ $# -eq 0 ] || printf '  %s\n' "$@" >&2
    exit 1
}

bootstrap() {
    root=$1
    lock=$root/$2
    # A foreign module path or home would be taken before what the lock promises.
    unset PYTHONHOME PYTHONPATH PYTHONSAFEPATH PYTHONSTARTUP
    # Whoever may write into the environment or QUANTUM_HOME is us. A stricter umask stays.
    umask go-w
    # What a process knows (passwords, keys) does not land in a file when it dies.
    # shellcheck disable=SC3045
    ulimit -S -c 0 2>/dev/null || true
    bootstrap_home "${QUANTUM_HOME:-$root/var}"
    venv=$QUANTUM_HOME/venv
    PYTHON_BIN=$venv/bin/python
    bootstrap_ready && return 0
    find_python
    # Tried with true first: a failing exec or : ends the shell before it can name the cure.
    true >>"$QUANTUM_HOME/bootstrap.lock" ||
        die "cannot write $QUANTUM_HOME/bootstrap.lock" "check mode and free space, or give QUANTUM_HOME=DIR"
    exec 9>>"$QUANTUM_HOME/bootstrap.lock"
    # flock belongs to the open file, which pip and uv inherit: it ends when the last of them does,
    # also after kill -9 of this shell. A folder or pid file as lock would survive its owner.
    "$python" -I -S -c '
import fcntl, sys
try:
    fcntl.flock(9, fcntl.LOCK_EX | fcntl.LOCK_NB)
except BlockingIOError:
    print("waiting for another ./run or ./test that is setting up", file=sys.stderr)
    fcntl.flock(9, fcntl.LOCK_EX)
' || die "cannot lock $QUANTUM_HOME/bootstrap.lock" "QUANTUM_HOME must lie on a file system that can lock files"
    # In a subshell: what it exports to uv and pip is none of the system's business.
    bootstrap_ready || (bootstrap_make) || exit 1
    exec 9>&- # a daemon started later must not hold it for ever
}

# The folder everything is written to, made if need be, by its real name.
bootstrap_home() {
    case $1 in
    *:*) die "QUANTUM_HOME=$1 has a ':' in it, which no virtual environment can have in its path" \
        "give another place: QUANTUM_HOME=DIR" ;;
    esac
    QUANTUM_HOME=$1
    [ -d "$1" ] || mkdir -p -- "$1" ||
        die "cannot make the folder QUANTUM_HOME=$1" "give a place you may write to: QUANTUM_HOME=DIR"
    QUANTUM_HOME=$(CDPATH='' cd -- "$1" && pwd -P) || die "cannot enter QUANTUM_HOME=$1" "check its mode"
    export QUANTUM_HOME
}

# The warm path: one fork (cmp). True if the environment was completed for this place and lock.
bootstrap_ready() {
    [ -x "$venv/bin/python" ] && [ -f "$venv/quantum.stamp" ] || return 1
    made_for='' asked='' base=''
    { IFS= read -r made_for && IFS= read -r asked && IFS= read -r base; } <"$venv/quantum.stamp" || return 1
    [ "$made_for" = "$venv" ] || return 1
    [ -z "${PYTHON-}" ] || [ "$asked" = "$PYTHON" ] || return 1
    # A link to plain python3 changes its version with the system; python3.N never does.
    case $base in
    *python3.[0-9]*) ;;
    *) "$venv/bin/python" -I -S -c \
        'import os, sys; sys.exit(not os.path.isdir(sys.argv[1] + "/lib/python%d.%d" % sys.version_info[:2]))' \
        "$venv" || return 1 ;;
    esac
    [ -f "$venv/etc/supervisord.conf" ] || return 1
    # What the tests need includes what the system needs, in the same versions.
    cmp -s "$lock" "$venv/quantum.lock" || cmp -s "$root/requirements-dev.lock" "$venv/quantum.lock"
}

# Sets $python to the first interpreter >= 3.11 and $version to its 3.N.
find_python() {
    python='' tried=''
    # pyenv's shims are on PATH for versions that do not run: only running it tells.
    for name in ${PYTHON:+"$PYTHON"} python3.14 python3.13 python3.12 python3.11 python3 python; do
        found=$(command -v -- "$name" 2>/dev/null) || found=''
        if [ -n "$found" ] && version=$("$found" -I -S -c \
            'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null); then
            case $version in
            3.1[1-9] | 3.[2-9][0-9]) python=$found && return 0 ;;
            esac
            tried="$tried $found is Python $version;"
        fi
        [ -z "${PYTHON-}" ] || die "PYTHON=$PYTHON is no Python 3.11 or newer${tried:+:$tried}" \
            "unset PYTHON, or let it name one"
    done
    if command -v uv >/dev/null 2>&1 && found=$(uv python find --no-project '>=3.11' 2>/dev/null); then
        python=$found version=$("$found" -I -S -c 'import sys; print("%d.%d" % sys.version_info[:2])') && return 0
    fi
    if command -v apt-get >/dev/null 2>&1; then
        cure="apt-get update && apt-get install -y ${tried:+python3.11 python3.11-venv}"
        [ -n "$tried" ] || cure="${cure}python3 python3-venv"
        [ "$(id -u)" = 0 ] || cure="sudo sh -c '$cure'"
    elif [ "$(uname -s)" = Darwin ]; then
        cure="brew install python@3.13"
    else
        cure="uv python install 3.13   (or your system's package of Python 3.11 or newer)"
    fi
    die "Python 3.11 or newer is needed;${tried:- no python3 is on the PATH}" "type: $cure" \
        "or, if one is installed elsewhere: PYTHON=/path/to/python3.13 $0"
}

bootstrap_make() {
    began=$(date +%s)
    pip_options
    if [ -f "$venv/quantum.stamp" ] && IFS= read -r made_for <"$venv/quantum.stamp" &&
        [ "$made_for" = "$venv" ] && [ -x "$PYTHON_BIN" ] && [ "${PYTHON:-$asked}" = "$asked" ] && bootstrap_runs; then
        # Sound, but of another lock. Added to in place: programs may be running from it.
        rm -f -- "$venv/quantum.stamp"
    else
        clear_venv
    fi
    for way in ${QUANTUM_BOOTSTRAP:-uv venv pip apt wheel}; do
        case $way in
        uv | venv | pip | apt | wheel) ;;
        *) die "QUANTUM_BOOTSTRAP=$way is unknown" "write uv, venv, pip, apt or wheel, or unset it" ;;
        esac
        "has_$way" || continue
        say "setting up $venv (Python $version, by $way; once)"
        if ! "install_by_$way"; then
            # uv has roots of trust, mirrors and settings of its own: pip may well get through.
            if [ "$way" = uv ] && [ -z "${QUANTUM_BOOTSTRAP-}" ]; then
                say "uv did not get there, see above; trying the next way"
                continue
            fi
            die "installing $lock by $way failed, see above" \
                "no network here? QUANTUM_OFFLINE=1 QUANTUM_WHEELS=DIR, with DIR filled elsewhere by:" \
                "  python3 -m pip download --require-hashes --only-binary :all: -r requirements-dev.lock -d DIR" \
                "type the same command again to go on; nothing half-made is used"
        fi
        bootstrap_stamp
        say "set up in $(($(date +%s) - began)) s"
        return 0
    done
    [ -z "${QUANTUM_BOOTSTRAP-}" ] || die "QUANTUM_BOOTSTRAP=$QUANTUM_BOOTSTRAP cannot work here" "unset it"
    cure="apt-get update && apt-get install -y python$version-venv"
    [ "$(id -u)" = 0 ] || cure="sudo sh -c '$cure'"
    command -v apt-get >/dev/null 2>&1 || cure="$python -m ensurepip --user"
    die "$python has neither ensurepip nor pip, and there is no uv" "type: $cure" \
        "or install uv: https://docs.astral.sh/uv/"
}

# The supervisorctl of this environment looks into etc/ beside its bin/ before anywhere else, and so
# finds our verbs and our system from any folder. The module is all that it can import of us.
bootstrap_supervisorctl() {
    site=$("$PYTHON_BIN" -I -c 'import sysconfig; print(sysconfig.get_path("purelib"))') || return 1
    socket=$(printf %s "$root/var/run/supervisor.sock" | sed 's/%/%%/g')
    mkdir -p -- "$venv/etc" &&
        printf '%s\n' '[supervisorctl]' "serverurl=unix://$socket" >"$venv/etc/supervisord.conf" || return 1
    case $site in
    "$venv"/*) ;;
    *) return 0 ;; # it borrows another environment's packages, which are not ours to add to
    esac
    "$PYTHON_BIN" -I -c 'import sys
print("import sys\n\nsys.path.insert(0, %r)\n\nfrom ops.ctl_plugin import make\n\n__all__ = [\"make\"]" % sys.argv[1])' \
        "$root" >"$site/quantum_supervisorctl.py" &&
        printf '%s\n' '' '[ctlplugin:quantum]' 'supervisor.ctl_factory=quantum_supervisorctl:make' \
            >>"$venv/etc/supervisord.conf"
}

# Written last, moved into place: a stamp is either whole or not there.
bootstrap_stamp() {
    [ ! -L "$PYTHON_BIN" ] || base=$(readlink "$PYTHON_BIN")
    if ! { bootstrap_supervisorctl && cp -- "$lock" "$venv/quantum.lock" &&
        printf '%s\n%s\n%s\n' "$venv" "${PYTHON-}" "${base-}" >"$venv/quantum.stamp.new" &&
        mv -f -- "$venv/quantum.stamp.new" "$venv/quantum.stamp"; }; then
        die "cannot write to $venv" "free some space"
    fi
}

bootstrap_runs() { "$PYTHON_BIN" -I -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }

# Removes what an earlier bootstrap made; refuses to remove anything else of that name.
clear_venv() {
    if [ -e "$venv" ] || [ -L "$venv" ]; then
        [ -f "$venv/quantum.made" ] || rmdir -- "$venv" 2>/dev/null ||
            die "$venv exists and was not made by ./run" "move it away, or give another QUANTUM_HOME=DIR"
        # The mark goes last: an interrupted removal must still be known as ours.
        find "$venv" -mindepth 1 -maxdepth 1 ! -name quantum.made -exec rm -rf -- {} + ||
            die "cannot empty $venv" "check who owns it"
    fi
    if ! { mkdir -p -- "$venv" && true >"$venv/quantum.made"; }; then
        die "cannot make $venv" "check space and mode of $QUANTUM_HOME"
    fi
}

pip_options() {
    mkdir -p -- "$QUANTUM_HOME/cache"
    unset VIRTUAL_ENV CONDA_PREFIX UV_PYTHON UV_TARGET UV_PREFIX UV_SYSTEM_PYTHON
    export UV_CACHE_DIR="$QUANTUM_HOME/cache/uv" PIP_CACHE_DIR="$QUANTUM_HOME/cache/pip"
    # The certificates that pip and curl trust, under the old name of the setting and the new one.
    export UV_NATIVE_TLS=1 UV_SYSTEM_CERTS=1
    export UV_NO_PROGRESS=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1 PIP_USER=0 PIP_REQUIRE_VIRTUALENV=0
    unset PIP_TARGET PIP_PREFIX PIP_ROOT PIP_REQUIREMENT PIP_CONSTRAINT PIP_NO_BINARY UV_NO_BINARY UV_CONSTRAINT
    offline=
    case ${QUANTUM_OFFLINE-} in
    '' | 0) ;;
    *)
        [ -d "${QUANTUM_WHEELS-}" ] || die "QUANTUM_OFFLINE=$QUANTUM_OFFLINE, but QUANTUM_WHEELS=${QUANTUM_WHEELS-} is no folder" \
            "fill one where there is a network: python3 -m pip download --require-hashes --only-binary :all: -r requirements-dev.lock -d DIR"
        offline=1
        wheels=$(CDPATH='' cd -- "$QUANTUM_WHEELS" && pwd -P)
        ;;
    esac
}

# pip_like COMMAND...: the one install line all ways share. Wheels only: a source package would
# run its setup.py, with build tools that no hash pins.
pip_like() {
    set -- "$@" install --quiet --require-hashes --only-binary :all: -r "$lock"
    if [ -n "$offline" ]; then
        set -- "$@" --no-index --find-links "$wheels"
    fi
    "$@" >&2
}

has_uv() { command -v uv >/dev/null 2>&1; }
install_by_uv() {
    [ -x "$PYTHON_BIN" ] || uv venv --quiet --no-project --allow-existing --python "$python" "$venv" >&2 || return 1
    export VIRTUAL_ENV="$venv"
    pip_like uv pip
}

has_venv() {
    [ ! -x "$PYTHON_BIN" ] || { "$PYTHON_BIN" -m pip --version >/dev/null 2>&1 && return 0; }
    # Debian splits ensurepip off; venv alone then makes a folder and fails half-way.
    "$python" -I -c 'import ensurepip, venv' 2>/dev/null
}
install_by_venv() {
    "$PYTHON_BIN" -m pip --version >/dev/null 2>&1 || "$python" -m venv "$venv" >&2 || return 1
    pip_like "$PYTHON_BIN" -m pip --quiet
}

# The system's pip installs into an environment that has none (pip 22.3 and newer).
has_pip() { "$python" -m pip --python "$python" --version >/dev/null 2>&1; }
install_by_pip() {
    bare_venv && pip_like "$python" -m pip --quiet --python "$PYTHON_BIN"
}

# Where apt-get cannot help (no network, a Python that is not the system's), the next way may.
has_apt() {
    [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1 && [ -z "$offline" ] || return 1
    say "installing python$version-venv with apt-get"
    {
        # Lists that cannot be refreshed now may still be good enough.
        apt-get update -qq || true
        DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "python$version-venv"
    } >&2 && has_venv
}
install_by_apt() { install_by_venv; }

# Without root: pip as a wheel out of Debian's package runs from where it is unpacked.
has_wheel() {
    [ -z "$offline" ] && command -v apt-get >/dev/null 2>&1 && command -v dpkg >/dev/null 2>&1 || return 1
    say "fetching Debian's pip with apt-get download; nothing is installed"
    unpacked=$QUANTUM_HOME/cache/pip-whl
    rm -rf -- "$unpacked" && mkdir -p -- "$unpacked" || return 1
    (cd -- "$unpacked" && apt-get download -qq python3-pip-whl && dpkg -x ./*.deb .) >&2 || return 1
    set -- "$unpacked"/usr/share/python-wheels/pip-*.whl
    pip_wheel=$1
    [ -f "$pip_wheel" ]
}
install_by_wheel() { bare_venv && pip_like "$PYTHON_BIN" "$pip_wheel/pip" --quiet; }

bare_venv() {
    [ -x "$PYTHON_BIN" ] || "$python" -m venv --without-pip "$venv" >&2
}
