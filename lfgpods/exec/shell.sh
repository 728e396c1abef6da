# A shell in a pod that runs commands, one after another, and says for certain how each one ended. lfgpods speaks to
# it over stdin: a one-time token, to which both streams answer that this is where the command's output begins; a
# working directory, a mode, whether stdin follows (and in how many seconds the command is to be ended, should it
# leave its input unread, behind which no end of ours can be seen), and the command's words, one escaped line each;
# then the command's own stdin in chunks, "<size> <count>" and so many blocks of that size, up to "0". From then on an
# open stdin means that somebody is still there: at its end, and when it ends in the middle of the chunks, the command
# and its process group are ended. The token alone on stdout and the token with the exit code on stderr come after the
# last byte of the command. Each command has processes of its own, so that nothing of it is left for the next; where
# something is, or may be, this shell ends and another one has to be opened.

decode() { case $1 in *\\*) decoded=$(printf '%bx' "$1") && decoded=${decoded%x} ;; *) decoded=$1 ;; esac; }

# What becomes the command. It is started ahead and is told what to do over its stdin, whose rest is the command's.
# What a command could inherit is called lfg_something, as the image may have a variable of any other name.
lfg_worker='
decode() { case $1 in *\\*) lfg_word=$(printf %bx "$1") && lfg_word=${lfg_word%x} ;; *) lfg_word=$1 ;; esac; }
IFS= read -r lfg_word && read -r lfg_mode && read -r lfg_feed && read -r lfg_count || exit 1
decode "$lfg_word" && lfg_dir=$lfg_word
set --
while [ "$lfg_count" -gt 0 ]; do
  IFS= read -r lfg_word || exit 1
  decode "$lfg_word"
  set -- "$@" "$lfg_word"
  lfg_count=$((lfg_count - 1))
done
read -r lfg_word || exit 1
[ -z "$lfg_dir" ] || cd "$lfg_dir" || exit 1
[ "$lfg_feed" = yes ] || exec </dev/null
if [ "$lfg_mode" = shell ]; then
  unset -f decode
  eval "unset lfg_word lfg_mode lfg_feed lfg_count lfg_dir; set --; $1"
else
  case $1 in -*) if (exec -- true) 2>/dev/null; then exec -- "$@"; fi ;; esac
  exec "$@"
fi'

cd "${LFGPODS_WORKSPACE:-/workspace}" 2>/dev/null
lfg_session=; if command -v setsid >/dev/null 2>&1; then lfg_session=setsid; fi

# Shells ignore SIGINT and SIGQUIT in what they start in the background; where env can, it undoes that.
if env --default-signal=INT,QUIT true 2>/dev/null; then lfg_session="$lfg_session env --default-signal=INT,QUIT"; fi

signal_group() { if [ "$lfg_session" ]; then kill "-$1" "-$pid" || kill "-$1" "$pid"; else kill "-$1" "$pid"; fi; }

end_command() {
  trap '' TERM
  signal_group TERM
  rounds=0
  while signal_group 0 && [ "$rounds" -lt 20 ]; do
    sleep 0.1 || sleep 1
    rounds=$((rounds + 1))
  done
  signal_group KILL
}

# Ends the command after so many seconds, counted one by one: whoever ends this leaves no sleep of hours behind.
limit() {
  while [ "$seconds" -gt 0 ]; do
    sleep 1
    seconds=$((seconds - 1))
  done
  end_command
}

# Feeds the command and watches over it. Ended by SIGHUP it had not fed all, by SIGTERM it had; once it has begun to
# end the command it sees it through.
attend() {
  trap - HUP TERM
  if [ "$feed" = yes ]; then
    while read -r size count && [ "$size" -gt 0 ]; do
      dd bs="$size" count="$count" iflag=fullblock >&7 || break
    done
    [ "$size" = 0 ] || cat
  fi
  trap '' HUP
  [ "$feed" = no ] || [ "$size" != 0 ] || exec 7>&- # the command may end as soon as it has this
  while read -r line; do :; done
  end_command
}

finish() { printf '%s\n' "$token"; printf '%s %s\n' "$token" "$1" >&5; }

# One command; its exit code says whether stdin stands where the next one begins.
serve() {
  exec 6<&0 7>/proc/self/fd/0 0<&3 # the pipe before us has both its ends here: it is the command's stdin
  $lfg_session sh -c "$lfg_worker" sh <&6 3<&- 5>&- 6<&- 7>&- &
  pid=$!
  exec 2>/dev/null 6<&- # from here on the shell itself has nothing to say
  read -r token || exit 1
  printf '%s start\n' "$token" >&5
  printf '%s start\n' "$token"
  IFS= read -r line && read -r mode && read -r feed seconds && read -r count || exit 1
  printf '%s\n' "$line" "$mode" "$feed" "$count" >&7
  decode "$line" && dir=$decoded
  while [ "$count" -gt 0 ]; do
    IFS= read -r line || exit 1
    printf '%s\n' "$line" >&7
    count=$((count - 1))
  done
  if [ "$dir" ] && ! cd "$dir"; then
    finish workdir
    exit 1
  fi
  echo go >&7
  (exec <&3 3<&- 5>&- >/dev/null && attend) & # a redirection of attend itself would keep a copy of our streams
  attendant=$!
  limiter=
  if [ "$seconds" ]; then
    (exec </dev/null 3<&- 5>&- 7>&- >/dev/null && limit) &
    limiter=$!
  fi
  exec 0</dev/null 3<&- 7>&-
  wait "$pid"
  code=$?
  [ ! "$limiter" ] || kill -TERM "$limiter"
  kill -HUP "$attendant"
  kill -TERM "$attendant"
  wait "$attendant"
  [ "$?" = 143 ] || [ "$feed" = no ]
  clean=$?
  finish "$code"
  exit "$clean"
}

# Whether the descriptor with this information is open for writing.
writes() {
  while read -r lfg_key lfg_value; do
    [ "$lfg_key" != flags: ] || case $lfg_value in *0) return 1 ;; esac
  done <"$1"
}

# Whether a process that lets nobody look, such as another user's, can be of a command of ours: it began after this
# shell did, and here. What the container runtime puts into the pod has no parent in it.
can_be_ours() {
  read -r lfg_stat <"$1/stat" || return 1
  set -- ${lfg_stat##*) }
  [ "$1" != Z ] && [ "$2" != 0 ] && [ "${20}" -ge "$lfg_began" ]
}

# Whether a process that an earlier command left behind can still write to our streams, or might: one that ended while
# we looked may have left another behind.
held() {
  lfg_seen=" /proc/$$ "
  for lfg_look in 1 2 3; do
    lfg_vanished=
    for lfg_process in /proc/[0-9]*; do
      case $lfg_seen in *" $lfg_process "*) continue ;; esac
      lfg_seen="$lfg_seen$lfg_process "
      for lfg_file in "$lfg_process"/fd/*; do
        if [ "$lfg_file" -ef "/proc/$$/fd/1" ] || [ "$lfg_file" -ef "/proc/$$/fd/5" ]; then
          writes "$lfg_process/fdinfo/${lfg_file##*/}" && return 0
        fi
      done
      if [ ! -r "$lfg_process/fd" ] || { [ ! -e "$lfg_process/cwd" ] && [ -L "$lfg_file" ]; }; then
        can_be_ours "$lfg_process" && return 0 # we may follow no link of it, and it is not just ending
      fi
      [ -e "$lfg_process" ] || lfg_vanished=yes
    done 2>/dev/null
    [ "$lfg_vanished" ] || return 1
  done
  return 1
}

exec 3<&0 5>&2
read -r lfg_stat <"/proc/$$/stat"
set -- ${lfg_stat##*) }
lfg_began=${20}
while : | (serve); do
  [ "/proc/$$/fd/1" -ef /proc/self/fd/1 ] || exit 0 # here nobody can be asked what is held
  held && exit 0
done
