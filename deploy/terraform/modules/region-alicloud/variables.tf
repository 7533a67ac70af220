variable "bucket_prefix" {
  description = "Begins the names of the buckets, which are one namespace for the whole world: 2 to 31 of `a-z 0-9 -`."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^[a-z0-9][a-z0-9-]{1,30}$", var.bucket_prefix))
    error_message = "`bucket_prefix` is 2 to 31 of `a-z 0-9 -`."
  }
}

variable "provider_location" {
  description = "Region that the provider is configured for; it must be the declared one (RES-006)."
  type        = string
  nullable    = false
}

variable "alarm_groups" {
  description = "Contact groups that an alarm tells."
  type        = list(string)
  default     = ["Default Contact Group"]
  nullable    = false
}
