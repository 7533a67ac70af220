# The region's key and its buckets: private, versioned, under that key, replicated and accelerated nowhere.

resource "alicloud_kms_key" "region" {
  description            = "Domicile ${local.name}: disks, buckets and flow logs at rest"
  key_usage              = "ENCRYPT/DECRYPT"
  automatic_rotation     = "Enabled"
  rotation_interval      = "365d"
  pending_window_in_days = 30
  tags                   = local.tags
}

resource "alicloud_kms_alias" "region" {
  alias_name = "alias/${local.name}"
  key_id     = alicloud_kms_key.region.id
}

resource "alicloud_oss_bucket" "store" {
  for_each = toset(["cold", "ledger", "logs"])

  bucket          = "${var.bucket_prefix}-${var.region}-${each.key}"
  storage_class   = "Standard"
  redundancy_type = "ZRS"
  force_destroy   = false
  tags            = local.tags

  lifecycle_rule {
    id      = "remains"
    prefix  = ""
    enabled = true
    noncurrent_version_expiration {
      days = var.retention.noncurrent_days
    }
    abort_multipart_upload {
      days = 1
    }
  }
  # For the day when a node can use it: never a class that cannot be read at once, and no archive, which is the node's to say.
  dynamic "lifecycle_rule" {
    for_each = each.key == "cold" ? [local.fact.retention] : []
    content {
      id      = "tiers"
      prefix  = "segments/"
      enabled = true
      transitions {
        days          = lifecycle_rule.value.warm_days
        storage_class = "IA"
      }
    }
  }
  dynamic "lifecycle_rule" {
    for_each = each.key == "logs" ? [var.retention.flow_log_days] : []
    content {
      id      = "logs"
      prefix  = ""
      enabled = true
      expiration {
        days = lifecycle_rule.value
      }
    }
  }

  lifecycle {
    # What the resources below say; the bucket's own arguments of the same meaning would fight with them.
    ignore_changes = [acl, policy, server_side_encryption_rule, versioning, logging]
  }
}

resource "alicloud_oss_bucket_acl" "store" {
  for_each = alicloud_oss_bucket.store

  bucket = each.value.bucket
  acl    = "private"
}

resource "alicloud_oss_bucket_public_access_block" "store" {
  for_each = alicloud_oss_bucket.store

  bucket              = each.value.bucket
  block_public_access = true
}

resource "alicloud_oss_bucket_versioning" "store" {
  for_each = alicloud_oss_bucket.store

  bucket = each.value.bucket
  status = "Enabled"
}

resource "alicloud_oss_bucket_server_side_encryption" "store" {
  for_each = alicloud_oss_bucket.store

  bucket            = each.value.bucket
  sse_algorithm     = "KMS"
  kms_master_key_id = alicloud_kms_key.region.id
}

resource "alicloud_oss_bucket_https_config" "store" {
  for_each = alicloud_oss_bucket.store

  bucket       = each.value.bucket
  enable       = true
  tls_versions = ["TLSv1.2", "TLSv1.3"]
}

resource "alicloud_oss_bucket_logging" "store" {
  for_each = { for what in ["cold", "ledger"] : what => alicloud_oss_bucket.store[what] }

  bucket        = each.value.bucket
  target_bucket = alicloud_oss_bucket.store["logs"].bucket
  target_prefix = "access/${each.key}/"
}

# Objects are read and written from inside the region's network, whoever asks.
resource "alicloud_oss_bucket_policy" "store" {
  for_each = { for what in ["cold", "ledger"] : what => alicloud_oss_bucket.store[what] }

  bucket = each.value.bucket
  policy = jsonencode({
    Version = "1"
    Statement = [{
      Effect    = "Deny"
      Action    = ["oss:GetObject", "oss:PutObject", "oss:DeleteObject", "oss:RestoreObject"]
      Principal = ["*"]
      Resource  = ["acs:oss:*:${data.alicloud_account.current.id}:${each.value.bucket}/*"]
      Condition = { StringNotEquals = { "acs:SourceVpc" = [alicloud_vpc.region.id] } }
    }]
  })
}

resource "alicloud_oss_bucket_worm" "ledger" {
  bucket                   = alicloud_oss_bucket.store["ledger"].bucket
  retention_period_in_days = var.retention.ledger_lock_days
  status                   = "Locked"
}
