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
