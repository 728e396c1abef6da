#!/bin/sh
# Prints a line for each volume folder: its name, size in KiB, last change in seconds of the epoch, whether it holds
# anything (yes, no or -), and its owner, separated by tabs. What was not measured is `-`.
#
#   $1  volume root
#   $2  which folders, as shell patterns separated by blanks
#   $3  `measured` to fill in all columns, which reads every file
#
# Exit code: 70 failed

cd -P "$1" 2>/dev/null || { [ ! -e "$1" ] && exit 0; exit 70; }
for folder in $2; do
  if [ -L "$folder" ] || [ ! -d "$folder" ]; then continue; fi
  size=- changed=- filled=- owner=
  if [ "$3" = measured ]; then
    size=$(du -skx "./$folder" 2>/dev/null | cut -f 1)
    changed=$(find "./$folder" -xdev -exec stat -c '%Y %Z' {} + | tr ' ' '\n' | sort -n | tail -n 1)
    first=$(find "./$folder" ! -path "./$folder" -prune -print) || first=unknown
    filled=no; [ ! "$first" ] || filled=yes
  fi
  [ ! -f ".lfgpods/${folder%.purging}" ] || IFS= read -r owner <".lfgpods/${folder%.purging}"
  printf '%s\t%s\t%s\t%s\t%s\n' "$folder" "$size" "$changed" "$filled" "$owner"
done
