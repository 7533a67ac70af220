# Identity and nodes: each node has an identity, an address and a data disk that outlive its machine.

locals {
  secrets = { for name in keys(var.nodes) : name => "${trimsuffix(azurerm_key_vault.region.vault_uri, "/")}/secrets/${name}" }

  # What a machine fetches before its node starts: the names stand in one place, in the language of this cloud.
  secret_files = [for name in split(" ", regex("names=\"([a-z. ]+)\"", file("${path.module}/../node-config/files/prepare.sh"))[0]) : replace(name, ".", "-")]
  own_secrets  = concat(local.secret_files, var.keys == null ? [] : ["transit-token"])
}

resource "azurerm_user_assigned_identity" "node" {
  for_each = var.nodes

  name                = "${local.name}-${each.key}"
  location            = var.location
  resource_group_name = azurerm_resource_group.region.name
  tags                = local.tags
}

resource "azurerm_role_assignment" "cold" {
  for_each = var.nodes

  scope                = azurerm_storage_container.store["cold"].id
  role_definition_name = "Storage Blob Data Contributor"
  principal_id         = azurerm_user_assigned_identity.node[each.key].principal_id
}

# The container's lock keeps the ledger: what lies in it cannot be changed or deleted by anybody before its time.
resource "azurerm_role_assignment" "ledger" {
  for_each = var.nodes

  scope                = azurerm_storage_container.store["ledger"].id
  role_definition_name = "Storage Blob Data Contributor"
  principal_id         = azurerm_user_assigned_identity.node[each.key].principal_id
}

# One node may read its own secrets, by their names.
resource "azurerm_role_assignment" "secrets" {
  for_each = { for pair in setproduct(keys(var.nodes), local.own_secrets) : "${pair[0]}-${pair[1]}" => pair[0] }

  scope                = "${azurerm_key_vault.region.id}/secrets/${each.key}"
  role_definition_name = "Key Vault Secrets User"
  principal_id         = azurerm_user_assigned_identity.node[each.value].principal_id
}

resource "azurerm_public_ip" "node" {
  for_each = var.nodes

  name                = "${local.name}-${each.key}"
  location            = var.location
  resource_group_name = azurerm_resource_group.region.name
  allocation_method   = "Static"
  sku                 = "Standard"
  tags                = local.tags
}

resource "azurerm_network_interface" "node" {
  for_each = var.nodes

  name                = "${local.name}-${each.key}"
  location            = var.location
  resource_group_name = azurerm_resource_group.region.name
  tags                = local.tags

  ip_configuration {
    name                          = "node"
    subnet_id                     = azurerm_subnet.node.id
    private_ip_address_allocation = "Dynamic"
    public_ip_address_id          = azurerm_public_ip.node[each.key].id
  }
}

resource "azurerm_managed_disk" "data" {
  for_each = var.nodes

  name                          = "${local.name}-${each.key}-data"
  location                      = var.location
  resource_group_name           = azurerm_resource_group.region.name
  zone                          = each.value.zone
  storage_account_type          = "Premium_LRS"
  create_option                 = "Empty"
  disk_size_gb                  = each.value.data_gib
  disk_encryption_set_id        = azurerm_disk_encryption_set.region.id
  public_network_access_enabled = false
  network_access_policy         = "DenyAll"
  tags                          = local.tags
}

module "node_config" {
  source   = "../node-config"
  for_each = local.running

  deployment         = var.deployment
  advertise          = "${var.mesh[each.key].addr}:7443"
  voter              = each.value.voter
  seeds              = each.value.number == min([for node in values(var.mesh) : node.number]...) ? [] : module.mesh.seeds[each.key]
  bundles            = var.bundles
  officer_public_key = var.officer_public_key
  artifact           = var.artifact
  secrets            = { kind = "azure", ref = local.secrets[each.key] }
  location           = var.location
  data_device        = "/dev/disk/azure/scsi1/lun10"
  # An identity whose rights end at the container is not told where the account lies or whether it is copied: this module made it
  # here and zone-redundant, and vouches for both. What the service contradicts is refused all the same.
  store = {
    kind          = "azure"
    account       = azurerm_storage_account.store["cold"].name
    bucket        = azurerm_storage_container.store["cold"].name
    location      = var.location
    vouched       = ["location", "replication"]
    archive_class = var.archive_class == "none" ? null : var.archive_class
  }
  keys = var.keys == null ? null : {
    address   = var.keys.address
    key       = "${var.keys.key_prefix}-${each.key}"
    mount     = var.keys.mount
    namespace = var.keys.namespace
  }
}

resource "terraform_data" "generation" {
  for_each = var.nodes

  input = each.value.generation
}

resource "azurerm_linux_virtual_machine" "node" {
  for_each = local.running

  name                            = "${local.name}-${each.key}"
  location                        = var.location
  resource_group_name             = azurerm_resource_group.region.name
  zone                            = each.value.zone
  size                            = each.value.size
  network_interface_ids           = [azurerm_network_interface.node[each.key].id]
  source_image_id                 = var.image
  admin_username                  = "operator"
  disable_password_authentication = true
  allow_extension_operations      = false
  encryption_at_host_enabled      = true
  secure_boot_enabled             = true
  vtpm_enabled                    = true
  custom_data                     = base64encode(module.node_config[each.key].user_data)
  tags                            = local.tags

  admin_ssh_key {
    username   = "operator"
    public_key = var.admin_ssh_key
  }
  identity {
    type         = "UserAssigned"
    identity_ids = [azurerm_user_assigned_identity.node[each.key].id]
  }
  os_disk {
    caching                = "ReadWrite"
    storage_account_type   = "Premium_LRS"
    disk_encryption_set_id = azurerm_disk_encryption_set.region.id
  }

  lifecycle {
    # A new image or configuration never replaces a machine by itself: raise the node's `generation`, one node at a time.
    ignore_changes       = [source_image_id, custom_data]
    replace_triggered_by = [terraform_data.generation[each.key]]

    precondition {
      condition     = var.mesh[each.key].addr == azurerm_public_ip.node[each.key].ip_address && var.mesh[each.key].number == each.value.number
      error_message = "The mesh says another address or number of ${each.key} than this region has: write mesh.json again from the outputs."
    }
  }
  depends_on = [module.residency]
}

resource "azurerm_virtual_machine_data_disk_attachment" "data" {
  for_each = local.running

  managed_disk_id    = azurerm_managed_disk.data[each.key].id
  virtual_machine_id = azurerm_linux_virtual_machine.node[each.key].id
  lun                = 10
  caching            = "None"
}
