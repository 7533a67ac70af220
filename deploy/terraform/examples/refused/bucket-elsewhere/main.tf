# Tokyo's bucket would lie in Osaka, beside its nodes. This plan must fail with RES-002.

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
      stores       = { cold = { kind = "bucket", location = "ap-northeast-3", encrypted = true, key_location = "ap-northeast-1" } }
    }
  }
}
