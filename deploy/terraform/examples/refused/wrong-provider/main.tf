# Frankfurt's module is given the provider of Tokyo. This plan must fail with RES-006.

terraform {
  required_version = ">= 1.11.0"

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = "~> 5.100"
    }
  }
}

provider "aws" {
  alias  = "tokyo"
  region = "ap-northeast-1"
}

locals {
  facts = { for file in fileset("${path.module}/../../../../../regions", "*.yaml") : trimsuffix(file, ".yaml") => yamldecode(file("${path.module}/../../../../../regions/${file}")) }
}

module "frankfurt" {
  source    = "../../../modules/region-aws"
  providers = { aws = aws.tokyo }

  deployment         = "domicile"
  region             = "frankfurt"
  location           = "eu-central-1"
  facts              = local.facts
  nodes              = { frankfurt-3 = { number = 3, zone = "eu-central-1a", size = "m7i.large", voter = true } }
  network            = { cidr = "10.3.0.0/16" }
  bundles            = { frankfurt = "-----BEGIN CERTIFICATE-----" }
  officer_public_key = "0000000000000000000000000000000000000000000000000000000000000000"
  artifact           = { url = "https://example.com/domicile", sha256 = "0000000000000000000000000000000000000000000000000000000000000000" }
  image              = "ami-00000000000000000"
  state              = { cloud = "local" }
}
