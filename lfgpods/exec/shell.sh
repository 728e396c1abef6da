#!/bin/sh
# A shell in a pod that runs commands one after another, and proves how each one ended. lfgpods speaks to it over stdin.
#
# For each command:
#
#   from     on          what                            meaning
#   lfgpods  stdin       TOKEN                           a one-time token: will you take a command?
#   shell    both        TOKEN start                     yes; the output of the command begins here
#   lfgpods  stdin       DIRECTORY                       where to run it; empty for the current one
#                        MODE                            `shell` (one word, a shell line) or `argv` (a program)
#                        FEED [SECONDS]                  `yes` if stdin follows, else `no`; after SECONDS the shell kills
#                                                        a command that does not read its stdin
#                        COUNT, then COUNT words         the words of the command
#   lfgpods  stdin       SIZE BLOCKS, then the bytes     the stdin of the command, if FEED is `yes`: any number of chunks
#                        0                               its end
#   shell    stdout      TOKEN                           the last byte of the command's stdout came before this
#            stderr      TOKEN CODE                      the same, and its exit code, or `workdir` if it has no DIRECTORY
#
# DIRECTORY and the words are escaped for `printf %b`, one line each. From `TOKEN start` on, an open stdin means that
# somebody still waits: when it ends, also in the middle of the chunks, the shell kills the command and its process
# group. Each command has processes of its own, so nothing of it is left for the next. If something is left, or may be,
# the shell ends, and lfgpods opens another one.
#
# lfgpods puts `lfg_worker=...`, the text of worker.sh, ahead of this script.
#
# shellcheck disable=SC2034,SC2086,SC2154,SC3013 # lfg_worker comes from outside; words are split on purpose; -ef is
# there in dash, bash and busybox

decode() { case $1 in *\\*) decoded=$(printf '%bx' "$1") && decoded=${decoded%x} ;; *) decoded=$1 ;; esac; }

# What becomes the command. It is started ahead and is told what to do over its stdin, whose rest is the command's.
# What a command could inherit is called lfg_something, as the image may have a variable of any other name.

cd "${LFGPODS_WORKSPACE:-/workspace}" 2>/dev/null || :
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

# Kills the command after so many seconds. Counts them one by one, so that killing this leaves no long sleep behind.
limit() {
  while [ "$seconds" -gt 0 ]; do
    sleep 1
    seconds=$((seconds - 1))
  done
  end_command
}

# Feeds the command, and kills it when our stdin ends. If SIGHUP ends this, the command had not been fed all; if SIGTERM
# does, it had. Once it has begun to kill the command, it ignores both.
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

# Runs one command. Exits with 0 if stdin is at the beginning of the next one.
serve() {
  exec 6<&0 7>/proc/self/fd/0 0<&3 # we hold both ends of the pipe before us: it is the command's stdin
  $lfg_session sh -c "$lfg_worker" sh <&6 3<&- 5>&- 6<&- 7>&- &
  pid=$!
  exec 2>/dev/null 6<&- # from here on the shell itself prints nothing
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
  (exec <&3 3<&- 5>&- >/dev/null && attend) & # redirecting attend itself would keep a copy of our streams
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

# Whether the descriptor that this fdinfo file describes is open for writing.
writes() {
  while read -r lfg_key lfg_value; do
    [ "$lfg_key" != flags: ] || case $lfg_value in *0) return 1 ;; esac
  done <"$1"
}

# Whether a process whose descriptors we may not read, such as another user's, can belong to one of our commands: it
# started after this shell, and has a parent in the pod. What the container runtime starts has none.
can_be_ours() {
  read -r lfg_stat <"$1/stat" || return 1
  set -- ${lfg_stat##*) }
  [ "$1" != Z ] && [ "$2" != 0 ] && [ "${20}" -ge "$lfg_began" ]
}

# Whether a process that a command left behind can write to our streams. Looks again if one vanished meanwhile: it may
# have started another.
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
        can_be_ours "$lfg_process" && return 0 # we may follow none of its links, and it is not just ending
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
  [ "/proc/$$/fd/1" -ef /proc/self/fd/1 ] || exit 0 # without /proc there is no telling
  held && exit 0
done
