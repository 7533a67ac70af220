# One region on Google Cloud, one state: its credentials and its state stay in its jurisdiction.

terraform {
  required_version = ">= 1.11.0"

  required_providers {
    google = {
      source  = "hashicorp/google"
      version = ">= 6.50.0, < 8.0.0"
    }
  }

  # Name a backend in the region's own jurisdiction with `-backend-config`, and say so under `state` in deployment.yaml.
  backend "local" {}
}

variable "deployment_file" {
  description = "Path of `deployment.yaml`."
  type        = string
}

variable "region" {
  description = "The region to build, as it is called in the file."
  type        = string
}

module "deployment" {
  source = "../../modules/deployment"

  file   = var.deployment_file
  region = var.region
  cloud  = "gcp"
}

locals {
  region = module.deployment.regions[var.region]
}

provider "google" {
  project = local.region.cloud_own.project
  region  = local.region.location
}

module "region" {
  source = "../../modules/region-gcp"

  deployment         = module.deployment.deployment
  region             = var.region
  location           = local.region.location
  facts              = module.deployment.facts
  nodes              = local.region.nodes
  mesh               = module.deployment.mesh
  network            = local.region.network
  bundles            = module.deployment.bundles
  officer_public_key = local.region.officer_public_key
  artifact           = module.deployment.artifact
  image              = local.region.image
  keys               = local.region.keys
  retention          = local.region.retention
  copies             = local.region.copies
  exports            = local.region.exports
  state              = local.region.state
  scale_out          = local.region.scale_out
  labels             = local.region.labels
  project            = local.region.cloud_own.project
  provider_location  = local.region.location
  alarm_channels     = try(local.region.cloud_own.alarm_channels, [])
  archive_class      = try(local.region.cloud_own.archive_class, null)
}

output "region" {
  description = "What was made."
  value       = module.region.region
}

output "mesh_entries" {
  description = "This region's part of `mesh.json`."
  value       = module.region.mesh_entries
}
