# Runs one program (postgres, initdb) and outlives the process that started it just long enough to clean up.
# usage: sh -c "$(this file)" supervise LOG MARK FOLDER PROGRAM ARGUMENT...
#
# Standard input is a pipe whose other end only the starting process holds. The pipe ends when that process closes it
# or is gone, however it went (SIGKILL too): then the program is stopped at once and FOLDER removed.
# When the program ends by itself, so does this script, with its status, and nothing is removed.
log=$1 mark=$2 folder=$3
shift 3
exec 3<&0 </dev/null
"$@" >>"$log" 2>&1 3<&- &
program=$!
trap '' HUP INT TERM
{
    read -r _ <&3
    : >"$mark"
    kill -s "${ending-QUIT}" "$program"
} &
watcher=$!
exec 3<&-
wait "$program"
status=$?
if [ -e "$mark" ]; then
    # shellcheck disable=SC2086
    rm -rf "$folder" ${leftovers-}
else
    kill -KILL "$watcher"
fi
exit "$status"
