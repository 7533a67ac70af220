# What a node's machine may do: its region's buckets, its own secrets, the region's key. Nothing in another region.

data "aws_iam_policy_document" "assume" {
  statement {
    actions = ["sts:AssumeRole"]
    principals {
      type        = "Service"
      identifiers = ["ec2.amazonaws.com"]
    }
  }
}

data "aws_iam_policy_document" "node" {
  for_each = var.nodes

  statement {
    sid       = "Segments"
    actions   = ["s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:DeleteObjectVersion"]
    resources = ["${aws_s3_bucket.store["cold"].arn}/*"]
    condition {
      test     = "StringEquals"
      variable = "aws:RequestedRegion"
      values   = [var.location]
    }
  }

  # The ledger is added to and read; nobody here may take from it.
  statement {
    sid       = "Ledger"
    actions   = ["s3:GetObject", "s3:PutObject"]
    resources = ["${aws_s3_bucket.store["ledger"].arn}/*"]
    condition {
      test     = "StringEquals"
      variable = "aws:RequestedRegion"
      values   = [var.location]
    }
  }

  statement {
    sid       = "Lists"
    actions   = ["s3:ListBucket", "s3:GetBucketLocation"]
    resources = [aws_s3_bucket.store["cold"].arn, aws_s3_bucket.store["ledger"].arn]
  }

  # The node asks where its bucket lies and whether anything copies it, and takes old versions when it deletes.
  statement {
    sid       = "AboutTheBucket"
    actions   = ["s3:GetReplicationConfiguration", "s3:GetBucketVersioning", "s3:ListBucketVersions"]
    resources = [aws_s3_bucket.store["cold"].arn]
  }

  statement {
    sid       = "OwnSecrets"
    actions   = ["ssm:GetParameter"]
    resources = ["${local.arn}:ssm:${var.location}:${local.account}:parameter${local.secrets[each.key]}/*"]
  }

  statement {
    sid       = "Key"
    actions   = ["kms:Decrypt", "kms:GenerateDataKey"]
    resources = [aws_kms_key.region.arn]
  }
}

locals {
  # Where the operator puts a node's certificate and keys. Terraform never reads them.
  secrets = { for name in keys(var.nodes) : name => "/domicile/${var.deployment}/${var.region}/${name}" }
}

resource "aws_iam_role" "node" {
  for_each = var.nodes

  name               = "${local.name}-${each.key}"
  assume_role_policy = data.aws_iam_policy_document.assume.json
  tags               = local.tags
}

resource "aws_iam_policy" "node" {
  for_each = var.nodes

  name   = "${local.name}-${each.key}"
  policy = data.aws_iam_policy_document.node[each.key].json
  tags   = local.tags
}

resource "aws_iam_role_policy_attachment" "node" {
  for_each = var.nodes

  role       = aws_iam_role.node[each.key].name
  policy_arn = aws_iam_policy.node[each.key].arn
}

resource "aws_iam_instance_profile" "node" {
  for_each = var.nodes

  name = "${local.name}-${each.key}"
  role = aws_iam_role.node[each.key].name
  tags = local.tags
}
