#!/bin/sh
# Asks the node of $REGION to stop, and waits for it; its data stay. It ends one process, by its id.
set -eu
home="$DIR/$REGION"
if [ -f "$home/pid" ]; then
  pid="$(cat "$home/pid")"
  # The number may be another's by now: only a process that was started with this configuration is meant.
  mine() { tr '\0' ' ' <"/proc/$pid/cmdline" 2>/dev/null | grep -qF -- "$home/node.toml"; }
  if mine; then
    kill "$pid"
    tries=0
    while mine; do
      tries=$((tries + 1))
      if [ "$tries" -gt 150 ]; then
        kill -KILL "$pid"
      fi
      sleep 0.1
    done
  fi
fi
rm -f "$home/pid"
