variable "storage_name" {
  description = "Begins the names of the storage accounts, which are one namespace for the whole world: 3 to 16 of `a-z 0-9`."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^[a-z0-9]{3,16}$", var.storage_name))
    error_message = "`storage_name` is 3 to 16 of `a-z 0-9`."
  }
}

variable "admin_ssh_key" {
  description = "Public key of whoever may log in to the machines through the cloud's console; nobody can over the network."
  type        = string
  nullable    = false
}

variable "network_watcher" {
  description = "The subscription's network watcher in this location, which keeps flow logs: its name and resource group."
  type = object({
    name           = string
    resource_group = string
  })
  nullable = false
}

variable "archive_class" {
  description = "Class of storage of what the node archives (copies below `archive/`): `Cool`, `Cold`, all of them read at once, or `none` for that of everything else. The default is charged for 90 days at least, where `archive_days` is 180."
  type        = string
  default     = "Cold"
  nullable    = false

  validation {
    condition     = contains(["Cool", "Cold", "none"], var.archive_class)
    error_message = "`archive_class` is Cool, Cold or none: an erasure reads and makes anew what is archived, and waits for no thawing."
  }
}
