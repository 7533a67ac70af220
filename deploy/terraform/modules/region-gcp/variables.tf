variable "project" {
  description = "The project everything is made in."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{4,28}[a-z0-9]$", var.project))
    error_message = "`project` is a project's id: 6 to 30 of `a-z 0-9 -`."
  }
}

variable "provider_location" {
  description = "Region that the provider is configured for; it must be the declared one (RES-006)."
  type        = string
  nullable    = false
}

variable "alarm_channels" {
  description = "Notification channels that an alarm tells."
  type        = list(string)
  default     = []
  nullable    = false
}
