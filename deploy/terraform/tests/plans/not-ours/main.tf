# Resources that are not ours, as another team may plan them beside a region: what is wrong with each stands in `expected`.

terraform {
  required_version = ">= 1.11.0"

  required_providers {
    aws = {
      source = "hashicorp/aws"
    }
    azurerm = {
      source = "hashicorp/azurerm"
    }
    google = {
      source = "hashicorp/google"
    }
  }
}

provider "aws" {
  region = "eu-central-1"
}

provider "google" {
  project = "somebody-else"
  region  = "europe-west3"
}

provider "azurerm" {
  features {}
}

resource "aws_kms_key" "everywhere" {
  multi_region = true
}

resource "aws_ebs_volume" "plain" {
  availability_zone = "eu-central-1a"
  size              = 10
}

resource "aws_ebs_volume" "abroad" {
  availability_zone = "us-east-1a"
  size              = 10
  encrypted         = true
}

resource "aws_s3_bucket" "own" {
  bucket = "somebody-elses-bucket"
}

resource "aws_s3_bucket_replication_configuration" "away" {
  bucket = "somebody-elses-bucket"
  role   = "arn:aws:iam::123456789012:role/replicate"
  rule {
    status = "Enabled"
    destination {
      bucket = "arn:aws:s3:::somewhere"
    }
  }
}

resource "aws_vpc_security_group_ingress_rule" "open" {
  security_group_id = "sg-1"
  ip_protocol       = "udp"
  from_port         = 7443
  to_port           = 7443
  cidr_ipv4         = "0.0.0.0/0"
}

resource "google_storage_bucket" "continent" {
  name     = "somebody-elses-bucket"
  location = "EU"
}

resource "google_compute_disk" "right" {
  name = "right"
  zone = "europe-west3-a"
}

resource "azurerm_resource_group" "right" {
  name     = "right"
  location = "germanywestcentral"
}

resource "azurerm_storage_account" "paired" {
  name                     = "paired"
  resource_group_name      = "right"
  location                 = "germanywestcentral"
  account_tier             = "Standard"
  account_replication_type = "GRS"
}
