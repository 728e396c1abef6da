#!/bin/sh
# Keeps a purge that has begun from setting the folder aside; prints `gone` if one already has. look.sh follows: once
# nothing can be set aside any more, what is there is whole.
#
#   $1  volume root
#   $2  name of the folder

if [ -d "$1/$2.purging" ] && ! rmdir "$1/$2.purging" 2>/dev/null; then echo gone; exit 0; fi
