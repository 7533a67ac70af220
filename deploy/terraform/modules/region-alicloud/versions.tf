terraform {
  required_version = ">= 1.11.0"

  required_providers {
    alicloud = {
      source  = "aliyun/alicloud"
      version = ">= 1.289.0, < 2.0.0"
    }
  }
}
