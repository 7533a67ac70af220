# One region on AWS: policy first, then network, keys, storage, identity and nodes, each in a file of its own.

data "aws_region" "current" {}
data "aws_caller_identity" "current" {}
data "aws_partition" "current" {}

locals {
  cloud   = "aws"
  fact    = var.facts[var.region]
  name    = "${var.deployment}-${var.region}"
  account = data.aws_caller_identity.current.account_id
  arn     = "arn:${data.aws_partition.current.partition}"

  # Nodes that run: those the reviewed mesh names. The others have a disk and an address, and wait.
  running = { for name, node in var.nodes : name => node if contains(keys(var.mesh), name) }
  peers   = { for name, peer in lookup(module.mesh.peers, var.region, {}) : name => peer }

  tags = merge(var.labels, {
    "domicile:deployment"   = var.deployment
    "domicile:region"       = var.region
    "domicile:jurisdiction" = local.fact.jurisdiction
  })

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
      provider_location = data.aws_region.current.name
      nodes             = { for name, node in var.nodes : name => { location = trimsuffix(node.zone, substr(node.zone, -1, 1)) } }
      stores = merge(
        { for what in ["cold", "ledger", "logs"] : what => merge(local.key_here, { kind = "bucket" }) },
        { for name in keys(var.nodes) : "data-${name}" => merge(local.key_here, { kind = "disk" }) },
        { key = merge(local.key_here, { kind = "key" }) },
      )
      copies     = var.copies
      exports    = var.exports
      state      = var.state
      ingress    = [for rule in local.ingress : { cidr = rule.cidr, protocol = rule.protocol, port = rule.port }]
      peer_cidrs = concat([for peer in values(local.peers) : peer.cidr], var.network.client_cidrs)
    }
  }
}
