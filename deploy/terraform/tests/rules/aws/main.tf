# AWS: one region declared rightly and others with one thing wrong each. `expected` says which rule
# speaks of which region, and none speaks of another.

terraform {
  required_version = ">= 1.11.0"

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.100, < 7.0"
    }
  }
}

provider "aws" {
  region = "ap-northeast-1"
}

provider "aws" {
  alias  = "abroad"
  region = "us-east-1"
}

provider "aws" {
  alias  = "spanning"
  region = "global"
}

locals {
  facts = { for file in fileset("${path.module}/../../../../../regions", "*.yaml") : trimsuffix(file, ".yaml") => yamldecode(file("${path.module}/../../../../../regions/${file}")) }

  fact     = local.facts.tokyo
  node     = "tokyo-1"
  location = "ap-northeast-1"
  zone     = "ap-northeast-1a"

  cases = {
    right   = {}
    res-002 = { zone = "ap-northeast-3a" }
    res-003 = { copies = [{ what = "records", cloud = "aws", location = "us-east-1" }] }
    res-007 = { state = { cloud = "aws", location = "us-east-1" } }
    export  = { exports = [{ what = "metrics", cloud = "aws", location = "us-east-1" }] }
    res-009 = { twice = true }
  }
  # With a provider of the United States.
  abroad = {
    res-001 = { location = "us-east-1", zone = "us-east-1a" }
    res-006 = {}
  }
  # A catalogue that names a place which is more than one does not help.
  spanning = {
    res-004 = { location = "global", zone = "globala", facts = { clouds = { aws = ["global"] } } }
  }
  # By itself: what a variable refuses, nothing else of its block is judged after.
  open = {
    res-005 = { clients = ["0.0.0.0/0"] }
  }
}

module "case" {
  source   = "../../../modules/region-aws"
  for_each = local.cases

  deployment         = "domicile"
  region             = each.key
  location           = try(each.value.location, local.location)
  facts              = { (each.key) = merge(local.fact, { name = each.key }, try(each.value.facts, {})) }
  nodes              = { (local.node) = { number = 3, zone = try(each.value.zone, local.zone), size = "m7i.large", voter = true } }
  mesh               = try(each.value.twice, false) ? { for number in [1, 2, 3] : "${local.node}-${number}" => { number = number, region = number < 3 ? each.key : "elsewhere", zone = "a", voter = true, addr = "192.0.2.${number}" } } : {}
  network            = { cidr = "10.3.0.0/16", client_cidrs = try(each.value.clients, []) }
  bundles            = { (each.key) = "-----BEGIN CERTIFICATE-----" }
  officer_public_key = "0000000000000000000000000000000000000000000000000000000000000000"
  artifact           = { url = "https://example.com/domicile", sha256 = "0000000000000000000000000000000000000000000000000000000000000000" }
  image              = "image"
  state              = try(each.value.state, { cloud = "local" })
  copies             = try(each.value.copies, [])
  exports            = try(each.value.exports, [])
}

module "abroad" {
  source   = "../../../modules/region-aws"
  for_each = local.abroad

  providers = {
    aws = aws.abroad
  }

  deployment         = "domicile"
  region             = each.key
  location           = try(each.value.location, local.location)
  facts              = { (each.key) = merge(local.fact, { name = each.key }, try(each.value.facts, {})) }
  nodes              = { (local.node) = { number = 3, zone = try(each.value.zone, local.zone), size = "m7i.large", voter = true } }
  mesh               = try(each.value.twice, false) ? { for number in [1, 2, 3] : "${local.node}-${number}" => { number = number, region = number < 3 ? each.key : "elsewhere", zone = "a", voter = true, addr = "192.0.2.${number}" } } : {}
  network            = { cidr = "10.3.0.0/16", client_cidrs = try(each.value.clients, []) }
  bundles            = { (each.key) = "-----BEGIN CERTIFICATE-----" }
  officer_public_key = "0000000000000000000000000000000000000000000000000000000000000000"
  artifact           = { url = "https://example.com/domicile", sha256 = "0000000000000000000000000000000000000000000000000000000000000000" }
  image              = "image"
  state              = try(each.value.state, { cloud = "local" })
  copies             = try(each.value.copies, [])
  exports            = try(each.value.exports, [])
}

module "spanning" {
  source   = "../../../modules/region-aws"
  for_each = local.spanning

  providers = {
    aws = aws.spanning
  }

  deployment         = "domicile"
  region             = each.key
  location           = try(each.value.location, local.location)
  facts              = { (each.key) = merge(local.fact, { name = each.key }, try(each.value.facts, {})) }
  nodes              = { (local.node) = { number = 3, zone = try(each.value.zone, local.zone), size = "m7i.large", voter = true } }
  mesh               = try(each.value.twice, false) ? { for number in [1, 2, 3] : "${local.node}-${number}" => { number = number, region = number < 3 ? each.key : "elsewhere", zone = "a", voter = true, addr = "192.0.2.${number}" } } : {}
  network            = { cidr = "10.3.0.0/16", client_cidrs = try(each.value.clients, []) }
  bundles            = { (each.key) = "-----BEGIN CERTIFICATE-----" }
  officer_public_key = "0000000000000000000000000000000000000000000000000000000000000000"
  artifact           = { url = "https://example.com/domicile", sha256 = "0000000000000000000000000000000000000000000000000000000000000000" }
  image              = "image"
  state              = try(each.value.state, { cloud = "local" })
  copies             = try(each.value.copies, [])
  exports            = try(each.value.exports, [])
}

module "open" {
  source   = "../../../modules/region-aws"
  for_each = local.open

  deployment         = "domicile"
  region             = each.key
  location           = try(each.value.location, local.location)
  facts              = { (each.key) = merge(local.fact, { name = each.key }, try(each.value.facts, {})) }
  nodes              = { (local.node) = { number = 3, zone = try(each.value.zone, local.zone), size = "m7i.large", voter = true } }
  mesh               = try(each.value.twice, false) ? { for number in [1, 2, 3] : "${local.node}-${number}" => { number = number, region = number < 3 ? each.key : "elsewhere", zone = "a", voter = true, addr = "192.0.2.${number}" } } : {}
  network            = { cidr = "10.3.0.0/16", client_cidrs = try(each.value.clients, []) }
  bundles            = { (each.key) = "-----BEGIN CERTIFICATE-----" }
  officer_public_key = "0000000000000000000000000000000000000000000000000000000000000000"
  artifact           = { url = "https://example.com/domicile", sha256 = "0000000000000000000000000000000000000000000000000000000000000000" }
  image              = "image"
  state              = try(each.value.state, { cloud = "local" })
  copies             = try(each.value.copies, [])
  exports            = try(each.value.exports, [])
}
