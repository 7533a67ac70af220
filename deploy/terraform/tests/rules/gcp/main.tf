# Google Cloud: one region declared rightly and others with one thing wrong each. `expected` says which rule
# speaks of which region, and none speaks of another.

terraform {
  required_version = ">= 1.11.0"

  required_providers {
    google = {
      source  = "hashicorp/google"
      version = "~> 6.50"
    }
  }
}

provider "google" {
  project = "domicile-example"
  region  = "europe-west3"
}

locals {
  facts = { for file in fileset("${path.module}/../../../../../regions", "*.yaml") : trimsuffix(file, ".yaml") => yamldecode(file("${path.module}/../../../../../regions/${file}")) }

  fact     = local.facts.frankfurt
  node     = "frankfurt-3"
  location = "europe-west3"
  zone     = "europe-west3-a"

  cases = {
    right   = {}
    res-001 = { location = "us-east1", zone = "us-east1-a", provider_location = "us-east1" }
    res-002 = { zone = "europe-west4-a" }
    res-003 = { copies = [{ what = "records", cloud = "aws", location = "us-east-1" }] }
    # A catalogue that names a place which is more than one does not help.
    res-004 = { location = "eu", zone = "eu-a", provider_location = "eu", facts = { clouds = { gcp = ["eu"] } } }
    res-006 = { provider_location = "us-east1" }
    res-007 = { state = { cloud = "aws", location = "us-east-1" } }
    export  = { exports = [{ what = "metrics", cloud = "aws", location = "us-east-1" }] }
    res-009 = { twice = true }
  }
  # By itself: what a variable refuses, nothing else of its block is judged after.
  open = {
    res-005 = { clients = ["0.0.0.0/0"] }
  }
}

module "case" {
  source   = "../../../modules/region-gcp"
  for_each = local.cases

  deployment         = "domicile"
  region             = each.key
  location           = try(each.value.location, local.location)
  provider_location  = try(each.value.provider_location, local.location)
  facts              = { (each.key) = merge(local.fact, { name = each.key }, try(each.value.facts, {})) }
  nodes              = { (local.node) = { number = 3, zone = try(each.value.zone, local.zone), size = "n2-standard-2", voter = true } }
  mesh               = try(each.value.twice, false) ? { for number in [1, 2, 3] : "${local.node}-${number}" => { number = number, region = number < 3 ? each.key : "elsewhere", zone = "a", voter = true, addr = "192.0.2.${number}" } } : {}
  network            = { cidr = "10.3.0.0/16", client_cidrs = try(each.value.clients, []) }
  bundles            = { (each.key) = "-----BEGIN CERTIFICATE-----" }
  officer_public_key = "0000000000000000000000000000000000000000000000000000000000000000"
  artifact           = { url = "https://example.com/domicile", sha256 = "0000000000000000000000000000000000000000000000000000000000000000" }
  image              = "image"
  state              = try(each.value.state, { cloud = "local" })
  copies             = try(each.value.copies, [])
  exports            = try(each.value.exports, [])
  project            = "domicile-example"
}

module "open" {
  source   = "../../../modules/region-gcp"
  for_each = local.open

  deployment         = "domicile"
  region             = each.key
  location           = try(each.value.location, local.location)
  provider_location  = try(each.value.provider_location, local.location)
  facts              = { (each.key) = merge(local.fact, { name = each.key }, try(each.value.facts, {})) }
  nodes              = { (local.node) = { number = 3, zone = try(each.value.zone, local.zone), size = "n2-standard-2", voter = true } }
  mesh               = try(each.value.twice, false) ? { for number in [1, 2, 3] : "${local.node}-${number}" => { number = number, region = number < 3 ? each.key : "elsewhere", zone = "a", voter = true, addr = "192.0.2.${number}" } } : {}
  network            = { cidr = "10.3.0.0/16", client_cidrs = try(each.value.clients, []) }
  bundles            = { (each.key) = "-----BEGIN CERTIFICATE-----" }
  officer_public_key = "0000000000000000000000000000000000000000000000000000000000000000"
  artifact           = { url = "https://example.com/domicile", sha256 = "0000000000000000000000000000000000000000000000000000000000000000" }
  image              = "image"
  state              = try(each.value.state, { cloud = "local" })
  copies             = try(each.value.copies, [])
  exports            = try(each.value.exports, [])
  project            = "domicile-example"
}
