# The interface of every region, the same file in each cloud's module; what differs between clouds is in `variables.tf`.

variable "deployment" {
  description = "Name of the deployment, the end of every trust domain; begins the name of everything that is made."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,15}$", var.deployment))
    error_message = "`deployment` is 2 to 16 of `a-z 0-9 -` and begins with a letter: it is a part of bucket and disk names."
  }
}

variable "region" {
  description = "Name of the region, as in `regions/` and in its certificates."
  type        = string
  nullable    = false
}

variable "location" {
  description = "The cloud's own name of the place. It must be among the region's `clouds` in `regions/`."
  type        = string
  nullable    = false
}

variable "facts" {
  description = "Facts about every region, by name: the files of `regions/`, decoded. The node reads the same files."
  type = map(object({
    name         = string
    jurisdiction = string
    clouds       = map(list(string))
    retention = object({
      hot_days     = number
      warm_days    = number
      cold_days    = number
      archive_days = number
    })
    transfers = list(object({
      to        = string
      what      = string
      basis     = string
      review_by = string
    }))
  }))
  nullable = false

  validation {
    condition     = contains(keys(var.facts), var.region)
    error_message = "RES-001: no file of `regions/` speaks of the region `${var.region}`."
  }
}

variable "nodes" {
  description = "Nodes of this region by name. `number` is the one in the certificate; `size` is the cloud's type of machine; raising `generation` replaces the machine and keeps its disk and address; a `standby` node is made and left stopped until the region's load starts it."
  type = map(object({
    number     = number
    zone       = string
    size       = string
    voter      = bool
    data_gib   = optional(number, 100)
    generation = optional(number, 1)
    standby    = optional(bool, false)
  }))
  nullable = false

  validation {
    condition     = alltrue([for name in keys(var.nodes) : can(regex("^[a-z][a-z0-9-]{0,30}$", name))])
    error_message = "A node's name is 1 to 31 of `a-z 0-9 -` and begins with a letter."
  }
  validation {
    condition     = alltrue([for node in values(var.nodes) : node.data_gib >= 10 && node.generation >= 1])
    error_message = "A node has at least 10 GiB, and generations count from 1."
  }
  validation {
    condition     = alltrue([for node in values(var.nodes) : !(node.standby && node.voter)])
    error_message = "A standby node never votes."
  }
}

variable "mesh" {
  description = "Every node of every region, from the reviewed `mesh.json`; empty while addresses are not known yet. A machine is started only for a node that stands here."
  type = map(object({
    number = number
    region = string
    zone   = string
    voter  = bool
    addr   = string
    port   = optional(number, 7443)
  }))
  default  = {}
  nullable = false
}

variable "network" {
  description = "The region's own network: its range, and the ranges from which clients may reach the node's APIs (TCP 9200 and 7280); empty for nobody."
  type = object({
    cidr         = string
    client_cidrs = optional(list(string), [])
  })
  nullable = false

  validation {
    condition     = can(cidrsubnet(var.network.cidr, 4, 15))
    error_message = "`network.cidr` is a range with room for sixteen subnets, as `10.1.0.0/16`."
  }
  validation {
    condition     = alltrue([for cidr in var.network.client_cidrs : can(cidrhost(cidr, 0)) && tonumber(split("/", cidr)[1]) >= 8])
    error_message = "RES-005: clients come from declared ranges of /8 or narrower, never from everywhere."
  }
}

variable "bundles" {
  description = "By region, the certificate of its authority, PEM; this region's included."
  type        = map(string)
  nullable    = false
}

variable "officer_public_key" {
  description = "Public key of this region's officer, 64 hexadecimal figures."
  type        = string
  nullable    = false
}

variable "artifact" {
  description = "The binary: its address and its SHA-256."
  type = object({
    url    = string
    sha256 = string
  })
  nullable = false
}

variable "image" {
  description = "The machine's image, pinned by its id. A new one is taken with a node's next generation."
  type        = string
  nullable    = false
}

variable "keys" {
  description = "Vault or OpenBao Transit of this region, one key per node; null for a local root, which is for development."
  type = object({
    address    = string
    key_prefix = string
    mount      = optional(string, "transit")
    namespace  = optional(string)
  })
  default = null
}

variable "retention" {
  description = "Days that nobody can shorten for the ledger (`ledger_lock_days`), days that a deleted or replaced object remains (`noncurrent_days`: erasure waits for it), and days of flow logs."
  type = object({
    ledger_lock_days = optional(number, 365)
    noncurrent_days  = optional(number, 7)
    flow_log_days    = optional(number, 90)
  })
  default  = {}
  nullable = false

  validation {
    condition     = var.retention.ledger_lock_days >= 1 && var.retention.noncurrent_days >= 1 && var.retention.flow_log_days >= 1
    error_message = "Days count from 1."
  }
}

variable "copies" {
  description = "Copies that something else makes of this region's data, declared so that they can be judged (RES-003)."
  type = list(object({
    what     = string
    cloud    = string
    location = string
  }))
  default  = []
  nullable = false
}

variable "exports" {
  description = "Where the region's own logs and metrics are sent, declared so that they can be judged (RES-007)."
  type = list(object({
    what     = string
    cloud    = string
    location = string
  }))
  default  = []
  nullable = false
}

variable "state" {
  description = "Where this configuration's own state lies: cloud and location of the backend, or `local`."
  type = object({
    cloud    = string
    location = optional(string, "")
  })
  nullable = false
}

variable "scale_out" {
  description = "Load at which standby nodes are started: mean CPU of the region's running nodes, for so many minutes."
  type = object({
    cpu_percent = optional(number, 70)
    minutes     = optional(number, 10)
  })
  default  = {}
  nullable = false
}

variable "labels" {
  description = "Labels on everything that is made, beside those of the module."
  type        = map(string)
  default     = {}
  nullable    = false
}
