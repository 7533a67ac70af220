# The alarm on load, and the hook that starts standby nodes: a workflow with an identity of its own asks every five minutes how busy the
# running nodes are. An alert could only call it by an address that is a secret, which would lie in the state.

locals {
  standby   = [for name, node in local.running : name if node.standby]
  busy      = [for name, node in local.running : name if !node.standby]
  has_start = length(local.standby) > 0 ? 1 : 0
  manage    = "https://management.azure.com"
  as_itself = { type = "ManagedServiceIdentity", audience = "https://management.azure.com/", identity = one(azurerm_user_assigned_identity.starter[*].id) }
}

resource "azurerm_monitor_metric_alert" "busy" {
  for_each = { for name, node in local.running : name => node if !node.standby }

  name                = "${local.name}-${each.key}-busy"
  resource_group_name = azurerm_resource_group.region.name
  scopes              = [azurerm_linux_virtual_machine.node[each.key].id]
  description         = "CPU above ${var.scale_out.cpu_percent} % for long: standby nodes are started."
  frequency           = "PT1M"
  window_size         = "PT15M"
  tags                = local.tags

  criteria {
    metric_namespace = "Microsoft.Compute/virtualMachines"
    metric_name      = "Percentage CPU"
    aggregation      = "Average"
    operator         = "GreaterThan"
    threshold        = var.scale_out.cpu_percent
  }
}

resource "azurerm_user_assigned_identity" "starter" {
  count = local.has_start

  name                = "${local.name}-starter"
  location            = var.location
  resource_group_name = azurerm_resource_group.region.name
  tags                = local.tags
}

resource "azurerm_logic_app_workflow" "start" {
  count = local.has_start

  name                = "${local.name}-start-standby"
  location            = var.location
  resource_group_name = azurerm_resource_group.region.name
  tags                = local.tags

  identity {
    type         = "UserAssigned"
    identity_ids = [azurerm_user_assigned_identity.starter[0].id]
  }
}

resource "azurerm_logic_app_trigger_recurrence" "look" {
  count = local.has_start

  name         = "look"
  logic_app_id = azurerm_logic_app_workflow.start[0].id
  frequency    = "Minute"
  interval     = 5
}

# One action for each running node: how busy was it, and if it was, each standby node is started. One that runs already stays as it is.
resource "azurerm_logic_app_action_custom" "start" {
  for_each = local.has_start == 1 ? toset(local.busy) : toset([])

  name         = "look-at-${each.key}"
  logic_app_id = azurerm_logic_app_workflow.start[0].id
  body = jsonencode({
    type     = "Scope"
    runAfter = {}
    actions = {
      "load-of-${each.key}" = {
        type     = "Http"
        runAfter = {}
        inputs = {
          method         = "GET"
          uri            = "${local.manage}${azurerm_linux_virtual_machine.node[each.key].id}/providers/Microsoft.Insights/metrics"
          authentication = local.as_itself
          queries = {
            "api-version" = "2018-01-01"
            metricnames   = "Percentage CPU"
            aggregation   = "Average"
            timespan      = "@{concat(addMinutes(utcNow(), -${var.scale_out.minutes}), '/', utcNow())}"
            interval      = "FULL"
          }
        }
      }
      "busy-${each.key}" = {
        type     = "If"
        runAfter = { "load-of-${each.key}" = ["Succeeded"] }
        expression = {
          greater = ["@body('load-of-${each.key}')?['value'][0]['timeseries'][0]['data'][0]['average']", var.scale_out.cpu_percent]
        }
        actions = { for name in local.standby : "start-${name}-for-${each.key}" => {
          type     = "Http"
          runAfter = {}
          inputs = {
            method         = "POST"
            uri            = "${local.manage}${azurerm_linux_virtual_machine.node[name].id}/start"
            authentication = local.as_itself
            queries        = { "api-version" = "2024-07-01" }
          }
        } }
      }
    }
  })
}

# Starting machines that were approved and certified beforehand is all that load may do: a node that is not approved by the
# region's officer cannot enter the group.
resource "azurerm_role_definition" "starter" {
  count = local.has_start

  name              = "${local.name}-starter"
  scope             = azurerm_resource_group.region.id
  description       = "Starts machines of ${local.name}"
  assignable_scopes = [azurerm_resource_group.region.id]

  permissions {
    actions = ["Microsoft.Compute/virtualMachines/start/action"]
  }
}

resource "azurerm_role_assignment" "starter" {
  for_each = toset(local.standby)

  scope              = azurerm_linux_virtual_machine.node[each.key].id
  role_definition_id = azurerm_role_definition.starter[0].role_definition_resource_id
  principal_id       = azurerm_user_assigned_identity.starter[0].principal_id
}

resource "azurerm_role_assignment" "load" {
  for_each = local.has_start == 1 ? toset(local.busy) : toset([])

  scope                = azurerm_linux_virtual_machine.node[each.key].id
  role_definition_name = "Monitoring Reader"
  principal_id         = azurerm_user_assigned_identity.starter[0].principal_id
}
