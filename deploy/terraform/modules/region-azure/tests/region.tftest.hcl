# What the module plans for one region, with Azure's schema and no Azure behind it.

mock_provider "azurerm" {
  override_during = plan

  mock_data "azurerm_client_config" {
    defaults = { tenant_id = "00000000-0000-0000-0000-000000000000" }
  }
  mock_resource "azurerm_public_ip" {
    defaults = { ip_address = "192.0.2.3" }
  }
  mock_resource "azurerm_key_vault" {
    defaults = { id = "/subscriptions/s/vaults/v", vault_uri = "https://v.vault.example.com/" }
  }
  mock_resource "azurerm_key_vault_key" {
    defaults = { versionless_id = "https://v.vault.example.com/keys/rest", resource_versionless_id = "/subscriptions/s/vaults/v/keys/rest" }
  }
  mock_resource "azurerm_disk_encryption_set" {
    defaults = { id = "/subscriptions/s/diskEncryptionSets/d" }
  }
}

variables {
  deployment = "domicile"
  region     = "frankfurt"
  location   = "germanywestcentral"
  facts = {
    frankfurt = {
      name         = "frankfurt"
      jurisdiction = "DE"
      clouds       = { azure = ["germanywestcentral"] }
      retention    = { hot_days = 7, warm_days = 30, cold_days = 365, archive_days = 180 }
      transfers    = []
    }
  }
  nodes = {
    frankfurt-3 = { number = 3, zone = "1", size = "Standard_D2s_v5", voter = true }
  }
  mesh = {
    tokyo-1     = { number = 1, region = "tokyo", zone = "a", voter = true, addr = "192.0.2.1" }
    singapore-2 = { number = 2, region = "singapore", zone = "a", voter = true, addr = "192.0.2.2" }
    frankfurt-3 = { number = 3, region = "frankfurt", zone = "1", voter = true, addr = "192.0.2.3" }
  }
  network            = { cidr = "10.3.0.0/16" }
  bundles            = { frankfurt = "-----BEGIN CERTIFICATE-----" }
  officer_public_key = "0000000000000000000000000000000000000000000000000000000000000000"
  artifact           = { url = "https://example.com/domicile", sha256 = "0000000000000000000000000000000000000000000000000000000000000000" }
  image              = "/subscriptions/s/images/debian-12"
  state              = { cloud = "local" }
  storage_name       = "domicilefra"
  admin_ssh_key      = "ssh-ed25519 AAAA"
  network_watcher    = { name = "watcher", resource_group = "NetworkWatcherRG" }
}

run "res_001_res_002_and_res_006_everything_states_the_one_location" {
  command = plan

  # The provider has no location of its own, so that none can be a wrong one: every resource states it.
  assert {
    condition = alltrue([for place in concat(
      [azurerm_resource_group.region.location, azurerm_virtual_network.region.location, azurerm_network_security_group.node.location],
      [azurerm_key_vault.region.location, azurerm_disk_encryption_set.region.location, azurerm_user_assigned_identity.storage.location],
      [azurerm_network_watcher_flow_log.region.location],
      values(azurerm_storage_account.store)[*].location,
      values(azurerm_managed_disk.data)[*].location,
      values(azurerm_public_ip.node)[*].location,
      values(azurerm_network_interface.node)[*].location,
      values(azurerm_private_endpoint.service)[*].location,
      values(azurerm_user_assigned_identity.node)[*].location,
      values(azurerm_linux_virtual_machine.node)[*].location,
    ) : place == "germanywestcentral"])
    error_message = "Something would lie elsewhere."
  }
  assert {
    condition     = output.region.location == "germanywestcentral" && output.region.jurisdiction == "DE"
    error_message = "What is said of the region is what was declared."
  }
}

run "res_003_and_res_004_nothing_is_copied_and_nothing_spans_two_places" {
  command = plan

  assert {
    condition     = alltrue([for account in azurerm_storage_account.store : account.account_replication_type == "ZRS" && !account.cross_tenant_replication_enabled && account.allowed_copy_scope == "PrivateLink"])
    error_message = "Storage is kept in one location, and copied only within the network."
  }
  assert {
    condition     = length(azurerm_storage_account.store) == 3 && alltrue([for store in values(output.region.stores) : store.replication == "none" && store.location == "germanywestcentral"])
    error_message = "What is said of the storage."
  }
}

run "res_005_the_link_is_open_to_single_peers_and_nobody_else" {
  command = plan

  assert {
    condition     = toset([for rule in azurerm_network_security_rule.in : "${rule.protocol} ${rule.destination_port_range} ${rule.source_address_prefix}"]) == toset(["Udp 7443 192.0.2.1/32", "Udp 7443 192.0.2.2/32", "Udp 7443 192.0.2.3/32"])
    error_message = "Nodes are reached by peers, each by its one address."
  }
  assert {
    condition     = azurerm_network_security_rule.in_nothing_else.access == "Deny" && azurerm_network_security_rule.in_nothing_else.source_address_prefix == "*" && alltrue([for rule in azurerm_network_security_rule.in : rule.priority < azurerm_network_security_rule.in_nothing_else.priority])
    error_message = "Nobody else comes in."
  }
  assert {
    condition     = azurerm_network_security_rule.out_nothing_else.access == "Deny" && azurerm_network_security_rule.out_nothing_else.destination_address_prefix == "Internet" && alltrue([for rule in azurerm_network_security_rule.out : rule.priority < azurerm_network_security_rule.out_nothing_else.priority && rule.protocol == "Udp"])
    error_message = "Nothing leaves but the link."
  }
}

run "res_005_clients_come_from_declared_ranges" {
  command = plan

  variables {
    network = { cidr = "10.3.0.0/16", client_cidrs = ["10.200.0.0/16"] }
  }
  assert {
    condition     = toset([for rule in azurerm_network_security_rule.in : "${rule.destination_port_range} ${rule.source_address_prefix}" if rule.protocol == "Tcp"]) == toset(["9200 10.200.0.0/16", "7280 10.200.0.0/16"])
    error_message = "The two doors of clients, to their ranges."
  }
}

run "res_005_clients_from_everywhere_are_refused" {
  command = plan

  variables {
    network = { cidr = "10.3.0.0/16", client_cidrs = ["0.0.0.0/0"] }
  }
  expect_failures = [var.network]
}

run "res_007_flow_logs_stay_and_are_whole" {
  command = plan

  variables {
    retention = { flow_log_days = 30 }
  }
  assert {
    condition     = azurerm_network_watcher_flow_log.region.enabled && azurerm_network_watcher_flow_log.region.retention_policy[0].days == 30
    error_message = "Every flow is logged."
  }
  assert {
    condition     = length(azurerm_network_watcher_flow_log.region.traffic_analytics) == 0
    error_message = "To storage of the region, and no workspace elsewhere."
  }
}

run "res_008_everything_that_keeps_data_is_under_the_key_of_this_region" {
  command = plan

  assert {
    condition     = alltrue([for account in azurerm_storage_account.store : account.customer_managed_key[0].key_vault_key_id == azurerm_key_vault_key.region.versionless_id && account.infrastructure_encryption_enabled])
    error_message = "Storage is encrypted with the region's key."
  }
  assert {
    condition     = alltrue([for disk in azurerm_managed_disk.data : disk.disk_encryption_set_id == azurerm_disk_encryption_set.region.id]) && alltrue([for node in azurerm_linux_virtual_machine.node : node.os_disk[0].disk_encryption_set_id == azurerm_disk_encryption_set.region.id && node.encryption_at_host_enabled])
    error_message = "Disks are."
  }
  assert {
    condition     = azurerm_key_vault.region.purge_protection_enabled && !azurerm_key_vault.region.public_network_access_enabled && azurerm_key_vault_key.region.key_type == "RSA-HSM" && azurerm_key_vault_key.region.rotation_policy[0].automatic[0].time_after_creation == "P90D"
    error_message = "The key is kept, reached from inside, and turned."
  }
  assert {
    condition     = alltrue([for account in azurerm_storage_account.store : !account.allow_nested_items_to_be_public && !account.public_network_access_enabled && !account.shared_access_key_enabled && account.network_rules[0].default_action == "Deny"])
    error_message = "Storage is private."
  }
  assert {
    condition     = alltrue([for container in azurerm_storage_container.store : container.container_access_type == "private"]) && alltrue([for disk in azurerm_managed_disk.data : !disk.public_network_access_enabled && disk.network_access_policy == "DenyAll"])
    error_message = "Containers and disks are private."
  }
}

run "the_ledger_is_locked_and_versions_end" {
  command = plan

  variables {
    retention = { ledger_lock_days = 3650, noncurrent_days = 3 }
  }
  assert {
    condition     = azurerm_storage_container_immutability_policy.ledger.locked && azurerm_storage_container_immutability_policy.ledger.immutability_period_in_days == 3650
    error_message = "Nobody can shorten the ledger's time."
  }
  assert {
    condition     = alltrue([for account in azurerm_storage_account.store : account.blob_properties[0].versioning_enabled]) && alltrue([for policy in azurerm_storage_management_policy.store : policy.rule[0].actions[0].version[0].delete_after_days_since_creation == 3])
    error_message = "Erasure counts on the end of old versions."
  }
}

run "a_node_may_do_what_it_must_and_no_more" {
  command = plan

  assert {
    condition     = alltrue([for secret in ["node-crt", "node-key", "server-crt", "server-key"] : contains(keys(azurerm_role_assignment.secrets), "frankfurt-3-${secret}")]) && alltrue([for key in keys(azurerm_role_assignment.secrets) : startswith(key, "frankfurt-3-")]) && alltrue([for role in azurerm_role_assignment.secrets : role.role_definition_name == "Key Vault Secrets User"])
    error_message = "A node reads its own secrets."
  }
  assert {
    condition     = toset(keys(azurerm_private_endpoint.service)) == toset(["cold", "ledger", "vault"])
    error_message = "Storage and keys are reached without leaving the network."
  }
  assert {
    condition     = alltrue([for node in azurerm_linux_virtual_machine.node : node.disable_password_authentication && !node.allow_extension_operations && node.secure_boot_enabled])
    error_message = "Machines boot what was signed, and take no passwords and no extensions."
  }
}

run "no_machine_runs_before_the_mesh_names_it" {
  command = plan

  variables {
    mesh = {}
  }
  assert {
    condition     = length(azurerm_linux_virtual_machine.node) == 0 && length(azurerm_public_ip.node) == 1 && length(azurerm_managed_disk.data) == 1
    error_message = "Address and disk come first."
  }
}

run "a_mesh_with_a_strange_address_of_ours_is_refused" {
  command = plan

  variables {
    mesh = {
      tokyo-1     = { number = 1, region = "tokyo", zone = "a", voter = true, addr = "192.0.2.1" }
      singapore-2 = { number = 2, region = "singapore", zone = "a", voter = true, addr = "192.0.2.2" }
      frankfurt-3 = { number = 3, region = "frankfurt", zone = "1", voter = true, addr = "192.0.2.9" }
    }
  }
  expect_failures = [azurerm_linux_virtual_machine.node]
}

run "a_busy_node_tells_and_a_standby_node_is_not_asked" {
  command = plan

  variables {
    nodes = {
      frankfurt-3 = { number = 3, zone = "1", size = "Standard_D2s_v5", voter = true }
      frankfurt-6 = { number = 6, zone = "2", size = "Standard_D2s_v5", voter = false, standby = true }
    }
    mesh = {
      tokyo-1     = { number = 1, region = "tokyo", zone = "a", voter = true, addr = "192.0.2.1" }
      singapore-2 = { number = 2, region = "singapore", zone = "a", voter = true, addr = "192.0.2.2" }
      frankfurt-3 = { number = 3, region = "frankfurt", zone = "1", voter = true, addr = "192.0.2.3" }
    }
  }
  assert {
    condition     = toset(keys(azurerm_monitor_metric_alert.busy)) == toset(["frankfurt-3"]) && one(azurerm_monitor_metric_alert.busy["frankfurt-3"].criteria).threshold == 70
    error_message = "Above the percentage."
  }
}

run "segments_lie_in_the_region_s_account_and_can_be_read_at_once" {
  command = plan

  assert {
    condition     = strcontains(module.node_config["frankfurt-3"].node_toml, "[store]\nkind = \"azure\"\nbucket = \"domicile\"\nlocation = \"germanywestcentral\"\naccount = ") && strcontains(module.node_config["frankfurt-3"].node_toml, "archive_class = \"Cold\"\nvouched = [\"location\",\"replication\"]")
    error_message = "The node is told its account, and what to archive in."
  }
  assert {
    condition     = azurerm_storage_management_policy.store["cold"].rule[1].filters[0].prefix_match == toset(["domicile/segments/"]) && azurerm_storage_management_policy.store["cold"].rule[1].actions[0].base_blob[0].tier_to_archive_after_days_since_modification_greater_than == null
    error_message = "No tier that has to be thawed."
  }
  assert {
    condition     = azurerm_storage_management_policy.store["cold"].rule[1].actions[0].base_blob[0].tier_to_cool_after_days_since_modification_greater_than == 30 && azurerm_storage_management_policy.store["cold"].rule[1].actions[0].base_blob[0].tier_to_cold_after_days_since_modification_greater_than == null
    error_message = "What is archived is the node's to say."
  }
}

run "a_tier_that_has_to_be_thawed_is_refused" {
  command = plan

  variables {
    archive_class = "Archive"
  }
  expect_failures = [var.archive_class]
}

run "load_starts_the_standby_nodes_and_no_other_machine" {
  command = plan

  override_resource {
    target          = azurerm_public_ip.node["frankfurt-6"]
    override_during = plan
    values          = { ip_address = "192.0.2.6" }
  }

  override_resource {
    target          = azurerm_linux_virtual_machine.node["frankfurt-3"]
    override_during = plan
    values          = { id = "/machines/3" }
  }
  override_resource {
    target          = azurerm_linux_virtual_machine.node["frankfurt-6"]
    override_during = plan
    values          = { id = "/machines/6" }
  }
  override_resource {
    target          = azurerm_user_assigned_identity.starter[0]
    override_during = plan
    values          = { id = "/identities/starter", principal_id = "p" }
  }
  variables {
    nodes = {
      frankfurt-3 = { number = 3, zone = "1", size = "Standard_D2s_v5", voter = true }
      frankfurt-6 = { number = 6, zone = "2", size = "Standard_D2s_v5", voter = false, standby = true }
    }
    mesh = {
      tokyo-1     = { number = 1, region = "tokyo", zone = "a", voter = true, addr = "192.0.2.1" }
      singapore-2 = { number = 2, region = "singapore", zone = "a", voter = true, addr = "192.0.2.2" }
      frankfurt-3 = { number = 3, region = "frankfurt", zone = "1", voter = true, addr = "192.0.2.3" }
      frankfurt-6 = { number = 6, region = "frankfurt", zone = "2", voter = false, addr = "192.0.2.6" }
    }
  }
  assert {
    condition     = toset(keys(azurerm_role_assignment.starter)) == toset(["frankfurt-6"]) && azurerm_role_definition.starter[0].permissions[0].actions == tolist(["Microsoft.Compute/virtualMachines/start/action"]) && toset(keys(azurerm_role_assignment.load)) == toset(["frankfurt-3"])
    error_message = "It may read the load of the running ones and start the standby node, and nothing else."
  }
  assert {
    condition     = jsondecode(azurerm_logic_app_action_custom.start["frankfurt-3"].body).actions["busy-frankfurt-3"].expression.greater[1] == 70 && jsondecode(azurerm_logic_app_action_custom.start["frankfurt-3"].body).actions["busy-frankfurt-3"].actions["start-frankfurt-6-for-frankfurt-3"].inputs.uri == "https://management.azure.com/machines/6/start"
    error_message = "Above the percentage, the standby node."
  }
  assert {
    condition     = azurerm_logic_app_workflow.start[0].location == "germanywestcentral"
    error_message = "It lies where the region does."
  }
}

run "without_standby_nodes_nothing_can_be_started" {
  command = plan

  assert {
    condition     = length(azurerm_logic_app_workflow.start) + length(azurerm_role_definition.starter) + length(azurerm_logic_app_action_custom.start) + length(azurerm_role_assignment.load) == 0
    error_message = "No hook without a node to start."
  }
}
