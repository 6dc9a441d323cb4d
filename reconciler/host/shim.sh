#!/bin/sh
# Runs one attempt: sh shim.sh ATTEMPT_DIR SPOOL_MARKER JOB_LOCK [GPU_LOCK...]
#
# It claims the attempt, takes the locks, runs job.sh in a session of its own with its output in `log`, records the exit
# code and drops the marker. The locks are file descriptors that the payload's tree inherits, so the kernel holds them
# for as long as anything of that tree lives, whatever happens to the shim, the screen or the daemon.
#
# Exit: the payload's own code; 74 its claim, locks or log cannot be written; 75 it is claimed already, or a lock is
# held; 96 the payload cannot be started. Builtins wherever there is one: each further process costs a millisecond.

# dash redirects only descriptors of one digit.
if [ $# -gt 9 ] && [ -z "${BASH_VERSION-}" ]; then
    command -v bash >/dev/null && exec bash "$0" "$@"
    echo "exq: a job with more than six GPUs needs bash on this host" >&2
    exit 74
fi

attempt_dir=$1
marker=$2
attempts_dir=${attempt_dir%/*/*/*}
attempt=${attempt_dir#"$attempts_dir"/}
state=${attempts_dir%/*}
payload='' viewer='' signalled='' held=''

# A quit or killed screen must not take the payload along: exq ends it by its own protocol only.
trap '' HUP
trap 'forward INT' INT
trap 'forward QUIT' QUIT
trap 'forward TERM' TERM

# To the payload's group; to the payload itself while it is on its way into that group.
forward() { # SIGNAL
    signalled=$1
    [ -n "$payload" ] || return 0
    kill -s "$1" -- "-$payload" 2>/dev/null || kill -s "$1" "$payload" 2>/dev/null
}

# Sets `ticks` to the start time of PID, 0 when it is gone. The name in the second field may hold anything.
start_ticks() { # PID
    ticks=0 stat=''
    { while IFS= read -r line; do stat=$stat$line; done <"/proc/$1/stat"; } 2>/dev/null || return 0
    set -f
    # shellcheck disable=SC2086  # the fields
    set -- ${stat##*) }
    set +f
    ticks=${20:-0}
}

# Sets `now` to the centiseconds since boot, and `uptime` to the seconds as the kernel prints them.
read_uptime() {
    read -r uptime _ </proc/uptime
    now=$((${uptime%.*} * 100 + 1${uptime#*.} - 100))
}

# Sets `oom_file` to where the kernel counts the processes of this cgroup that it killed for want of memory, empty where
# there is none. In a container the path may be one of the outside, and what is at the top is its own.
find_oom_file() {
    oom_file='' candidates=''
    while IFS=: read -r _ controllers path; do
        case ",$controllers," in
            *,memory,*) top=/sys/fs/cgroup/memory file=memory.oom_control ;;
            ,,) top=/sys/fs/cgroup file=memory.events ;;
            *) continue ;;
        esac
        candidates="$candidates $top$path/$file $top/$file"
    done 2>/dev/null </proc/self/cgroup
    set -f
    for oom_file in $candidates; do [ ! -r "$oom_file" ] || break; done
    set +f
    [ -r "$oom_file" ] || oom_file=''
}

# Sets `oom_kills` to that count.
count_oom_kills() {
    oom_kills=0
    [ -n "$oom_file" ] || return 0
    while read -r name count; do [ "$name" != oom_kill ] || oom_kills=$count; done 2>/dev/null <"$oom_file"
}

# Takes the lock at PATH on DESCRIPTOR. Returns 1 when another holds it, 2 with `problem` when it cannot be taken at all.
take_lock() { # DESCRIPTOR PATH
    for _ in 1 2 3 4 5 6 7 8 9 10; do
        if ! eval "{ command exec $1>>\"\$2\"; } 2>/dev/null"; then
            problem="the lock file $2 cannot be opened"
            return 2
        fi
        held="$held $1"
        # Someone who only looks holds it for an instant: so a second, patient try.
        flock -n "$1" || flock -w 2 "$1"
        result=$?
        [ "$result" -ne 1 ] || return 1
        problem="locking $2 failed: flock exited with $result"
        [ "$result" -eq 0 ] || return 2
        # A cleaner may have removed the file meanwhile: then the lock guards nothing.
        # shellcheck disable=SC3013  # -ef: dash, bash and busybox have it
        [ "/proc/self/fd/$1" -ef "$2" ] && return 0
    done
    problem="the lock file $2 is removed again and again"
    return 2
}

release_locks() {
    for descriptor in $held; do eval "exec $descriptor>&-"; done
    held=''
}

# In place, by one write: a reader takes a record without its final newline for one that is not there yet, which saves
# a `mv`. Syncing is worth its process only after work that nobody wants to repeat when the power fails.
write_record() { # SYNC_OR_NOT
    { printf '%s\n' "$record" >exit.json; } 2>/dev/null || return 1
    [ "$1" = no ] || sync exit.json 2>/dev/null
}

# What tells why it failed, kept before its record is: from a log that a power failure cuts short, an attempt that ran out
# of memory looks like any other that failed, which is final.
keep_reasons() {
    set --
    for file in log setup_failed; do [ ! -e "$file" ] || set -- "$@" "$file"; done
    [ $# -eq 0 ] || sync "$@" . 2>/dev/null
}

# Where the folder was removed there is nothing left to read, and the marker would stay for ever.
tell_daemon() {
    [ ! -e claim ] || { : >"$marker"; } 2>/dev/null
}

# Records the end, waiting for room on a full disk as long as it takes, tells the daemon and ends.
finish() { # CODE ELAPSED_CENTISECONDS EXTRA_FIELDS
    record="{\"code\":$1,\"uptime_s\":$uptime,\"duration_s\":$(($2 / 100)).$(($2 / 10 % 10))$(($2 % 10))$3}"
    reasons=no durable=no
    [ "$1" -eq 0 ] || reasons=sync
    [ "$2" -lt 500 ] || durable=sync
    tries=0
    until { [ "$reasons" = no ] || keep_reasons; } && write_record "$durable"; do
        tries=$((tries + 1))
        [ -e claim ] || break # the folder itself was removed
        [ "$tries" -lt 60 ] || reasons=no durable=no # a sync that fails again and again must not keep the exit code back
        sleep 1
    done
    tell_daemon
    exit "$1"
}

refuse() { # MESSAGE: nothing of the user's code ran
    { printf '%s\n' "$1" >setup_failed; } 2>/dev/null
    echo "exq: $1" >&2
    finish 96 0 ''
}

give_up() { # MESSAGE: nothing is wrong with the job; without an exit record this is a lost launch, which is repeated
    { printf '%s\n' "$1" >setup_failed; } 2>/dev/null
    echo "exq: $1" >&2
    tell_daemon
    exit 74
}

lock_or_refuse() { # DESCRIPTOR PATH LABEL
    take_lock "$1" "$2"
    case $? in
        1) finish 75 0 ",\"lock_held\":\"$3\"" ;;
        2) give_up "$problem" ;;
    esac
}

# --- claim: exactly one shim, or a revocation, gets past this line

if ! cd "$attempt_dir"; then exit 74; fi
read -r boot_id </proc/sys/kernel/random/boot_id
read_uptime
start_ticks $$
shim_ticks=$ticks
set -C
if ! { command exec 9>claim; } 2>/dev/null; then
    [ ! -e claim ] || exit 75
    echo "exq: $attempt_dir/claim cannot be created" >&2
    exit 74
fi
set +C
if ! printf 'shim %s %s %s\n' "$boot_id" $$ "$shim_ticks" >&9; then
    echo "exq: $attempt_dir/claim cannot be written" >&2
    exit 74
fi
exec 9>&-

# --- locks

for tool in flock setsid; do
    command -v "$tool" >/dev/null || refuse "$tool is not installed on this host (it is part of util-linux)"
done
shell='bash'
command -v bash >/dev/null || shell='sh'
[ -r job.sh ] || refuse "$attempt_dir/job.sh is missing"

lock_or_refuse 9 "$3" job
printf '%s\n' "$attempt" >&9
shift 3
descriptor=8 # 9 down to 3, then 10 and up: scripts like to take 3 and 4 for themselves
for lock in "$@"; do
    uuid=${lock##*/gpu-}
    lock_or_refuse "$descriptor" "$lock" "gpu:${uuid%.lock}"
    case $descriptor in
        3) descriptor=10 ;;
        [4-9]) descriptor=$((descriptor - 1)) ;;
        *) descriptor=$((descriptor + 1)) ;;
    esac
done

# --- the payload

{ : >>log; } 2>/dev/null || give_up "$attempt_dir/log cannot be written"
find_oom_file
count_oom_kills
oom_kills_before=$oom_kills
started_at=$now
(
    # A shell starts a background command with INT and QUIT ignored. bash can undo that; elsewhere `env` does, whose
    # call is in EXQ_SIGNAL_RESET where the host has one that can.
    trap - INT QUIT TERM
    [ -z "${BASH_VERSION-}" ] || EXQ_SIGNAL_RESET=''
    reset=${EXQ_SIGNAL_RESET-}
    unset EXQ_SIGNAL_RESET
    export EXQ_ATTEMPT="$attempt" EXQ_STATE="$state" EXQ_SHIM=$$
    # shellcheck disable=SC2086  # several words
    exec setsid $reset "$shell" job.sh
) </dev/null >>log 2>&1 &
payload=$!
[ -z "$signalled" ] || forward "$signalled"
start_ticks "$payload"
{
    printf '{"boot_id":"%s","pid":%s,"start_ticks":%s,"shim_pid":%s,"shim_start_ticks":%s,"uptime_s":%s}\n' \
        "$boot_id" "$payload" "$ticks" $$ "$shim_ticks" "$uptime" >started.json
} 2>/dev/null

if [ -n "${STY-}" ]; then
    (
        trap - HUP INT QUIT TERM
        release_locks
        exec tail -n +1 -f log
    ) &
    viewer=$!
fi

# A signal that is passed on interrupts `wait`. Once the payload is gone the answer stands, unless this shell has
# collected it by itself (bash does): then a second `wait` knows it.
while :; do
    signalled=''
    wait "$payload" 2>/dev/null # where the shell would say "Killed", the log is the payload's
    code=$?
    [ -n "$signalled" ] || break
    kill -0 "$payload" 2>/dev/null && continue
    wait "$payload" 2>/dev/null
    result=$?
    [ "$result" -eq 127 ] || code=$result
    break
done

# KILL, as TERM gets lost when it comes before the child has given up this shell's trap. Nobody waits for its end: the
# kernel takes 20 ms to undo what `tail` had the log watched with.
[ -z "$viewer" ] || kill -s KILL "$viewer" 2>/dev/null
release_locks
read_uptime
count_oom_kills
extra=''
[ "$oom_kills" -le "$oom_kills_before" ] || extra=",\"oom_kills\":$((oom_kills - oom_kills_before))"
finish "$code" $((now - started_at)) "$extra"
