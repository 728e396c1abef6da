#!/bin/sh
# Makes the folder NAME.purging, into which a purge sets aside what it removes.
#
#   $1  volume root
#   $2  name of the folder
#
# Exit codes: 70 failed, 72 a symbolic link

cd -P "$1" 2>/dev/null || exit 0
if [ -L "$2" ] || [ -L "$2.purging" ] || [ -L .lfgpods ]; then exit 72; fi
[ ! -e "$2" ] || [ -d "$2.purging" ] || mkdir -m 0700 "./$2.purging" || exit 70
