# Three regions on AWS in one root with one provider each. For a real deployment prefer `stacks/region-aws`: one state per region.

terraform {
  required_version = ">= 1.11.0"

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = "~> 5.100"
    }
  }
}

variable "deployment_file" {
  description = "Path of `deployment.yaml`."
  type        = string
  default     = "deployment.yaml"
}

variable "simulator" {
  description = "Address of a simulator of AWS; null for AWS itself."
  type        = string
  default     = null
}

module "deployment" {
  source = "../../modules/deployment"

  file = var.deployment_file
}

locals {
  regions = module.deployment.regions
  # In one root addresses need no detour over mesh.json.
  mesh = merge(module.tokyo.mesh_entries, module.singapore.mesh_entries, module.frankfurt.mesh_entries)
}

provider "aws" {
  alias                       = "tokyo"
  region                      = local.regions["tokyo"].location
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

module "tokyo" {
  source    = "../../modules/region-aws"
  providers = { aws = aws.tokyo }

  deployment          = module.deployment.deployment
  region              = "tokyo"
  location            = local.regions["tokyo"].location
  facts               = module.deployment.facts
  nodes               = local.regions["tokyo"].nodes
  mesh                = local.mesh
  network             = local.regions["tokyo"].network
  bundles             = module.deployment.bundles
  officer_public_key  = local.regions["tokyo"].officer_public_key
  artifact            = module.deployment.artifact
  image               = local.regions["tokyo"].image
  keys                = local.regions["tokyo"].keys
  retention           = local.regions["tokyo"].retention
  copies              = local.regions["tokyo"].copies
  exports             = local.regions["tokyo"].exports
  state               = local.regions["tokyo"].state
  scale_out           = local.regions["tokyo"].scale_out
  labels              = local.regions["tokyo"].labels
  bucket_prefix       = try(local.regions["tokyo"].cloud_own.bucket_prefix, null)
  trial               = var.simulator != null
  detailed_monitoring = var.simulator == null
  archive_class       = try(local.regions["tokyo"].cloud_own.archive_class, null)
}

provider "aws" {
  alias                       = "singapore"
  region                      = local.regions["singapore"].location
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

module "singapore" {
  source    = "../../modules/region-aws"
  providers = { aws = aws.singapore }

  deployment          = module.deployment.deployment
  region              = "singapore"
  location            = local.regions["singapore"].location
  facts               = module.deployment.facts
  nodes               = local.regions["singapore"].nodes
  mesh                = local.mesh
  network             = local.regions["singapore"].network
  bundles             = module.deployment.bundles
  officer_public_key  = local.regions["singapore"].officer_public_key
  artifact            = module.deployment.artifact
  image               = local.regions["singapore"].image
  keys                = local.regions["singapore"].keys
  retention           = local.regions["singapore"].retention
  copies              = local.regions["singapore"].copies
  exports             = local.regions["singapore"].exports
  state               = local.regions["singapore"].state
  scale_out           = local.regions["singapore"].scale_out
  labels              = local.regions["singapore"].labels
  bucket_prefix       = try(local.regions["singapore"].cloud_own.bucket_prefix, null)
  trial               = var.simulator != null
  detailed_monitoring = var.simulator == null
  archive_class       = try(local.regions["singapore"].cloud_own.archive_class, null)
}

provider "aws" {
  alias                       = "frankfurt"
  region                      = local.regions["frankfurt"].location
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

module "frankfurt" {
  source    = "../../modules/region-aws"
  providers = { aws = aws.frankfurt }

  deployment          = module.deployment.deployment
  region              = "frankfurt"
  location            = local.regions["frankfurt"].location
  facts               = module.deployment.facts
  nodes               = local.regions["frankfurt"].nodes
  mesh                = local.mesh
  network             = local.regions["frankfurt"].network
  bundles             = module.deployment.bundles
  officer_public_key  = local.regions["frankfurt"].officer_public_key
  artifact            = module.deployment.artifact
  image               = local.regions["frankfurt"].image
  keys                = local.regions["frankfurt"].keys
  retention           = local.regions["frankfurt"].retention
  copies              = local.regions["frankfurt"].copies
  exports             = local.regions["frankfurt"].exports
  state               = local.regions["frankfurt"].state
  scale_out           = local.regions["frankfurt"].scale_out
  labels              = local.regions["frankfurt"].labels
  bucket_prefix       = try(local.regions["frankfurt"].cloud_own.bucket_prefix, null)
  trial               = var.simulator != null
  detailed_monitoring = var.simulator == null
  archive_class       = try(local.regions["frankfurt"].cloud_own.archive_class, null)
}

output "regions" {
  description = "What was made."
  value       = [module.tokyo.region, module.singapore.region, module.frankfurt.region]
}

output "mesh_json" {
  description = "The file that stacks of one region each would share."
  value       = jsonencode({ deployment = module.deployment.deployment, nodes = local.mesh })
}
