# Runs one command in a pod and says for certain how it ended. lfgpods speaks to it over stdin: a token, a working directory, a mode, whether stdin follows, and the command's words, one escaped
# line each; then the command's own stdin in chunks, "<length>" and that many bytes, up to "0". From then on an
# open stdin means that somebody is still there: at its end, and when it ends in the middle of the chunks, the
# command and its process group are ended. The token alone on stdout and the token with the exit code on stderr
# come after the last byte of the command.

decode() { decoded=$(printf '%bx' "$1"); decoded=${decoded%x}; }

read -r token || exit 0
IFS= read -r line && decode "$line" && dir=$decoded
read -r mode && read -r feed && read -r count || exit 0
set --
while [ "$count" -gt 0 ]; do
  IFS= read -r line || exit 0
  decode "$line"
  set -- "$@" "$decoded"
  count=$((count - 1))
done
printf '%s start\n' "$token" >&2

finish() { printf '%s\n' "$token"; printf '%s %s\n' "$token" "$1" >&2; exit 0; }

if [ "$dir" ]; then cd "$dir" 2>/dev/null || finish workdir; else cd "${LFGPODS_WORKSPACE:-/workspace}" 2>/dev/null; fi
session=; if command -v setsid >/dev/null 2>&1; then session=setsid; fi

# Shells ignore SIGINT and SIGQUIT in what they start in the background; where env can, it undoes that.
if env --default-signal=INT,QUIT true 2>/dev/null; then session="$session env --default-signal=INT,QUIT"; fi

signal_group() { if [ "$session" ]; then kill "-$1" "-$pid" || kill "-$1" "$pid"; else kill "-$1" "$pid"; fi; }

# Feeds the command and watches over it. Once it has begun to end the command it sees it through.
attend() {
  trap - TERM
  while IFS= read -r length && [ "$length" -gt 0 ]; do
    dd bs="$length" count=1 iflag=fullblock >&7 || break
  done
  if [ "$length" = 0 ]; then
    exec 7>&-
    while read -r line; do :; done
  else
    cat
  fi
  trap '' TERM
  signal_group TERM
  rounds=0
  while signal_group 0 && [ "$rounds" -lt 20 ]; do
    sleep 0.1 || sleep 1
    rounds=$((rounds + 1))
  done
  signal_group KILL
}

exec 3<&0
: | {
  if [ "$feed" = yes ]; then
    exec 6<&0 7>/proc/self/fd/0 # a pipe whose both ends are ours
  else
    exec 6</dev/null 7>/dev/null
  fi
  exec 0</dev/null
  if [ "$mode" = shell ]; then
    printf '%s' "$1" | $session sh -c 'text=$(cat; echo x); exec <&6 6<&-; eval "${text%x}"' 3<&- 7>&- &
  else
    $session "$@" <&6 3<&- 6<&- 7>&- &
  fi
  pid=$!
  exec 6<&- 5>&2 2>/dev/null # from here on the shell itself has nothing to say
  attend <&3 3<&- 5>&- >/dev/null &
  exec 3<&- 7>&-
  wait "$pid"
  code=$?
  kill -TERM "$!"
  wait "$!"
  finish "$code" 2>&5
}
