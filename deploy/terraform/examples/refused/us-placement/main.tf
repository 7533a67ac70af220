# Frankfurt would be built in the United States. This plan must fail with RES-001.

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
  region  = "us-east1"
}

locals {
  facts = { for file in fileset("${path.module}/../../../../../regions", "*.yaml") : trimsuffix(file, ".yaml") => yamldecode(file("${path.module}/../../../../../regions/${file}")) }
}

module "frankfurt" {
  source = "../../../modules/region-gcp"

  deployment         = "domicile"
  region             = "frankfurt"
  location           = "us-east1"
  provider_location  = "us-east1"
  project            = "domicile-example"
  facts              = local.facts
  nodes              = { frankfurt-3 = { number = 3, zone = "us-east1-a", size = "n2-standard-2", voter = true } }
  network            = { cidr = "10.3.0.0/16", client_cidrs = [] }
  bundles            = { frankfurt = "-----BEGIN CERTIFICATE-----" }
  officer_public_key = "0000000000000000000000000000000000000000000000000000000000000000"
  artifact           = { url = "https://example.com/domicile", sha256 = "0000000000000000000000000000000000000000000000000000000000000000" }
  image              = "projects/debian-cloud/global/images/debian-12-bookworm-v20251014"
  state              = { cloud = "local" }
}
