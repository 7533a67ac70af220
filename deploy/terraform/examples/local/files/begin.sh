#!/bin/sh
# The first commands of a deployment, as an operator and three officers type them.
set -eu
umask 077
cd "$DIR"
profile="$DIR/profile.toml"

# Other nodes may need a moment to hear of a change.
again() {
  tries=0
  until "$@" 2>"$DIR/said"; do
    tries=$((tries + 1))
    if [ "$tries" -gt 100 ]; then
      cat "$DIR/said" >&2
      return 1
    fi
    sleep 0.3
  done
  rm -f "$DIR/said"
}

enter() { printf '[regions.%s]\napi = "http://%s"\nes = "http://%s"\nkey = "%s"\n' "$1" "$2" "$3" "$4" >>"$profile"; }

# A key's secret is printed once: the profile is the only place where it is kept.
echo "$NODES" | while read -r region number addr port es api; do
  if [ "$number" -eq 1 ]; then
    secret="$(again "$BINARY" cluster init --region "$region" --node "$number" --addr "$addr:$port" --url "http://$api")"
    : >"$profile"
  else
    again "$BINARY" --profile "$profile" node join --region "$region" --node "$number" --addr "$addr:$port"
    secret="$(again "$BINARY" --profile "$profile" key create first-admin --region "$region" --role admin --role search --role ingest --role create)"
  fi
  enter "$region" "$api" "$es" "$secret"
done

set --
for region in $(echo "$NODES" | cut -d ' ' -f 1); do
  set -- "$@" --region "$region"
done
again "$BINARY" --profile "$profile" stream create orders --no-personal-data --group-field level "$@"

echo "$NODES" | while read -r region number rest; do
  lines="$DIR/lines"
  : >"$lines"
  line=0
  while [ "$line" -lt 100 ]; do
    line=$((line + 1))
    printf '{"@timestamp":"%s","level":"INFO","service":"orders","message":"order %d of %s"}\n' "$(date -u -d '-2 hours' +%Y-%m-%dT%H:%M:%SZ)" "$line" "$region" >>"$lines"
  done
  again "$BINARY" --profile "$profile" ingest --region "$region" --stream orders "$lines"
  rm -f "$lines"
done
