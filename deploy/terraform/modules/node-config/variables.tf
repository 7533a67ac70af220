variable "deployment" {
  description = "Name of the deployment, the end of every trust domain."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^[a-z0-9][a-z0-9._-]{0,62}$", var.deployment))
    error_message = "A deployment's name is 1 to 63 of `a-z 0-9 . _ -` and begins with a letter or a figure."
  }
}

variable "advertise" {
  description = "Where other nodes reach this one: IPv4 address and UDP port, as `192.0.2.1:7443`."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^[0-9]{1,3}(\\.[0-9]{1,3}){3}:[1-9][0-9]{3,4}$", var.advertise)) && !startswith(var.advertise, "0.0.0.0:")
    error_message = "`advertise` is one address and one port, as `192.0.2.1:7443`; 0.0.0.0 is nobody's address."
  }
}

variable "listen" {
  description = "Where the node listens: the link (UDP), the Elasticsearch API and the native API (TCP)."
  type = object({
    link = optional(string, "0.0.0.0:7443")
    es   = optional(string, "0.0.0.0:9200")
    api  = optional(string, "0.0.0.0:7280")
    tls  = optional(bool, true)
  })
  default  = {}
  nullable = false

  validation {
    condition     = var.listen.tls || (startswith(var.listen.es, "127.") && startswith(var.listen.api, "127."))
    error_message = "Without TLS, clients are spoken to on loopback only: keys and records would pass in the clear."
  }
}

variable "voter" {
  description = "Whether the node votes for its region; one node of a region does."
  type        = bool
  nullable    = false
}

variable "seeds" {
  description = "Nodes to join the metadata group through, from the module `mesh`; none for the node on which `domicile cluster init` is run."
  type = list(object({
    node   = number
    region = string
    addr   = string
  }))
  default  = []
  nullable = false
}

variable "bundles" {
  description = "By region, the certificate of its authority, PEM; this region's included. Public, but they decide who is let in: review them."
  type        = map(string)
  nullable    = false

  validation {
    condition     = length(var.bundles) > 0 && alltrue([for pem in values(var.bundles) : startswith(trimspace(pem), "-----BEGIN CERTIFICATE-----")])
    error_message = "Each bundle is a certificate in PEM. A region without a bundle is not talked to."
  }
  validation {
    condition     = alltrue([for pem in values(var.bundles) : !strcontains(pem, "PRIVATE KEY")])
    error_message = "A private key stands in a bundle. Take it out of this configuration, and replace the key."
  }
}

variable "officer_public_key" {
  description = "Public key of this region's officer, 64 hexadecimal figures: what `domicile pki init` wrote into `officer.pub`."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^[0-9a-f]{64}$", var.officer_public_key))
    error_message = "An officer's public key is 64 hexadecimal figures, lower case."
  }
}

variable "directories" {
  description = "Where the node finds its configuration, its secrets (memory only) and its data."
  type = object({
    etc     = optional(string, "/etc/domicile")
    secrets = optional(string, "/run/domicile/secrets")
    data    = optional(string, "/var/lib/domicile")
  })
  default  = {}
  nullable = false

  validation {
    condition     = alltrue([for path in values(var.directories) : startswith(path, "/")])
    error_message = "Directories are absolute paths."
  }
}

variable "secret_files" {
  description = "Names of the files in the secrets directory (or paths of their own): certificate and key of the node, the key of its region, and certificate and key of its client listeners."
  type = object({
    cert        = optional(string, "node.crt")
    key         = optional(string, "node.key")
    region_key  = optional(string, "region.key")
    server_cert = optional(string, "server.crt")
    server_key  = optional(string, "server.key")
  })
  default  = {}
  nullable = false
}

variable "keys" {
  description = "Root of the region's keys: Vault or OpenBao Transit of the same region (`address`, `key`), or null for a local file, which is for development."
  type = object({
    address   = string
    key       = string
    mount     = optional(string, "transit")
    namespace = optional(string)
  })
  default = null

  validation {
    condition     = var.keys == null ? true : startswith(var.keys.address, "https://")
    error_message = "A key store is spoken to in https."
  }
}

variable "store" {
  description = "Where the region's objects lie: `kind` (s3, azure, gcs), bucket or container, its location, and the class of storage of what is archived (`archive_class`); or null for a directory on the data disk. One bucket or prefix is one region's, for all its nodes: a stream of durability `bucket` goes to another node only where both open the same one."
  type = object({
    kind          = string
    bucket        = string
    location      = string
    prefix        = optional(string)
    cloud         = optional(string)
    endpoint      = optional(string)
    account       = optional(string)
    vouched       = optional(list(string), [])
    archive_class = optional(string)
  })
  default = null

  validation {
    condition     = var.store == null ? true : contains(["s3", "azure", "gcs"], var.store.kind)
    error_message = "`store.kind` is s3, azure or gcs; without a bucket leave `store` out."
  }
  validation {
    condition     = var.store == null ? true : var.store.location == var.location
    error_message = "RES-002: the bucket lies in another place than the machine."
  }
  validation {
    condition     = var.store == null ? true : (var.store.kind == "azure") == (var.store.account != null)
    error_message = "`store.account` belongs to Azure, and Azure needs it."
  }
  validation {
    condition     = var.store == null ? true : var.store.cloud != "alicloud"
    error_message = "OSS cannot create an object only where there is none (in its form of S3 it refuses `If-None-Match`, its own header is ignored in versioned buckets), and the node does not write without: leave `store` out on Alibaba Cloud."
  }
  validation {
    condition = var.store == null ? true : var.store.archive_class == null ? true : contains(lookup({
      s3    = ["STANDARD_IA", "ONEZONE_IA", "GLACIER_IR", "INTELLIGENT_TIERING"]
      azure = ["Cool", "Cold"]
      gcs   = ["NEARLINE", "COLDLINE", "ARCHIVE"]
    }, var.store.kind, []), var.store.archive_class)
    error_message = "`store.archive_class` is a class that is read at once. s3: STANDARD_IA, ONEZONE_IA, GLACIER_IR, INTELLIGENT_TIERING; azure: Cool, Cold; gcs: NEARLINE, COLDLINE, ARCHIVE. An erasure makes archived segments anew and waits for no thawing."
  }
}

variable "region_files" {
  description = "Files of facts about regions by name, as `tokyo.yaml`, that take the place of the ones built into the binary; empty for the built-in ones."
  type        = map(string)
  default     = {}
  nullable    = false

  validation {
    condition     = alltrue([for text in values(var.region_files) : can(yamldecode(text).name)])
    error_message = "Each file of facts is YAML and states its region's `name`."
  }
}

variable "artifact" {
  description = "The binary: where it is fetched (`https://…`, or `s3://…` with the machine's own identity) and its SHA-256, checked before it is installed."
  type = object({
    url    = string
    sha256 = string
  })
  nullable = false

  validation {
    condition     = can(regex("^(https|s3)://[^\\s'\"]+$", var.artifact.url))
    error_message = "The binary is fetched over https or from a bucket (`s3://`)."
  }
  validation {
    condition     = can(regex("^[0-9a-f]{64}$", var.artifact.sha256))
    error_message = "`sha256` is 64 hexadecimal figures."
  }
}

variable "secrets" {
  description = "Where the machine fetches its secrets with its own identity: `kind` is aws (SSM path), gcp (prefix of Secret Manager, as `projects/P/secrets/PREFIX`), azure (URL of the vault and prefix), alicloud (prefix in KMS)."
  type = object({
    kind = string
    ref  = string
  })
  nullable = false

  validation {
    condition     = contains(["aws", "gcp", "azure", "alicloud"], var.secrets.kind) && can(regex("^[A-Za-z0-9:/._-]+$", var.secrets.ref))
    error_message = "`kind` is aws, gcp, azure or alicloud; `ref` is a path of `A-Z a-z 0-9 : / . _ -`."
  }
}

variable "location" {
  description = "The cloud's name for the place the machine lies in; secrets are fetched there and nowhere else."
  type        = string
  nullable    = false
}

variable "data_device" {
  description = "Path of the data disk, as `/dev/disk/by-id/…`; it gets a file system when it has none, and is never formatted again."
  type        = string
  nullable    = false

  validation {
    condition     = startswith(var.data_device, "/dev/")
    error_message = "`data_device` is a path under /dev."
  }
}
