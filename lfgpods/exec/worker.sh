#!/bin/sh
# The process that becomes a command. shell.sh starts it ahead of the command, as one string with the arguments of
# `sh -c`, so it must hold no single quote.
#
# It reads on stdin, a line each: the working directory, the mode (`shell` or `argv`), `yes` if the rest of stdin is the
# command's, how many words there are, the words, and `go`. Directory and words are escaped for `printf %b`.
#
# What the command could inherit is called lfg_..., as the image may have a variable of any other name.

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
  # shellcheck disable=SC3038 # where exec takes no --, it is not used
  case $1 in -*) if (exec -- true) 2>/dev/null; then exec -- "$@"; fi ;; esac
  exec "$@"
fi