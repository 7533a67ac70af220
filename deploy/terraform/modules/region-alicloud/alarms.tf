# The alarm on load, and the hook that starts standby nodes: an execution in this location that waits for the load of the running ones.

locals {
  standby   = [for name, node in local.running : name if node.standby]
  busy      = [for name, node in local.running : name if !node.standby]
  has_start = length(local.standby) > 0 ? 1 : 0
}

resource "alicloud_cms_alarm" "busy" {
  for_each = { for name, node in local.running : name => node if !node.standby }

  name               = "${local.name}-${each.key}-busy"
  project            = "acs_ecs_dashboard"
  metric             = "CPUUtilization"
  metric_dimensions  = jsonencode([{ instanceId = alicloud_instance.node[each.key].id }])
  period             = 60
  contact_groups     = var.alarm_groups
  effective_interval = "00:00-23:59"

  escalations_warn {
    statistics          = "Average"
    comparison_operator = ">"
    threshold           = tostring(var.scale_out.cpu_percent)
    times               = var.scale_out.minutes
  }
}

resource "alicloud_oos_template" "start" {
  count = local.has_start

  template_name = "${local.name}-start-standby"
  tags          = local.tags
  content = jsonencode({
    FormatVersion = "OOS-2019-06-01"
    Description   = "Starts the standby nodes of ${local.name}"
    RamRole       = alicloud_ram_role.starter[0].role_name
    Tasks = concat(
      [{
        Name   = "busy"
        Action = "ACS::AlarmTrigger"
        Properties = {
          Namespace          = "acs_ecs_dashboard"
          MetricName         = "CPUUtilization"
          Statistics         = "Average"
          ComparisonOperator = "GreaterThanThreshold"
          Threshold          = tostring(var.scale_out.cpu_percent)
          Times              = var.scale_out.minutes
          Period             = 60
          SilenceTime        = 3600
          Resources          = jsonencode([for name in local.busy : { instanceId = alicloud_instance.node[name].id }])
        }
      }],
      [for name in local.standby : {
        Name       = "start-${name}"
        Action     = "ACS::ECS::StartInstance"
        Properties = { regionId = var.location, instanceId = alicloud_instance.node[name].id }
      }],
    )
  })
}

resource "alicloud_oos_execution" "start" {
  count = local.has_start

  template_name = alicloud_oos_template.start[0].template_name
  description   = "Waits for load on ${local.name}"
}

# Starting machines that were approved and certified beforehand is all that load may do: a node that is not approved by the
# region's officer cannot enter the group.
resource "alicloud_ram_role" "starter" {
  count = local.has_start

  role_name = "${local.name}-starter"
  assume_role_policy_document = jsonencode({
    Version   = "1"
    Statement = [{ Action = "sts:AssumeRole", Effect = "Allow", Principal = { Service = ["oos.aliyuncs.com"] } }]
  })
  tags = local.tags
}

resource "alicloud_ram_policy" "starter" {
  count = local.has_start

  policy_name = "${local.name}-starter"
  policy_document = jsonencode({
    Version = "1"
    Statement = [
      {
        Effect   = "Allow"
        Action   = ["ecs:StartInstance"]
        Resource = [for name in local.standby : "acs:ecs:${var.location}:${data.alicloud_account.current.id}:instance/${alicloud_instance.node[name].id}"]
      },
      # Describing instances and rules of alarms cannot be narrowed to one.
      {
        Effect   = "Allow"
        Action   = ["ecs:DescribeInstances", "cms:PutResourceMetricRule", "cms:DeleteMetricRules", "cms:PutMetricRuleTargets"]
        Resource = ["*"]
      },
    ]
  })
  tags = local.tags
}

resource "alicloud_ram_role_policy_attachment" "starter" {
  count = local.has_start

  role_name   = alicloud_ram_role.starter[0].role_name
  policy_name = alicloud_ram_policy.starter[0].policy_name
  policy_type = "Custom"
}
