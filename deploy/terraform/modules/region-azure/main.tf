# One region on Azure: policy first, then network, keys, storage, identity and nodes.
#
# Checked against the provider's schema; never applied to Azure.

data "azurerm_client_config" "current" {}

locals {
  cloud = "azure"
  fact  = var.facts[var.region]
  name  = "${var.deployment}-${var.region}"

  running = { for name, node in var.nodes : name => node if contains(keys(var.mesh), name) }
  peers   = { for name, peer in lookup(module.mesh.peers, var.region, {}) : name => peer }

  tags = merge(var.labels, {
    domicile_deployment   = var.deployment
    domicile_region       = var.region
    domicile_jurisdiction = local.fact.jurisdiction
  })

  ingress = concat(
    [for name, peer in local.peers : { name = "link-${name}", cidr = peer.cidr, protocol = "udp", port = 7443 }],
    [for place, pair in setproduct(var.network.client_cidrs, [9200, 7280]) : { name = "client-${place}", cidr = pair[0], protocol = "tcp", port = pair[1] }],
  )

  key_here = { encrypted = true, key_location = var.location, location = var.location, public = false, multi_region = false }
}

module "mesh" {
  source = "../mesh"

  deployment = var.deployment
  nodes      = var.mesh
}

module "residency" {
  source = "../residency"

  facts = var.facts
  group = length(var.mesh) == 0 ? null : module.mesh.group
  regions = {
    (var.region) = {
      jurisdiction = local.fact.jurisdiction
      cloud        = local.cloud
      location     = var.location
      # The provider has no location of its own; every resource states it.
      nodes = { for name in keys(var.nodes) : name => { location = var.location } }
      stores = merge(
        { for what in ["cold", "ledger", "logs"] : what => merge(local.key_here, { kind = "bucket" }) },
        { for name in keys(var.nodes) : "data-${name}" => merge(local.key_here, { kind = "disk" }) },
        { key = merge(local.key_here, { kind = "key" }), secrets = merge(local.key_here, { kind = "secret" }) },
      )
      copies     = var.copies
      exports    = var.exports
      state      = var.state
      ingress    = [for rule in local.ingress : { cidr = rule.cidr, protocol = rule.protocol, port = rule.port }]
      peer_cidrs = concat([for peer in values(local.peers) : peer.cidr], var.network.client_cidrs)
    }
  }
}

resource "azurerm_resource_group" "region" {
  name     = local.name
  location = var.location
  tags     = local.tags
}
