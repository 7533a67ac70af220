variable "facts" {
  description = "Facts about every region, by name: the files of `regions/`, decoded. The node reads the same files."
  type = map(object({
    name         = string
    jurisdiction = string
    clouds       = map(list(string))
    transfers = list(object({
      to        = string
      what      = string
      basis     = string
      review_by = string
    }))
  }))
  nullable = false

  validation {
    condition     = length(var.facts) > 0 && alltrue([for name, fact in var.facts : name == fact.name])
    error_message = "Each region's facts must be kept under the `name` they state, and there must be some."
  }
}

variable "regions" {
  description = "What is to be built, by region: where it lies, what is stored, copied, let in and sent out. Only what is known at plan time."
  type = map(object({
    jurisdiction      = string
    cloud             = string
    location          = string
    provider_location = optional(string)
    nodes = optional(map(object({
      location = string
    })), {})
    stores = optional(map(object({
      kind         = string
      location     = string
      encrypted    = optional(bool, false)
      key_location = optional(string)
      public       = optional(bool, false)
      multi_region = optional(bool, false)
    })), {})
    copies = optional(list(object({
      what     = string
      cloud    = string
      location = string
    })), [])
    ingress = optional(list(object({
      cidr     = string
      protocol = string
      port     = number
    })), [])
    peer_cidrs = optional(list(string), [])
    state = optional(object({
      cloud    = string
      location = string
    }))
    exports = optional(list(object({
      what     = string
      cloud    = string
      location = string
    })), [])
  }))
  nullable = false

  validation {
    condition = alltrue(flatten([for region in values(var.regions) : [
      for store in values(region.stores) : contains(["bucket", "disk", "image", "key", "log", "queue", "secret", "snapshot"], store.kind)
    ]]))
    error_message = "`kind` of a store is one of bucket, disk, image, key, log, queue, secret, snapshot."
  }
}

variable "group" {
  description = "Every node of the metadata group in all regions, by name; null where a plan is about no node."
  type = map(object({
    region     = string
    zone       = string
    voter      = bool
    data_class = optional(string, "metadata")
  }))
  default = null
}

variable "today" {
  description = "The day that review dates are compared with, `YYYY-MM-DD`; null for the day of the plan."
  type        = string
  default     = null

  validation {
    condition     = var.today == null || can(regex("^[0-9]{4}-[0-9]{2}-[0-9]{2}$", var.today))
    error_message = "`today` is a date as `2026-11-21`."
  }
}
