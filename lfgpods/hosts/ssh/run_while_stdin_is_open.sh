#!/bin/sh
# Runs a command, without stdin, and kills it when stdin ends: when lfgpods closes the channel, or the connection is lost.
#
#   $0      token, printed on both streams first: everything before it came from the start-up files of the login shell
#   $1 ...  the command

echo "$0"; echo "$0" >&2
exec 3<&0 </dev/null
"$@" 3<&- & child=$!
{ cat <&3; kill "$child"; } >/dev/null 2>&1 &
wait "$child"; code=$?
kill "$!" 2>/dev/null
exit "$code"
