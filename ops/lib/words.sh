# shellcheck shell=sh disable=SC2034 # shared with the script that sources this
# Sourced by the scripts here: what one does with words where there is nothing but a shell.
#
# Gives: safe TEXT, whole TEXT, text TEXT and number TEXT (as JSON), quote TEXT (as one word for a
# shell), lines FILE, nl.
nl='
'
# Text from Redis is anybody's: nothing of it may steer the terminal or break the JSON, so what is
# not printable ASCII becomes a question mark. In a subshell: the locale is not the caller's.
safe() (
    export LC_ALL=C
    left=$1 made='' length=0
    while [ -n "$left" ] && [ "$length" -lt 300 ]; do
        tail=${left#?}
        char=${left%"$tail"}
        case $char in [[:print:]]) ;; *) char='?' ;; esac
        made=$made$char left=$tail length=$((length + 1))
    done
    printf '%s' "$made"
)
# At most 11 digits: more would wrap round in the shell's arithmetic and pass for a good age.
whole() { case $1 in '' | *[!0-9]* | ????????????*) return 1 ;; esac; }

# As JSON.
text() {
    left=$(safe "$1") made=
    while :; do
        case $left in
        *[\\\"]*)
            head=${left%%[\\\"]*}
            left=${left#"$head"}
            tail=${left#?}
            made=$made$head\\${left%"$tail"} left=$tail
            ;;
        *) break ;;
        esac
    done
    printf '"%s"' "$made$left"
}
number() {
    whole "$1" || { printf null && return; }
    digits=$1
    # A leading zero would mean octal.
    while :; do case $digits in 0?*) digits=${digits#0} ;; *) break ;; esac done
    printf '%s' "$digits"
}


quote() {
    quoting=$1 word=
    while :; do
        case $quoting in
        *\'*) word=$word${quoting%%\'*}"'\\''" quoting=${quoting#*\'} ;;
        *) break ;;
        esac
    done
    printf "'%s'" "$word$quoting"
}

# cat, for a box that has none.
lines() {
    while IFS= read -r each || [ -n "$each" ]; do printf '%s\n' "$each"; done <"$1"
}
