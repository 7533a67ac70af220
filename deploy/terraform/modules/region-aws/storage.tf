# Buckets: segments (cold), the ledger under a lock, and logs. Private, versioned, under the region's key, replicated nowhere.

locals {
  prefix  = coalesce(var.bucket_prefix, "${var.deployment}-${local.account}")
  buckets = toset(["cold", "ledger", "logs"])
}

resource "aws_s3_bucket" "store" {
  #checkov:skip=CKV_AWS_144: replication to another region is what this product forbids
  #checkov:skip=CKV2_AWS_62: events of the bucket are in the flow logs and access logs; nothing consumes notifications
  for_each = local.buckets

  bucket              = "${local.prefix}-${var.region}-${each.key}"
  object_lock_enabled = each.key == "ledger"
  force_destroy       = var.trial && each.key == "logs"
  tags                = merge(local.tags, { "domicile:store" = each.key })

  lifecycle {
    postcondition {
      condition     = self.region == var.location
      error_message = "RES-002: the bucket ${self.bucket} was made in ${self.region}, not in ${var.location}."
    }
  }
}

resource "aws_s3_bucket_versioning" "store" {
  for_each = aws_s3_bucket.store

  bucket = each.value.id
  versioning_configuration {
    status = "Enabled"
  }
}

resource "aws_s3_bucket_public_access_block" "store" {
  for_each = aws_s3_bucket.store

  bucket                  = each.value.id
  block_public_acls       = true
  block_public_policy     = true
  ignore_public_acls      = true
  restrict_public_buckets = true
}

resource "aws_s3_bucket_ownership_controls" "store" {
  for_each = aws_s3_bucket.store

  bucket = each.value.id
  rule {
    object_ownership = "BucketOwnerEnforced"
  }
}

resource "aws_s3_bucket_server_side_encryption_configuration" "store" {
  for_each = aws_s3_bucket.store

  bucket = each.value.id
  rule {
    bucket_key_enabled = true
    apply_server_side_encryption_by_default {
      sse_algorithm     = "aws:kms"
      kms_master_key_id = aws_kms_key.region.arn
    }
  }
}

resource "aws_s3_bucket_object_lock_configuration" "ledger" {
  bucket = aws_s3_bucket.store["ledger"].id
  rule {
    default_retention {
      mode = "COMPLIANCE"
      days = var.retention.ledger_lock_days
    }
  }

  depends_on = [aws_s3_bucket_versioning.store]
}

resource "aws_s3_bucket_logging" "store" {
  for_each = setsubtract(local.buckets, ["logs"])

  bucket        = aws_s3_bucket.store[each.key].id
  target_bucket = aws_s3_bucket.store["logs"].id
  target_prefix = "access/${each.key}/"

  depends_on = [aws_s3_bucket_policy.store]
}

# Segments in infrequent access after a while, for they are searched where they lie. What is archived is the node's to say, by the stream's
# policy: it makes a copy in `archive_class` below `archive/`, which no rule here reaches. A rule that archived by age would have whatever is
# still searched be paid for like an archive. The node deletes, not the bucket. What was deleted or replaced is gone after
# `noncurrent_days`, because erasure counts on it.
resource "aws_s3_bucket_lifecycle_configuration" "store" {
  for_each = aws_s3_bucket.store

  bucket = each.value.id

  rule {
    id     = "remains"
    status = "Enabled"
    filter {}
    abort_incomplete_multipart_upload {
      days_after_initiation = 1
    }
    noncurrent_version_expiration {
      noncurrent_days = var.retention.noncurrent_days
    }
  }

  dynamic "rule" {
    for_each = each.key == "cold" ? [local.fact.retention] : []
    content {
      id     = "tiers"
      status = "Enabled"
      # Objects below 128 KiB stay by the service's own default.
      filter {
        prefix = "segments/"
      }
      transition {
        days          = max(30, rule.value.warm_days)
        storage_class = "STANDARD_IA"
      }
    }
  }

  dynamic "rule" {
    for_each = each.key == "logs" ? [var.retention.flow_log_days] : []
    content {
      id     = "logs"
      status = "Enabled"
      filter {}
      expiration {
        days = rule.value
      }
    }
  }

  depends_on = [aws_s3_bucket_versioning.store]
}

data "aws_iam_policy_document" "bucket" {
  for_each = local.buckets

  statement {
    sid       = "OnlyTls"
    effect    = "Deny"
    actions   = ["s3:*"]
    resources = [aws_s3_bucket.store[each.key].arn, "${aws_s3_bucket.store[each.key].arn}/*"]
    principals {
      type        = "AWS"
      identifiers = ["*"]
    }
    condition {
      test     = "Bool"
      variable = "aws:SecureTransport"
      values   = ["false"]
    }
  }

  # Objects are read and written from inside the region's network, whoever asks.
  dynamic "statement" {
    for_each = each.key == "logs" ? [] : [1]
    content {
      sid       = "OnlyFromTheRegionsNetwork"
      effect    = "Deny"
      actions   = ["s3:GetObject*", "s3:PutObject*", "s3:DeleteObject*", "s3:RestoreObject"]
      resources = ["${aws_s3_bucket.store[each.key].arn}/*"]
      principals {
        type        = "AWS"
        identifiers = ["*"]
      }
      condition {
        test     = "StringNotEquals"
        variable = "aws:SourceVpce"
        values   = [aws_vpc_endpoint.s3.id]
      }
    }
  }

  # Each writer of logs by itself; no other service may put anything here.
  dynamic "statement" {
    for_each = each.key == "logs" ? ["delivery.logs.amazonaws.com", "logging.s3.amazonaws.com"] : []
    content {
      sid       = "Delivery${statement.key}"
      actions   = ["s3:PutObject"]
      resources = ["${aws_s3_bucket.store[each.key].arn}/*"]
      principals {
        type        = "Service"
        identifiers = [statement.value]
      }
      condition {
        test     = "StringEquals"
        variable = "aws:SourceAccount"
        values   = [local.account]
      }
    }
  }

  dynamic "statement" {
    for_each = each.key == "logs" ? [1] : []
    content {
      sid       = "DeliveryLooks"
      actions   = ["s3:GetBucketAcl"]
      resources = [aws_s3_bucket.store[each.key].arn]
      principals {
        type        = "Service"
        identifiers = ["delivery.logs.amazonaws.com"]
      }
      condition {
        test     = "StringEquals"
        variable = "aws:SourceAccount"
        values   = [local.account]
      }
    }
  }
}

resource "aws_s3_bucket_policy" "store" {
  for_each = aws_s3_bucket.store

  bucket = each.value.id
  policy = data.aws_iam_policy_document.bucket[each.key].json

  depends_on = [aws_s3_bucket_public_access_block.store]
}
