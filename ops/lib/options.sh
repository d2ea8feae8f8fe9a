# shellcheck shell=sh disable=SC2034,SC2154 # shared with the script that sources this
# Sourced by the scripts here that take options: reads them, tells what is wrong with one.
#
# Expects $name, $root and $valued (the options that take a value). Gives: usage, fail, misused TEXT,
# option ARGUMENTS... (sets $option, $value and $shifted), within OPTION TEXT MIN MAX (sets $number).

# The comment at the head of the script.
usage() {
    while IFS= read -r each; do
        case $each in
        '#!'*) ;;
        '# '*) printf '%s\n' "${each#??}" ;;
        '#') printf '\n' ;;
        *) break ;;
        esac
    done <"$root/ops/$name.sh"
}
fail() {
    printf '%s: %s\n' "$name" "$*" >&2
    exit 1
}
misused() {
    {
        printf '%s: %s\n\n' "$name" "$(safe "$*")"
        usage
    } >&2
    exit 1
}

option() {
    option=${1%%=*} value='' shifted=1
    case " $valued " in
    *" $option "*) ;;
    *)
        option=$1
        return
        ;;
    esac
    case $1 in
    *=*) value=${1#*=} ;;
    *)
        # "--host --json" is a forgotten value; one that begins so is written --host=--json.
        case ${2--} in -*) misused "$option needs a value" ;; esac
        value=$2 shifted=2
        ;;
    esac
    [ -n "$value" ] || misused "$option is empty"
}

within() {
    number=$(number "$2")
    if [ "$number" = null ] || [ "$number" -lt "$3" ] || [ "$number" -gt "$4" ]; then
        misused "$1 $(quote "$2"): write a whole number from $3 to $4"
    fi
}
