# Network: one subnet, UDP from declared peers only, storage and keys over private endpoints, flow logs.

resource "azurerm_virtual_network" "region" {
  name                = local.name
  location            = var.location
  resource_group_name = azurerm_resource_group.region.name
  address_space       = [var.network.cidr]
  tags                = local.tags
}

resource "azurerm_subnet" "node" {
  name                 = "node"
  resource_group_name  = azurerm_resource_group.region.name
  virtual_network_name = azurerm_virtual_network.region.name
  address_prefixes     = [cidrsubnet(var.network.cidr, 4, 0)]
}

resource "azurerm_network_security_group" "node" {
  name                = local.name
  location            = var.location
  resource_group_name = azurerm_resource_group.region.name
  tags                = local.tags
}

resource "azurerm_subnet_network_security_group_association" "node" {
  subnet_id                 = azurerm_subnet.node.id
  network_security_group_id = azurerm_network_security_group.node.id
}

resource "azurerm_network_security_rule" "in" {
  for_each = { for place, rule in local.ingress : rule.name => merge(rule, { place = place }) }

  name                        = "in-${each.key}"
  resource_group_name         = azurerm_resource_group.region.name
  network_security_group_name = azurerm_network_security_group.node.name
  direction                   = "Inbound"
  access                      = "Allow"
  priority                    = 200 + each.value.place
  protocol                    = each.value.protocol == "udp" ? "Udp" : "Tcp"
  source_address_prefix       = each.value.cidr
  source_port_range           = "*"
  destination_address_prefix  = "*"
  destination_port_range      = tostring(each.value.port)
}

resource "azurerm_network_security_rule" "in_nothing_else" {
  name                        = "in-nothing-else"
  resource_group_name         = azurerm_resource_group.region.name
  network_security_group_name = azurerm_network_security_group.node.name
  direction                   = "Inbound"
  access                      = "Deny"
  priority                    = 4000
  protocol                    = "*"
  source_address_prefix       = "*"
  source_port_range           = "*"
  destination_address_prefix  = "*"
  destination_port_range      = "*"
}

resource "azurerm_network_security_rule" "out" {
  for_each = { for place, name in keys(local.peers) : name => merge(local.peers[name], { place = place }) }

  name                        = "out-link-${each.key}"
  resource_group_name         = azurerm_resource_group.region.name
  network_security_group_name = azurerm_network_security_group.node.name
  direction                   = "Outbound"
  access                      = "Allow"
  priority                    = 200 + each.value.place
  protocol                    = "Udp"
  source_address_prefix       = "*"
  source_port_range           = "*"
  destination_address_prefix  = each.value.cidr
  destination_port_range      = tostring(each.value.port)
}

resource "azurerm_network_security_rule" "out_services" {
  name                        = "out-services"
  resource_group_name         = azurerm_resource_group.region.name
  network_security_group_name = azurerm_network_security_group.node.name
  direction                   = "Outbound"
  access                      = "Allow"
  priority                    = 3000
  protocol                    = "Tcp"
  source_address_prefix       = "*"
  source_port_range           = "*"
  destination_address_prefix  = "VirtualNetwork"
  destination_port_range      = "443"
}

resource "azurerm_network_security_rule" "out_nothing_else" {
  name                        = "out-nothing-else"
  resource_group_name         = azurerm_resource_group.region.name
  network_security_group_name = azurerm_network_security_group.node.name
  direction                   = "Outbound"
  access                      = "Deny"
  priority                    = 4000
  protocol                    = "*"
  source_address_prefix       = "*"
  source_port_range           = "*"
  destination_address_prefix  = "Internet"
  destination_port_range      = "*"
}

resource "azurerm_private_endpoint" "service" {
  for_each = {
    cold   = { id = azurerm_storage_account.store["cold"].id, kind = "blob" }
    ledger = { id = azurerm_storage_account.store["ledger"].id, kind = "blob" }
    vault  = { id = azurerm_key_vault.region.id, kind = "vault" }
  }

  name                = "${local.name}-${each.key}"
  location            = var.location
  resource_group_name = azurerm_resource_group.region.name
  subnet_id           = azurerm_subnet.node.id
  tags                = local.tags

  private_service_connection {
    name                           = each.key
    is_manual_connection           = false
    private_connection_resource_id = each.value.id
    subresource_names              = [each.value.kind]
  }
}

# Every flow: what an auditor compares with the ledger.
resource "azurerm_network_watcher_flow_log" "region" {
  name                 = local.name
  location             = var.location
  resource_group_name  = var.network_watcher.resource_group
  network_watcher_name = var.network_watcher.name
  target_resource_id   = azurerm_virtual_network.region.id
  storage_account_id   = azurerm_storage_account.store["logs"].id
  enabled              = true
  version              = 2
  tags                 = local.tags

  retention_policy {
    enabled = true
    days    = var.retention.flow_log_days
  }
}
