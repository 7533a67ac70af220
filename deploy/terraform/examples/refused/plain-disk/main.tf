# Tokyo's disk would not be encrypted. This plan must fail with RES-008.

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
      stores       = { data = { kind = "disk", location = "ap-northeast-1" } }
    }
  }
}
