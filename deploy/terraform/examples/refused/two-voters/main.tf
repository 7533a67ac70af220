# Two voters lose their majority with either of them. This plan must fail with RES-009.

terraform {
  required_version = ">= 1.11.0"
}

locals {
  facts = { for file in fileset("${path.module}/../../../../../regions", "*.yaml") : trimsuffix(file, ".yaml") => yamldecode(file("${path.module}/../../../../../regions/${file}")) }
}

module "residency" {
  source = "../../../modules/residency"

  facts = local.facts
  group = { tokyo-1 = { region = "tokyo", zone = "a", voter = true }, singapore-2 = { region = "singapore", zone = "a", voter = true } }
  regions = {
    tokyo = {
      jurisdiction = "JP"
      cloud        = "aws"
      location     = "ap-northeast-1"
      nodes        = { tokyo-1 = { location = "ap-northeast-1" } }
      stores       = {}
    }
  }
}
