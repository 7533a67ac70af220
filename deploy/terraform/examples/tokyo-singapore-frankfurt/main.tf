# Tokyo on AWS, Singapore on Alibaba Cloud, Frankfurt on Google Cloud, planned as one.
#
# For a real deployment prefer one state per region (`stacks/`): then no machine needs the credentials of three clouds, and no
# state holds more than one jurisdiction's. This root is for reviewing all three together.

terraform {
  required_version = ">= 1.11.0"

  required_providers {
    alicloud = {
      source  = "aliyun/alicloud"
      version = "~> 1.289"
    }
    aws = {
      source  = "hashicorp/aws"
      version = "~> 5.100"
    }
    google = {
      source  = "hashicorp/google"
      version = "~> 6.50"
    }
  }
}

variable "deployment_file" {
  description = "Path of `deployment.yaml`."
  type        = string
  default     = "deployment.yaml"
}

module "deployment" {
  source = "../../modules/deployment"

  file = var.deployment_file
}

locals {
  regions = module.deployment.regions
  mesh    = merge(module.tokyo.mesh_entries, module.singapore.mesh_entries, module.frankfurt.mesh_entries)
}

provider "aws" {
  region = local.regions["tokyo"].location
}

provider "alicloud" {
  region = local.regions["singapore"].location
}

provider "google" {
  project = local.regions["frankfurt"].cloud_own.project
  region  = local.regions["frankfurt"].location
}

module "tokyo" {
  source = "../../modules/region-aws"

  deployment         = module.deployment.deployment
  region             = "tokyo"
  location           = local.regions["tokyo"].location
  facts              = module.deployment.facts
  mesh               = local.mesh
  bundles            = module.deployment.bundles
  artifact           = module.deployment.artifact
  nodes              = local.regions["tokyo"].nodes
  network            = local.regions["tokyo"].network
  officer_public_key = local.regions["tokyo"].officer_public_key
  image              = local.regions["tokyo"].image
  keys               = local.regions["tokyo"].keys
  retention          = local.regions["tokyo"].retention
  copies             = local.regions["tokyo"].copies
  exports            = local.regions["tokyo"].exports
  state              = local.regions["tokyo"].state
  scale_out          = local.regions["tokyo"].scale_out
  labels             = local.regions["tokyo"].labels
  bucket_prefix      = try(local.regions["tokyo"].cloud_own.bucket_prefix, null)
  archive_class      = try(local.regions["tokyo"].cloud_own.archive_class, null)
}

module "singapore" {
  source = "../../modules/region-alicloud"

  deployment         = module.deployment.deployment
  region             = "singapore"
  location           = local.regions["singapore"].location
  facts              = module.deployment.facts
  mesh               = local.mesh
  bundles            = module.deployment.bundles
  artifact           = module.deployment.artifact
  nodes              = local.regions["singapore"].nodes
  network            = local.regions["singapore"].network
  officer_public_key = local.regions["singapore"].officer_public_key
  image              = local.regions["singapore"].image
  keys               = local.regions["singapore"].keys
  retention          = local.regions["singapore"].retention
  copies             = local.regions["singapore"].copies
  exports            = local.regions["singapore"].exports
  state              = local.regions["singapore"].state
  scale_out          = local.regions["singapore"].scale_out
  labels             = local.regions["singapore"].labels
  bucket_prefix      = local.regions["singapore"].cloud_own.bucket_prefix
  provider_location  = local.regions["singapore"].location
}

module "frankfurt" {
  source = "../../modules/region-gcp"

  deployment         = module.deployment.deployment
  region             = "frankfurt"
  location           = local.regions["frankfurt"].location
  facts              = module.deployment.facts
  mesh               = local.mesh
  bundles            = module.deployment.bundles
  artifact           = module.deployment.artifact
  nodes              = local.regions["frankfurt"].nodes
  network            = local.regions["frankfurt"].network
  officer_public_key = local.regions["frankfurt"].officer_public_key
  image              = local.regions["frankfurt"].image
  keys               = local.regions["frankfurt"].keys
  retention          = local.regions["frankfurt"].retention
  copies             = local.regions["frankfurt"].copies
  exports            = local.regions["frankfurt"].exports
  state              = local.regions["frankfurt"].state
  scale_out          = local.regions["frankfurt"].scale_out
  labels             = local.regions["frankfurt"].labels
  project            = local.regions["frankfurt"].cloud_own.project
  provider_location  = local.regions["frankfurt"].location
  archive_class      = try(local.regions["frankfurt"].cloud_own.archive_class, null)
}

output "regions" {
  description = "What was made."
  value       = { tokyo = module.tokyo.region, singapore = module.singapore.region, frankfurt = module.frankfurt.region }
}

output "mesh_json" {
  description = "The file that stacks of one region each share."
  value       = jsonencode({ deployment = module.deployment.deployment, nodes = local.mesh })
}
