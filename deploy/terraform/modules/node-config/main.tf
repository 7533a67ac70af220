# What a machine is told at its first start: the node's configuration, a systemd unit, and how it gets its binary, its disk and
# its secrets. It makes nothing in any cloud. No secret is in here: the machine fetches them with its own identity, into memory.

locals {
  secret = { for what, file in var.secret_files : what => startswith(file, "/") ? file : "${var.directories.secrets}/${file}" }

  # JSON's text literals and lists are TOML's as well.
  node_toml = join("\n", concat(
    [
      "# Made by Terraform; changed there.",
      "deployment = ${jsonencode(var.deployment)}",
      "data_dir = ${jsonencode(var.directories.data)}",
    ],
    length(var.region_files) > 0 ? ["regions_dir = ${jsonencode("${var.directories.etc}/regions")}"] : [],
    [
      "",
      "[listeners]",
      "es = ${jsonencode(var.listen.es)}",
      "api = ${jsonencode(var.listen.api)}",
    ],
    var.listen.tls ? ["tls = { cert = ${jsonencode(local.secret.server_cert)}, key = ${jsonencode(local.secret.server_key)} }"] : [],
    [
      "",
      "[link]",
      "listen = ${jsonencode(var.listen.link)}",
      "advertise = ${jsonencode(var.advertise)}",
      "cert = ${jsonencode(local.secret.cert)}",
      "key = ${jsonencode(local.secret.key)}",
      "region_key = ${jsonencode(local.secret.region_key)}",
      "",
      "[link.bundles]",
    ],
    [for region in keys(var.bundles) : "${jsonencode(region)} = ${jsonencode("${var.directories.etc}/bundles/${region}.crt")}"],
    [
      "",
      "[officer]",
      "public_key = ${jsonencode(var.officer_public_key)}",
      "",
      "[meta]",
      "voter = ${var.voter}",
    ],
    flatten([for seed in var.seeds : [
      "",
      "[[meta.seeds]]",
      "node = ${seed.node}",
      "region = ${jsonencode(seed.region)}",
      "addr = ${jsonencode(seed.addr)}",
    ]]),
    var.keys == null ? [] : concat(
      [
        "",
        "[keys]",
        "store = \"transit\"",
        "",
        "[keys.transit]",
        "address = ${jsonencode(var.keys.address)}",
        "mount = ${jsonencode(var.keys.mount)}",
        "key = ${jsonencode(var.keys.key)}",
        "token_file = ${jsonencode("${var.directories.secrets}/transit-token")}",
      ],
      var.keys.namespace == null ? [] : ["namespace = ${jsonencode(var.keys.namespace)}"],
    ),
    var.store == null ? [] : concat(
      [
        "",
        "[store]",
        "kind = ${jsonencode(var.store.kind)}",
        "bucket = ${jsonencode(var.store.bucket)}",
        "location = ${jsonencode(var.store.location)}",
      ],
      [for key in ["prefix", "cloud", "endpoint", "account", "archive_class"] : "${key} = ${jsonencode(var.store[key])}" if var.store[key] != null],
      length(var.store.vouched) == 0 ? [] : ["vouched = ${jsonencode(var.store.vouched)}"],
    ),
    ["", "[telemetry]", "format = \"json\"", ""],
  ))

  environment = join("\n", [
    "ARTIFACT_URL=${var.artifact.url}",
    "ARTIFACT_SHA256=${var.artifact.sha256}",
    "DATA_DEVICE=${var.data_device}",
    "DATA_DIR=${var.directories.data}",
    "SECRETS_DIR=${var.directories.secrets}",
    "SECRETS_KIND=${var.secrets.kind}",
    "SECRETS_REF=${var.secrets.ref}",
    "LOCATION=${var.location}",
    "",
  ])

  unit = templatefile("${path.module}/files/domicile.service.tftpl", {
    config = "${var.directories.etc}/node.toml"
    data   = var.directories.data
  })

  files = merge(
    {
      "${var.directories.etc}/node.toml"             = { content = local.node_toml, permissions = "0644" }
      "${var.directories.etc}/prepare.env"           = { content = local.environment, permissions = "0644" }
      "/usr/local/sbin/domicile-prepare"             = { content = file("${path.module}/files/prepare.sh"), permissions = "0755" }
      "/etc/systemd/system/domicile.service"         = { content = local.unit, permissions = "0644" }
      "/etc/systemd/system/domicile-prepare.service" = { content = file("${path.module}/files/domicile-prepare.service"), permissions = "0644" }
    },
    { for region, pem in var.bundles : "${var.directories.etc}/bundles/${region}.crt" => { content = "${trimspace(pem)}\n", permissions = "0644" } },
    { for name, text in var.region_files : "${var.directories.etc}/regions/${name}" => { content = text, permissions = "0644" } },
  )

  cloud_config = {
    users = ["default", {
      name           = "domicile"
      system         = true
      no_create_home = true
      shell          = "/usr/sbin/nologin"
      lock_passwd    = true
    }]
    write_files = [for path, file in local.files : { path = path, permissions = file.permissions, owner = "root:root", content = file.content }]
    runcmd = [
      ["systemctl", "daemon-reload"],
      ["systemctl", "enable", "--now", "--no-block", "domicile.service"],
    ]
  }
  user_data = "#cloud-config\n${yamlencode(local.cloud_config)}"
}
