# Identity and nodes: each node has a role, an address and a data disk that outlive its machine.

locals {
  secrets = { for name in keys(var.nodes) : name => "domicile/${var.deployment}/${var.region}/${name}" }
}

resource "alicloud_ram_role" "node" {
  for_each = var.nodes

  role_name = "${local.name}-${each.key}"
  assume_role_policy_document = jsonencode({
    Version   = "1"
    Statement = [{ Action = "sts:AssumeRole", Effect = "Allow", Principal = { Service = ["ecs.aliyuncs.com"] } }]
  })
  tags = local.tags
}

resource "alicloud_ram_policy" "node" {
  for_each = var.nodes

  policy_name = "${local.name}-${each.key}"
  policy_document = jsonencode({
    Version = "1"
    Statement = [
      {
        Effect    = "Allow"
        Action    = ["oss:GetObject", "oss:PutObject", "oss:DeleteObject", "oss:RestoreObject"]
        Resource  = ["acs:oss:oss-${var.location}:*:${alicloud_oss_bucket.store["cold"].bucket}/*"]
        Condition = { StringEquals = { "acs:SourceVpc" = [alicloud_vpc.region.id] } }
      },
      # The ledger is added to and read; nobody here may take from it.
      {
        Effect    = "Allow"
        Action    = ["oss:GetObject", "oss:PutObject"]
        Resource  = ["acs:oss:oss-${var.location}:*:${alicloud_oss_bucket.store["ledger"].bucket}/*"]
        Condition = { StringEquals = { "acs:SourceVpc" = [alicloud_vpc.region.id] } }
      },
      {
        Effect   = "Allow"
        Action   = ["oss:ListObjects", "oss:GetBucketLocation"]
        Resource = [for what in ["cold", "ledger"] : "acs:oss:oss-${var.location}:*:${alicloud_oss_bucket.store[what].bucket}"]
      },
      {
        Effect   = "Allow"
        Action   = ["kms:GetSecretValue"]
        Resource = ["acs:kms:${var.location}:${data.alicloud_account.current.id}:secret/${local.secrets[each.key]}/*"]
      },
      {
        Effect   = "Allow"
        Action   = ["kms:Decrypt", "kms:GenerateDataKey"]
        Resource = ["acs:kms:${var.location}:${data.alicloud_account.current.id}:key/${alicloud_kms_key.region.id}"]
      },
    ]
  })
  tags = local.tags
}

resource "alicloud_ram_role_policy_attachment" "node" {
  for_each = var.nodes

  role_name   = alicloud_ram_role.node[each.key].role_name
  policy_name = alicloud_ram_policy.node[each.key].policy_name
  policy_type = "Custom"
}

resource "alicloud_eip_address" "node" {
  for_each = var.nodes

  address_name         = "${local.name}-${each.key}"
  internet_charge_type = "PayByTraffic"
  bandwidth            = "100"
  tags                 = local.tags
}

resource "alicloud_ecs_disk" "data" {
  for_each = var.nodes

  disk_name            = "${local.name}-${each.key}-data"
  zone_id              = each.value.zone
  category             = "cloud_essd"
  size                 = each.value.data_gib
  encrypted            = true
  kms_key_id           = alicloud_kms_key.region.id
  delete_with_instance = false
  tags                 = local.tags
}

module "node_config" {
  source   = "../node-config"
  for_each = local.running

  deployment         = var.deployment
  advertise          = "${var.mesh[each.key].addr}:7443"
  voter              = each.value.voter
  seeds              = each.value.number == min([for node in values(var.mesh) : node.number]...) ? [] : module.mesh.seeds[each.key]
  bundles            = var.bundles
  officer_public_key = var.officer_public_key
  artifact           = var.artifact
  secrets            = { kind = "alicloud", ref = local.secrets[each.key] }
  location           = var.location
  data_device        = "/dev/disk/by-id/virtio-${trimprefix(alicloud_ecs_disk.data[each.key].id, "d-")}"
  keys = var.keys == null ? null : {
    address   = var.keys.address
    key       = "${var.keys.key_prefix}-${each.key}"
    mount     = var.keys.mount
    namespace = var.keys.namespace
  }
}

resource "terraform_data" "generation" {
  for_each = var.nodes

  input = each.value.generation
}

resource "alicloud_instance" "node" {
  for_each = local.running

  instance_name                 = "${local.name}-${each.key}"
  instance_type                 = each.value.size
  image_id                      = var.image
  vswitch_id                    = alicloud_vswitch.zone[each.value.zone].id
  security_groups               = [alicloud_security_group.node.id]
  role_name                     = alicloud_ram_role.node[each.key].role_name
  user_data                     = base64encode(module.node_config[each.key].user_data)
  http_endpoint                 = "enabled"
  http_tokens                   = "required"
  security_enhancement_strategy = "Active"
  internet_max_bandwidth_out    = 0
  system_disk_category          = "cloud_essd"
  system_disk_encrypted         = true
  system_disk_kms_key_id        = alicloud_kms_key.region.id
  status                        = each.value.standby ? "Stopped" : "Running"
  tags                          = local.tags

  lifecycle {
    # A new image or configuration never replaces a machine by itself: raise the node's `generation`, one node at a time.
    ignore_changes       = [image_id, user_data, status]
    replace_triggered_by = [terraform_data.generation[each.key]]

    precondition {
      condition     = var.mesh[each.key].addr == alicloud_eip_address.node[each.key].ip_address && var.mesh[each.key].number == each.value.number
      error_message = "The mesh says another address or number of ${each.key} than this region has: write mesh.json again from the outputs."
    }
  }
  depends_on = [module.residency]
}

resource "alicloud_eip_association" "node" {
  for_each = local.running

  allocation_id = alicloud_eip_address.node[each.key].id
  instance_id   = alicloud_instance.node[each.key].id
}

resource "alicloud_ecs_disk_attachment" "data" {
  for_each = local.running

  disk_id              = alicloud_ecs_disk.data[each.key].id
  instance_id          = alicloud_instance.node[each.key].id
  delete_with_instance = false
}
