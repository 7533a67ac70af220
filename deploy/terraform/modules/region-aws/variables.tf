variable "bucket_prefix" {
  description = "Begins the names of the buckets, which are one namespace for the whole world; null for `deployment` and the account's number."
  type        = string
  default     = null

  validation {
    condition     = var.bucket_prefix == null || can(regex("^[a-z0-9][a-z0-9-]{1,30}$", var.bucket_prefix))
    error_message = "`bucket_prefix` is 2 to 31 of `a-z 0-9 -`."
  }
}

variable "trial" {
  description = "A trial that may be thrown away: no snapshot of a destroyed data disk is kept, and the bucket of logs goes with what is in it. Never the bucket of segments, never the ledger's."
  type        = bool
  default     = false
  nullable    = false
}

variable "detailed_monitoring" {
  description = "Whether machines report once a minute, which the alarms on load need; false for simulators that do not know it."
  type        = bool
  default     = true
  nullable    = false
}

variable "alarm_actions" {
  description = "ARNs that an alarm tells, in this region: topics of one's own."
  type        = list(string)
  default     = []
  nullable    = false

  validation {
    condition     = alltrue([for arn in var.alarm_actions : try(split(":", arn)[3], "") == var.location])
    error_message = "RES-007: an alarm is told to a topic in the same region."
  }
}

variable "archive_class" {
  description = "Class of storage of what the node archives (copies below `archive/`): `STANDARD_IA`, `ONEZONE_IA`, `GLACIER_IR`, `INTELLIGENT_TIERING`, all of them read at once, or `none` for that of everything else. The default is charged for 90 days at least, where `archive_days` is 180."
  type        = string
  default     = "GLACIER_IR"
  nullable    = false

  validation {
    condition     = contains(["STANDARD_IA", "ONEZONE_IA", "GLACIER_IR", "INTELLIGENT_TIERING", "none"], var.archive_class)
    error_message = "`archive_class` is STANDARD_IA, ONEZONE_IA, GLACIER_IR, INTELLIGENT_TIERING or none: an erasure reads and makes anew what is archived, and waits for no thawing."
  }
}
