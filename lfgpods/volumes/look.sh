#!/bin/sh
# Prints whether a volume folder is there: one of the words of Presence in folders.py.
#
#   $1  volume root
#   $2  name of the folder

cd -P "$1" 2>/dev/null || { echo unknown; exit 0; }
if [ -d "$2" ] && [ ! -L "$2" ]; then echo there
elif [ -e "$2" ] || [ -L "$2" ]; then echo odd
elif [ -f ".lfgpods/$2" ] || [ -d "$2.purging" ]; then echo gone
elif [ -d .lfgpods ]; then echo bare
else echo unknown
fi
