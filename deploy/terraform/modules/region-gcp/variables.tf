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

variable "archive_class" {
  description = "Class of storage of what the node archives (copies below `archive/`): `NEARLINE`, `COLDLINE`, `ARCHIVE`, all of them read at once, or `none` for that of everything else. The default is charged for 90 days at least, where `archive_days` is 180. `ARCHIVE` is charged for 365 days at least."
  type        = string
  default     = "COLDLINE"
  nullable    = false

  validation {
    condition     = contains(["NEARLINE", "COLDLINE", "ARCHIVE", "none"], var.archive_class)
    error_message = "`archive_class` is NEARLINE, COLDLINE, ARCHIVE or none: an erasure reads and makes anew what is archived, and waits for no thawing."
  }
}
