# shellcheck shell=sh disable=SC2034,SC2154 # shared with the script that sources this
# Sourced: the search for a proof of execution with redis-cli alone. See ops/proof_order_id.sh.
#
# Expects ops/lib/redis.sh, $lua (text.lua and proofs.lua), $count, $symbol, $plan_id, $follow,
# $timeout_s and $json. Exits.
# Entries of one call: a process is started for each call, and the server serves nobody else during
# it (10 to 20 ms).
page=4000

# Sets $line to the next line of $got.
take() { line=${got%%"$nl"*} got=${got#*"$nl"}; }

# Asks proofs.lua; adds what it tells to what is known.
search() {
    get EVAL_RO "$lua" 0 "$@"
    take
    read=$line searched=$((searched + line))
    take
    last=$line
    take
    executed=$((executed + line))
    take
    without=$((without + line))
    take
    bare=${bare:-$line}
    take
    now_ms=$line
    [ -n "$got" ] || return 0
    take
    proof=$line proof_text=$got
}

prove_execution() {
    searched=0 executed=0 without=0 bare='' proof='' proof_text='' found_by=stream
    get EVAL_RO "$lua" 0 last
    take
    entries=$line
    take
    newest=$line
    if [ -n "$plan_id" ]; then
        search plan "$plan_id" "$symbol"
        [ -z "$proof" ] || found_by=index
        searched=0 executed=0 without=0 bare=''
    fi
    wanted=$count
    [ "$entries" -ge "$wanted" ] || wanted=$entries
    if ! $json; then
        printf '%s\nQuantum Trader Order Execution Proof\n%s\n' "$frame" "$frame"
        by=
        [ -z "$proof" ] || by=' (found by the index)'
        printf 'Searching %s apply.result entries%s...\n\n' "$wanted" "$by"
    fi
    from=+
    while [ -z "$proof" ] && [ "$searched" -lt "$wanted" ]; do
        size=$((wanted - searched))
        [ $size -le $page ] || size=$page
        search back "$from" $size "$symbol" "$plan_id"
        [ "$read" -gt 0 ] || break
        from="($last"
    done
    if $follow && [ -z "$proof" ]; then await; fi
    tell
}

# What comes from now on, until the time is over.
await() {
    search on "($newest" 1 "$symbol" "$plan_id"
    until_ms=$((now_ms + timeout_s * 1000))
    while [ -z "$proof" ] && [ "$now_ms" -lt "$until_ms" ]; do
        if [ "$read" -gt 0 ]; then
            newest=$last
        else
            # Only a bell: what came is read by the search.
            wait_ms=$((until_ms - now_ms))
            [ $wait_ms -le 500 ] || wait_ms=500
            get XREAD COUNT 1 BLOCK $wait_ms STREAMS quantum:stream:apply.result "$newest"
        fi
        search on "($newest" $page "$symbol" "$plan_id"
    done
}

tell() {
    code=0 word=proven
    [ -n "$proof" ] || code=3 word=unproven
    if $json; then
        by=null
        [ -z "$proof" ] || by="\"$found_by\""
        printf '{"exit_code": %s, "status": "%s", "found_by": %s, "searched": %s, "executed": %s, ' \
            $code $word "$by" "$searched" "$executed"
        printf '"without_order_id": %s, "newest_without_order_id": %s, "proof": %s}\n' "$without" \
            "$(if [ -n "$bare" ]; then text "$bare"; else printf null; fi)" "${proof:-null}"
        exit $code
    fi
    if [ -n "$proof" ]; then
        printf '✅ PROOF FOUND: executed=true + order_id present\n\n%s' "$proof_text"
    elif [ "$executed" -gt 0 ]; then
        printf '❌ NO PROOF FOUND: %s executed without an order_id, the newest of them %s\n' "$without" "$bare"
    else
        printf '❌ NO PROOF FOUND: nothing was executed\n'
    fi
    printf '%s\n' "$frame"
    exit $code
}
