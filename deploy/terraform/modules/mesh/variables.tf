variable "deployment" {
  description = "Name of the deployment, the end of every trust domain."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^[a-z0-9][a-z0-9._-]{0,62}$", var.deployment))
    error_message = "A deployment's name is 1 to 63 of `a-z 0-9 . _ -` and begins with a letter or a figure."
  }
}

variable "nodes" {
  description = "Every node of every region, by name. `number` is the number in its certificate, `addr` and `port` where its link is reached."
  type = map(object({
    number = number
    region = string
    zone   = string
    voter  = bool
    addr   = string
    port   = optional(number, 7443)
  }))
  nullable = false

  validation {
    condition     = length(distinct([for node in values(var.nodes) : node.number])) == length(var.nodes)
    error_message = "Every node has a number of its own in the whole deployment, never used before."
  }
  validation {
    condition     = alltrue([for node in values(var.nodes) : node.number >= 1 && floor(node.number) == node.number])
    error_message = "A node's number is a whole number from 1."
  }
  validation {
    condition     = alltrue([for node in values(var.nodes) : can(cidrhost("${node.addr}/32", 0)) && node.addr != "0.0.0.0"])
    error_message = "`addr` is one IPv4 address at which other regions reach the node."
  }
  validation {
    condition     = alltrue([for node in values(var.nodes) : node.port >= 1024 && node.port <= 65535])
    error_message = "`port` lies between 1024 and 65535."
  }
  validation {
    condition     = length(distinct([for node in values(var.nodes) : "${node.addr}:${node.port}"])) == length(var.nodes)
    error_message = "Two nodes cannot be reached at one address and port."
  }
  validation {
    condition     = alltrue([for name in keys(var.nodes) : can(regex("^[a-z][a-z0-9-]{0,30}$", name))])
    error_message = "A node's name is 1 to 31 of `a-z 0-9 -` and begins with a letter: it names machines and disks in every cloud."
  }
}
