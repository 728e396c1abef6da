#!/bin/sh
# Makes a volume folder that every user may write to, and prints `made`, or `kept` if it was there with files in it.
#
#   $1  volume root
#   $2  name of the folder
#   $3  its owner, one line, which is recorded in .lfgpods/NAME
#   $4  what must exist already: folder, root or nothing. A disk that is not mounted looks like an empty folder.
#
# The root keeps other users of the host out of the folders. A root that others can enter is closed only if it holds
# nothing but volumes.
#
# Exit codes: 70 failed, 71 the root is open and holds other files, 72 a symbolic link, 75 missing

umask 022
root=$1 name=$2 owner=$3 expected=$4
if [ "$expected" = folder ] && [ ! -d "$root/$name" ]; then exit 75; fi
if [ "$expected" ] && [ ! -d "$root" ]; then exit 75; fi
if [ ! -d "$root" ]; then
  mkdir -p "$(dirname "$root")" && { mkdir -m 0700 "$root" 2>/dev/null || [ -d "$root" ] || mkdir "$root"; } || exit 70
elif [ -n "$(find "$root/." -prune -perm /077)" ]; then
  [ -z "$(find "$root/." ! -name . -prune ! -name 'proj-*' ! -name 'conv-*' ! -name .lfgpods)" ] || exit 71
  chmod 0700 "$root" || exit 70
fi
cd -P "$root" || exit 70
if [ -L "$name" ] || [ -L .lfgpods ]; then exit 72; fi
state=made
if [ -d "$name" ]; then
  [ "$(find "./$name" ! -path "./$name" -prune -print | head -n 1)" ] && state=kept
else
  mkdir "$name" 2>/dev/null || [ -d "$name" ] || mkdir "$name" || exit 70
fi
[ -n "$(find "./$name" -prune -perm 0777)" ] || chmod 0777 "./$name" || exit 70
known=; [ ! -f ".lfgpods/$name" ] || IFS= read -r known <".lfgpods/$name"
if [ "$known" != "$owner" ]; then # an aid to memory, which a full disk may do without
  { mkdir -m 0700 .lfgpods; printf '%s\n' "$owner" >".lfgpods/.$name.$$"; } 2>/dev/null
  mv -f ".lfgpods/.$name.$$" ".lfgpods/$name" 2>/dev/null
fi
echo "$state"
