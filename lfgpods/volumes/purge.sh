#!/bin/sh
# Removes a volume folder, and prints `removed`, or `nothing` if there was nothing to remove.
#
#   $1  volume root
#   $2  name of the folder
#
# The folder is set aside by one rename, so a purge that is cut short has either touched no file, or will be finished
# by the next. The rename fails once undo_purge.sh has removed its target, however late it runs. A process that has
# the folder mounted, in any mount namespace, is a container that still uses it, whatever the cluster says.
#
# Exit codes: 70 failed, 72 a symbolic link, 73 a mount inside the folder, 74 a container still has it mounted

root=$1 name=$2
cd -P "$root" 2>/dev/null || { [ ! -e "$root" ] && { echo nothing; exit 0; }; exit 70; }
if [ -L "$name" ] || [ -L "$name.purging" ] || [ -L .lfgpods ]; then exit 72; fi
found=nothing
if [ -e "$name" ]; then
  if [ -e /proc/self/mountinfo ]; then
    folder=$(printf '%s' "$PWD/$name" | sed 's/\\/\\134/g; s/ /\\040/g') || exit 70
    place=$(folder=$folder awk '
      BEGIN { folder = ENVIRON["folder"] }
      index($5 "/", folder "/") == 1 { inside = 1 }
      {
        mount = $5 == "/" ? "" : $5
        if (index(folder "/", mount "/") == 1 && length(mount) >= best) {
          best = length(mount)
          place = $3 " " ($4 == "/" ? "" : $4) substr(folder, best + 1)
        }
      }
      END { print inside ? "inside" : place }' /proc/self/mountinfo) || exit 70
    [ "$place" != inside ] || exit 73
    used=$(cat /proc/[0-9]*/mountinfo 2>/dev/null | place=$place awk '
      BEGIN { split(ENVIRON["place"], place, " ") }
      $3 == place[1] && index($4 "/", place[2] "/") == 1 { found = 1 }
      END { print found || !NR ? "used" : "free" }')
    [ "$used" = free ] || exit 74
  fi
  mv -- "./$name" "./$name.purging/files" || exit 70
fi
aside=$(find "./$name.purging" ! -path "./$name.purging" -prune -print 2>/dev/null | head -n 1)
[ ! "$aside" ] || found=removed
only=; if rm --help 2>&1 | grep -q one-file-system; then only=--one-file-system; fi
rm -rf $only -- "./$name.purging" && rm -f ".lfgpods/$name" ".lfgpods/.$name."* || exit 70
echo "$found"
