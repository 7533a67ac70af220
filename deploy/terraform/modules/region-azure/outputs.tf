output "region" {
  description = "What was made, in the form that every cloud's module gives it."
  value = {
    name         = var.region
    jurisdiction = local.fact.jurisdiction
    cloud        = local.cloud
    location     = var.location
    nodes        = { for name, node in var.nodes : name => { number = node.number, zone = node.zone, addr = azurerm_public_ip.node[name].ip_address, runs = contains(keys(local.running), name), secrets = local.secrets[name] } }
    stores       = { for what, account in azurerm_storage_account.store : what => { name = account.name, location = account.location, replication = "none" } }
    key          = azurerm_key_vault_key.region.id
  }
}

output "mesh_entries" {
  description = "This region's part of `mesh.json`."
  value       = { for name, node in var.nodes : name => { number = node.number, region = var.region, zone = node.zone, voter = node.voter, addr = azurerm_public_ip.node[name].ip_address, port = 7443 } }
}
