#!/bin/sh
# Before the node starts: its disk, its binary and its secrets. May be run again at any time; it never formats a disk twice.
set -eu

# The mounts as the machine sees them.
HOST_MOUNTS="${HOST_MOUNTS:-/proc/1/mounts}"

disk() {
  tries=0
  while [ ! -b "$DATA_DEVICE" ]; do
    tries=$((tries + 1))
    if [ "$tries" -gt 150 ]; then
      echo "the data disk $DATA_DEVICE did not appear within 300 s" >&2
      return 1
    fi
    sleep 2
  done
  if [ -z "$(blkid -o value -s TYPE "$DATA_DEVICE" || true)" ]; then
    mkfs.ext4 -q -L domicile-data "$DATA_DEVICE"
  fi
  mkdir -p "$DATA_DIR"
  mountpoint -q "$DATA_DIR" || mount -o nodev,nosuid,noexec "$DATA_DEVICE" "$DATA_DIR"
  # A mount that only this script sees would let the node write to the root disk.
  if ! cut -d ' ' -f 2 "$HOST_MOUNTS" | grep -qxF -- "$DATA_DIR"; then
    echo "$DATA_DIR is mounted for this script alone: its unit must not have a file system of its own" >&2
    return 1
  fi
  chown domicile:domicile "$DATA_DIR"
  chmod 0700 "$DATA_DIR"
}

binary() {
  if echo "$ARTIFACT_SHA256  /usr/local/bin/domicile" | sha256sum --check --status 2>/dev/null; then
    return 0
  fi
  fetched="$(mktemp)"
  case "$ARTIFACT_URL" in
    s3://*) aws --region "$LOCATION" s3 cp --quiet "$ARTIFACT_URL" "$fetched" ;;
    *) curl --fail --silent --show-error --location --proto '=https' --retry 5 --output "$fetched" "$ARTIFACT_URL" ;;
  esac
  if ! echo "$ARTIFACT_SHA256  $fetched" | sha256sum --check --status; then
    rm -f "$fetched"
    echo "the binary is not the one that was declared: its SHA-256 differs" >&2
    return 1
  fi
  install -m 0755 "$fetched" /usr/local/bin/domicile
  rm -f "$fetched"
}

# One secret by its file's name, to standard output.
secret() {
  case "$SECRETS_KIND" in
    aws)
      aws --region "$LOCATION" ssm get-parameter --with-decryption --name "$SECRETS_REF/$1" --query Parameter.Value --output text
      ;;
    gcp)
      token="$(curl -fsS -H 'Metadata-Flavor: Google' http://metadata.google.internal/computeMetadata/v1/instance/service-accounts/default/token | field access_token)"
      curl -fsS -H "Authorization: Bearer $token" "https://secretmanager.googleapis.com/v1/$SECRETS_REF-$(plain "$1")/versions/latest:access" | field payload.data | base64 -d
      ;;
    azure)
      token="$(curl -fsS -H 'Metadata: true' 'http://169.254.169.254/metadata/identity/oauth2/token?api-version=2018-02-01&resource=https://vault.azure.net' | field access_token)"
      curl -fsS -H "Authorization: Bearer $token" "$SECRETS_REF-$(plain "$1")?api-version=7.4" | field value
      ;;
    alicloud)
      aliyun --region "$LOCATION" --mode EcsRamRole kms GetSecretValue --SecretName "$SECRETS_REF/$1" | field SecretData
      ;;
  esac
}

# Some clouds take no full stop in the name of a secret.
plain() { printf '%s' "$1" | tr . -; }

field() { python3 -c 'import functools, json, sys; print(functools.reduce(lambda o, k: o[k], sys.argv[1].split("."), json.load(sys.stdin)))' "$1"; }

secrets() {
  mkdir -p "$SECRETS_DIR"
  if [ "$(stat -f -c %T "$SECRETS_DIR")" != tmpfs ]; then
    echo "$SECRETS_DIR does not lie in memory; secrets are not written to a disk" >&2
    return 1
  fi
  names="node.crt node.key region.key server.crt server.key"
  if grep -q '^\[keys.transit\]' /etc/domicile/node.toml; then
    names="$names transit-token"
  fi
  for name in $names; do
    secret "$name" >"$SECRETS_DIR/.$name"
    [ -s "$SECRETS_DIR/.$name" ]
    chmod 0400 "$SECRETS_DIR/.$name"
    chown domicile:domicile "$SECRETS_DIR/.$name"
    mv "$SECRETS_DIR/.$name" "$SECRETS_DIR/$name"
  done
  chown domicile:domicile "$SECRETS_DIR"
  chmod 0500 "$SECRETS_DIR"
}

disk
binary
secrets
