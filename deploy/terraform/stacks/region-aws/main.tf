# One region on AWS, one state: its credentials and its state stay in its jurisdiction.

terraform {
  required_version = ">= 1.11.0"

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.100.0, < 7.0.0"
    }
  }

  # Name a bucket in the region's own jurisdiction with `-backend-config`, and say so under `state` in deployment.yaml.
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

variable "simulator" {
  description = "Address of a simulator of AWS; null for AWS itself."
  type        = string
  default     = null
}

module "deployment" {
  source = "../../modules/deployment"

  file   = var.deployment_file
  region = var.region
  cloud  = "aws"
}

locals {
  region = module.deployment.regions[var.region]
}

provider "aws" {
  region                      = local.region.location
  access_key                  = var.simulator == null ? null : "simulated"
  secret_key                  = var.simulator == null ? null : "simulated"
  skip_credentials_validation = var.simulator != null
  skip_metadata_api_check     = var.simulator != null
  s3_use_path_style           = var.simulator != null

  dynamic "endpoints" {
    for_each = var.simulator == null ? [] : [var.simulator]
    content {
      cloudwatch = endpoints.value
      ec2        = endpoints.value
      events     = endpoints.value
      iam        = endpoints.value
      kms        = endpoints.value
      s3         = endpoints.value
      ssm        = endpoints.value
      sts        = endpoints.value
    }
  }
}

module "region" {
  source = "../../modules/region-aws"

  deployment          = module.deployment.deployment
  region              = var.region
  location            = local.region.location
  facts               = module.deployment.facts
  nodes               = local.region.nodes
  mesh                = module.deployment.mesh
  network             = local.region.network
  bundles             = module.deployment.bundles
  officer_public_key  = local.region.officer_public_key
  artifact            = module.deployment.artifact
  image               = local.region.image
  keys                = local.region.keys
  retention           = local.region.retention
  copies              = local.region.copies
  exports             = local.region.exports
  state               = local.region.state
  scale_out           = local.region.scale_out
  labels              = local.region.labels
  bucket_prefix       = try(local.region.cloud_own.bucket_prefix, null)
  trial               = var.simulator != null
  detailed_monitoring = var.simulator == null
  alarm_actions       = try(local.region.cloud_own.alarm_actions, [])
  archive_class       = try(local.region.cloud_own.archive_class, null)
}

output "region" {
  description = "What was made."
  value       = module.region.region
}

output "mesh_entries" {
  description = "This region's part of `mesh.json`."
  value       = module.region.mesh_entries
}
