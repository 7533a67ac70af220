#!/bin/sh
# Starts the node of $REGION and waits until its doors are open.
set -eu
home="$DIR/$REGION"
umask 077
mkdir -p "$home/bundles"
for region in "$DIR"/pki/*/; do
  cp "$region/ca.crt" "$home/bundles/$(basename "$region").crt"
done
printf '%s' "$NODE_TOML" >"$home/node.toml"
# A node outlives this command, so it must not hold its standard streams.
setsid nohup "$BINARY" node --config "$home/node.toml" >"$home/log" 2>&1 </dev/null &
pid=$!
echo "$pid" >"$home/pid"
tries=0
until curl --fail --silent --output /dev/null "http://$API/healthz"; do
  tries=$((tries + 1))
  if [ "$tries" -gt 300 ] || ! kill -0 "$pid" 2>/dev/null; then
    echo "the node of $REGION did not start; it said:" >&2
    cat "$home/log" >&2
    kill "$pid" 2>/dev/null || true
    rm -f "$home/pid"
    exit 1
  fi
  sleep 0.2
done
