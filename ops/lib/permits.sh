# shellcheck shell=sh disable=SC2034,SC2154 # shared with the script that sources this
# Sourced: the audit of permits with redis-cli alone. See ops/permit_audit.sh.
#
# Expects ops/lib/redis.sh, $lua (text.lua and permits.lua), $sample and $json. Exits.

# Sets $line to the next line of $got.
take() { line=${got%%"$nl"*} got=${got#*"$nl"}; }

audit_permits() {
    cursor=0 governor=0 p26=0 p33=0 other=0
    governor_shown='' p26_shown='' p33_shown='' governor_told='' p26_told='' p33_told=''
    governor_wanted=$sample p26_wanted=$sample p33_wanted=$sample
    while :; do
        get EVAL_RO "$lua" 0 "$cursor" 1000 "$governor_wanted" "$p26_wanted" "$p33_wanted"
        take
        cursor=$line
        take
        governor=$((governor + line))
        take
        p26=$((p26 + line))
        take
        p33=$((p33 + line))
        take
        other=$((other + line))
        while [ -n "$got" ]; do
            take
            gate=$line
            take
            object=", $line"
            take
            case $gate in
            1)
                governor_told=$governor_told$object governor_shown=$governor_shown$line$nl
                governor_wanted=$((governor_wanted - 1))
                ;;
            2)
                p26_told=$p26_told$object p26_shown=$p26_shown$line$nl
                p26_wanted=$((p26_wanted - 1))
                ;;
            *)
                p33_told=$p33_told$object p33_shown=$p33_shown$line$nl
                p33_wanted=$((p33_wanted - 1))
                ;;
            esac
        done
        case $cursor in
        0) break ;;
        '' | *[!0-9]*) fail "SCAN answered $(safe "$cursor")" ;;
        esac
    done
    total=$((governor + p26 + p33)) missing='' named='' code=0
    [ "$governor" -gt 0 ] || missing="$missing, GOVERNOR" named="$named, \"governor\"" code=2
    [ "$p26" -gt 0 ] || missing="$missing, P2.6" named="$named, \"p26\"" code=2
    [ "$p33" -gt 0 ] || missing="$missing, P3.3" named="$named, \"p33\"" code=2
    status='✅ ALL THREE PERMIT SOURCES ACTIVE' word=complete
    [ $code = 0 ] || status="❌ MISSING: ${missing#, }" word=missing
    if $json; then
        samples=$governor_told$p26_told$p33_told
        printf '{"exit_code": %s, "status": "%s", "total": %s, "governor": %s, "p26": %s, "p33": %s, ' \
            "$code" "$word" "$total" "$governor" "$p26" "$p33"
        printf '"missing": [%s], "other_type": %s, "samples": [%s]}\n' "${named#, }" "$other" "${samples#, }"
        exit $code
    fi
    printf '%s\nQuantum Trader 3-Permit Gate Infrastructure Audit\n%s\n' "$frame" "$frame"
    printf 'Total Permits: %s\n\n' "$total"
    printf 'GOVERNOR PERMITS: %s keys\n%s' "$governor" "$governor_shown"
    printf 'P2.6 PERMITS:     %s keys\n%s' "$p26" "$p26_shown"
    printf 'P3.3 PERMITS:     %s keys\n%s' "$p33" "$p33_shown"
    [ "$other" = 0 ] || printf 'NOT PERMITS:      %s keys of another type than STRING\n' "$other"
    printf '\nSTATUS: %s\n%s\n' "$status" "$frame"
    exit $code
}
