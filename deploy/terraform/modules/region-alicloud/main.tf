# One region on Alibaba Cloud: policy first, then network, keys, storage, identity and nodes.
#
# Checked against the provider's schema; never applied to Alibaba Cloud.

data "alicloud_account" "current" {}

locals {
  cloud = "alicloud"
  fact  = var.facts[var.region]
  name  = "${var.deployment}-${var.region}"

  running = { for name, node in var.nodes : name => node if contains(keys(var.mesh), name) }
  peers   = { for name, peer in lookup(module.mesh.peers, var.region, {}) : name => peer }

  tags = merge(var.labels, {
    domicile_deployment   = var.deployment
    domicile_region       = var.region
    domicile_jurisdiction = local.fact.jurisdiction
  })

  ingress = merge(
    { for name, peer in local.peers : "link-${name}" => { cidr = peer.cidr, protocol = "udp", port = 7443 } },
    { for pair in setproduct(var.network.client_cidrs, [9200, 7280]) : "client-${pair[0]}-${pair[1]}" => { cidr = pair[0], protocol = "tcp", port = pair[1] } },
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
      jurisdiction      = local.fact.jurisdiction
      cloud             = local.cloud
      location          = var.location
      provider_location = var.provider_location
      nodes             = { for name, node in var.nodes : name => { location = replace(node.zone, "/-?[a-z]$/", "") } }
      stores = merge(
        { for what in ["cold", "ledger", "logs"] : what => merge(local.key_here, { kind = "bucket" }) },
        { for name in keys(var.nodes) : "data-${name}" => merge(local.key_here, { kind = "disk" }) },
        { key = merge(local.key_here, { kind = "key" }) },
      )
      copies     = var.copies
      exports    = var.exports
      state      = var.state
      ingress    = values(local.ingress)
      peer_cidrs = concat([for peer in values(local.peers) : peer.cidr], var.network.client_cidrs)
    }
  }
}
