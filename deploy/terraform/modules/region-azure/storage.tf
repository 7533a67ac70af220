# The region's key and its storage: zone-redundant inside the location, never geo-redundant, private, versioned.

resource "azurerm_user_assigned_identity" "storage" {
  name                = "${local.name}-storage"
  location            = var.location
  resource_group_name = azurerm_resource_group.region.name
  tags                = local.tags
}

resource "azurerm_key_vault" "region" {
  name                          = substr("${local.name}-${sha256(local.name)}", 0, 24)
  location                      = var.location
  resource_group_name           = azurerm_resource_group.region.name
  tenant_id                     = data.azurerm_client_config.current.tenant_id
  sku_name                      = "premium"
  purge_protection_enabled      = true
  soft_delete_retention_days    = 90
  public_network_access_enabled = false
  rbac_authorization_enabled    = true
  tags                          = local.tags

  network_acls {
    bypass         = "AzureServices"
    default_action = "Deny"
  }
}

resource "azurerm_key_vault_key" "region" {
  name         = "rest"
  key_vault_id = azurerm_key_vault.region.id
  key_type     = "RSA-HSM"
  key_size     = 3072
  key_opts     = ["wrapKey", "unwrapKey"]
  tags         = local.tags

  rotation_policy {
    automatic {
      time_after_creation = "P90D"
    }
  }
}

resource "azurerm_role_assignment" "storage_key" {
  scope                = azurerm_key_vault_key.region.resource_versionless_id
  role_definition_name = "Key Vault Crypto Service Encryption User"
  principal_id         = azurerm_user_assigned_identity.storage.principal_id
}

resource "azurerm_disk_encryption_set" "region" {
  name                      = local.name
  location                  = var.location
  resource_group_name       = azurerm_resource_group.region.name
  key_vault_key_id          = azurerm_key_vault_key.region.versionless_id
  auto_key_rotation_enabled = true
  tags                      = local.tags

  identity {
    type         = "UserAssigned"
    identity_ids = [azurerm_user_assigned_identity.storage.id]
  }
  depends_on = [azurerm_role_assignment.storage_key]
}

resource "azurerm_storage_account" "store" {
  for_each = toset(["cold", "ledger", "logs"])

  name                              = "${var.storage_name}${each.key}"
  location                          = var.location
  resource_group_name               = azurerm_resource_group.region.name
  account_tier                      = "Standard"
  account_kind                      = "StorageV2"
  account_replication_type          = "ZRS"
  min_tls_version                   = "TLS1_2"
  https_traffic_only_enabled        = true
  allow_nested_items_to_be_public   = false
  shared_access_key_enabled         = false
  public_network_access_enabled     = false
  cross_tenant_replication_enabled  = false
  allowed_copy_scope                = "PrivateLink"
  infrastructure_encryption_enabled = true
  tags                              = local.tags

  identity {
    type         = "UserAssigned"
    identity_ids = [azurerm_user_assigned_identity.storage.id]
  }
  customer_managed_key {
    user_assigned_identity_id = azurerm_user_assigned_identity.storage.id
    key_vault_key_id          = azurerm_key_vault_key.region.versionless_id
  }
  blob_properties {
    versioning_enabled = true
  }
  network_rules {
    default_action = "Deny"
    bypass         = ["AzureServices"]
  }
  depends_on = [azurerm_role_assignment.storage_key]
}

resource "azurerm_storage_container" "store" {
  for_each = azurerm_storage_account.store

  name                  = "domicile"
  storage_account_id    = each.value.id
  container_access_type = "private"
}

resource "azurerm_storage_container_immutability_policy" "ledger" {
  storage_container_resource_manager_id = azurerm_storage_container.store["ledger"].id
  immutability_period_in_days           = var.retention.ledger_lock_days
  locked                                = true
}

resource "azurerm_storage_management_policy" "store" {
  for_each = azurerm_storage_account.store

  storage_account_id = each.value.id

  rule {
    name    = "remains"
    enabled = true
    filters {
      blob_types = ["blockBlob"]
    }
    actions {
      version {
        delete_after_days_since_creation = var.retention.noncurrent_days
      }
    }
  }

  # What is searched where it lies becomes cheaper by age. What is archived is the node's to say, by the stream's policy: it makes a copy
  # in `archive_class` below `archive/`, which no rule here reaches. A rule that archived by age would have whatever is still searched be
  # paid for like an archive. The node deletes, not the account.
  dynamic "rule" {
    for_each = each.key == "cold" ? [local.fact.retention] : []
    content {
      name    = "tiers"
      enabled = true
      filters {
        blob_types   = ["blockBlob"]
        prefix_match = ["domicile/segments/"]
      }
      actions {
        base_blob {
          tier_to_cool_after_days_since_modification_greater_than = rule.value.warm_days
        }
      }
    }
  }
}
