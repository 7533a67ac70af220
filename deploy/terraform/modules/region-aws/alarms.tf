# Alarms, and the hook that starts standby nodes when the running ones are busy for long.

locals {
  standby = [for name, node in local.running : name if node.standby]
}

resource "aws_cloudwatch_metric_alarm" "down" {
  for_each = local.running

  alarm_name          = "${local.name}-${each.key}-down"
  alarm_description   = "The machine of node ${each.key} fails its checks."
  namespace           = "AWS/EC2"
  metric_name         = "StatusCheckFailed"
  dimensions          = { InstanceId = aws_instance.node[each.key].id }
  statistic           = "Maximum"
  period              = 60
  evaluation_periods  = 3
  threshold           = 1
  comparison_operator = "GreaterThanOrEqualToThreshold"
  treat_missing_data  = each.value.standby ? "notBreaching" : "breaching"
  alarm_actions       = var.alarm_actions
  tags                = local.tags
}

resource "aws_cloudwatch_metric_alarm" "busy" {
  for_each = { for name, node in local.running : name => node if !node.standby }

  alarm_name          = "${local.name}-${each.key}-busy"
  alarm_description   = "Node ${each.key} is above ${var.scale_out.cpu_percent} % CPU for ${var.scale_out.minutes} minutes."
  namespace           = "AWS/EC2"
  metric_name         = "CPUUtilization"
  dimensions          = { InstanceId = aws_instance.node[each.key].id }
  statistic           = "Average"
  period              = 60
  evaluation_periods  = var.scale_out.minutes
  threshold           = var.scale_out.cpu_percent
  comparison_operator = "GreaterThanThreshold"
  alarm_actions       = var.alarm_actions
  tags                = local.tags
}

# Starting machines that were approved and certified beforehand is all that load may do: a node that is not approved by the
# region's officer cannot enter the group.
resource "aws_cloudwatch_event_rule" "busy" {
  count = length(local.standby) > 0 ? 1 : 0

  name        = "${local.name}-scale-out"
  description = "Starts the standby nodes of ${local.name}"
  tags        = local.tags
  event_pattern = jsonencode({
    source      = ["aws.cloudwatch"]
    detail-type = ["CloudWatch Alarm State Change"]
    resources   = [for alarm in values(aws_cloudwatch_metric_alarm.busy) : alarm.arn]
    detail      = { state = { value = ["ALARM"] } }
  })
}

resource "aws_cloudwatch_event_target" "start" {
  count = length(local.standby) > 0 ? 1 : 0

  rule     = aws_cloudwatch_event_rule.busy[0].name
  arn      = "${local.arn}:ssm:${var.location}::automation-definition/AWS-StartEC2Instance:$DEFAULT"
  role_arn = aws_iam_role.starter[0].arn
  input    = jsonencode({ InstanceId = [for name in local.standby : aws_instance.node[name].id] })
}

data "aws_iam_policy_document" "starter_assume" {
  statement {
    actions = ["sts:AssumeRole"]
    principals {
      type        = "Service"
      identifiers = ["events.amazonaws.com"]
    }
  }
}

data "aws_iam_policy_document" "starter" {
  statement {
    actions   = ["ssm:StartAutomationExecution"]
    resources = ["${local.arn}:ssm:${var.location}::automation-definition/AWS-StartEC2Instance:$DEFAULT"]
  }
  statement {
    actions   = ["ec2:StartInstances"]
    resources = [for name in local.standby : aws_instance.node[name].arn]
  }
  # A machine whose disks are encrypted is started with a grant on their key.
  statement {
    actions   = ["kms:CreateGrant"]
    resources = [aws_kms_key.region.arn]
    condition {
      test     = "Bool"
      variable = "kms:GrantIsForAWSResource"
      values   = ["true"]
    }
  }
  statement {
    #checkov:skip=CKV_AWS_356: describing instances cannot be narrowed to one
    actions   = ["ec2:DescribeInstanceStatus", "ec2:DescribeInstances"]
    resources = ["*"]
  }
}

resource "aws_iam_role" "starter" {
  count = length(local.standby) > 0 ? 1 : 0

  name               = "${local.name}-starter"
  assume_role_policy = data.aws_iam_policy_document.starter_assume.json
  tags               = local.tags
}

resource "aws_iam_role_policy" "starter" {
  count = length(local.standby) > 0 ? 1 : 0

  name   = "start-standby-nodes"
  role   = aws_iam_role.starter[0].id
  policy = data.aws_iam_policy_document.starter.json
}
