# Tokyo's key could be used in other regions as well. This plan must fail with RES-004.

terraform {
  required_version = ">= 1.11.0"
}

locals {
  facts = { for file in fileset("${path.module}/../../../../../regions", "*.yaml") : trimsuffix(file, ".yaml") => yamldecode(file("${path.module}/../../../../../regions/${file}")) }
}

module "residency" {
  source = "../../../modules/residency"

  facts = local.facts
  group = null
  regions = {
    tokyo = {
      jurisdiction = "JP"
      cloud        = "aws"
      location     = "ap-northeast-1"
      nodes        = { tokyo-1 = { location = "ap-northeast-1" } }
      stores       = { key = { kind = "key", location = "ap-northeast-1", multi_region = true } }
    }
  }
}
