# One key for what lies still in this region: of this region only, turned every year, usable by its nodes and its log delivery.

data "aws_iam_policy_document" "key" {
  #checkov:skip=CKV_AWS_109: a key policy speaks of its own key; `*` is that key
  #checkov:skip=CKV_AWS_111: a key policy speaks of its own key; `*` is that key
  #checkov:skip=CKV_AWS_356: a key policy speaks of its own key; `*` is that key
  statement {
    sid       = "Administration"
    actions   = ["kms:*"]
    resources = ["*"]
    principals {
      type        = "AWS"
      identifiers = ["${local.arn}:iam::${local.account}:root"]
    }
  }

  statement {
    sid       = "FlowLogs"
    actions   = ["kms:GenerateDataKey*", "kms:Decrypt"]
    resources = ["*"]
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

resource "aws_kms_key" "region" {
  description             = "Domicile ${local.name}: disks, buckets and secrets at rest"
  multi_region            = false
  enable_key_rotation     = true
  deletion_window_in_days = 30
  policy                  = data.aws_iam_policy_document.key.json
  tags                    = local.tags
}

resource "aws_kms_alias" "region" {
  name          = "alias/${local.name}"
  target_key_id = aws_kms_key.region.key_id
}
