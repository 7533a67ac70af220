variable "file" {
  description = "Path of `deployment.yaml`, the one file that a deployment is written in. Beside it lie `mesh.json`, once addresses are known, and the public files of `domicile pki`."
  type        = string
  nullable    = false
}

variable "regions_dir" {
  description = "Directory of the facts about regions; null for `regions/` of this repository."
  type        = string
  default     = null
}

variable "region" {
  description = "The region that a stack is about; null where a root builds several."
  type        = string
  default     = null
}

variable "cloud" {
  description = "The cloud that a stack is for; null where a root builds several."
  type        = string
  default     = null
}
